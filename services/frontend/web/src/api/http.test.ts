import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Ended, Failure, Http } from './http';
import { BrowserTokens, type Saved, type TokenKeeper } from './tokens';

const stored = (more: Partial<Saved> = {}): Saved => ({ session: 's', user: 'u', refresh: 'r1', refreshUntil: 9_000_000, access: '', accessUntil: 0, ...more });

class Kept implements TokenKeeper {
  saved: Saved | null = stored();
  load(): Saved | null {
    return this.saved;
  }
  save(saved: Saved): void {
    this.saved = saved;
  }
  clear(): void {
    this.saved = null;
  }
  signOut(): void {}
  exclusively<T>(_: string, work: () => Promise<T>): Promise<T> {
    return work();
  }
}

interface Asked {
  path: string;
  token: string | null;
  body: unknown;
}

let asked: Asked[];
let kept: Kept;
let answer: (a: Asked) => { status: number; body?: unknown };
let clock: number;
let http: Http;

const session = (n: number) => ({ user: { id: 'u', name: 'u' }, session: 's', access_token: `a${n}`, access_expires_in: 600, refresh_token: `r${n}`, refresh_expires_in: 9_000 });

beforeEach(() => {
  asked = [];
  kept = new Kept();
  clock = 0;
  http = new Http(kept, '', () => clock);
  vi.stubGlobal('fetch', (path: string, init: RequestInit) => {
    const a = { path, token: new Headers(init.headers).get('Authorization'), body: init.body ? (JSON.parse(init.body as string) as unknown) : undefined };
    asked.push(a);
    const { status, body } = answer(a);
    return Promise.resolve(new Response(body === undefined ? null : JSON.stringify(body), { status }));
  });
});

afterEach(() => vi.unstubAllGlobals());

const refusal = (status: number, code: string) => ({ status, body: { error: { code, message: code } } });

describe('call', () => {
  it('renews the access token once for many requests at once', async () => {
    answer = ({ path }) => (path === '/api/auth/refresh' ? { status: 200, body: session(2) } : { status: 200, body: {} });
    await Promise.all([http.call('GET', '/x'), http.call('GET', '/y'), http.call('GET', '/z')]);
    expect(asked.filter((a) => a.path === '/api/auth/refresh')).toEqual([{ path: '/api/auth/refresh', token: null, body: { refresh_token: 'r1' } }]);
    expect(asked.filter((a) => a.token === 'Bearer a2')).toHaveLength(3);
    expect(kept.saved).toMatchObject({ session: 's', refresh: 'r2', access: 'a2' });
  });

  it('needs no renewal where the stored access token is good', async () => {
    kept.saved = stored({ access: 'a1', accessUntil: 600_000 });
    answer = () => ({ status: 200, body: {} });
    await http.call('GET', '/x');
    expect(asked).toEqual([{ path: '/x', token: 'Bearer a1', body: undefined }]);
  });

  it('uses the access token that another tab has renewed', async () => {
    http.adopt(session(1));
    kept.saved = stored({ access: 'a2', accessUntil: 600_000 });
    answer = () => ({ status: 200, body: {} });
    await http.call('GET', '/x');
    expect(asked.map((a) => a.token)).toEqual(['Bearer a2']);
  });

  it('never uses the tokens of another session', async () => {
    http.adopt(session(1));
    kept.saved = stored({ session: 'of somebody else', access: 'b1', accessUntil: 600_000 });
    await expect(http.call('GET', '/x')).rejects.toBeInstanceOf(Ended);
    expect(asked).toEqual([]);
    http.forget();
    expect(kept.saved?.session).toBe('of somebody else');
  });

  it('keeps no tokens that come after the user has signed out', async () => {
    answer = () => {
      http.forget();
      return { status: 200, body: session(2) };
    };
    await expect(http.call('GET', '/x')).rejects.toBeInstanceOf(Ended);
    expect(kept.saved).toBeNull();
  });

  it('renews it before it ends', async () => {
    let n = 1;
    answer = ({ path }) => (path === '/api/auth/refresh' ? { status: 200, body: session(++n) } : { status: 200, body: {} });
    await http.call('GET', '/x');
    clock = 560_000;
    await http.call('GET', '/x');
    expect(asked.at(-1)?.token).toBe('Bearer a2');
    clock = 571_000;
    await http.call('GET', '/x');
    expect(asked.at(-1)?.token).toBe('Bearer a3');
  });

  it('answers one 401 with a new token', async () => {
    http.adopt(session(1));
    answer = ({ path, token }) => {
      if (path === '/api/auth/refresh') return { status: 200, body: session(2) };
      return token === 'Bearer a1' ? refusal(401, 'unauthenticated') : { status: 200, body: { ok: true } };
    };
    expect(await http.call('GET', '/x')).toEqual({ ok: true });
  });

  const endings: { name: string; answer: typeof answer }[] = [
    { name: 'the session is over', answer: () => refusal(401, 'session_ended') },
    { name: 'the refresh token is refused', answer: ({ path }) => (path === '/api/auth/refresh' ? refusal(401, 'session_ended') : refusal(401, 'unauthenticated')) },
    { name: 'the new token is refused too', answer: ({ path }) => (path === '/api/auth/refresh' ? { status: 200, body: session(2) } : refusal(401, 'unauthenticated')) },
  ];
  it.each(endings)('ends where $name', async (c) => {
    http.adopt(session(1));
    answer = c.answer;
    await expect(http.call('GET', '/x')).rejects.toBeInstanceOf(Ended);
  });

  it('ends where there is no session', async () => {
    kept.saved = null;
    await expect(http.call('GET', '/x')).rejects.toBeInstanceOf(Ended);
    expect(asked).toEqual([]);
  });

  it('is no ending when the services are away', async () => {
    answer = () => refusal(503, 'unavailable');
    await expect(http.call('GET', '/x')).rejects.toMatchObject({ status: 503, code: 'unavailable' });
    vi.stubGlobal('fetch', () => Promise.reject(new TypeError('network')));
    await expect(http.call('GET', '/x')).rejects.toMatchObject({ status: 0, code: 'unreachable' });
    expect(kept.saved).not.toBeNull();
  });

  it('says something useful about an answer that is none of the services', async () => {
    vi.stubGlobal('fetch', () => Promise.resolve(new Response('<html>', { status: 502 })));
    await expect(http.open('GET', '/x')).rejects.toThrow('The server answered 502');
    await expect(http.open('GET', '/x')).rejects.toBeInstanceOf(Failure);
  });
});

