// The protocol of docs/protocol.md, and its translation into the page's own words. What does not look as written there
// is refused here, so nothing behind this file has to check a shape.
import type { Change, Conversation, GroupEvent, Member, Message, Presence, PresenceState, Rank, Reactions, Role, User, UserId } from '../store/model';

export interface WireUser {
  id: string;
  name: string;
  display_name?: string;
  colour?: string;
  picture?: string;
  deleted?: boolean;
}

export interface WireSession {
  user: WireUser;
  role?: string;
  session: string;
  access_token: string;
  access_expires_in: number;
  refresh_token: string;
  refresh_expires_in: number;
}

export interface WireMessage {
  conversation: string;
  seq: number;
  kind: string;
  sender: string;
  client_id?: string;
  body?: string;
  at: string;
  event?: { type: string; title?: string; users?: string[]; owner?: string; role?: string };
  reply_to?: number;
  mentions?: string[];
  edited?: string;
  deleted?: string;
  reactions?: Record<string, string[]>;
  changed?: number;
  target?: number;
  emoji?: string;
  on?: boolean;
}

interface WireMember {
  user: string;
  role: Role;
}

export interface ConversationPage {
  conversations: WireConversation[] | null;
  next?: string;
}

export interface WireConversation {
  id: string;
  kind: 'direct' | 'group';
  title?: string;
  members: WireMember[] | null;
  first_seq: number;
  last_seq: number;
  last_message: WireMessage | null;
  read?: number;
  unread?: number;
  reads?: Record<string, number>;
}

export interface WireGroup {
  id: string;
  title: string;
  public?: boolean;
  version: number;
  members: WireMember[];
  invited?: { user: string; by: string; at: string }[];
}

export interface WirePresence {
  user: string;
  online: boolean;
  state?: string;
  seen?: string;
}

export type ClientFrame =
  | { type: 'hello'; token: string }
  | { type: 'send'; conversation: string; client_id: string; again?: boolean; body: string; reply_to?: number; mentions?: readonly string[] }
  | { type: 'edit'; conversation: string; client_id: string; again?: boolean; seq: number; body: string }
  | { type: 'delete'; conversation: string; client_id: string; again?: boolean; seq: number }
  | { type: 'react'; conversation: string; client_id: string; again?: boolean; seq: number; emoji: string; on: boolean }
  | { type: 'read'; conversation: string; seq: number }
  | { type: 'typing'; conversation: string; on: boolean }
  | { type: 'away'; away: boolean }
  | { type: 'resume'; id: string; have: Record<string, number> }
  | { type: 'ping'; id: string };

export type ServerFrame =
  | { type: 'hello'; user: string; session: string; connection: string; heartbeat_seconds: number; max_frame: number; position?: string }
  | { type: 'message'; message: WireMessage }
  | { type: 'error'; code: string; message: string; retry?: boolean; client_id?: string; conversation?: string; id?: string }
  | { type: 'presence'; user: string; online: boolean; state?: string; at: string }
  | { type: 'read'; conversation: string; user: string; seq: number; at: string }
  | { type: 'typing'; conversation: string; user: string; on: boolean }
  | { type: 'notice'; kind: string; user: string; group?: string }
  | { type: 'resumed'; id: string; behind?: Record<string, number> }
  | { type: 'pong'; id: string };

const serverFrames = new Set(['hello', 'message', 'error', 'presence', 'read', 'typing', 'notice', 'resumed', 'pong']);

// decode reads a frame. Null: a type that a newer server may send and this page does not know, or no frame at all.
export function decode(data: unknown): ServerFrame | null {
  if (typeof data !== 'string') return null;
  let frame: unknown;
  try {
    frame = JSON.parse(data);
  } catch {
    return null;
  }
  if (typeof frame !== 'object' || frame === null || !('type' in frame)) return null;
  if (typeof frame.type !== 'string' || !serverFrames.has(frame.type)) return null;
  if (frame.type === 'message' && !isMessage((frame as { message?: unknown }).message)) return null;
  return frame as ServerFrame;
}

function isMessage(m: unknown): boolean {
  if (typeof m !== 'object' || m === null) return false;
  const { conversation, seq, sender } = m as Partial<WireMessage>;
  return typeof conversation === 'string' && typeof sender === 'string' && Number.isSafeInteger(seq);
}

export const toUser = (u: WireUser): User => ({
  id: u.id,
  name: u.name,
  ...(u.display_name ? { display: u.display_name } : {}),
  ...(u.colour ? { colour: u.colour } : {}),
  ...(u.picture ? { picture: u.picture } : {}),
  ...(u.deleted ? { deleted: true } : {}),
});

