import { useCallback, useEffect, useState } from 'react';
import { ordered } from '../store/state';
import { useAway } from './away';
import { Banner, Notice } from './banner';
import { Conversation } from './conversation';
import { useChat, useChatState } from './context';
import { Mark } from './icons';
import { Settings } from './settings';
import { Sidebar } from './sidebar';

export function Shell() {
  const chat = useChat();
  const selected = useChatState((s) => s.selected);
  const exists = useChatState((s) => s.selected !== null && s.conversations[s.selected] !== undefined);
  const loaded = useChatState((s) => s.loaded);
  const [now, setNow] = useState(Date.now);
  const [help, setHelp] = useState(false);
  useAway();

  // "Today" and "5 min ago" have to follow the clock.
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 30_000);
    return () => clearInterval(timer);
  }, []);

  // The page's own keys; settings/shortcuts.tsx tells people of them. All have Ctrl, Cmd or Alt, so none is typed by chance.
  useEffect(() => {
    const keys = (event: KeyboardEvent) => {
      if (document.querySelector('dialog[open]')) return;
      const ctrl = event.ctrlKey || event.metaKey;
      if (ctrl && event.key === '/') setHelp(true);
      else if (ctrl && event.key.toLowerCase() === 'k') document.querySelector<HTMLElement>('[data-shortcut=search]')?.focus();
      else if (event.altKey && !ctrl && (event.key === 'ArrowUp' || event.key === 'ArrowDown')) {
        const s = chat.store.get();
        const list = ordered(s.conversations);
        const at = list.findIndex((c) => c.id === s.selected);
        const to = at < 0 ? 0 : at + (event.key === 'ArrowDown' ? 1 : -1);
        const next = list[to];
        if (next) chat.select(next.id);
      } else return;
      event.preventDefault();
    };
    addEventListener('keydown', keys);
    return () => removeEventListener('keydown', keys);
  }, [chat]);

  const close = useCallback(() => chat.select(null), [chat]);

  return (
    <div className="shell" data-open={selected !== null}>
      <Sidebar now={now} />
      <div className="pane">
        <Banner />
        {selected !== null && exists ? <Conversation key={selected} id={selected} now={now} close={close} /> : <Empty waiting={selected !== null && !exists} loaded={loaded} />}
        <Notice />
      </div>
      {help && <Settings begin="shortcuts" close={() => setHelp(false)} />}
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
