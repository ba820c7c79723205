import { memo, useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from 'react';
import type { Conversation, Outgoing } from '../store/model';
import { nameOf, threadOf } from '../store/state';
import { firstSeq } from '../store/thread';
import { Avatar } from './avatar';
import { useChat, useChatState } from './context';
import { eventText } from './event-text';
import { dayName, fullTime, timeOfDay } from './format';
import { Alert, Clock, Down, Tick } from './icons';
import { links } from './links';
import { timeline, type Bubble } from './timeline';

// This close to the end counts as at the end, and this close to the beginning fetches older messages.
const nearEnd = 80;
const nearStart = 400;

export function MessageList({ conversation, now }: { conversation: Conversation; now: number }) {
  const chat = useChat();
  const id = conversation.id;
  const me = useChatState((s) => s.me);
  const users = useChatState((s) => s.users);
  const thread = useChatState((s) => threadOf(s, id));
  const rows = useMemo(() => timeline(thread, me?.id ?? ''), [thread, me]);
  const box = useRef<HTMLDivElement>(null);
  const [atEnd, setAtEnd] = useState(true);
  const stick = useRef(true);
  const seen = useRef({ first: 0, height: 0, mine: 0 });
  const [below, setBelow] = useState(0);

  const first = firstSeq(thread);
  const complete = thread.complete || (first > 0 && first <= conversation.firstSeq);
  const mine = thread.outbox.length;

  const toEnd = useCallback(() => {
    const el = box.current;
    if (el) el.scrollTop = el.scrollHeight;
  }, []);

  // The view stays where it is: at the end if it was there, else at the message that was being read, also when older
  // messages appear above it. What I send myself is always shown.
  useLayoutEffect(() => {
    const el = box.current;
    if (!el) return;
    const before = seen.current;
    if (mine > before.mine) stick.current = true;
    if (stick.current) el.scrollTop = el.scrollHeight;
    else if (first < before.first) el.scrollTop += el.scrollHeight - before.height;
    seen.current = { first, height: el.scrollHeight, mine };
  }, [rows, first, mine]);

  // A changed window (the keyboard of a phone, say) must not hide the end either.
  useEffect(() => {
    const el = box.current;
    if (!el || typeof ResizeObserver === 'undefined') return;
    const observer = new ResizeObserver(() => {
      if (stick.current) toEnd();
    });
    observer.observe(el);
    return () => observer.disconnect();
  }, [toEnd]);

  const older = useCallback(() => {
    const el = box.current;
    if (el && el.scrollTop < nearStart) void chat.loadOlder(id);
  }, [chat, id]);

  const scrolled = () => {
    const el = box.current;
    if (!el) return;
    stick.current = el.scrollHeight - el.scrollTop - el.clientHeight < nearEnd;
    setAtEnd(stick.current);
    if (stick.current) setBelow(0);
    older();
  };

  // A page may not fill the screen, and then nothing can be scrolled to ask for the next.
  useEffect(older, [older, rows]);

  // What came while one read further up is counted on the button that leads down.
  const lastStored = thread.ahead.at(-1)?.seq ?? thread.stored.at(-1)?.seq ?? 0;
  const counted = useRef(lastStored);
  useEffect(() => {
    const more = lastStored - counted.current;
    if (more > 0 && counted.current > 0 && !stick.current) setBelow((n) => n + more);
    counted.current = lastStored;
  }, [lastStored]);

  // Read is what the end of the conversation on a screen that is looked at has shown.
  useEffect(() => {
    const look = () => chat.watch(atEnd && document.visibilityState === 'visible' && document.hasFocus() ? id : null);
    look();
    addEventListener('focus', look);
    addEventListener('blur', look);
    document.addEventListener('visibilitychange', look);
    return () => {
      removeEventListener('focus', look);
      removeEventListener('blur', look);
      document.removeEventListener('visibilitychange', look);
      chat.watch(null);
    };
  }, [chat, id, atEnd]);

  const retry = useCallback((o: Outgoing) => chat.retry(o), [chat]);
  const discard = useCallback((o: Outgoing) => chat.discard(o), [chat]);
  const group = conversation.kind === 'group';

  return (
    <div className="messages-frame">
      {/* Focusable, so that the keyboard can scroll it. */}
      <div ref={box} className="messages" onScroll={scrolled} role="log" aria-label="Messages" aria-busy={thread.loading} tabIndex={0} data-testid="messages">
        <div className="start">
          {thread.loading && first > 1 && !complete && <span className="spinner" role="status" aria-label="Loading older messages" />}
          {complete && rows.length > 0 && <span className="muted">This is where {group ? 'the group' : 'the conversation'} begins.</span>}
        </div>
        {rows.length === 0 && !thread.loading && <p className="nothing">{group ? 'Nothing said yet.' : 'No messages yet. Say hello!'}</p>}
        <ol>
          {rows.map((row) => {
            switch (row.kind) {
              case 'day':
                return (
                  <li key={row.key} className="day">
                    <time dateTime={new Date(row.at).toISOString().slice(0, 10)}>{dayName(row.at, now)}</time>
                  </li>
                );
              case 'event':
                return (
                  <li key={row.key} className="event" data-testid="event" data-seq={row.message.seq} title={fullTime(row.message.at)}>
                    {eventText(row.message, me, users)}
                  </li>
                );
              case 'hole':
                return (
                  <li key={row.key} className="hole">
                    <span className="spinner" role="status" aria-label="Loading missed messages" />
                  </li>
                );
              case 'bubble':
                return <BubbleRow key={row.key} row={row} name={nameOf(users, row.sender)} group={group} retry={retry} discard={discard} />;
            }
          })}
        </ol>
      </div>
      {!atEnd && (
        <button type="button" className="to-end" data-testid="to-end" onClick={toEnd} aria-label={below > 0 ? `${below} new messages, go to the newest` : 'Go to the newest message'}>
          <Down />
          {below > 0 && <span className="badge">{below}</span>}
        </button>
      )}
    </div>
  );
}

interface BubbleProps {
  row: Bubble;
  name: string;
  group: boolean;
  retry: (o: Outgoing) => void;
  discard: (o: Outgoing) => void;
}

const same = (a: BubbleProps, b: BubbleProps): boolean =>
  a.name === b.name &&
  a.group === b.group &&
  a.retry === b.retry &&
  a.discard === b.discard &&
  a.row.key === b.row.key &&
  a.row.text === b.row.text &&
  a.row.state === b.row.state &&
  a.row.seq === b.row.seq &&
  a.row.at === b.row.at &&
  a.row.first === b.row.first &&
  a.row.last === b.row.last &&
  a.row.outgoing === b.row.outgoing;

const BubbleRow = memo(function BubbleRow({ row, name, group, retry, discard }: BubbleProps) {
  const { outgoing } = row;
  const withName = group && !row.mine;
  return (
    <li
      className={`row${row.mine ? ' mine' : ''}${row.first ? ' first' : ''}${row.last ? ' last' : ''}${withName ? ' named' : ''}`}
      data-testid="message"
      data-state={row.state}
      data-seq={row.seq}
      data-mine={row.mine}
      data-sender={name}
    >
      {withName && row.last && <Avatar user={{ id: row.sender, name }} small />}
      <div className="bubble">
        {withName && row.first ? <span className="sender">{name}</span> : <span className="visually-hidden">{row.mine ? 'You' : name}: </span>}
        <span className="text" data-testid="text">
          {links(row.text)}
        </span>
        <span className="meta">
          <time dateTime={new Date(row.at).toISOString()} title={fullTime(row.at)}>
            {timeOfDay(row.at)}
          </time>
          {row.mine && <Mark state={row.state} />}
        </span>
      </div>
      {row.state === 'failed' && outgoing && (
        <p className="failed" role="alert">
          <Alert />
          <span>{outgoing.reason ?? 'Not sent.'}</span>
          <button type="button" className="link" data-testid="retry" onClick={() => retry(outgoing)}>
            Try again
          </button>
          <button type="button" className="link" data-testid="discard" onClick={() => discard(outgoing)}>
            Delete
          </button>
        </p>
      )}
    </li>
  );
}, same);

function Mark({ state }: { state: Bubble['state'] }) {
  const [icon, label] = state === 'stored' ? [<Tick key="t" />, 'sent'] : state === 'sending' ? [<Clock key="c" />, 'sending'] : [<Alert key="a" />, 'not sent'];
  return (
    <span className="mark-state" title={label}>
      {icon}
      <span className="visually-hidden">{label}</span>
    </span>
  );
}
