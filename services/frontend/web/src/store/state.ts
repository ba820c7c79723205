// The whole state of the page, and how each event changes it. Pure: no clock, no network.
import * as conversations from './conversation';
import {
  defaultPreferences,
  type Conversation,
  type ConversationId,
  type GroupInfo,
  type Invitation,
  type Link,
  type Member,
  type Message,
  type Outgoing,
  type People,
  type Preferences,
  type Presence,
  type Rank,
  type User,
  type UserId,
} from './model';
import * as threads from './thread';
import { emptyThread, type Thread } from './thread';

export type Session = 'restoring' | 'out' | 'in';

export interface State {
  readonly session: Session;
  readonly me: User | null;
  readonly rank: Rank;
  readonly hasPassword: boolean; // false for those who came by another provider and set none
  readonly users: Readonly<Record<UserId, User>>;
  readonly link: Link;
  readonly conversations: Readonly<Record<ConversationId, Conversation>>;
  readonly loaded: boolean; // the list of conversations was fetched once
  readonly threads: Readonly<Record<ConversationId, Thread>>;
  readonly presence: Readonly<Record<UserId, Presence>>;
  // Who writes where, and until when that is believed (ms since the epoch).
  readonly typing: Readonly<Record<ConversationId, Readonly<Record<UserId, number>>>>;
  readonly people: People;
  readonly invitations: readonly Invitation[];
  readonly groups: Readonly<Record<ConversationId, GroupInfo>>;
  readonly preferences: Preferences;
  readonly preferencesLoaded: boolean; // until then they are defaults, and say nothing of what the user wants others to see
  readonly selected: ConversationId | null;
  // The message to be shown in the selected conversation; a new object each time it is asked for.
  readonly jump: { readonly seq: number } | null;
  // The conversation whose newest messages are before somebody's eyes, and so are read.
  readonly watching: ConversationId | null;
  readonly notice: string | null;
}

export const nobody: People = { contacts: [], incoming: [], outgoing: [], blocked: [] };

export const initialState: State = {
  session: 'restoring',
  me: null,
  rank: 'user',
  hasPassword: true,
  users: {},
  link: { state: 'connecting' },
  conversations: {},
  loaded: false,
  threads: {},
  presence: {},
  typing: {},
  people: nobody,
  invitations: [],
  groups: {},
  preferences: defaultPreferences,
  preferencesLoaded: false,
  selected: null,
  jump: null,
  watching: null,
  notice: null,
};

export type Action =
  | { type: 'signed-in'; me: User; rank?: Rank; hasPassword?: boolean }
  | { type: 'signed-out'; notice?: string }
  | { type: 'has-password' }
  | { type: 'link'; link: Link }
  | { type: 'users'; users: readonly User[] }
  | { type: 'conversations'; list: readonly Conversation[] }
  | { type: 'conversation'; conversation: Conversation }
  | { type: 'conversation-gone'; id: ConversationId; notice?: string }
  | { type: 'group'; id: ConversationId; title: string; members: readonly Member[]; info?: GroupInfo }
  | { type: 'message'; message: Message }
  | { type: 'read'; id: ConversationId; user: UserId; seq: number }
  | { type: 'typing'; id: ConversationId; user: UserId; until: number }
  | { type: 'faded'; now: number }
  | { type: 'loading'; id: ConversationId; loading: boolean }
  | { type: 'latest'; id: ConversationId; page: readonly Message[]; complete: boolean }
  | { type: 'older'; id: ConversationId; page: readonly Message[]; complete: boolean }
  | { type: 'around'; id: ConversationId; page: readonly Message[]; complete: boolean; more: boolean }
  | { type: 'following'; id: ConversationId; page: readonly Message[]; more: boolean }
  | { type: 'filled'; id: ConversationId; after: number; page: readonly Message[]; more: boolean }
  | { type: 'quote'; id: ConversationId; seq: number; message: Message | null }
  | { type: 'enqueue'; message: Outgoing }
  | { type: 'failed'; id: ConversationId; clientId: string; reason: string }
  | { type: 'retry'; id: ConversationId; clientId: string }
  | { type: 'discard'; id: ConversationId; clientId: string }
  | { type: 'presence'; users: Readonly<Record<UserId, Presence>> }
  | { type: 'people'; people: People }
  | { type: 'invitations'; invitations: readonly Invitation[] }
  | { type: 'preferences'; preferences: Preferences }
  | { type: 'select'; id: ConversationId | null }
  | { type: 'jump'; seq: number | null }
  | { type: 'watch'; id: ConversationId | null }
  | { type: 'notice'; notice: string | null };

