// The messages of one conversation on this device. Everything here is pure.
//
// The order is the server's: by seq. Live messages, history pages and acknowledgements arrive in any order and more
// than once; whatever the order, the thread ends up the same.
import { applied, find, newer, withChanges } from './change';
import type { Message, Outgoing } from './model';

export interface Thread {
  // Ascending by seq, and without a hole.
  readonly stored: readonly Message[];
  // Received, but something between `stored` and these is missing. Ascending by seq.
  readonly outOfOrder: readonly Message[];
  readonly outbox: readonly Outgoing[];
  // The first message of the conversation is in `stored`.
  readonly complete: boolean;
  // The newest page was fetched once; until then `stored` may hold live messages only.
  readonly opened: boolean;
  readonly loading: boolean;
  // `stored` is a part of the history that does not reach to its end: one has jumped to an old message. What comes live
  // is not kept then; scrolling down, or to the end, brings it.
  readonly detached: boolean;
  // Messages that are quoted and not in `stored`, by seq. Null: asked for, and not to be had.
  readonly quoted: Readonly<Record<number, Message | null>>;
}

export const emptyThread: Thread = {
  stored: [],
  outOfOrder: [],
  outbox: [],
  complete: false,
  opened: false,
  loading: false,
  detached: false,
  quoted: {},
};

export interface Gap {
  // The last seq before the hole and the first one behind it.
  readonly after: number;
  readonly before: number;
}

export const firstSeq = (t: Thread): number => t.stored[0]?.seq ?? 0;
export const lastSeq = (t: Thread): number => t.stored.at(-1)?.seq ?? 0;

// heard is the last seq that this device was told of: what it reads goes at least as far.
export const heard = (t: Thread): number => t.outOfOrder.at(-1)?.seq ?? lastSeq(t);

// gap is what has to be fetched before `outOfOrder` can be joined.
export function gap(t: Thread): Gap | null {
  if (t.detached) return null;
  const next = t.outOfOrder[0];
  return next === undefined ? null : { after: lastSeq(t), before: next.seq };
}

// receive takes a live message, or my own one acknowledged.
export function receive(t: Thread, m: Message): Thread {
  const settled = quotedAnew(settle(t, [m]), m);
  if (settled.detached) {
    // A change still shows where its target is on the screen.
    return m.change ? { ...settled, stored: withChanges(settled.stored, [m]) } : settled;
  }
  return join({ ...settled, outOfOrder: merge(settled.outOfOrder, [m]) });
}

// latest takes the newest page of the history. Where it does not touch what is here (the device was away for long),
// it replaces it, and the older messages come back by scrolling.
export function latest(t: Thread, page: readonly Message[], complete: boolean): Thread {
  const settled = settle(t, page);
  const opened = { ...settled, opened: true, loading: false, detached: false };
  const first = page[0];
  if (first === undefined) return { ...opened, complete: complete || opened.complete };
  const touches = opened.stored.length > 0 && first.seq <= lastSeq(opened) + 1;
  if (touches) {
    const reachesFurther = first.seq <= firstSeq(opened);
    return join({
      ...opened,
      stored: withChanges(merge(opened.stored, page), page),
      complete: opened.complete || (reachesFurther && complete),
    });
  }
  const newest = page.at(-1)?.seq ?? 0;
  return join({
    ...opened,
    stored: page,
    outOfOrder: opened.outOfOrder.concat(opened.stored).filter((m) => m.seq > newest).sort(bySeq),
    complete,
  });
}

// around takes a page from the middle of the history. Where it does not touch what is here, it replaces it.
export function around(t: Thread, page: readonly Message[], complete: boolean, more: boolean): Thread {
  const settled = settle(t, page);
  const first = page[0];
  if (first === undefined) return { ...settled, loading: false };
  const newest = page.at(-1)?.seq ?? 0;
  const touches = settled.stored.length > 0 && first.seq <= lastSeq(settled) + 1 && newest >= firstSeq(settled) - 1;
  if (touches) {
    return join({ ...settled, stored: withChanges(merge(settled.stored, page), page), complete: settled.complete || (first.seq <= firstSeq(settled) && complete), loading: false });
  }
  return { ...settled, stored: page, outOfOrder: [], complete, detached: more, opened: true, loading: false };
}

