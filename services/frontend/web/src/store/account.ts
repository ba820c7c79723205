// My account: profile, preferences, password, devices; and what moderators and admins may do with the accounts of others.
import { fromPreferences, toDevice, toPreferences, toProfile, type WireDevice, type WirePreferences, type WireProfile } from '../api/people';
import { Failure } from '../api/http';
import { backoff } from '../api/socket';
import type { Core } from './core';
import type { Directory } from './directory';
import type { Device, Preferences, Profile, Rank, UserId } from './model';

export type ProfileChange = Pick<Profile, 'display' | 'colour' | 'bio' | 'status'>;

export class Account {
  private readonly core: Core;
  private readonly directory: Directory;

  constructor(core: Core, directory: Directory) {
    this.core = core;
    this.directory = directory;
  }

  // ---- devices and password

  async devices(): Promise<readonly Device[]> {
    const { sessions } = await this.core.http.call<{ sessions: WireDevice[] | null }>('GET', '/api/auth/sessions');
    return (sessions ?? []).map(toDevice);
  }

  async endDevice(id: string): Promise<void> {
    await this.core.http.call('DELETE', `/api/auth/sessions/${encodeURIComponent(id)}`);
  }

  // endOthers gives the number of devices that were signed out.
  async endOthers(): Promise<number> {
    return (await this.core.http.call<{ ended: number }>('DELETE', '/api/auth/sessions')).ended;
  }

  // setPassword ends all other sessions, and gives their number.
  async setPassword(password: string, next: string): Promise<number> {
    const { ended } = await this.core.http.call<{ ended: number }>('POST', '/api/auth/password', { password, new_password: next });
    this.core.store.dispatch({ type: 'has-password' });
    return ended;
  }

  // ---- all of it

  // exported gives all that the services keep of me, as lines of JSON. The last line of each answer says that it is whole.
  async exported(): Promise<string> {
    let all = '';
    for (const part of ['auth', 'groups', 'messages']) {
      const lines = await this.core.http.download(`/api/${part}/export`);
      if (!lines.endsWith('{"type":"end"}\n')) throw new Failure(0, 'incomplete', 'The export broke off. Try again.');
      all += lines;
    }
    return all;
  }

  // ---- profile

  async profile(user: UserId): Promise<Profile> {
    const said = await this.core.http.call<WireProfile>('GET', `/api/auth/users/${encodeURIComponent(user)}/profile`).catch((error: unknown) => {
      if (error instanceof Failure && error.status === 404) this.directory.refresh([user]); // deleted since the page has learned the name
      throw error;
    });
    const profile = toProfile(said);
    this.core.store.dispatch({ type: 'users', users: [profile.user] });
    return profile;
  }

  async setProfile(change: ProfileChange): Promise<Profile> {
    const { display, colour, bio, status } = change;
    return this.changed(await this.core.http.call<WireProfile>('PUT', '/api/auth/profile', { display_name: display, colour, bio, status }));
  }

  async setPicture(picture: Blob): Promise<Profile> {
    return this.changed(await this.core.http.upload<WireProfile>('PUT', '/api/auth/profile/picture', picture));
  }

  async removePicture(): Promise<Profile> {
    return this.changed(await this.core.http.call<WireProfile>('DELETE', '/api/auth/profile/picture'));
  }

  private changed(said: WireProfile): Profile {
    const profile = toProfile(said);
    this.core.store.dispatch({ type: 'users', users: [profile.user] });
    return profile;
  }

  // ---- preferences

  // loadPreferences tries until the server answers: before that, the page tells others nothing that the user may hide.
  async loadPreferences(): Promise<void> {
    const epoch = this.core.epoch();
    for (let attempt = 0; epoch === this.core.epoch(); attempt++) {
      try {
        const said = await this.core.http.call<WirePreferences>('GET', '/api/auth/preferences');
        if (epoch === this.core.epoch()) this.core.store.dispatch({ type: 'preferences', preferences: toPreferences(said) });
        return;
      } catch (error) {
        if (epoch !== this.core.epoch()) return;
        this.core.complain(error);
      }
      await new Promise((done) => setTimeout(done, backoff(attempt, Math.random)));
    }
  }

  // setPreferences shows them at once, and takes them back where the server does not keep them.
  async setPreferences(preferences: Preferences): Promise<void> {
    const before = this.core.store.get().preferences;
    this.core.store.dispatch({ type: 'preferences', preferences });
    try {
      await this.core.http.call('PUT', '/api/auth/preferences', fromPreferences(preferences));
    } catch (error) {
      this.core.store.dispatch({ type: 'preferences', preferences: before });
      throw error;
    }
  }

  // ---- moderation

  // endSessionsOf signs a user out everywhere (moderators).
  async endSessionsOf(user: UserId): Promise<number> {
    return (await this.core.http.call<{ ended: number }>('DELETE', `/api/auth/users/${encodeURIComponent(user)}/sessions`)).ended;
  }

  // setRank gives a user another role (admins).
  async setRank(user: UserId, role: Rank): Promise<void> {
    await this.core.http.call('PUT', `/api/auth/users/${encodeURIComponent(user)}/role`, { role });
    this.directory.refresh([user]);
  }

  // suspend keeps a user out, and gives the number of devices that were signed out (admins).
  async suspend(user: UserId): Promise<number> {
    return (await this.core.http.call<{ ended: number }>('PUT', `/api/auth/users/${encodeURIComponent(user)}/suspension`)).ended;
  }

  async liftSuspension(user: UserId): Promise<void> {
    await this.core.http.call('DELETE', `/api/auth/users/${encodeURIComponent(user)}/suspension`);
  }

  // remove deletes the account of another user (admins).
  async remove(user: UserId): Promise<void> {
    await this.core.http.call('DELETE', `/api/auth/users/${encodeURIComponent(user)}`);
    this.directory.refresh([user]);
  }
}