describe('tokens', () => {
  beforeEach(() => {
    sessionStorage.clear();
    localStorage.clear();
  });

  it('are kept by the tab, unless asked to stay', () => {
    const tokens = new BrowserTokens();
    tokens.remember(false);
    tokens.save(stored());
    expect([sessionStorage.length, localStorage.length]).toEqual([1, 0]);
    tokens.remember(true);
    tokens.save(stored());
    expect([sessionStorage.length, localStorage.length]).toEqual([0, 1]);
    expect(new BrowserTokens().load()).toEqual(stored());
    tokens.clear();
    expect([sessionStorage.length, localStorage.length]).toEqual([0, 0]);
  });

  it('of the tab come before those of the browser', () => {
    localStorage.setItem('labchat.session', JSON.stringify(stored({ session: 'browser' })));
    sessionStorage.setItem('labchat.session', JSON.stringify(stored({ session: 'tab' })));
    expect(new BrowserTokens().load()?.session).toBe('tab');
  });

  it('of a session in two tabs are renewed by one of them', async () => {
    let last: Promise<unknown> = Promise.resolve();
    const locks = { request: (_: string, work: () => Promise<unknown>) => (last = last.then(work)) };
    vi.stubGlobal('navigator', { locks });
    sessionStorage.setItem('labchat.session', JSON.stringify(stored()));
    answer = ({ path }) => (path === '/api/auth/refresh' ? { status: 200, body: session(2) } : { status: 200, body: {} });
    const tabs = [1, 2].map(() => new Http(new BrowserTokens(), '', () => clock));
    await Promise.all(tabs.map((tab) => tab.call('GET', '/x')));
    expect(asked.map((a) => a.path)).toEqual(['/api/auth/refresh', '/x', '/x']);
  });

  it('that are not understood are none', () => {
    for (const text of ['', 'x', '1', 'null', '{}', '{"session":1,"refresh":2}']) {
      sessionStorage.setItem('labchat.session', text);
      expect(new BrowserTokens().load()).toBeNull();
    }
  });
});