// following takes the page just behind `stored` of a detached thread; at the end it is attached again.
export function following(t: Thread, page: readonly Message[], more: boolean): Thread {
  const settled = settle(t, page);
  return { ...settled, stored: withChanges(merge(settled.stored, page), page), detached: more, loading: false };
}

// quote keeps a message that is quoted.
export function quote(t: Thread, seq: number, m: Message | null): Thread {
  return { ...t, quoted: { ...t.quoted, [seq]: m } };
}

// messageAt gives a message that is here; null: it cannot be had; undefined: it has to be asked for.
export function messageAt(t: Thread, seq: number): Message | null | undefined {
  return t.stored[find(t.stored, seq)] ?? t.outOfOrder[find(t.outOfOrder, seq)] ?? t.quoted[seq];
}

// quotedAnew changes the copy of a quoted message that is not in `stored`.
function quotedAnew(t: Thread, m: Message): Thread {
  const target = m.change ? t.quoted[m.change.target] : undefined;
  if (!target || !m.change) return t;
  return { ...t, quoted: { ...t.quoted, [target.seq]: applied(target, m.change, m.seq, m.sender, m.at) } };
}

// older takes the page just before `stored`.
export function older(t: Thread, page: readonly Message[], complete: boolean): Thread {
  return join({ ...settle(t, page), stored: merge(t.stored, page), complete, loading: false });
}

// filled takes the page that was asked for to close a hole: the messages after `after`. The server says with `more`
// whether it stopped early; if not, whatever numbers are missing do not exist for this user, and the hole is closed.
export function filled(t: Thread, after: number, page: readonly Message[], more: boolean): Thread {
  const settled = settle(t, page);
  if (after !== lastSeq(settled) && !page.some((m) => m.seq === lastSeq(settled) + 1)) return settled; // overtaken
  const stored = withChanges(merge(settled.stored, page), page);
  if (more) return join({ ...settled, stored });
  return { ...settled, stored: withChanges(merge(stored, settled.outOfOrder), settled.outOfOrder), outOfOrder: [] };
}

export function enqueue(t: Thread, m: Outgoing): Thread {
  return { ...t, outbox: t.outbox.filter((o) => o.clientId !== m.clientId).concat(m) };
}

export function fail(t: Thread, clientId: string, reason: string): Thread {
  return mark(t, clientId, (o) => ({ ...o, state: 'failed', reason }));
}

export function retry(t: Thread, clientId: string): Thread {
  return mark(t, clientId, ({ reason: _, ...o }) => ({ ...o, state: 'sending' }));
}

export function discard(t: Thread, clientId: string): Thread {
  return { ...t, outbox: t.outbox.filter((o) => o.clientId !== clientId) };
}

function mark(t: Thread, clientId: string, change: (o: Outgoing) => Outgoing): Thread {
  return { ...t, outbox: t.outbox.map((o) => (o.clientId === clientId ? change(o) : o)) };
}

// settle drops what the outbox still holds of messages that are stored: the acknowledgement may have been lost.
function settle(t: Thread, messages: readonly Message[]): Thread {
  if (t.outbox.length === 0) return t;
  const known = new Set(messages.map((m) => m.clientId));
  const outbox = t.outbox.filter((o) => !known.has(o.clientId));
  return outbox.length === t.outbox.length ? t : { ...t, outbox };
}

// join moves messages from `outOfOrder` to `stored` as far as there is no hole. An empty thread may begin anywhere.
function join(t: Thread): Thread {
  const stored = t.stored.slice();
  const fresh: Message[] = [];
  let taken = 0;
  for (const m of t.outOfOrder) {
    const last = stored.at(-1)?.seq;
    if (last !== undefined && m.seq > last + 1) break;
    if (last === undefined || m.seq === last + 1) {
      stored.push(m);
      fresh.push(m);
    }
    taken++;
  }
  return taken === 0 ? t : { ...t, stored: withChanges(stored, fresh), outOfOrder: t.outOfOrder.slice(taken) };
}

const bySeq = (a: Message, b: Message) => a.seq - b.seq;

function merge(a: readonly Message[], b: readonly Message[]): Message[] {
  const bySeqNumber = new Map<number, Message>();
  for (const m of a) bySeqNumber.set(m.seq, m);
  for (const m of b) {
    const have = bySeqNumber.get(m.seq);
    bySeqNumber.set(m.seq, have ? newer(have, m) : m);
  }
  return [...bySeqNumber.values()].sort(bySeq);
}
