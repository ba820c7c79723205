import { useMemo, useRef, useState, type KeyboardEvent, type MouseEvent } from 'react';
import type { Conversation, User } from '../store/model';
import { nameOf, ordered, others, titleOf, unread, type State } from '../store/state';
import { Avatar, GroupAvatar } from './avatar';
import { useChat, useChatState } from './context';
import { eventText } from './event-text';
import { fullTime, shortTime } from './format';
import { Compose, Group, Leave } from './icons';
import { NewChat } from './new-chat';
import { NewGroup } from './new-group';
import { pathOf } from './route';

export function Sidebar({ now }: { now: number }) {
  const chat = useChat();
  const me = useChatState((s) => s.me);
  const [dialog, setDialog] = useState<'chat' | 'group' | null>(null);
  return (
    <div className="sidebar">
      <header className="sidebar-head">
        {me && <Avatar user={me} dot small />}
        <strong className="grow ellipsis" data-testid="me">
          {me?.name}
        </strong>
        <button type="button" className="icon-button" data-testid="new-chat" aria-label="New chat" title="New chat" onClick={() => setDialog('chat')}>
          <Compose />
        </button>
        <button type="button" className="icon-button" data-testid="new-group" aria-label="New group" title="New group" onClick={() => setDialog('group')}>
          <Group />
        </button>
        <button type="button" className="icon-button" data-testid="sign-out" aria-label="Sign out" title="Sign out" onClick={() => void chat.signOut()}>
          <Leave />
        </button>
      </header>
      <OnlineNow />
      <ConversationList now={now} startChat={() => setDialog('chat')} />
      {dialog === 'chat' && <NewChat close={() => setDialog(null)} />}
      {dialog === 'group' && <NewGroup close={() => setDialog(null)} />}
    </div>
  );
}

// OnlineNow shows who of the people one shares a conversation with is there.
function OnlineNow() {
  const chat = useChat();
  const me = useChatState((s) => s.me);
  const users = useChatState((s) => s.users);
  const presence = useChatState((s) => s.presence);
  const conversations = useChatState((s) => s.conversations);
  const online = useMemo(() => {
    const known = new Set(Object.values(conversations).flatMap((c) => others(c, me)));
    return [...known]
      .filter((id) => presence[id]?.online)
      .map((id) => users[id])
      .filter((u): u is User => u !== undefined)
      .sort((a, b) => a.name.localeCompare(b.name));
  }, [me, users, presence, conversations]);
  if (online.length === 0) return null;
  return (
    <section className="online" aria-label="Online now" data-testid="online-now">
      <h2>
        Online <span className="count">{online.length}</span>
      </h2>
      <ul>
        {online.map((user) => (
          <li key={user.id}>
            <button type="button" title={`Write to ${user.name}`} onClick={() => void chat.startDirect(user).catch((e: Error) => chat.notify(e.message))}>
              <Avatar user={user} dot />
              <span className="ellipsis">{user.name}</span>
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}

function ConversationList({ now, startChat }: { now: number; startChat: () => void }) {
  const conversations = useChatState((s) => s.conversations);
  const loaded = useChatState((s) => s.loaded);
  const list = useMemo(() => ordered(conversations), [conversations]);
  const box = useRef<HTMLUListElement>(null);

  // Up and down move through the list, as in any list of an application.
  const move = (event: KeyboardEvent) => {
    if (event.key !== 'ArrowDown' && event.key !== 'ArrowUp') return;
    const links = [...(box.current?.querySelectorAll('a') ?? [])];
    const at = links.indexOf(document.activeElement as HTMLAnchorElement);
    links[at + (event.key === 'ArrowDown' ? 1 : -1)]?.focus();
    event.preventDefault();
  };

  return (
    <nav className="conversations" aria-label="Conversations">
      {!loaded && list.length === 0 && <Skeleton />}
      {loaded && list.length === 0 && (
        <div className="nothing">
          <p>Nobody has written yet.</p>
          <button type="button" className="button primary" onClick={startChat}>
            Start a chat
          </button>
        </div>
      )}
      <ul ref={box} data-testid="conversation-list" onKeyDown={move}>
        {list.map((c) => (
          <Item key={c.id} conversation={c} now={now} />
        ))}
      </ul>
    </nav>
  );
}

function Skeleton() {
  return (
    <div className="skeleton" role="status" aria-label="Loading conversations">
      {[1, 2, 3, 4].map((n) => (
        <div key={n} />
      ))}
    </div>
  );
}

function Item({ conversation, now }: { conversation: Conversation; now: number }) {
  const chat = useChat();
  const selected = useChatState((s) => s.selected === conversation.id);
  const me = useChatState((s) => s.me);
  const users = useChatState((s) => s.users);
  const waiting = useChatState((s) => s.threads[conversation.id]?.outbox.at(-1));
  const count = unread(conversation);
  const title = titleOf(conversation, { me, users });
  const other = others(conversation, me)[0];

  const open = (event: MouseEvent) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.button !== 0) return; // a new tab or window, as for any link
    event.preventDefault();
    chat.select(conversation.id);
  };

  return (
    <li>
      <a
        href={pathOf(conversation.id)}
        className="item"
        data-testid="conversation-item"
        data-id={conversation.id}
        data-title={title}
        data-unread={count}
        aria-current={selected ? 'page' : undefined}
        onClick={open}
      >
        {conversation.kind === 'direct' && other ? <Avatar user={{ id: other, name: title }} dot /> : <GroupAvatar id={conversation.id} />}
        <span className="item-text">
          <span className="item-top">
            <span className="item-title ellipsis">{title}</span>
            {conversation.last && (
              <time dateTime={new Date(conversation.last.at).toISOString()} title={fullTime(conversation.last.at)}>
                {shortTime(conversation.last.at, now)}
              </time>
            )}
          </span>
          <span className="item-bottom">
            <span className="item-last ellipsis">
              {waiting ? `${waiting.state === 'failed' ? 'Not sent' : 'Sending'}: ${waiting.text}` : preview(conversation, me, users)}
            </span>
            {count > 0 && (
              <span className="badge">
                {count > 99 ? '99+' : count}
                <span className="visually-hidden"> unread</span>
              </span>
            )}
          </span>
        </span>
      </a>
    </li>
  );
}

function preview(c: Conversation, me: User | null, users: State['users']): string {
  const last = c.last;
  if (!last) return c.kind === 'direct' ? 'Say hello' : 'New group';
  if (last.event) return eventText(last, me, users);
  if (last.sender === me?.id) return `You: ${last.text}`;
  return c.kind === 'group' ? `${nameOf(users, last.sender)}: ${last.text}` : last.text;
}
