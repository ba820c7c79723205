import { defaultRangeExtractor, useVirtualizer, type Range } from '@tanstack/react-virtual';
import { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState, type KeyboardEvent } from 'react';
import { isolate } from '../store/bidi';
import type { Conversation, Outgoing } from '../store/model';
import { nameOf, others, threadOf } from '../store/state';
import { firstSeq } from '../store/thread';
import { useChat, useChatState } from './context';
import { eventText } from './event-text';
import { dayName, fullTime } from './format';
import { Down } from './icons';
import { MessageMenu, type MenuTarget } from './message-menu';
import { MessageRow, type RowActions } from './message-row';
import { timeline, type Bubble } from './timeline';

// This close to the end counts as at the end, and this close to an edge of what is here fetches more.
const nearEnd = 80;
const nearEdge = 400;
const flashes = 2_000; // ms that a message stays marked which one was led to

export interface ListProps {
  conversation: Conversation;
  now: number;
  reply: (seq: number) => void;
  edit: (seq: number) => void;
  // Gives the focus back to the composer.
  leave: () => void;
}

export function MessageList({ conversation, now, reply, edit, leave }: ListProps) {
  const chat = useChat();
  const id = conversation.id;
  const me = useChatState((s) => s.me);
  const users = useChatState((s) => s.users);
  const thread = useChatState((s) => threadOf(s, id));
  const jump = useChatState((s) => (s.selected === id ? s.jump : null));
  // Where the line "new" stands does not move while one reads.
  const [readSeq] = useState(() => (conversation.unread > 0 ? conversation.readSeq : null));
  const first = firstSeq(thread);
  const complete = thread.complete || (first > 0 && first <= conversation.firstSeq);
  // What came live before the newest page is shown with it: alone it would pass for the whole conversation.
  const early = !thread.opened && thread.loading && !complete;
  const rows = useMemo(() => timeline(early ? { ...thread, stored: [], outOfOrder: [] } : thread, me?.id ?? '', readSeq), [early, thread, me, readSeq]);
  const box = useRef<HTMLDivElement>(null);
  const [atEnd, setAtEnd] = useState(true);
  const [below, setBelow] = useState(0);
  const [active, setActive] = useState<string | null>(null); // the row that the arrow keys have come to
  const [flash, setFlash] = useState<number | null>(null);
  const [menu, setMenu] = useState<MenuTarget | null>(null);

  const activeIndex = active === null ? -1 : rows.findIndex((r) => r.key === active);
  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: () => box.current,
    estimateSize: (n) => estimate(rows[n]),
    getItemKey: (n) => rows[n]?.key ?? n,
    overscan: 12,
    paddingStart: 44,
    paddingEnd: 12,
    anchorTo: 'end',
    followOnAppend: true,
    scrollEndThreshold: nearEnd,
    // The row that has the focus stays, wherever one scrolls.
    rangeExtractor: (range: Range) => {
      const shown = defaultRangeExtractor(range);
      return activeIndex < 0 || shown.includes(activeIndex) ? shown : [...shown, activeIndex].sort((a, b) => a - b);
    },
  });

  const mine = thread.outbox.reduce((n, o) => n + (o.change ? 0 : 1), 0);
  const shown = rows.length > 0;

  const toEnd = useCallback(() => {
    if (thread.detached) void chat.history.latest(id);
    virtual.scrollToEnd();
  }, [chat, id, thread.detached, virtual]);

  // One begins at the end; and what I send myself is always shown.
  const sent = useRef(mine);
  useLayoutEffect(() => {
    if (shown) virtual.scrollToEnd();
  }, [shown, thread.detached, virtual]);
  useLayoutEffect(() => {
    if (mine > sent.current) virtual.scrollToEnd();
    sent.current = mine;
  }, [mine, virtual]);

  // A changed window (the keyboard of a phone, say) must not hide the end.
  const end = useRef(true);
  useEffect(() => {
    const el = box.current;
    if (!el || typeof ResizeObserver === 'undefined') return;
    const observer = new ResizeObserver(() => {
      if (end.current) virtual.scrollToEnd();
    });
    observer.observe(el);
    return () => observer.disconnect();
  }, [virtual]);

  const more = useCallback(() => {
    const el = box.current;
    if (!el) return;
    if (el.scrollTop < nearEdge) void chat.history.older(id);
    if (thread.detached && el.scrollHeight - el.scrollTop - el.clientHeight < nearEdge) void chat.history.following(id);
  }, [chat, id, thread.detached]);

  const scrolled = () => {
    const el = box.current;
    if (!el) return;
    end.current = !thread.detached && el.scrollHeight - el.scrollTop - el.clientHeight < nearEnd;
    setAtEnd(end.current);
    if (end.current) setBelow(0);
    more();
  };

  // A page may not fill the screen, and then nothing can be scrolled to ask for the next.
  useEffect(more, [more, rows]);

  // What came while one read further up is counted on the button that leads down.
  const lastSeq = conversation.lastSeq;
  const counted = useRef(lastSeq);
  useEffect(() => {
    const last = conversation.last;
    if (lastSeq > counted.current && last?.seq === lastSeq && !last.event && last.sender !== me?.id && !end.current) setBelow((n) => n + 1);
    counted.current = lastSeq;
  }, [lastSeq, conversation.last, me]);

  // Read is what the end of the conversation on a screen that is looked at has shown.
  useEffect(() => {
    const look = () => chat.watch(atEnd && !thread.detached && document.visibilityState === 'visible' && document.hasFocus() ? id : null);
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
  }, [chat, id, atEnd, thread.detached]);

  // A jump shows its message in the middle and marks it for a moment.
  useEffect(() => {
    if (!jump) return;
    const n = rows.findIndex((r) => r.kind === 'bubble' && r.seq === jump.seq);
    const row = rows[n];
    if (!row) return;
    chat.store.dispatch({ type: 'jump', seq: null });
    virtual.scrollToIndex(n, { align: 'center' });
    setFlash(jump.seq);
    setActive(row.key);
  }, [jump, rows, chat, virtual]);
  useEffect(() => {
    if (flash === null) return;
    const timer = setTimeout(() => setFlash(null), flashes);
    return () => clearTimeout(timer);
  }, [flash]);

  const act: RowActions = useMemo(
    () => ({
      retry: (o: Outgoing) => chat.retry(o),
      discard: (o: Outgoing) => chat.discard(o),
      react: (seq: number, emoji: string, on: boolean) => chat.change(id, { type: 'reaction', target: seq, emoji, on }),
      menu: (row: Bubble, anchor: HTMLElement) => setMenu({ row, anchor }),
      reply,
      show: (seq: number) => void chat.history.jump(id, seq),
      quote: (seq: number) => chat.history.quote(id, seq),
    }),
    [chat, id, reply],
  );

  const focusRow = (n: number) => {
    const row = rows[n];
    if (!row) return;
    setActive(row.key);
    virtual.scrollToIndex(n, { align: 'auto' });
    // The row may have to be drawn first.
    requestAnimationFrame(() => box.current?.querySelector<HTMLElement>(`[data-row="${CSS.escape(row.key)}"]`)?.focus({ preventScroll: true }));
  };

  const keys = (event: KeyboardEvent<HTMLElement>) => {
    const onRow = (event.target as HTMLElement).dataset.row !== undefined;
    if (event.target !== box.current && !onRow) return; // a button in a message has keys of its own
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const bubbles = rows.flatMap((r, n) => (r.kind === 'bubble' ? [n] : []));
    const at = bubbles.indexOf(activeIndex);
    const to = onRow && at >= 0 ? { ArrowUp: at - 1, ArrowDown: at + 1, Home: 0, End: bubbles.length - 1 }[event.key] : event.key === 'ArrowUp' ? bubbles.length - 1 : undefined;
    if (to !== undefined) {
      event.preventDefault();
      const n = bubbles[Math.max(0, to)];
      if (n === undefined) leave();
      else focusRow(n);
      return;
    }
    if (event.key === 'Escape') {
      leave();
      return;
    }
    const row = rows[activeIndex];
    if (!onRow || row?.kind !== 'bubble' || row.seq === undefined || row.deleted) return;
    const pressed = event.key.toLowerCase();
    if (pressed === 'enter') act.menu(row, event.target as HTMLElement);
    else if (pressed === 'r') reply(row.seq);
    else if (pressed === 'e' && row.mine) edit(row.seq);
    else return;
    event.preventDefault();
  };

  const group = conversation.kind === 'group';
  const peers = useMemo(() => others(conversation, me), [conversation, me]);
  const quoted = (seq: number | undefined) => (seq === undefined ? undefined : (thread.stored.find((m) => m.seq === seq) ?? thread.quoted[seq]));
  const seen = (seq: number | undefined): 'none' | 'some' | 'all' => {
    if (seq === undefined || peers.length === 0) return 'none';
    const readers = peers.filter((user) => (conversation.reads?.[user] ?? 0) >= seq).length;
    return readers === 0 ? 'none' : readers === peers.length ? 'all' : 'some';
  };

  return (
    <div className="messages-frame">
      {/* Focusable, so that the keyboard can scroll it and come into it. New messages are announced by Heard. */}
      <div ref={box} className="messages" onScroll={scrolled} onKeyDown={keys} role="log" aria-live="off" aria-label="Messages" aria-busy={thread.loading} tabIndex={0} data-testid="messages">
        {rows.length === 0 && !thread.loading && <p className="nothing">{group ? 'Nothing said yet.' : 'No messages yet. Say hello!'}</p>}
        <div className="canvas" style={{ height: rows.length > 0 ? virtual.getTotalSize() : 44 }}>
          <div className="start">
            {thread.loading && first > 1 && !complete && <span className="spinner" role="status" aria-label="Loading older messages" />}
            {complete && rows.length > 0 && <span className="muted">This is where {group ? 'the group' : 'the conversation'} begins.</span>}
          </div>
          <ol>
            {virtual.getVirtualItems().map((item) => {
              const row = rows[item.index];
              if (!row) return null;
              const place = { 'data-index': item.index, ref: virtual.measureElement, style: { transform: `translateY(${item.start}px)` } };
              switch (row.kind) {
                case 'day':
                  return (
                    <li key={row.key} {...place} className="day">
                      <time dateTime={new Date(row.at).toISOString().slice(0, 10)}>{dayName(row.at, now)}</time>
                    </li>
                  );
                case 'event':
                  return (
                    <li key={row.key} {...place} className="event" data-testid="event" data-seq={row.message.seq} title={fullTime(row.message.at)}>
                      {eventText(row.message, me, users)}
                    </li>
                  );
                case 'new':
                  return (
                    <li key={row.key} {...place} className="new" data-testid="new-line">
                      <span>New</span>
                    </li>
                  );
                case 'hole':
                  return (
                    <li key={row.key} {...place} className="hole">
                      <span className="spinner" role="status" aria-label="Loading missed messages" />
                    </li>
                  );
                case 'bubble':
                  return (
                    <li key={row.key} {...place}>
                      <MessageRow
                        row={row}
                        me={me?.id ?? ''}
                        users={users}
                        group={group}
                        quoted={quoted(row.replyTo)}
                        seen={row.mine ? seen(row.seq) : 'none'}
                        flash={flash !== null && flash === row.seq}
                        tabbable={active === row.key}
                        act={act}
                      />
                    </li>
                  );
              }
            })}
          </ol>
        </div>
      </div>
      {(!atEnd || thread.detached) && (
        <button type="button" className="to-end" data-testid="to-end" onClick={toEnd} aria-label={below > 0 ? `${below} new messages, go to the newest` : 'Go to the newest message'}>
          <Down />
          {below > 0 && <span className="badge">{below}</span>}
        </button>
      )}
      <Heard conversation={conversation} />
      {menu && menu.row.seq !== undefined && (
        <MessageMenu
          target={menu}
          conversation={conversation}
          close={() => setMenu(null)}
          act={{
            react: (emoji, on) => menu.row.seq !== undefined && act.react(menu.row.seq, emoji, on),
            reply: () => menu.row.seq !== undefined && reply(menu.row.seq),
            edit: () => menu.row.seq !== undefined && edit(menu.row.seq),
            remove: () => menu.row.seq !== undefined && chat.change(id, { type: 'delete', target: menu.row.seq }),
          }}
        />
      )}
    </div>
  );
}

// Heard tells a screen reader what others say while one looks at the conversation.
function Heard({ conversation }: { conversation: Conversation }) {
  const me = useChatState((s) => s.me);
  const users = useChatState((s) => s.users);
  const [since] = useState(conversation.lastSeq);
  const last = conversation.last;
  const said = last && last.seq > since && last.sender !== me?.id ? last : null;
  return (
    <p className="visually-hidden" aria-live="polite">
      {said && (said.event ? eventText(said, me, users) : `${isolate(nameOf(users, said.sender))}: ${said.text}`)}
    </p>
  );
}

// estimate is a row's height before it was drawn.
function estimate(row: ReturnType<typeof timeline>[number] | undefined): number {
  if (row?.kind !== 'bubble') return 40;
  return 40 + 21 * Math.floor(row.text.length / 60) + (row.first ? 8 : 0) + (row.replyTo ? 48 : 0) + (row.reactions ? 30 : 0);
}
