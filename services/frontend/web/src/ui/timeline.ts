// What a thread looks like as rows: messages with day separators between them, grouped into bubbles that belong
// together. Pure, so that it can be tested without a screen.
import type { Message, Outgoing } from '../store/model';
import type { Thread } from '../store/thread';
import { midnight } from './format';

export interface Bubble {
  readonly kind: 'bubble';
  readonly key: string;
  readonly mine: boolean;
  readonly sender: string;
  readonly text: string;
  readonly at: number;
  readonly seq?: number;
  readonly state: 'stored' | 'sending' | 'failed';
  readonly outgoing?: Outgoing;
  // First and last of a run of one sender's messages.
  readonly first: boolean;
  readonly last: boolean;
}

export type Row =
  | Bubble
  | { readonly kind: 'day'; readonly key: string; readonly at: number }
  | { readonly kind: 'event'; readonly key: string; readonly message: Message }
  | { readonly kind: 'hole'; readonly key: string };

// A pause longer than this begins a new run of bubbles.
const pause = 5 * 60_000;

export function timeline(thread: Thread, me: string): readonly Row[] {
  const rows: Row[] = [];
  let day = NaN;
  const dayOf = (at: number) => {
    const start = midnight(at);
    if (start !== day) rows.push({ kind: 'day', key: `day-${start}`, at });
    day = start;
  };
  const add = (m: Message) => {
    dayOf(m.at);
    if (m.event) rows.push({ kind: 'event', key: `${m.seq}`, message: m });
    else {
      // The client id outlives the acknowledgement, so my bubble stays the same element when it is stored.
      const key = m.sender === me ? `mine-${m.clientId}` : `${m.seq}`;
      rows.push({ kind: 'bubble', key, mine: m.sender === me, sender: m.sender, text: m.text, at: m.at, seq: m.seq, state: 'stored', first: true, last: true });
    }
  };
  thread.stored.forEach(add);
  if (thread.ahead.length > 0) rows.push({ kind: 'hole', key: 'hole' });
  thread.ahead.forEach(add);
  for (const o of thread.outbox) {
    dayOf(o.at);
    rows.push({ kind: 'bubble', key: `mine-${o.clientId}`, mine: true, sender: me, text: o.text, at: o.at, state: o.state, outgoing: o, first: true, last: true });
  }
  return rows.map((row, n) => {
    if (row.kind !== 'bubble') return row;
    return { ...row, first: !continues(rows[n - 1], row), last: !continues(row, rows[n + 1]) };
  });
}

function continues(a: Row | undefined, b: Row | undefined): boolean {
  return a?.kind === 'bubble' && b?.kind === 'bubble' && a.sender === b.sender && Math.abs(b.at - a.at) < pause;
}
