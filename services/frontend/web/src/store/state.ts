// The whole state of the page, and how each event changes it. Pure: no clock, no network.
import type { Conversation, ConversationId, Link, Member, Message, Outgoing, Presence, User, UserId } from './model';
import * as threads from './thread';
import { emptyThread, type Thread } from './thread';

export type Session = 'restoring' | 'out' | 'in';

export interface State {
  readonly session: Session;
  readonly me: User | null;
  readonly users: Readonly<Record<UserId, User>>;
  readonly link: Link;
  readonly conversations: Readonly<Record<ConversationId, Conversation>>;
  readonly loaded: boolean; // the list of conversations was fetched once
  readonly threads: Readonly<Record<ConversationId, Thread>>;
  readonly presence: Readonly<Record<UserId, Presence>>;
  readonly selected: ConversationId | null;
  // The conversation whose newest messages are before somebody's eyes, and so are read.
  readonly watching: ConversationId | null;
  readonly notice: string | null;
}

export const initialState: State = {
  session: 'restoring',
  me: null,
  users: {},
  link: { state: 'connecting' },
  conversations: {},
  loaded: false,
  threads: {},
  presence: {},
  selected: null,
  watching: null,
  notice: null,
};

export type Action =
  | { type: 'signed-in'; me: User }
  | { type: 'signed-out'; notice?: string }
  | { type: 'link'; link: Link }
  | { type: 'users'; users: readonly User[] }
  | { type: 'conversations'; list: readonly Conversation[] }
  | { type: 'conversation'; conversation: Conversation }
  | { type: 'conversation-gone'; id: ConversationId; notice?: string }
  | { type: 'group'; id: ConversationId; title: string; members: readonly Member[] }
  | { type: 'message'; message: Message }
  | { type: 'loading'; id: ConversationId; loading: boolean }
  | { type: 'latest'; id: ConversationId; page: readonly Message[]; complete: boolean }
  | { type: 'older'; id: ConversationId; page: readonly Message[]; complete: boolean }
  | { type: 'filled'; id: ConversationId; after: number; page: readonly Message[]; more: boolean }
  | { type: 'enqueue'; message: Outgoing }
  | { type: 'failed'; id: ConversationId; clientId: string; reason: string }
  | { type: 'retry'; id: ConversationId; clientId: string }
  | { type: 'discard'; id: ConversationId; clientId: string }
  | { type: 'presence'; users: Readonly<Record<UserId, Presence>>; all?: boolean }
  | { type: 'select'; id: ConversationId | null }
  | { type: 'watch'; id: ConversationId | null }
  | { type: 'notice'; notice: string | null };

export function reduce(s: State, a: Action): State {
  switch (a.type) {
    case 'signed-in':
      return { ...initialState, session: 'in', me: a.me, users: { [a.me.id]: a.me }, selected: s.selected };
    case 'signed-out':
      return { ...initialState, session: 'out', notice: a.notice ?? null };
    case 'link':
      return { ...s, link: a.link };
    case 'users':
      return { ...s, users: { ...s.users, ...Object.fromEntries(a.users.map((u) => [u.id, u])) } };
    case 'conversations':
      return s.session === 'in' ? takeList(s, a.list) : s;
    case 'conversation':
      return { ...s, conversations: { ...s.conversations, [a.conversation.id]: newer(s, a.conversation) } };
    case 'conversation-gone': {
      const { [a.id]: _c, ...conversations } = s.conversations;
      const { [a.id]: _t, ...rest } = s.threads;
      return { ...s, conversations, threads: rest, selected: s.selected === a.id ? null : s.selected, notice: a.notice ?? s.notice };
    }
    case 'group':
      return conversation(s, a.id, (c) => ({ ...c, title: a.title, members: a.members }));
    case 'message':
      return takeMessage(s, a.message);
    case 'loading':
      return thread(s, a.id, (t) => ({ ...t, loading: a.loading }));
    case 'latest':
      return thread(s, a.id, (t) => threads.latest(t, a.page, a.complete));
    case 'older':
      return thread(s, a.id, (t) => threads.older(t, a.page, a.complete));
    case 'filled':
      return thread(s, a.id, (t) => threads.filled(t, a.after, a.page, a.more && a.page.length > 0));
    case 'enqueue':
      return thread(s, a.message.conversation, (t) => threads.enqueue(t, a.message));
    case 'failed':
      return thread(s, a.id, (t) => threads.fail(t, a.clientId, a.reason));
    case 'retry':
      return thread(s, a.id, (t) => threads.retry(t, a.clientId));
    case 'discard':
      return thread(s, a.id, (t) => threads.discard(t, a.clientId));
    case 'presence':
      return { ...s, presence: a.all ? a.users : { ...s.presence, ...a.users } };
    case 'select':
      return { ...s, selected: a.id };
    case 'watch':
      return a.id === null
        ? { ...s, watching: null }
        : conversation({ ...s, watching: a.id }, a.id, (c) => (c.readSeq < c.lastSeq ? { ...c, readSeq: c.lastSeq } : c));
    case 'notice':
      return { ...s, notice: a.notice };
  }
}

