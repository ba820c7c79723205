import { memo, useEffect, useId, useMemo, useRef, useState } from 'react';
import { isolate } from '../store/bidi';
import { reason } from '../store/chat';
import type { Message, User } from '../store/model';
import { called, nameOf, ordered, others, stateOf, titleOf, type State } from '../store/state';
import { Avatar, UserAvatar } from './avatar';
import { useChat, useChatState } from './context';
import { ConversationList } from './conversation-list';
import { plural, shortTime } from './format';
import { Close, Search } from './icons';
import { rove } from './roving';

const pause = 250; // ms without typing before the server is asked
const least = 2; // letters

// Chats is the list of conversations, with a search through their names and messages above it.
export function Chats({ now, hidden, startChat }: { now: number; hidden: boolean; startChat: () => void }) {
  const conversations = useChatState((s) => s.conversations);
  const me = useChatState((s) => s.me);
  const users = useChatState((s) => s.users);
  const loaded = useChatState((s) => s.loaded);
  const [query, setQuery] = useState('');
  const box = useRef<HTMLDivElement>(null);
  const input = useRef<HTMLInputElement>(null);
  const id = useId();
  const wanted = query.trim().toLowerCase();
  const list = useMemo(
    () => ordered(conversations).filter((c) => wanted === '' || titleOf(c, { me, users }).toLowerCase().includes(wanted)),
    [conversations, wanted, me, users],
  );

  return (
    <div ref={box} className="view chats" hidden={hidden}>
      <div className="search-bar">
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
      </div>
      <div>{wanted === '' && <OnlineNow />}</div>
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
        <ConversationList list={list} now={now} box={box} />
        {wanted.length >= least && <Found query={query.trim()} now={now} />}
      </nav>
    </div>
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
                    <span className="item-title ellipsis">
                      <bdi>{c ? titleOf(c, { me, users }) : '…'}</bdi>
                    </span>
                    <time dateTime={new Date(m.at).toISOString()}>{shortTime(m.at, now)}</time>
                  </span>
                  <span className="found-text">
                    <bdi>{m.sender === me?.id ? 'You' : nameOf(users, m.sender)}</bdi>: {m.text}
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
          <OnlineUser key={user.id} user={user} />
        ))}
      </ul>
    </section>
  );
}

const OnlineUser = memo(function OnlineUser({ user }: { user: User }) {
  const chat = useChat();
  return (
    <li>
      <button type="button" title={`Write to ${isolate(called(user))}`} onClick={() => void chat.startDirect(user).catch((e: unknown) => chat.notify(reason(e)))}>
        <Avatar user={user} dot />
        <span className="ellipsis">
          <bdi>{called(user)}</bdi>
        </span>
      </button>
    </li>
  );
});

function Skeleton() {
  return (
    <div className="skeleton" role="status" aria-label="Loading conversations">
      {[1, 2, 3, 4].map((n) => (
        <div key={n} />
      ))}
    </div>
  );
}
