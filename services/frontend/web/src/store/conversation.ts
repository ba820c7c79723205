// How an entry of the list of conversations follows what happens in it. Everything here is pure.
import { applied } from './change';
import type { Conversation, Member, Message, UserId } from './model';
import type { Thread } from './thread';

// took applies a message that has just come. `seen`: it is before my eyes, or mine.
export function took(c: Conversation, m: Message, me: UserId | undefined, seen: boolean): Conversation {
  if (m.seq <= c.lastSeq) return c;
  // Where nothing is unread, what does not count (an event, a reaction) is read as it comes.
  const readSeq = seen || (c.readSeq === c.lastSeq && (m.event || m.change)) ? m.seq : c.readSeq;
  const read = seen ? { unread: 0, mentioned: false } : {};
  if (m.change) {
    const last = c.last && c.last.seq === m.change.target ? applied(c.last, m.change, m.seq, m.sender, m.at) : c.last;
    return { ...c, ...(last ? { last } : {}), lastSeq: m.seq, readSeq, ...read };
  }
  // Who says something has read what was there; no frame tells it.
  const reads = c.reads && !m.event && m.sender !== me ? { reads: { ...c.reads, [m.sender]: m.seq } } : {};
  const next = { ...governed(c, m), ...reads, last: m, lastSeq: m.seq, readSeq };
  if (seen || m.event) return { ...next, ...read };
  return { ...next, unread: c.unread + 1, mentioned: (c.mentioned ?? false) || (me !== undefined && (m.mentions ?? []).includes(me)) };
}

// looked marks all that is there as read.
export const looked = (c: Conversation): Conversation =>
  c.readSeq < c.lastSeq || c.unread > 0 ? { ...c, readSeq: c.lastSeq, unread: 0, mentioned: false } : c;

// readBy applies how far somebody has read. Marks only ever grow.
export function readBy(c: Conversation, user: UserId, seq: number, me: UserId | undefined, thread: Thread | undefined): Conversation {
  if (user !== me) {
    if ((c.reads?.[user] ?? 0) >= seq) return c;
    return { ...c, reads: { ...c.reads, [user]: seq } };
  }
  if (seq <= c.readSeq) return c;
  if (seq >= c.lastSeq) return looked(c);
  // From another device of mine, and something has come since: count it where it is here.
  const rest = (thread?.stored ?? []).filter((m) => m.seq > seq && !m.event && !m.change && m.sender !== me);
  const whole = thread && !thread.detached && thread.outOfOrder.length === 0 && (thread.stored[0]?.seq ?? Infinity) <= seq + 1;
  return { ...c, readSeq: seq, unread: whole ? rest.length : Math.min(c.unread, c.lastSeq - seq) };
}

// governed applies what an event says of its group.
function governed(c: Conversation, m: Message): Conversation {
  const e = m.event;
  switch (e?.type) {
    case undefined:
    case 'made_public':
    case 'made_private':
    case 'unknown':
      return c;
    case 'created':
      return { ...c, title: e.title, members: e.users.map((user) => ({ user, role: user === m.sender ? 'owner' : 'member' })) };
    case 'renamed':
      return { ...c, title: e.title };
    case 'member_added': {
      const added = e.users.filter((u) => !c.members.some((have) => have.user === u));
      return { ...c, members: [...c.members, ...added.map((user): Member => ({ user, role: 'member' }))] };
    }
    case 'member_removed':
    case 'member_left': {
      const owner = e.type === 'member_left' ? e.owner : undefined;
      return {
        ...c,
        members: c.members.filter((have) => !e.users.includes(have.user)).map((have) => (have.user === owner ? { ...have, role: 'owner' } : have)),
      };
    }
    case 'role_changed':
      return {
        ...c,
        members: c.members.map((have): Member => {
          if (e.users.includes(have.user)) return { ...have, role: e.role };
          // The group was handed over: who owned it before is an admin of it now.
          return e.owner !== undefined && have.role === 'owner' ? { ...have, role: 'admin' } : have;
        }),
      };
  }
}

// excludes tells an event that ends my membership.
export const excludes = (m: Message, me: UserId): boolean =>
  (m.event?.type === 'member_removed' || m.event?.type === 'member_left') && m.event.users.includes(me);
