// The messages of one conversation on this device. Everything here is pure.
//
// The order is the server's: by seq. Live messages, history pages and acknowledgements arrive in any order and more
// than once; whatever the order, the thread ends up the same.
import type { Message, Outgoing } from './model';

export interface Thread {
  // Ascending by seq, and without a hole.
  readonly stored: readonly Message[];
  // Received, but something between `stored` and these is missing. Ascending by seq.
  readonly ahead: readonly Message[];
  readonly outbox: readonly Outgoing[];
  // The first message of the conversation is in `stored`.
  readonly complete: boolean;
  // The newest page was fetched once; until then `stored` may hold live messages only.
  readonly opened: boolean;
  readonly loading: boolean;
}

export const emptyThread: Thread = {
  stored: [],
  ahead: [],
  outbox: [],
  complete: false,
  opened: false,
  loading: false,
};

export interface Gap {
  // The last seq before the hole and the first one behind it.
  readonly after: number;
  readonly before: number;
}

export const firstSeq = (t: Thread): number => t.stored[0]?.seq ?? 0;
export const lastSeq = (t: Thread): number => t.stored.at(-1)?.seq ?? 0;

// gap is what has to be fetched before `ahead` can be joined.
export function gap(t: Thread): Gap | null {
  const next = t.ahead[0];
  return next === undefined ? null : { after: lastSeq(t), before: next.seq };
}

// receive takes a live message, or my own one acknowledged.
export function receive(t: Thread, m: Message): Thread {
  const settled = settle(t, [m]);
  return join({ ...settled, ahead: merge(settled.ahead, [m]) });
}

// latest takes the newest page of the history. Where it does not touch what is here (the device was away for long),
// it replaces it, and the older messages come back by scrolling.
export function latest(t: Thread, page: readonly Message[], complete: boolean): Thread {
  const settled = settle(t, page);
  const opened = { ...settled, opened: true, loading: false };
  const first = page[0];
  if (first === undefined) return { ...opened, complete: complete || opened.complete };
  const touches = opened.stored.length > 0 && first.seq <= lastSeq(opened) + 1;
  if (touches) {
    const reachesFurther = first.seq <= firstSeq(opened);
    return join({
      ...opened,
      stored: merge(opened.stored, page),
      complete: opened.complete || (reachesFurther && complete),
    });
  }
  const newest = page.at(-1)?.seq ?? 0;
  return join({
    ...opened,
    stored: page,
    ahead: opened.ahead.concat(opened.stored).filter((m) => m.seq > newest).sort(bySeq),
    complete,
  });
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
  const stored = merge(settled.stored, page);
  if (more) return join({ ...settled, stored });
  return { ...settled, stored: merge(stored, settled.ahead), ahead: [] };
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

// join moves messages from `ahead` to `stored` as far as there is no hole. An empty thread may begin anywhere.
function join(t: Thread): Thread {
  const stored = t.stored.slice();
  let taken = 0;
  for (const m of t.ahead) {
    const last = stored.at(-1)?.seq;
    if (last !== undefined && m.seq > last + 1) break;
    if (last === undefined || m.seq === last + 1) stored.push(m);
    taken++;
  }
  return taken === 0 ? t : { ...t, stored, ahead: t.ahead.slice(taken) };
}

const bySeq = (a: Message, b: Message) => a.seq - b.seq;

function merge(a: readonly Message[], b: readonly Message[]): Message[] {
  const bySeqNumber = new Map<number, Message>();
  for (const m of a) bySeqNumber.set(m.seq, m);
  for (const m of b) bySeqNumber.set(m.seq, m);
  return [...bySeqNumber.values()].sort(bySeq);
}
