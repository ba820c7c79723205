import { memo, useEffect, useId, useMemo, useRef, useState, type MouseEvent } from 'react';
import { reason } from '../store/chat';
import type { Conversation, Message, User } from '../store/model';
import { called, nameOf, ordered, others, stateOf, titleOf, type State } from '../store/state';
import { Avatar, GroupAvatar, UserAvatar } from './avatar';
import { useChat, useChatState } from './context';
import { eventText } from './event-text';
import { fullTime, plural, shortTime } from './format';
import { Close, Search } from './icons';
import { rove } from './roving';
import { pathOf } from './route';

const pause = 250; // ms without typing before the server is asked
const least = 2; // letters

// Chats is the list of conversations, with a search through their names and messages above it.
export function Chats({ now, startChat }: { now: number; startChat: () => void }) {
  const conversations = useChatState((s) => s.conversations);
  const me = useChatState((s) => s.me);
  const users = useChatState((s) => s.users);
  const loaded = useChatState((s) => s.loaded);
  const [query, setQuery] = useState('');
  const input = useRef<HTMLInputElement>(null);
  const id = useId();
  const wanted = query.trim().toLowerCase();
  const list = useMemo(
    () => ordered(conversations).filter((c) => wanted === '' || titleOf(c, { me, users }).toLowerCase().includes(wanted)),
    [conversations, wanted, me, users],
  );

  return (
    <>
      <div className="search" role="search">
        <label htmlFor={id} className="visually-hidden">
          Search conversations and messages
        </label>
        <Search />
        <input
          ref={input}
          id={id}
          type="search"
          data-testid="search"
          data-shortcut="search"
          placeholder="Search"
          autoComplete="off"
          maxLength={200}
          value={query}
          onChange={(event) => setQuery(event.target.value)}
          onKeyDown={(event) => {
            if (event.key === 'Escape' && query !== '') {
              event.preventDefault();
              setQuery('');
            }
          }}
        />
        {query !== '' && (
          <button
            type="button"
            className="icon-button"
            aria-label="Clear the search"
            onClick={() => {
              setQuery('');
              input.current?.focus();
            }}
          >
            <Close />
          </button>
        )}
      </div>
      {wanted === '' && <OnlineNow />}
      <nav className="conversations" aria-label="Conversations">
        {!loaded && list.length === 0 && <Skeleton />}
        {loaded && list.length === 0 && wanted === '' && (
          <div className="nothing">
            <p>Nobody has written yet.</p>
            <button type="button" className="button primary" onClick={startChat}>
              Start a chat
            </button>
          </div>
        )}
        <ul data-testid="conversation-list" onKeyDown={(event) => rove(event, 'a')}>
          {list.map((c) => (
            <Item key={c.id} conversation={c} now={now} />
          ))}
        </ul>
        {wanted.length >= least && <Found query={query.trim()} now={now} />}
      </nav>
    </>
  );
}

// Found is what the server finds in messages.
function Found({ query, now }: { query: string; now: number }) {
  const chat = useChat();
  const conversations = useChatState((s) => s.conversations);
  const me = useChatState((s) => s.me);
  const users = useChatState((s) => s.users);
  const [found, setFound] = useState<readonly Message[] | null>(null);
  const [error, setError] = useState<string | null>(null);
  useEffect(() => {
    let current = true;
    setFound(null);
    const timer = setTimeout(() => {
      chat.history
        .search(query)
        .then((messages) => {
          if (!current) return;
          setFound(messages);
          setError(null);
        })
        .catch((failure: unknown) => current && setError(reason(failure)));
    }, pause);
    return () => {
      current = false;
      clearTimeout(timer);
    };
  }, [chat, query]);

  return (
    <section className="found" aria-label="Messages found">
      <h2>Messages</h2>
      <p role="status" className="found-status">
        {error ?? (found === null ? 'Searching…' : found.length === 0 ? 'Nothing found.' : plural(found.length, 'message', 'messages'))}
      </p>
      <ul onKeyDown={(event) => rove(event)}>
        {found?.map((m) => {
          const c = conversations[m.conversation];
          return (
            <li key={`${m.conversation} ${m.seq}`}>
              <button type="button" className="item" data-testid="search-result" data-seq={m.seq} onClick={() => void chat.show(m.conversation, m.seq)}>
                <UserAvatar id={m.sender} size="small" />
                <span className="item-text">
                  <span className="item-top">
                    <span className="item-title ellipsis">{c ? titleOf(c, { me, users }) : '…'}</span>
                    <time dateTime={new Date(m.at).toISOString()}>{shortTime(m.at, now)}</time>
                  </span>
                  <span className="found-text">
                    {m.sender === me?.id ? 'You' : nameOf(users, m.sender)}: {m.text}
                  </span>
                </span>
              </button>
            </li>
          );
        })}
      </ul>
    </section>
  );
}

