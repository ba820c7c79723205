import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { Http } from './api/http';
import { BrowserTokens } from './api/tokens';
import { Chat, reason } from './store/chat';
import { initialState } from './store/state';
import { Store } from './store/store';
import { App } from './ui/app';
import { deviceName } from './ui/device';
import { ChatContext } from './ui/context';
import { keptTheme, showTheme } from './ui/theme';
import './styles/base.css';
import './styles/signin.css';
import './styles/shell.css';
import './styles/conversation.css';
import './styles/people.css';
import './styles/dialog.css';
import './styles/settings.css';
import './styles/avatar.css';

const theme = keptTheme();
showTheme(theme);
const tokens = new BrowserTokens();
const chat = new Chat({
  http: new Http(tokens),
  store: new Store({ ...initialState, preferences: { ...initialState.preferences, theme } }),
  connect: () => {
    const url = new URL('/ws', location.href);
    url.protocol = location.protocol === 'https:' ? 'wss:' : 'ws:';
    return new WebSocket(url);
  },
  remember: (yes) => tokens.remember(yes),
  device: deviceName(navigator.userAgent),
});

tokens.onSignOut = (session) => chat.signedOutElsewhere(session);

const refusals: Readonly<Record<string, string>> = {
  denied: 'The sign-in was cancelled.',
  expired: 'The sign-in took too long. Try again.',
  unavailable: 'The other provider cannot be reached. Try again later, or use a password.',
  off: 'This chat has no other provider to sign in with.',
};

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
void begin();

// The way back from another provider brings a code that works once, or says why there is none; it leaves the address at
// once, so that it is in no history.
async function begin(): Promise<void> {
  const fragment = new URLSearchParams(location.hash.slice(1));
  const code = fragment.get('login');
  const refused = fragment.get('login_error');
  if (code !== null || refused !== null) history.replaceState(null, '', location.pathname);
  if (code !== null) {
    try {
      await chat.signInWith(code);
    } catch (error) {
      chat.refuse(reason(error));
    }
    return;
  }
  await chat.restore();
  if (refused !== null && chat.store.get().session !== 'in') chat.refuse(refusals[refused] ?? 'The sign-in failed. Try again.');
}

