// Who the others are, and whether they are there.
import * as wire from '../api/wire';
import { chunks, type Core } from './core';
import type { Presence, User, UserId } from './model';

interface Users {
  users: wire.WireUser[] | null;
}

export class Directory {
  private readonly core: Core;
  private readonly fetching = new Set<UserId>();

  constructor(core: Core) {
    this.core = core;
  }

  forget(): void {
    this.fetching.clear();
  }

  // findUsers gives at most 20 users whose name begins with `start`.
  async findUsers(start: string): Promise<readonly User[]> {
    const { users } = await this.core.http.call<Users>('GET', `/api/auth/users?q=${encodeURIComponent(start)}`);
    return this.learn(users ?? []);
  }

  // findUser gives the user of that very name, or null.
  async findUser(name: string): Promise<User | null> {
    const { users } = await this.core.http.call<Users>('GET', `/api/auth/users?name=${encodeURIComponent(name)}`);
    return this.learn(users ?? [])[0] ?? null;
  }

  private learn(list: readonly wire.WireUser[]): readonly User[] {
    const users = list.map(wire.toUser);
    if (users.length > 0) this.core.store.dispatch({ type: 'users', users });
    return users;
  }

  // need fetches the names that are not known yet.
  readonly need = (ids: readonly UserId[]): void => {
    const known = this.core.store.get().users;
    this.fetch([...new Set(ids)].filter((id) => id && !known[id] && !this.fetching.has(id)));
  };

  // refresh fetches users again: their profiles may have changed.
  refresh(ids: readonly UserId[]): void {
    this.fetch([...new Set(ids)].filter((id) => id && !this.fetching.has(id)));
  }

  private fetch(ids: readonly UserId[]): void {
    for (const chunk of chunks(ids, wire.limits.ids)) {
      for (const id of chunk) this.fetching.add(id);
      const epoch = this.core.epoch();
      void this.core.http
        .call<Users>('GET', `/api/auth/users?ids=${chunk.map(encodeURIComponent).join(',')}`)
        .then(({ users }) => {
          if (epoch === this.core.epoch()) this.learn(users ?? []);
        })
        .catch((error: unknown) => this.core.complain(error))
        .finally(() => {
          for (const id of chunk) this.fetching.delete(id);
        });
    }
  }

  async askPresence(ids: readonly UserId[]): Promise<void> {
    const epoch = this.core.epoch();
    for (const chunk of chunks([...new Set(ids)], wire.limits.ids)) {
      try {
        const { presence } = await this.core.http.call<{ presence: wire.WirePresence[] | null }>('GET', `/api/presence?ids=${chunk.map(encodeURIComponent).join(',')}`);
        if (epoch !== this.core.epoch()) return;
        const users: Record<UserId, Presence> = {};
        for (const p of presence ?? []) users[p.user] = wire.toPresence(p, p.seen);
        this.core.store.dispatch({ type: 'presence', users });
      } catch {
        return; // dots are a courtesy: the next frame or the next connection brings them
      }
    }
  }
}
