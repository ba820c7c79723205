// Requests to the services, with the access token renewed when it has to be.
import type { WireSession } from './wire';
import type { TokenKeeper } from './tokens';

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
// An access token this close to its end is renewed before it is used.
const margin = 30_000;

export class Http {
  private access: { token: string; until: number } | null = null;
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
    this.access = { token: session.access_token, until: this.now() + session.access_expires_in * 1000 };
    this.tokens.save({ session: session.session, refresh: session.refresh_token });
  }

  forget(): void {
    this.access = null;
    this.tokens.clear();
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

  // call is a request of the signed-in user. A 401 is answered with a new token, once.
  async call<T>(method: string, path: string, body?: unknown): Promise<T> {
    const token = await this.token();
    try {
      return await this.request<T>(method, path, body, token);
    } catch (error) {
      if (!(error instanceof Failure) || error.status !== 401) throw error;
      if (error.code === 'session_ended') throw new Ended();
      if (this.access?.token === token) this.access = null;
      const renewed = await this.token();
      try {
        return await this.request<T>(method, path, body, renewed);
      } catch (again) {
        throw again instanceof Failure && again.status === 401 ? new Ended() : again;
      }
    }
  }

  private async token(): Promise<string> {
    if (this.access && this.access.until - margin > this.now()) return this.access.token;
    this.renewing ??= this.renew().finally(() => {
      this.renewing = null;
    });
    return this.renewing;
  }

  // renew gives a new session object's access token, or throws Ended.
  private async renew(): Promise<string> {
    const saved = this.tokens.load(); // read again each time: another tab may have renewed it
    if (!saved) throw new Ended();
    try {
      const session = await this.open<WireSession>('POST', '/api/auth/refresh', { refresh_token: saved.refresh });
      this.adopt(session);
      return session.access_token;
    } catch (error) {
      if (error instanceof Failure && (error.status === 401 || error.status === 400)) throw new Ended();
      throw error;
    }
  }

  private async request<T>(method: string, path: string, body: unknown, token: string | null, credentials: RequestCredentials = 'omit'): Promise<T> {
    const headers: Record<string, string> = { Accept: 'application/json' };
    const file = body instanceof Blob ? body : null;
    if (body !== undefined) headers['Content-Type'] = file?.type ?? 'application/json';
    if (token !== null) headers.Authorization = `Bearer ${token}`;
    let answer: Response;
    try {
      answer = await fetch(this.base + path, {
        method,
        headers,
        ...(body !== undefined ? { body: file ?? JSON.stringify(body) } : {}),
        signal: AbortSignal.timeout(timeout),
        credentials,
        cache: 'no-store',
      });
    } catch {
      throw new Failure(0, 'unreachable', 'The server cannot be reached. Check the connection and try again.');
    }
    if (answer.status === 204) return undefined as T;
    const json: unknown = await answer.json().catch(() => null);
    if (answer.ok && json !== null) return json as T;
    const error = (json as { error?: { code?: string; message?: string } } | null)?.error;
    const id = answer.headers.get('X-Request-Id');
    throw new Failure(
      answer.status,
      error?.code ?? 'internal',
      error?.message ?? `The server answered ${answer.status}${id ? ` (request ${id})` : ''}. Try again.`,
    );
  }
}