export const toRank = (role: string | undefined): Rank => (role === 'admin' || role === 'moderator' ? role : 'user');

export const toTime = (text: string | undefined): number => {
  const at = Date.parse(text ?? '');
  return Number.isNaN(at) ? 0 : at;
};

export function toMessage(m: WireMessage): Message {
  const event = toEvent(m.event);
  const change = toChange(m);
  return {
    conversation: m.conversation,
    seq: m.seq,
    sender: m.sender,
    clientId: m.client_id ?? '',
    text: change ? '' : (m.body ?? ''),
    at: toTime(m.at),
    ...(m.kind === 'event' || event ? { event: event ?? { type: 'unknown' } } : {}),
    ...(change ? { change } : {}),
    ...(m.reply_to ? { replyTo: m.reply_to } : {}),
    ...(m.mentions && m.mentions.length > 0 ? { mentions: m.mentions } : {}),
    ...(m.edited ? { edited: toTime(m.edited) } : {}),
    ...(m.deleted ? { deleted: toTime(m.deleted) } : {}),
    ...(m.reactions ? { reactions: toReactions(m.reactions) } : {}),
    ...(m.changed ? { changed: m.changed } : {}),
  };
}

// A Map in between: an emoji may be any text, also the name of something that every object has.
const toReactions = (reactions: Record<string, string[]>): Reactions => Object.fromEntries(new Map(Object.entries(reactions)));

function toChange(m: WireMessage): Change | undefined {
  const target = m.target ?? 0;
  if (m.kind === 'edit' && m.deleted) return { type: 'void', target };
  switch (m.kind) {
    case 'edit':
      return { type: 'edit', target, text: m.body ?? '' };
    case 'delete':
      return { type: 'delete', target };
    case 'reaction':
      return { type: 'reaction', target, emoji: m.emoji ?? '', on: m.on ?? false };
    default:
      return undefined;
  }
}

const toRole = (role: string | undefined): Role => (role === 'owner' || role === 'admin' ? role : 'member');

function toEvent(e: WireMessage['event']): GroupEvent | undefined {
  const users: readonly UserId[] = e?.users ?? [];
  switch (e?.type) {
    case 'created':
      return { type: 'created', title: e.title ?? '', users };
    case 'renamed':
      return { type: 'renamed', title: e.title ?? '' };
    case 'member_added':
    case 'member_removed':
      return { type: e.type, users };
    case 'member_left':
      return { type: 'member_left', users, ...(e.owner ? { owner: e.owner } : {}) };
    case 'role_changed':
      return { type: 'role_changed', users, role: toRole(e.role), ...(e.owner ? { owner: e.owner } : {}) };
    case 'made_public':
    case 'made_private':
      return { type: e.type };
    default:
      return undefined;
  }
}

export const toMembers = (members: WireConversation['members']): readonly Member[] =>
  (members ?? []).map((m) => ({ user: m.user, role: toRole(m.role) }));

export function toConversation(c: WireConversation): Conversation {
  return {
    id: c.id,
    kind: c.kind,
    title: c.title ?? '',
    members: toMembers(c.members),
    firstSeq: c.first_seq,
    lastSeq: c.last_seq,
    ...(c.last_message ? { last: toMessage(c.last_message) } : {}),
    readSeq: c.read ?? 0,
    unread: c.unread ?? 0,
    ...(c.reads ? { reads: c.reads } : {}),
  };
}

const states: readonly PresenceState[] = ['online', 'away', 'offline'];

export function toPresence(p: { online: boolean; state?: string }, seen: string | undefined): Presence {
  const at = toTime(seen);
  const state = states.find((s) => s === p.state) ?? (p.online ? 'online' : 'offline');
  return { state, ...(at ? { lastSeen: at } : {}) };
}

// directId is the conversation of two users; the smaller id by bytes first. Ids are ASCII, so < compares bytes.
export const directId = (a: UserId, b: UserId): string => (a < b ? `dm:${a}:${b}` : `dm:${b}:${a}`);

// The limits of the protocol that the page checks before it sends.
export const limits = {
  body: 4000, // characters, not UTF-16 units
  title: 80,
  name: /^[A-Za-z0-9][A-Za-z0-9._-]{1,31}$/,
  password: { least: 8, most: 128 },
  page: 50,
  gapPage: 200,
  ids: 100,
  resume: 300,
  mentions: 50,
  nickname: 40,
  display: 64,
  bio: 280,
  status: 80,
  picture: 64 * 1024, // bytes
} as const;
