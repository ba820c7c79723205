import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { Http } from './api/http';
import { BrowserTokens } from './api/tokens';
import { Chat } from './store/chat';
import { Store } from './store/store';
import { App } from './ui/app';
import { deviceName } from './ui/device';
import { ChatContext } from './ui/context';
import './styles/base.css';
import './styles/signin.css';
import './styles/shell.css';
import './styles/conversation.css';
import './styles/dialog.css';

const tokens = new BrowserTokens();
const chat = new Chat({
  http: new Http(tokens),
  store: new Store(),
  connect: (ticket) => {
    const url = new URL('/ws', location.href);
    url.protocol = location.protocol === 'https:' ? 'wss:' : 'ws:';
    url.searchParams.set('ticket', ticket);
    return new WebSocket(url);
  },
  remember: (yes) => tokens.remember(yes),
  device: deviceName(navigator.userAgent),
});

const root = document.getElementById('root');
if (!root) throw new Error('index.html has no #root');
createRoot(root).render(
  <StrictMode>
    <ChatContext value={chat}>
      <App />
    </ChatContext>
  </StrictMode>,
);

addEventListener('online', () => chat.wake());
document.addEventListener('visibilitychange', () => {
  if (document.visibilityState === 'visible') chat.wake();
});
void chat.restore();
