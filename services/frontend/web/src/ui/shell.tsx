import { useCallback, useEffect, useState } from 'react';
import { Banner, Notice } from './banner';
import { Conversation } from './conversation';
import { useChat, useChatState } from './context';
import { Mark } from './icons';
import { Sidebar } from './sidebar';

export function Shell() {
  const chat = useChat();
  const selected = useChatState((s) => s.selected);
  const exists = useChatState((s) => s.selected !== null && s.conversations[s.selected] !== undefined);
  const loaded = useChatState((s) => s.loaded);
  const [now, setNow] = useState(Date.now);

  // "Today" and "5 min ago" have to follow the clock.
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 30_000);
    return () => clearInterval(timer);
  }, []);

  const close = useCallback(() => chat.select(null), [chat]);

  return (
    <div className="shell" data-open={selected !== null}>
      <Sidebar now={now} />
      <div className="pane">
        <Banner />
        {selected !== null && exists ? <Conversation key={selected} id={selected} now={now} close={close} /> : <Empty waiting={selected !== null && !exists} loaded={loaded} />}
        <Notice />
      </div>
    </div>
  );
}

function Empty({ waiting, loaded }: { waiting: boolean; loaded: boolean }) {
  const none = useChatState((s) => Object.keys(s.conversations).length === 0);
  return (
    <main className="empty" aria-busy={waiting}>
      {!waiting && (
        <>
          <Mark />
          <p>{loaded && none ? 'No conversation yet. Start one with the pen above the list.' : 'Choose a conversation, or start a new one.'}</p>
        </>
      )}
    </main>
  );
}