function takeMessage(s: State, m: Message): State {
  const withThread = thread(s, m.conversation, (t) => threads.receive(t, m));
  return conversation(withThread, m.conversation, (c) => {
    if (m.seq <= c.lastSeq) return c;
    const seen = m.sender === s.me?.id || s.watching === m.conversation;
    return { ...changed(c, m), last: m, lastSeq: m.seq, readSeq: seen ? m.seq : c.readSeq };
  });
}

// changed applies what an event says of its group.
function changed(c: Conversation, m: Message): Conversation {
  const e = m.event;
  switch (e?.type) {
    case undefined:
      return c;
    case 'created':
      return {
        ...c,
        title: e.title,
        members: e.users.map((user) => ({ user, role: user === m.sender ? 'owner' : 'member' })),
      };
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
        members: c.members
          .filter((have) => !e.users.includes(have.user))
          .map((have) => (have.user === owner ? { ...have, role: 'owner' } : have)),
      };
    }
  }
}

// excludes tells an event that ends my membership.
export const excludes = (m: Message, me: UserId): boolean =>
  (m.event?.type === 'member_removed' || m.event?.type === 'member_left') && m.event.users.includes(me);

function takeList(s: State, list: readonly Conversation[]): State {
  const conversations: Record<ConversationId, Conversation> = {};
  for (const c of list) conversations[c.id] = newer(s, c);
  // A conversation that nobody has written in is on no list yet: it was just opened on this device.
  for (const c of Object.values(s.conversations)) {
    if (c.lastSeq === 0) conversations[c.id] ??= c;
  }
  const kept = Object.entries(s.threads).filter(([id]) => conversations[id]);
  return { ...s, conversations, loaded: true, threads: Object.fromEntries(kept) };
}

// newer takes what the server says of a conversation, but never goes back behind a message that came since it said so.
function newer(s: State, said: Conversation): Conversation {
  const have = s.conversations[said.id];
  const newest = have && have.lastSeq > said.lastSeq ? have : said;
  const readSeq = s.watching === said.id ? newest.lastSeq : Math.max(have?.readSeq ?? 0, said.readSeq);
  return { ...newest, readSeq };
}

function thread(s: State, id: ConversationId, change: (t: Thread) => Thread): State {
  const have = s.threads[id] ?? emptyThread;
  const next = change(have);
  return next === have ? s : { ...s, threads: { ...s.threads, [id]: next } };
}

function conversation(s: State, id: ConversationId, change: (c: Conversation) => Conversation): State {
  const have = s.conversations[id];
  if (!have) return s;
  const next = change(have);
  return next === have ? s : { ...s, conversations: { ...s.conversations, [id]: next } };
}

export const unread = (c: Conversation): number =>
  Math.max(0, c.lastSeq - Math.max(c.readSeq, c.firstSeq - 1));

// The others of a conversation; for a direct one, the person one talks to.
export const others = (c: Conversation, me: User | null): readonly UserId[] =>
  c.members.map((m) => m.user).filter((id) => id !== me?.id);

// nameOf gives a user's name, or nothing readable while it is on its way.
export const nameOf = (users: State['users'], id: UserId): string => users[id]?.name ?? '…';

export function titleOf(c: Conversation, s: Pick<State, 'me' | 'users'>): string {
  if (c.kind === 'group') return c.title;
  const other = others(c, s.me)[0];
  return other ? nameOf(s.users, other) : '…';
}

// ordered is the list as it is shown: the last active first, and what has no message yet on top.
export const ordered = (conversations: State['conversations']): readonly Conversation[] =>
  Object.values(conversations).sort((a, b) => (b.last?.at ?? Infinity) - (a.last?.at ?? Infinity) || a.id.localeCompare(b.id));

export const threadOf = (s: State, id: ConversationId): Thread => s.threads[id] ?? emptyThread;
