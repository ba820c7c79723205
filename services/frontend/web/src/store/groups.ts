// Groups: who is in them, who may do what, and how one comes to be in one.
import { toInvitation, toPublicGroup, type WireInvitation, type WirePublicGroup } from '../api/people';
import * as wire from '../api/wire';
import { missing, type Core, type NeedUsers } from './core';
import type { ConversationId, PublicGroup, Role, UserId } from './model';

export interface GroupHooks {
  need: NeedUsers;
  select: (id: ConversationId) => void;
  askPresence: (id: ConversationId) => void;
}

export class Groups {
  private readonly core: Core;
  private readonly hooks: GroupHooks;

  constructor(core: Core, hooks: GroupHooks) {
    this.core = core;
    this.hooks = hooks;
  }

  async create(title: string, members: readonly UserId[], isPublic = false): Promise<void> {
    const group = await this.core.http.call<wire.WireGroup>('POST', '/api/groups', { title, members, ...(isPublic ? { public: true } : {}) });
    this.enter(group);
  }

  // load fetches what the groups service alone knows.
  async load(id: ConversationId): Promise<void> {
    this.take(await this.core.http.call<wire.WireGroup>('GET', path(id)));
  }

  async rename(id: ConversationId, title: string): Promise<void> {
    this.take(await this.core.http.call<wire.WireGroup>('PATCH', path(id), { title }));
  }

  async setPublic(id: ConversationId, isPublic: boolean): Promise<void> {
    this.take(await this.core.http.call<wire.WireGroup>('PATCH', path(id), { public: isPublic }));
  }

  async add(id: ConversationId, user: UserId): Promise<void> {
    this.take(await this.core.http.call<wire.WireGroup>('POST', `${path(id)}/members`, { user }));
  }

  async remove(id: ConversationId, user: UserId): Promise<void> {
    this.take(await this.core.http.call<wire.WireGroup>('DELETE', `${path(id)}/members/${encodeURIComponent(user)}`));
  }

  // setRole with "owner" hands the group over.
  async setRole(id: ConversationId, user: UserId, role: Role): Promise<void> {
    this.take(await this.core.http.call<wire.WireGroup>('PUT', `${path(id)}/members/${encodeURIComponent(user)}`, { role }));
  }

  async leave(id: ConversationId): Promise<void> {
    await this.core.http.call('POST', `${path(id)}/leave`);
    this.core.store.dispatch({ type: 'conversation-gone', id });
  }

  async invite(id: ConversationId, user: UserId): Promise<void> {
    await this.core.http.call('POST', `${path(id)}/invitations`, { user });
    await this.load(id);
  }

  async takeBack(id: ConversationId, user: UserId): Promise<void> {
    await this.core.http.call('DELETE', `${path(id)}/invitations/${encodeURIComponent(user)}`);
    await this.load(id);
  }

  async loadInvitations(): Promise<void> {
    const epoch = this.core.epoch();
    const { invitations } = await this.core.http.call<{ invitations: WireInvitation[] | null }>('GET', '/api/invitations');
    if (epoch !== this.core.epoch()) return;
    const list = (invitations ?? []).map(toInvitation);
    this.core.store.dispatch({ type: 'invitations', invitations: list });
    this.hooks.need(list.map((i) => i.by));
  }

  async accept(id: ConversationId): Promise<void> {
    const group = await this.core.http.call<wire.WireGroup>('POST', `/api/invitations/${encodeURIComponent(id)}/accept`);
    this.enter(group);
    await this.loadInvitations();
  }

  async decline(id: ConversationId): Promise<void> {
    await this.core.http.call('POST', `/api/invitations/${encodeURIComponent(id)}/decline`);
    await this.loadInvitations();
  }

  async findPublic(q: string): Promise<readonly PublicGroup[]> {
    const { groups } = await this.core.http.call<{ groups: WirePublicGroup[] | null }>('GET', `/api/groups/public?q=${encodeURIComponent(q)}`);
    return (groups ?? []).map(toPublicGroup);
  }

  async join(id: ConversationId): Promise<void> {
    this.enter(await this.core.http.call<wire.WireGroup>('POST', `${path(id)}/join`));
  }

  // enter opens a group that I have just come into. Its event brings it too, in its time; one need not wait for it.
  private enter(group: wire.WireGroup): void {
    if (!this.core.store.get().conversations[group.id]) {
      const members = wire.toMembers(group.members);
      this.core.store.dispatch({
        type: 'conversation',
        conversation: { id: group.id, kind: 'group', title: group.title, members, firstSeq: 1, lastSeq: 0, readSeq: 0, unread: 0 },
      });
    }
    this.hooks.need(group.members.map((m) => m.user));
    this.hooks.select(group.id);
  }

  private take(group: wire.WireGroup): void {
    const invited = (group.invited ?? []).map((i) => i.user);
    this.core.store.dispatch({
      type: 'group',
      id: group.id,
      title: group.title,
      members: wire.toMembers(group.members),
      info: { public: group.public ?? false, invited },
    });
    this.hooks.need([...group.members.map((m) => m.user), ...invited]);
    this.hooks.askPresence(group.id);
  }

  // follow is for the notices about invitations.
  follow(): void {
    this.loadInvitations().catch((error: unknown) => {
      if (!missing(error)) this.core.complain(error);
    });
  }
}

const path = (id: ConversationId): string => `/api/groups/${encodeURIComponent(id)}`;
