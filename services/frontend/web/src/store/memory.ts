// What this browser remembers of a user between two loads of the page: how far each conversation was read (the server
// knows too, but not from those who keep it to themselves, and not at once), and in each tab what was typed there: drafts,
// and the outbox of what is not acknowledged.
//
// A sign-out clears all of it, and so does the server when it ends the session. After a session that expired, what was
// typed stays in its tab for the same user, until somebody else signs in there.
import type { ConversationId, Outgoing, UserId } from './model';

const outboxPrefix = 'labchat.outbox.';
const draftsPrefix = 'labchat.drafts.';

export class Memory {
  private readonly user: UserId;
  private readonly lasting: Storage;
  private readonly tab: Storage;

  constructor(user: UserId, lasting: Storage = localStorage, tab: Storage = sessionStorage) {
    this.user = user;
    this.lasting = lasting;
    this.tab = tab;
  }

  // read is null where this browser has never shown this user's conversations.
  read(): Record<ConversationId, number> | null {
    const value = load(this.lasting, this.readKey());
    if (typeof value !== 'object' || value === null) return null;
    return Object.fromEntries(Object.entries(value).filter((e): e is [string, number] => typeof e[1] === 'number'));
  }

  setRead(read: Readonly<Record<ConversationId, number>>): void {
    store(this.lasting, this.readKey(), read);
  }

  outbox(): readonly Outgoing[] {
    const value = load(this.tab, this.outboxKey());
    return Array.isArray(value) ? value.filter(isOutgoing) : [];
  }

  setOutbox(outbox: readonly Outgoing[]): void {
    if (outbox.length === 0) this.tab.removeItem(this.outboxKey());
    else store(this.tab, this.outboxKey(), outbox);
  }

  drafts(): Record<ConversationId, string> {
    const value = load(this.tab, this.draftsKey());
    if (typeof value !== 'object' || value === null) return {};
    return Object.fromEntries(Object.entries(value).filter((e): e is [string, string] => typeof e[1] === 'string'));
  }

  setDrafts(drafts: ReadonlyMap<ConversationId, string>): void {
    if (drafts.size === 0) this.tab.removeItem(this.draftsKey());
    else store(this.tab, this.draftsKey(), Object.fromEntries(drafts));
  }

  // forget removes all that is here of the user.
  forget(): void {
    this.lasting.removeItem(this.readKey());
    this.tab.removeItem(this.outboxKey());
    this.tab.removeItem(this.draftsKey());
  }

  // forgetOthers removes what others typed in this tab.
  forgetOthers(): void {
    const keys = Array.from({ length: this.tab.length }, (_, n) => this.tab.key(n) ?? '');
    for (const key of keys) {
      const typed = key.startsWith(outboxPrefix) || key.startsWith(draftsPrefix);
      if (typed && key !== this.outboxKey() && key !== this.draftsKey()) this.tab.removeItem(key);
    }
  }

  private readKey(): string {
    return `labchat.read.${this.user}`;
  }

  private outboxKey(): string {
    return outboxPrefix + this.user;
  }

  private draftsKey(): string {
    return draftsPrefix + this.user;
  }
}

function load(storage: Storage, key: string): unknown {
  try {
    return JSON.parse(storage.getItem(key) ?? 'null');
  } catch {
    return null;
  }
}

function store(storage: Storage, key: string, value: unknown): void {
  try {
    storage.setItem(key, JSON.stringify(value));
  } catch {
    // The storage is full or forbidden: the page works on, and forgets this when it is closed.
  }
}

function isOutgoing(value: unknown): value is Outgoing {
  if (typeof value !== 'object' || value === null) return false;
  const o = value as Partial<Outgoing>;
  return (
    typeof o.conversation === 'string' &&
    typeof o.clientId === 'string' &&
    typeof o.text === 'string' &&
    typeof o.at === 'number' &&
    (o.state === 'sending' || o.state === 'failed')
  );
}
