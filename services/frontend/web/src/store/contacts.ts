// Contacts, requests and blocks.
import { toPeople, type WirePeople } from '../api/people';
import { missing, type Core } from './core';
import type { Directory } from './directory';
import type { UserId } from './model';

export class Contacts {
  private readonly core: Core;
  private readonly directory: Directory;

  constructor(core: Core, directory: Directory) {
    this.core = core;
    this.directory = directory;
  }

  async load(): Promise<void> {
    const epoch = this.core.epoch();
    const people = toPeople(await this.core.http.call<WirePeople>('GET', '/api/contacts'));
    if (epoch !== this.core.epoch()) return;
    this.core.store.dispatch({ type: 'people', people });
    const friends = people.contacts.map((c) => c.user);
    this.directory.need([...friends, ...people.incoming, ...people.outgoing, ...people.blocked]);
    await this.directory.askPresence(friends);
  }

  // follow is for notices, and for every new connection.
  follow(): void {
    this.load().catch((error: unknown) => {
      if (!missing(error)) this.core.complain(error);
    });
  }

  ask = (user: UserId): Promise<void> => this.then('POST', '/api/contacts/requests', { user });
  accept = (user: UserId): Promise<void> => this.then('POST', `/api/contacts/requests/${encodeURIComponent(user)}/accept`);
  decline = (user: UserId): Promise<void> => this.then('POST', `/api/contacts/requests/${encodeURIComponent(user)}/decline`);
  // remove ends a contact, or takes back my own request.
  remove = (user: UserId): Promise<void> => this.then('DELETE', `/api/contacts/${encodeURIComponent(user)}`);
  rename = (user: UserId, nickname: string): Promise<void> => this.then('PATCH', `/api/contacts/${encodeURIComponent(user)}`, { nickname });
  block = (user: UserId): Promise<void> => this.then('PUT', `/api/blocks/${encodeURIComponent(user)}`);
  unblock = (user: UserId): Promise<void> => this.then('DELETE', `/api/blocks/${encodeURIComponent(user)}`);

  private async then(method: string, path: string, body?: unknown): Promise<void> {
    await this.core.http.call(method, path, body);
    await this.load();
  }
}
