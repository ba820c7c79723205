// What a thread looks like as rows: messages with day separators between them, grouped into bubbles that belong
// together, with what I have changed and the server has not confirmed in it. Pure, so that it can be tested without a
// screen.
import { react } from '../store/change';
import type { Message, Outgoing, Reactions, UserId } from '../store/model';
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
  // What is not stored of it: the message itself, or my last edit of it.
  readonly outgoing?: Outgoing;
  readonly replyTo?: number;
  readonly mentions?: readonly UserId[];
  readonly edited: boolean;
  readonly deleted: boolean;
  readonly reactions?: Reactions;
  // First and last of a run of one sender's messages.
  readonly first: boolean;
  readonly last: boolean;
}

export type Row =
  | Bubble
  | { readonly kind: 'day'; readonly key: string; readonly at: number }
  | { readonly kind: 'event'; readonly key: string; readonly message: Message }
  | { readonly kind: 'new'; readonly key: string }
  | { readonly kind: 'hole'; readonly key: string };

// A pause longer than this begins a new run of bubbles.
const pause = 5 * 60_000;

// timeline gives the rows. `readSeq`: a line stands before what others said after it.
export function timeline(thread: Thread, me: string, readSeq: number | null = null): readonly Row[] {
  const rows: Row[] = [];
  const changes = pending(thread.outbox);
  let day = NaN;
  let marked = readSeq === null;
  const dayOf = (at: number) => {
    const start = midnight(at);
    if (start !== day) rows.push({ kind: 'day', key: `day-${start}`, at });
    day = start;
  };
  const add = (m: Message) => {
    if (m.change) return;
    dayOf(m.at);
    if (!marked && readSeq !== null && m.seq > readSeq && m.sender !== me && !m.event) {
      marked = true;
      rows.push({ kind: 'new', key: 'new' });
    }
    if (m.event) rows.push({ kind: 'event', key: `${m.seq}`, message: m });
    else rows.push(bubble(m, me, changes.get(m.seq) ?? []));
  };
  thread.stored.forEach(add);
  if (thread.outOfOrder.length > 0) rows.push({ kind: 'hole', key: 'hole' });
  thread.outOfOrder.forEach(add);
  for (const o of thread.outbox) {
    if (o.change) continue;
    dayOf(o.at);
    rows.push({
      kind: 'bubble',
      key: `mine-${o.clientId}`,
      mine: true,
      sender: me,
      text: o.text,
      at: o.at,
      state: o.state,
      outgoing: o,
      ...(o.replyTo ? { replyTo: o.replyTo } : {}),
      ...(o.mentions ? { mentions: o.mentions } : {}),
      edited: false,
      deleted: false,
      first: true,
      last: true,
    });
  }
  return rows.map((row, n) => {
    if (row.kind !== 'bubble') return row;
    return { ...row, first: !continues(rows[n - 1], row), last: !continues(row, rows[n + 1]) };
  });
}

// pending gives my changes that are not stored, by the seq of the message that they are about.
function pending(outbox: readonly Outgoing[]): ReadonlyMap<number, readonly Outgoing[]> {
  const out = new Map<number, Outgoing[]>();
  for (const o of outbox) if (o.change) out.set(o.change.target, [...(out.get(o.change.target) ?? []), o]);
  return out;
}

function bubble(m: Message, me: string, changes: readonly Outgoing[]): Bubble {
  let { text, reactions } = m;
  let deleted = m.deleted !== undefined;
  let outgoing: Outgoing | undefined;
  for (const o of changes) {
    if (o.change?.type === 'delete') deleted = true;
    if (o.change?.type === 'reaction') reactions = react(reactions ?? {}, o.change.emoji, me, o.change.on);
    if (o.change?.type === 'edit') {
      text = o.change.text;
      outgoing = o;
    }
  }
  return {
    kind: 'bubble',
    // The client id outlives the acknowledgement, so my bubble stays the same element when it is stored.
    key: m.sender === me ? `mine-${m.clientId}` : `${m.seq}`,
    mine: m.sender === me,
    sender: m.sender,
    text: deleted ? '' : text,
    at: m.at,
    seq: m.seq,
    state: outgoing?.state ?? 'stored',
    ...(outgoing ? { outgoing } : {}),
    ...(m.replyTo ? { replyTo: m.replyTo } : {}),
    ...(m.mentions ? { mentions: m.mentions } : {}),
    edited: !deleted && (m.edited !== undefined || outgoing !== undefined),
    deleted,
    ...(reactions && !deleted ? { reactions } : {}),
    first: true,
    last: true,
  };
}

function continues(a: Row | undefined, b: Row | undefined): boolean {
  return a?.kind === 'bubble' && b?.kind === 'bubble' && a.sender === b.sender && Math.abs(b.at - a.at) < pause;
}