export function reduce(s: State, a: Action): State {
  switch (a.type) {
    case 'signed-in':
      return {
        ...initialState,
        session: 'in',
        me: a.me,
        rank: a.rank ?? 'user',
        hasPassword: a.hasPassword ?? true,
        users: { [a.me.id]: a.me },
        selected: s.selected,
        preferences: s.preferences,
      };
    case 'signed-out':
      return { ...initialState, session: 'out', notice: a.notice ?? null, preferences: s.preferences };
    case 'has-password':
      return { ...s, hasPassword: true };
    case 'link':
      return { ...s, link: a.link };
    case 'users':
      return learn(s, a.users);
    case 'conversations':
      return s.session === 'in' ? takeList(s, a.list) : s;
    case 'conversation':
      return { ...s, conversations: { ...s.conversations, [a.conversation.id]: newer(s, a.conversation) } };
    case 'conversation-gone': {
      const { [a.id]: _c, ...rest } = s.conversations;
      const { [a.id]: _t, ...others } = s.threads;
      return { ...s, conversations: rest, threads: others, selected: s.selected === a.id ? null : s.selected, notice: a.notice ?? s.notice };
    }
    case 'group': {
      const known = a.info ? { ...s, groups: { ...s.groups, [a.id]: a.info } } : s;
      return conversation(known, a.id, (c) => ({ ...c, title: a.title, members: a.members }));
    }
    case 'message':
      return takeMessage(s, a.message);
    case 'read':
      return conversation(s, a.id, (c) => conversations.readBy(c, a.user, a.seq, s.me?.id, s.threads[a.id]));
    case 'typing':
      return { ...s, typing: { ...s.typing, [a.id]: { ...s.typing[a.id], [a.user]: a.until } } };
    case 'faded':
      return fade(s, a.now);
    case 'loading':
      return thread(s, a.id, (t) => (t.loading === a.loading ? t : { ...t, loading: a.loading }));
    case 'latest':
      return thread(s, a.id, (t) => threads.latest(t, a.page, a.complete));
    case 'older':
      return thread(s, a.id, (t) => threads.older(t, a.page, a.complete));
    case 'around':
      return thread(s, a.id, (t) => threads.around(t, a.page, a.complete, a.more));
    case 'following':
      return thread(s, a.id, (t) => threads.following(t, a.page, a.more));
    case 'filled':
      return thread(s, a.id, (t) => threads.filled(t, a.after, a.page, a.more && a.page.length > 0));
    case 'quote':
      return thread(s, a.id, (t) => threads.quote(t, a.seq, a.message));
    case 'enqueue':
      return thread(s, a.message.conversation, (t) => threads.enqueue(t, a.message));
    case 'failed':
      return thread(s, a.id, (t) => threads.fail(t, a.clientId, a.reason));
    case 'retry':
      return thread(s, a.id, (t) => threads.retry(t, a.clientId));
    case 'discard':
      return thread(s, a.id, (t) => threads.discard(t, a.clientId));
    case 'presence':
      return { ...s, presence: { ...s.presence, ...a.users } };
    case 'people':
      return named({ ...s, people: a.people });
    case 'invitations':
      return { ...s, invitations: a.invitations };
    case 'preferences':
      return { ...s, preferences: a.preferences, preferencesLoaded: true };
    case 'select':
      return { ...s, selected: a.id, jump: null };
    case 'jump':
      return { ...s, jump: a.seq === null ? null : { seq: a.seq } };
    case 'watch':
      return a.id === null ? { ...s, watching: null } : conversation({ ...s, watching: a.id }, a.id, conversations.looked);
    case 'notice':
      return { ...s, notice: a.notice };
  }
}

function learn(s: State, users: readonly User[]): State {
  const next = { ...s.users };
  for (const u of users) next[u.id] = { ...u, ...nickname(s.people, u.id) };
  const me = s.me ? (next[s.me.id] ?? s.me) : null;
  return { ...s, users: next, me };
}

