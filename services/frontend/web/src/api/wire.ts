// The protocol of docs/protocol.md, and its translation into the page's own words. What does not look as written there
// is refused here, so nothing behind this file has to check a shape.
import type { Conversation, GroupEvent, Member, Message, User, UserId } from '../store/model';

export interface WireUser {
  id: string;
  name: string;
}

export interface WireSession {
  user: WireUser;
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
  event?: { type: string; title?: string; users?: string[]; owner?: string };
}

export interface WireConversation {
  id: string;
  kind: 'direct' | 'group';
  title?: string;
  members: { user: string; role: 'owner' | 'member' }[] | null;
  first_seq: number;
  last_seq: number;
  last_message: WireMessage | null;
}

export interface WireGroup {
  id: string;
  title: string;
  version: number;
  members: { user: string; role: 'owner' | 'member' }[];
}

export interface WirePresence {
  user: string;
  online: boolean;
  seen?: string;
}

export type ClientFrame =
  | { type: 'hello' }
  | { type: 'send'; conversation: string; client_id: string; body: string }
  | { type: 'resume'; id: string; have: Record<string, number> }
  | { type: 'ping'; id: string };

export type ServerFrame =
  | { type: 'hello'; user: string; session: string; connection: string; heartbeat_seconds: number; max_frame: number }
  | { type: 'message'; message: WireMessage }
  | { type: 'error'; code: string; message: string; retry?: boolean; client_id?: string; conversation?: string; id?: string }
  | { type: 'presence'; user: string; online: boolean; at: string }
  | { type: 'resumed'; id: string; behind?: Record<string, number> }
  | { type: 'pong'; id: string };

const serverFrames = new Set(['hello', 'message', 'error', 'presence', 'resumed', 'pong']);

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

export const toUser = (u: WireUser): User => ({ id: u.id, name: u.name });

export const toTime = (text: string | undefined): number => {
  const at = Date.parse(text ?? '');
  return Number.isNaN(at) ? 0 : at;
};

export function toMessage(m: WireMessage): Message {
  const event = toEvent(m.event);
  return {
    conversation: m.conversation,
    seq: m.seq,
    sender: m.sender,
    clientId: m.client_id ?? '',
    text: m.body ?? '',
    at: toTime(m.at),
    ...(event ? { event } : {}),
  };
}

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
    default:
      return undefined;
  }
}

export const toMembers = (members: WireConversation['members']): readonly Member[] =>
  (members ?? []).map((m) => ({ user: m.user, role: m.role }));

export function toConversation(c: WireConversation, readSeq: number): Conversation {
  return {
    id: c.id,
    kind: c.kind,
    title: c.title ?? '',
    members: toMembers(c.members),
    firstSeq: c.first_seq,
    lastSeq: c.last_seq,
    ...(c.last_message ? { last: toMessage(c.last_message) } : {}),
    readSeq,
  };
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
} as const;
