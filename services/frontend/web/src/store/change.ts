// What a change does to the message that it is about. Everything here is pure.
import type { Change, Message, Reactions, UserId } from './model';

// applied gives the message with a change in it: the change at `seq`, by `sender`. A change that is in it already, or
// older than one that is, does nothing.
export function applied(target: Message, change: Change, seq: number, sender: UserId, at: number): Message {
  if (seq <= (target.changed ?? 0)) return target;
  const { reactions: _r, mentions: _m, ...bare } = target;
  switch (change.type) {
    case 'void':
      return target;
    case 'edit':
      return target.deleted ? target : { ...target, text: change.text, edited: at, changed: seq };
    case 'delete':
      return { ...bare, text: '', deleted: at, changed: seq };
    case 'reaction':
      if (target.deleted) return target;
      return { ...target, reactions: react(target.reactions ?? {}, change.emoji, sender, change.on), changed: seq };
  }
}

// react puts a user under an emoji, or takes them away. An emoji that nobody uses any more goes.
export function react(reactions: Reactions, emoji: string, user: UserId, on: boolean): Reactions {
  const have = Object.hasOwn(reactions, emoji) ? (reactions[emoji] ?? []) : [];
  if (have.includes(user) === on) return reactions;
  if (on) return { ...reactions, [emoji]: [...have, user] };
  const users = have.filter((u) => u !== user);
  if (users.length > 0) return { ...reactions, [emoji]: users };
  const { [emoji]: _, ...rest } = reactions;
  return rest;
}

// newer picks, of two copies of a message, the one that holds more changes.
export const newer = (a: Message, b: Message): Message => ((b.changed ?? 0) >= (a.changed ?? 0) ? b : a);

// withChanges applies the changes among `fresh` to their targets in `stored`, in order of seq.
export function withChanges(stored: readonly Message[], fresh: readonly Message[]): readonly Message[] {
  const changes = fresh.filter((m) => m.change);
  if (changes.length === 0) return stored;
  const out = stored.slice();
  for (const m of changes) {
    const n = m.change ? find(out, m.change.target) : -1;
    const target = out[n];
    if (target && m.change) out[n] = applied(target, m.change, m.seq, m.sender, m.at);
  }
  return out;
}

// find gives the index of a seq in a list ascending by seq, or -1.
export function find(list: readonly Message[], seq: number): number {
  let low = 0;
  let high = list.length - 1;
  while (low <= high) {
    const mid = (low + high) >> 1;
    const at = list[mid]?.seq ?? 0;
    if (at === seq) return mid;
    if (at < seq) low = mid + 1;
    else high = mid - 1;
  }
  return -1;
}
