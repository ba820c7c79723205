// Where a session's tokens are kept.
//
// They have to outlive a reload, and are kept in sessionStorage: they end with the tab, a script of another origin never
// sees them, and two tabs can be two people, which is what one wants on a laptop that shows a chat. Those who tick "Stay
// signed in" get localStorage instead: one session for the browser.
//
// The access token stands beside the refresh token, so a page that is loaded again need not refresh. A script that gets
// into the page reads no more than it could before: the refresh token gives new access tokens for weeks, and the access
// token is good for minutes.
//
// A session may stand in several tabs (localStorage, or a duplicated tab, which gets a copy of sessionStorage). Refresh
// tokens rotate, so each tab tells the others of new ones, and one tab refreshes at a time.

export interface Saved {
  readonly session: string;
  readonly user: string;
  readonly refresh: string;
  readonly refreshUntil: number; // ms since the epoch, by this device's clock
  readonly access: string; // empty: the server has refused it
  readonly accessUntil: number;
}

export interface TokenKeeper {
  load(): Saved | null;
  save(saved: Saved): void;
  clear(): void;
  // signOut tells the other tabs that the user has signed out of a session.
  signOut(session: string): void;
  // exclusively runs `work` while no other tab of the session does.
  exclusively<T>(session: string, work: () => Promise<T>): Promise<T>;
}

const key = 'labchat.session';

export class BrowserTokens implements TokenKeeper {
  // Is called where another tab says that the user has signed out of a session.
  onSignOut: (session: string) => void = () => undefined;
  private readonly channel: BroadcastChannel | null;
  private readonly tab: Storage;
  private readonly browser: Storage;

  constructor(tab: Storage = sessionStorage, browser: Storage = localStorage) {
    this.tab = tab;
    this.browser = browser;
    this.channel = typeof BroadcastChannel === 'undefined' ? null : new BroadcastChannel(key);
    this.channel?.addEventListener('message', ({ data }: MessageEvent<{ saved?: unknown; signedOut?: unknown }>) => {
      const saved = read(data.saved);
      if (saved && this.load()?.session === saved.session) this.place().setItem(key, JSON.stringify(saved));
      if (typeof data.signedOut === 'string') this.onSignOut(data.signedOut);
    });
  }

  // remember says where the next save goes: true for the browser, false for this tab.
  remember(yes: boolean): void {
    if (yes) this.tab.removeItem(key);
    (yes ? this.browser : this.tab).setItem(key, 'null');
  }

  load(): Saved | null {
    return parse(this.place().getItem(key));
  }

  save(saved: Saved): void {
    this.place().setItem(key, JSON.stringify(saved));
    this.channel?.postMessage({ saved });
  }

  clear(): void {
    this.place().removeItem(key);
  }

  signOut(session: string): void {
    this.channel?.postMessage({ signedOut: session });
  }

  exclusively<T>(session: string, work: () => Promise<T>): Promise<T> {
    // Pages on plain http have no locks. Then two tabs may refresh at once, and the server gives both the same answer.
    const locks = (navigator as Partial<Navigator>).locks;
    return locks ? (locks.request(`${key}.${session}`, work) as Promise<T>) : work();
  }

  // A tab that has a session of its own keeps it, whatever the browser remembers.
  private place(): Storage {
    if (this.tab.getItem(key) !== null) return this.tab;
    return this.browser.getItem(key) !== null ? this.browser : this.tab;
  }
}

function parse(text: string | null): Saved | null {
  if (text === null) return null;
  try {
    return read(JSON.parse(text));
  } catch {
    return null;
  }
}

function read(value: unknown): Saved | null {
  if (typeof value !== 'object' || value === null) return null;
  const { session, user, refresh, refreshUntil, access, accessUntil } = value as Partial<Saved>;
  const texts = [session, user, refresh, access].every((v) => typeof v === 'string');
  const times = [refreshUntil, accessUntil].every((v) => typeof v === 'number');
  return texts && times ? (value as Saved) : null;
}
