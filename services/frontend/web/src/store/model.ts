// What the page knows, in its own words. src/api translates the protocol (docs/protocol.md) into these.

export type UserId = string;
export type ConversationId = string;

export interface User {
  readonly id: UserId;
  readonly name: string; // what one signs in with, and is mentioned by
  readonly display?: string; // what others read; the name where it is not set
  readonly colour?: string;
  readonly picture?: string; // address of a picture on this origin
  readonly nickname?: string; // what I call them
  readonly deleted?: boolean; // there is nothing left but the id; the name is empty
}

// What a user is in the whole chat.
export type Rank = 'user' | 'moderator' | 'admin';

export type Role = 'owner' | 'admin' | 'member';

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
  | { readonly type: 'member_left'; readonly users: readonly UserId[]; readonly owner?: UserId }
  | { readonly type: 'role_changed'; readonly users: readonly UserId[]; readonly role: Role; readonly owner?: UserId }
  | { readonly type: 'made_public' | 'made_private' }
  | { readonly type: 'unknown' }; // what a newer server knows

// A change of an earlier message. It has a seq of its own, so it is in order with everything else.
export type Change =
  | { readonly type: 'edit'; readonly target: number; readonly text: string }
  | { readonly type: 'delete'; readonly target: number }
  | { readonly type: 'reaction'; readonly target: number; readonly emoji: string; readonly on: boolean }
  | { readonly type: 'void'; readonly target: number }; // of a text that is deleted: nothing any more

export type Reactions = Readonly<Record<string, readonly UserId[]>>;

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
  readonly change?: Change;
  readonly replyTo?: number;
  readonly mentions?: readonly UserId[];
  readonly edited?: number; // ms since the epoch
  readonly deleted?: number;
  readonly reactions?: Reactions;
  // The seq of the last change that is in it already.
  readonly changed?: number;
}

// A message or a change of mine that the server has not acknowledged.
export interface Outgoing {
  readonly conversation: ConversationId;
  readonly clientId: string;
  readonly text: string;
  readonly at: number; // ms since the epoch, by this device's clock
  readonly state: 'sending' | 'failed';
  readonly reason?: string;
  readonly replyTo?: number;
  readonly mentions?: readonly UserId[];
  readonly change?: Change;
}

export interface Conversation {
  readonly id: ConversationId;
  readonly kind: 'direct' | 'group';
  readonly title: string; // a group's name; empty for a direct conversation
  readonly members: readonly Member[];
  readonly firstSeq: number; // the first message that I may see
  readonly lastSeq: number;
  readonly last?: Message; // the last that is shown: no change of another
  readonly readSeq: number;
  readonly unread: number;
  readonly mentioned?: boolean; // something unread names me
  readonly reads?: Readonly<Record<UserId, number>>; // how far the others have read
}

export type PresenceState = 'online' | 'away' | 'offline';

export interface Presence {
  readonly state: PresenceState;
  readonly lastSeen?: number;
}

export interface Preferences {
  readonly theme: 'system' | 'dark' | 'light';
  readonly enterSends: boolean;
  readonly receipts: boolean;
  readonly typing: boolean;
}

export const defaultPreferences: Preferences = { theme: 'system', enterSends: true, receipts: true, typing: true };

export interface Profile {
  readonly user: User;
  readonly display: string;
  readonly colour: string;
  readonly bio: string;
  readonly status: string;
  readonly picture?: string;
}

export interface Contact {
  readonly user: UserId;
  readonly nickname?: string;
}

export interface Invitation {
  readonly group: ConversationId;
  readonly title: string;
  readonly by: UserId;
  readonly size: number;
}

export interface PublicGroup {
  readonly id: ConversationId;
  readonly title: string;
  readonly size: number;
}

// People is what I have to do with others.
export interface People {
  readonly contacts: readonly Contact[];
  readonly incoming: readonly UserId[]; // they ask me
  readonly outgoing: readonly UserId[]; // I asked them
  readonly blocked: readonly UserId[];
}

// What only the groups service knows of a group.
export interface GroupInfo {
  readonly public: boolean;
  readonly invited: readonly UserId[]; // empty for those who may not know
}

// One login of mine.
export interface Device {
  readonly id: string;
  readonly name: string;
  readonly used: number;
  readonly created: number;
  readonly current: boolean;
}

export type Link =
  | { readonly state: 'connecting' }
  | { readonly state: 'online' }
  // Waiting before the next attempt; `retryAt` in ms since the epoch.
  | { readonly state: 'waiting'; readonly retryAt: number; readonly reason: string };