// named puts the nicknames that I gave to people into what is known of them.
function named(s: State): State {
  const users = Object.values(s.users).map(({ nickname: _, ...u }) => ({ ...u, ...nickname(s.people, u.id) }));
  return { ...s, users: Object.fromEntries(users.map((u) => [u.id, u])) };
}

const nickname = (people: People, id: UserId): { nickname?: string } => {
  const given = people.contacts.find((c) => c.user === id)?.nickname;
  return given ? { nickname: given } : {};
};

function fade(s: State, now: number): State {
  const rooms = Object.entries(s.typing).map(([id, users]) => [id, Object.fromEntries(Object.entries(users).filter(([, until]) => until > now))] as const);
  return { ...s, typing: Object.fromEntries(rooms.filter(([, users]) => Object.keys(users).length > 0)) };
}

function takeMessage(s: State, m: Message): State {
  const heard = !m.event && !m.change && s.typing[m.conversation]?.[m.sender] ? reduce(s, { type: 'typing', id: m.conversation, user: m.sender, until: 0 }) : s;
  const withThread = thread(heard, m.conversation, (t) => threads.receive(t, m));
  const seen = (m.sender === s.me?.id && !m.change && !m.event) || s.watching === m.conversation;
  return conversation(withThread, m.conversation, (c) => conversations.took(c, m, s.me?.id, seen));
}

function takeList(s: State, list: readonly Conversation[]): State {
  const next: Record<ConversationId, Conversation> = {};
  for (const c of list) next[c.id] = newer(s, c);
  // A conversation that nobody has written in is on no list yet: it was just opened on this device.
  for (const c of Object.values(s.conversations)) {
    if (c.lastSeq === 0) next[c.id] ??= c;
  }
  const kept = Object.entries(s.threads).filter(([id]) => next[id]);
  return { ...s, conversations: next, loaded: true, threads: Object.fromEntries(kept) };
}

// newer takes what the server says of a conversation, but never goes back behind a message that came since it said so.
function newer(s: State, said: Conversation): Conversation {
  const have = s.conversations[said.id];
  const haveNewer = have !== undefined && have.lastSeq > said.lastSeq;
  const reads = said.reads ? { reads: said.reads } : {};
  const next: Conversation = haveNewer ? { ...have, ...reads } : { ...said, ...(have?.mentioned && said.unread > 0 ? { mentioned: true } : {}) };
  if (s.watching === said.id) return conversations.looked(next);
  // What was said before that message may still know of a read on another device of mine.
  if (haveNewer && s.me) return conversations.readBy(next, s.me.id, said.readSeq, s.me.id, s.threads[said.id]);
  // Read marks only ever grow: what this device has read, the server may not have heard of yet.
  if (have && have.readSeq > next.readSeq) return { ...next, readSeq: have.readSeq, unread: have.readSeq >= next.lastSeq ? 0 : Math.min(next.unread, have.unread + next.lastSeq - have.lastSeq) };
  return next;
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

// The others of a conversation; for a direct one, the person one talks to.
export const others = (c: Conversation, me: User | null): readonly UserId[] => c.members.map((m) => m.user).filter((id) => id !== me?.id);

// nameOf gives a user's name as I know it, or nothing readable while it is on its way.
export const nameOf = (users: State['users'], id: UserId): string => called(users[id]);

export const called = (u: User | undefined): string => u?.nickname ?? u?.display ?? u?.name ?? '…';

export function titleOf(c: Conversation, s: Pick<State, 'me' | 'users'>): string {
  if (c.kind === 'group') return c.title;
  const other = others(c, s.me)[0];
  return other ? nameOf(s.users, other) : '…';
}

// ordered is the list as it is shown: the last active first, and what has no message yet on top.
export const ordered = (list: State['conversations']): readonly Conversation[] =>
  Object.values(list).sort((a, b) => (b.last?.at ?? Infinity) - (a.last?.at ?? Infinity) || a.id.localeCompare(b.id));

export const threadOf = (s: State, id: ConversationId): Thread => s.threads[id] ?? emptyThread;

export const stateOf = (s: State, id: UserId): Presence['state'] => s.presence[id]?.state ?? 'offline';

export const roleIn = (c: Conversation | undefined, user: UserId | undefined): Member['role'] | null => c?.members.find((m) => m.user === user)?.role ?? null;