// OnlineNow shows who of one's contacts, and of the people one talks to, is there.
function OnlineNow() {
  const chat = useChat();
  const me = useChatState((s) => s.me);
  const users = useChatState((s) => s.users);
  const presence = useChatState((s) => s.presence);
  const conversations = useChatState((s) => s.conversations);
  const contacts = useChatState((s) => s.people.contacts);
  const online = useMemo(() => {
    const known = new Set([...Object.values(conversations).flatMap((c) => others(c, me)), ...contacts.map((c) => c.user)]);
    return [...known]
      .filter((id) => stateOf({ presence } as State, id) !== 'offline')
      .map((id) => users[id])
      .filter((u): u is User => u !== undefined)
      .sort((a, b) => called(a).localeCompare(called(b)));
  }, [me, users, presence, conversations, contacts]);
  if (online.length === 0) return null;
  return (
    <section className="online" aria-label="Online now" data-testid="online-now">
      <h2>
        Online <span className="count">{online.length}</span>
      </h2>
      <ul onKeyDown={(event) => rove(event, 'button', true)}>
        {online.map((user) => (
          <li key={user.id}>
            <button type="button" title={`Write to ${called(user)}`} onClick={() => void chat.startDirect(user).catch((e: unknown) => chat.notify(reason(e)))}>
              <Avatar user={user} dot />
              <span className="ellipsis">{called(user)}</span>
            </button>
          </li>
        ))}
      </ul>
    </section>
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

const Item = memo(function Item({ conversation, now }: { conversation: Conversation; now: number }) {
  const chat = useChat();
  const selected = useChatState((s) => s.selected === conversation.id);
  const me = useChatState((s) => s.me);
  const users = useChatState((s) => s.users);
  const waiting = useChatState((s) => s.threads[conversation.id]?.outbox.findLast((o) => !o.change));
  const typing = useChatState((s) => Object.entries(s.typing[conversation.id] ?? {}).find(([, until]) => until > 0)?.[0]);
  const count = conversation.unread;
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
        {conversation.kind === 'direct' && other ? <UserAvatar id={other} dot /> : <GroupAvatar id={conversation.id} />}
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
            {typing ? (
              <span className="item-last typing ellipsis">{conversation.kind === 'group' ? `${nameOf(users, typing)} is typing…` : 'typing…'}</span>
            ) : (
              <span className="item-last ellipsis">
                {waiting ? `${waiting.state === 'failed' ? 'Not sent' : 'Sending'}: ${waiting.text}` : preview(conversation, me, users)}
              </span>
            )}
            {conversation.mentioned && count > 0 && (
              <span className="badge">
                @<span className="visually-hidden"> you were mentioned</span>
              </span>
            )}
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
});

function preview(c: Conversation, me: User | null, users: State['users']): string {
  const last = c.last;
  if (!last) return c.kind === 'direct' ? 'Say hello' : 'New group';
  if (last.event) return eventText(last, me, users);
  const text = last.deleted ? 'Deleted message' : last.text;
  if (last.sender === me?.id) return `You: ${text}`;
  return c.kind === 'group' ? `${nameOf(users, last.sender)}: ${text}` : text;
}
