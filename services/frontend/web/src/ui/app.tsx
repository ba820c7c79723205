import { useEffect } from 'react';
import { useChat, useChatState } from './context';
import { Mark } from './icons';
import { pathOf, selectedByPath } from './route';
import { Shell } from './shell';
import { SignIn } from './sign-in';
import { showTheme } from './theme';

export function App() {
  const session = useChatState((s) => s.session);
  useTitle();
  useTheme();
  useRoute();
  switch (session) {
    case 'restoring':
      return <Restoring />;
    case 'out':
      return <SignIn />;
    case 'in':
      return <Shell />;
  }
}

function Restoring() {
  const chat = useChat();
  const notice = useChatState((s) => s.notice);
  return (
    <main className="restoring" aria-busy="true">
      <Mark />
      {notice && (
        <>
          <p role="status">{notice}</p>
          <button type="button" className="button" onClick={() => chat.wake()}>
            Try now
          </button>
        </>
      )}
    </main>
  );
}

function useTitle() {
  const count = useChatState((s) => Object.values(s.conversations).filter((c) => c.unread > 0).length);
  useEffect(() => {
    document.title = count > 0 ? `(${count}) Labchat` : 'Labchat';
  }, [count]);
}

function useTheme() {
  const theme = useChatState((s) => s.preferences.theme);
  useEffect(() => showTheme(theme), [theme]);
}

// useRoute keeps the selected conversation and the address the same, both ways.
function useRoute() {
  const chat = useChat();
  const session = useChatState((s) => s.session);
  const selected = useChatState((s) => s.selected);
  useEffect(() => {
    const follow = () => chat.select(selectedByPath(location.pathname));
    follow();
    addEventListener('popstate', follow);
    return () => removeEventListener('popstate', follow);
  }, [chat]);
  useEffect(() => {
    if (session !== 'in') return;
    const path = pathOf(selected);
    if (location.pathname !== path) history.pushState(null, '', path);
  }, [selected, session]);
}
