// Where a session's refresh token is kept.
//
// The access token lives in memory only. The refresh token has to outlive a reload, and is kept in sessionStorage: it
// ends with the tab, a script of another origin never sees it, and two tabs can be two people, which is what one wants
// on a laptop that shows a chat. Those who tick "Stay signed in" get localStorage instead: one session for the browser.
//
// A session may stand in several tabs (localStorage, or a duplicated tab, which gets a copy of sessionStorage). Refresh
// tokens rotate, so each tab tells the others of a new one.

export interface Saved {
  readonly session: string;
  readonly refresh: string;
}

export interface TokenKeeper {
  load(): Saved | null;
  save(saved: Saved): void;
  clear(): void;
}

const key = 'labchat.session';

export class BrowserTokens implements TokenKeeper {
  private readonly channel: BroadcastChannel | null;
  private readonly tab: Storage;
  private readonly browser: Storage;

  constructor(tab: Storage = sessionStorage, browser: Storage = localStorage) {
    this.tab = tab;
    this.browser = browser;
    this.channel = typeof BroadcastChannel === 'undefined' ? null : new BroadcastChannel(key);
    this.channel?.addEventListener('message', (event: MessageEvent<unknown>) => {
      const saved = read(event.data);
      if (saved && this.load()?.session === saved.session) this.place().setItem(key, JSON.stringify(saved));
    });
  }

  // remember says where the next save goes: true for the browser, false for this tab.
  remember(yes: boolean): void {
    this.clear();
    if (yes) this.browser.setItem(key, 'null');
    else this.tab.setItem(key, 'null');
  }

  load(): Saved | null {
    return parse(this.place().getItem(key));
  }

  save(saved: Saved): void {
    this.place().setItem(key, JSON.stringify(saved));
    this.channel?.postMessage(saved);
  }

  clear(): void {
    this.place().removeItem(key);
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
  const { session, refresh } = value as Partial<Saved>;
  return typeof session === 'string' && typeof refresh === 'string' ? { session, refresh } : null;
}
