import { defaultRangeExtractor, useVirtualizer, type Range } from '@tanstack/react-virtual';
import { memo, useLayoutEffect, useRef, useState, type KeyboardEvent, type MouseEvent, type RefObject } from 'react';
import { isolate } from '../store/bidi';
import type { Conversation, ConversationId, User } from '../store/model';
import { nameOf, others, titleOf, type State } from '../store/state';
import { GroupAvatar, UserAvatar } from './avatar';
import { useChat, useChatState } from './context';
import { eventText } from './event-text';
import { fullTime, shortTime } from './format';
import { pathOf } from './route';

const itemHeight = 64; // px, before it was drawn

interface ListProps {
  list: readonly Conversation[];
  now: number;
  // What scrolls: the list is a part of it.
  box: RefObject<HTMLElement | null>;
}

// ConversationList draws the conversations that are near the window. One of them is reached by Tab, the others from there
// by the arrow keys; it stays drawn wherever one scrolls.
export function ConversationList({ list, now, box }: ListProps) {
  const rows = useRef<HTMLUListElement>(null);
  const selected = useChatState((s) => s.selected);
  const [top, setTop] = useState(0);
  const [focused, setFocused] = useState<ConversationId | null>(null);
  const indexOf = (id: ConversationId | null) => list.findIndex((c) => c.id === id);
  const tabbable = [indexOf(focused), indexOf(selected), 0].find((n) => n >= 0) ?? 0;
  const virtual = useVirtualizer({
    count: list.length,
    getScrollElement: () => box.current,
    estimateSize: () => itemHeight,
    getItemKey: (n) => list[n]?.id ?? n,
    overscan: 6,
    scrollMargin: top,
    rangeExtractor: (range: Range) => {
      const shown = defaultRangeExtractor(range);
      return tabbable >= list.length || shown.includes(tabbable) ? shown : [...shown, tabbable].sort((a, b) => a - b);
    },
  });

  // What stands above the list comes and goes.
  useLayoutEffect(() => {
    const measure = () => setTop(rows.current?.offsetTop ?? 0);
    measure();
    if (!box.current || typeof ResizeObserver === 'undefined') return;
    const observer = new ResizeObserver(measure);
    for (const part of box.current.children) observer.observe(part);
    return () => observer.disconnect();
  }, [box]);

  const keys = (event: KeyboardEvent) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const last = list.length - 1;
    const to = { ArrowUp: Math.max(0, tabbable - 1), ArrowDown: Math.min(last, tabbable + 1), Home: 0, End: last }[event.key];
    const target = to === undefined ? undefined : list[to];
    if (to === undefined || !target) return;
    event.preventDefault();
    setFocused(target.id);
    virtual.scrollToIndex(to, { align: 'auto' });
    // The row may have to be drawn first.
    requestAnimationFrame(() => rows.current?.querySelector<HTMLElement>(`[data-id="${CSS.escape(target.id)}"]`)?.focus());
  };

  return (
    <ul
      ref={rows}
      className="rows"
      style={{ height: virtual.getTotalSize() }}
      data-testid="conversation-list"
      onFocus={(event) => setFocused((event.target as HTMLElement).dataset.id ?? null)}
      onKeyDown={keys}
    >
      {virtual.getVirtualItems().map((item) => {
        const conversation = list[item.index];
        if (!conversation) return null;
        return (
          <li
            key={conversation.id}
            ref={virtual.measureElement}
            data-index={item.index}
            aria-setsize={list.length}
            aria-posinset={item.index + 1}
            style={{ transform: `translateY(${item.start - top}px)` }}
          >
            <Item conversation={conversation} now={now} tabbable={item.index === tabbable} />
          </li>
        );
      })}
    </ul>
  );
}

// Item is drawn anew where its own conversation changes.
const Item = memo(function Item({ conversation, now, tabbable }: { conversation: Conversation; now: number; tabbable: boolean }) {
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
    <a
      href={pathOf(conversation.id)}
      className="item"
      data-testid="conversation-item"
      data-id={conversation.id}
      data-title={title}
      data-unread={count}
      aria-current={selected ? 'page' : undefined}
      tabIndex={tabbable ? 0 : -1}
      onClick={open}
    >
      {conversation.kind === 'direct' && other ? <UserAvatar id={other} dot /> : <GroupAvatar id={conversation.id} />}
      <span className="item-text">
        <span className="item-top">
          <span className="item-title ellipsis">
            <bdi>{title}</bdi>
          </span>
          {conversation.last && (
            <time dateTime={new Date(conversation.last.at).toISOString()} title={fullTime(conversation.last.at)}>
              {shortTime(conversation.last.at, now)}
            </time>
          )}
        </span>
        <span className="item-bottom">
          {typing ? (
            <span className="item-last typing ellipsis">{conversation.kind === 'group' ? `${isolate(nameOf(users, typing))} is typing…` : 'typing…'}</span>
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
  );
});

function preview(c: Conversation, me: User | null, users: State['users']): string {
  const last = c.last;
  if (!last) return c.kind === 'direct' ? 'Say hello' : 'New group';
  if (last.event) return eventText(last, me, users);
  const text = last.deleted ? 'Deleted message' : last.text;
  if (last.sender === me?.id) return `You: ${text}`;
  return c.kind === 'group' ? `${isolate(nameOf(users, last.sender))}: ${text}` : text;
}
