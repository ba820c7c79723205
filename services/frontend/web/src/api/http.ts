// Requests to the services, with the access token renewed when it has to be.
import type { WireSession } from './wire';
import type { Saved, TokenKeeper } from './tokens';

// Failure is an answer that says no, or none at all (status 0).
export class Failure extends Error {
  readonly status: number;
  readonly code: string;
  constructor(status: number, code: string, message: string) {
    super(message);
    this.name = 'Failure';
    this.status = status;
    this.code = code;
  }
}

// Ended means that this device has to sign in again.
export class Ended extends Error {
  constructor() {
    super('You were signed out. Sign in again.');
    this.name = 'Ended';
  }
}

const timeout = 15_000;
// A download is as long as it is.
const downloadTimeout = 600_000;
// A token this close to its end is not good any more.
const margin = 30_000;

export class Http {
  // The session of this page, as it was last seen in the storage.
  private known: Saved | null = null;
  private renewing: Promise<string> | null = null;
  private readonly tokens: TokenKeeper;
  private readonly base: string;
  private readonly now: () => number;

  constructor(tokens: TokenKeeper, base = '', now: () => number = Date.now) {
    this.tokens = tokens;
    this.base = base;
    this.now = now;
  }

  adopt(session: WireSession): void {
    this.keep({
      session: session.session,
      user: session.user.id,
      refresh: session.refresh_token,
      refreshUntil: this.now() + session.refresh_expires_in * 1000,
      access: session.access_token,
      accessUntil: this.now() + session.access_expires_in * 1000,
    });
  }

  get session(): Saved | null {
    return this.known;
  }

  // hasExpired tells a session that ended by itself from one that somebody has ended.
  hasExpired(): boolean {
    return this.known !== null && this.known.refreshUntil - margin <= this.now();
  }

  // signOut tells the other tabs that the user has signed out.
  signOut(): void {
    if (this.known) this.tokens.signOut(this.known.session);
  }

  forget(): void {
    if (this.tokens.load()?.session === this.known?.session) this.tokens.clear();
    this.known = null;
  }

  private keep(saved: Saved): void {
    this.known = saved;
    this.tokens.save(saved);
  }

  // current reads the storage each time: another tab may have new tokens, have ended the session, or have begun one for
  // somebody else, whose tokens are not this page's to use.
  private current(): Saved {
    const saved = this.tokens.load();
    if (!saved || (this.known && saved.session !== this.known.session)) throw new Ended();
    this.known = saved;
    return saved;
  }

  // open is a request that needs no session.
  open<T>(method: string, path: string, body?: unknown): Promise<T> {
    return this.request<T>(method, path, body, null);
  }

  // openHere is an open request that shows the cookies of this origin: only the way back from another provider has one.
  openHere<T>(method: string, path: string, body?: unknown): Promise<T> {
    return this.request<T>(method, path, body, null, 'same-origin');
  }

  // upload sends a file as it is.
  upload<T>(method: string, path: string, file: Blob): Promise<T> {
    return this.call<T>(method, path, file);
  }

  // call is a request of the signed-in user.
  call<T>(method: string, path: string, body?: unknown): Promise<T> {
    return this.authorized((token) => this.request<T>(method, path, body, token));
  }

  // download gives the text of an answer that may be long.
  download(path: string): Promise<string> {
    return this.authorized(async (token) => {
      const answer = await this.send('GET', path, undefined, token, 'omit', downloadTimeout);
      if (!answer.ok) throw failure(answer, await answer.json().catch(() => null));
      return answer.text();
    });
  }

  // authorized asks with the user's token. A 401 is answered with a new token, once.
  private async authorized<T>(ask: (token: string) => Promise<T>): Promise<T> {
    const token = await this.token();
    try {
      return await ask(token);
    } catch (error) {
      if (!(error instanceof Failure) || error.status !== 401) throw error;
      if (error.code === 'session_ended') throw new Ended();
      const renewed = await this.token(token);
      try {
        return await ask(renewed);
      } catch (again) {
        throw again instanceof Failure && again.status === 401 ? new Ended() : again;
      }
    }
  }

  // token gives an access token that is good for now, and not the one that was refused.
  async token(refused = ''): Promise<string> {
    const saved = this.current();
    if (refused !== '' && saved.access === refused) this.keep({ ...saved, access: '' });
    else if (this.isGood(saved)) return saved.access;
    this.renewing ??= this.tokens.exclusively(saved.session, () => this.renew()).finally(() => {
      this.renewing = null;
    });
    return this.renewing;
  }

  // renew gives a new session object's access token, or throws Ended.
  private async renew(): Promise<string> {
    const saved = this.current();
    if (this.isGood(saved)) return saved.access; // another tab was first
    try {
      const session = await this.open<WireSession>('POST', '/api/auth/refresh', { refresh_token: saved.refresh });
      if (this.known?.session !== saved.session) throw new Ended(); // meanwhile the user has signed out
      this.adopt(session);
      return session.access_token;
    } catch (error) {
      if (error instanceof Failure && (error.status === 401 || error.status === 400)) throw new Ended();
      throw error;
    }
  }

  private isGood(saved: Saved): boolean {
    return saved.access !== '' && saved.accessUntil - margin > this.now();
  }

  private async request<T>(method: string, path: string, body: unknown, token: string | null, credentials: RequestCredentials = 'omit'): Promise<T> {
    const answer = await this.send(method, path, body, token, credentials, timeout);
    if (answer.status === 204) return undefined as T;
    const json: unknown = await answer.json().catch(() => null);
    if (answer.ok && json !== null) return json as T;
    throw failure(answer, json);
  }

  private async send(method: string, path: string, body: unknown, token: string | null, credentials: RequestCredentials, within: number): Promise<Response> {
    const headers: Record<string, string> = { Accept: 'application/json' };
    const file = body instanceof Blob ? body : null;
    if (body !== undefined) headers['Content-Type'] = file?.type ?? 'application/json';
    if (token !== null) headers.Authorization = `Bearer ${token}`;
    try {
      return await fetch(this.base + path, {
        method,
        headers,
        ...(body !== undefined ? { body: file ?? JSON.stringify(body) } : {}),
        signal: AbortSignal.timeout(within),
        credentials,
        cache: 'no-store',
      });
    } catch {
      throw new Failure(0, 'unreachable', 'The server cannot be reached. Check the connection and try again.');
    }
  }
}

// failure is what an answer says that is no good one.
function failure(answer: Response, json: unknown): Failure {
  const error = (json as { error?: { code?: string; message?: string } } | null)?.error;
  const id = answer.headers.get('X-Request-Id');
  return new Failure(
    answer.status,
    error?.code ?? 'internal',
    error?.message ?? `The server answered ${answer.status}${id ? ` (request ${id})` : ''}. Try again.`,
  );
}
