// What the page knows, in its own words. src/api translates the protocol (docs/protocol.md) into these.

export type UserId = string;
export type ConversationId = string;

export interface User {
  readonly id: UserId;
  readonly name: string;
}

export type Role = 'owner' | 'member';

export interface Member {
  readonly user: UserId;
  readonly role: Role;
}

// A change of a group; it has its place in the order of the group's messages.
export type GroupEvent =
  | { readonly type: 'created'; readonly title: string; readonly users: readonly UserId[] }
  | { readonly type: 'renamed'; readonly title: string }
  | { readonly type: 'member_added'; readonly users: readonly UserId[] }
  | { readonly type: 'member_removed'; readonly users: readonly UserId[] }
  | { readonly type: 'member_left'; readonly users: readonly UserId[]; readonly owner?: UserId };

export interface Message {
  readonly conversation: ConversationId;
  // Position in the conversation, counted from 1 without holes, the same on every device.
  readonly seq: number;
  readonly sender: UserId;
  // The sender's own id of the message: what makes sending it twice harmless. Empty for events.
  readonly clientId: string;
  readonly text: string;
  readonly at: number; // ms since the epoch, by the server's clock
  readonly event?: GroupEvent;
}

// A message of mine that the server has not acknowledged.
export interface Outgoing {
  readonly conversation: ConversationId;
  readonly clientId: string;
  readonly text: string;
  readonly at: number; // ms since the epoch, by this device's clock
  readonly state: 'sending' | 'failed';
  readonly reason?: string;
}

export interface Conversation {
  readonly id: ConversationId;
  readonly kind: 'direct' | 'group';
  readonly title: string; // a group's name; empty for a direct conversation
  readonly members: readonly Member[];
  readonly firstSeq: number; // the first message that I may see
  readonly lastSeq: number;
  readonly last?: Message;
  readonly readSeq: number;
}

export interface Presence {
  readonly online: boolean;
  readonly lastSeen?: number;
}

export type Link =
  | { readonly state: 'connecting' }
  | { readonly state: 'online' }
  // Waiting before the next attempt; `retryAt` in ms since the epoch.
  | { readonly state: 'waiting'; readonly retryAt: number; readonly reason: string };
