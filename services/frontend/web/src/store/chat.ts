// What the page does: it joins the store, the services and the socket. Components call these methods and nothing else.
import { Ended, Failure, type Http } from '../api/http';
import { backoff, Socket, type SocketEvents } from '../api/socket';
import * as wire from '../api/wire';
import { Memory } from './memory';
import type { Conversation, ConversationId, Message, Outgoing, Presence, User, UserId } from './model';
import { excludes, threadOf, type State } from './state';
import type { Store } from './store';
import { gap, lastSeq } from './thread';

export interface ChatOptions {
  http: Http;
  store: Store;
  connect: (ticket: string) => WebSocket;
  // Where the next session is kept: for the browser, or for this tab.
  remember?: (yes: boolean) => void;
  memory?: (user: UserId) => Memory;
  newId?: () => string;
  device?: string;
}

// An acknowledgement is waited for this long before the message is sent again, and so many times in all.
const ackWithin = 8_000;
const sendAttempts = 5;
const retryWithin = 1_000;

export class Chat {
  readonly store: Store;
  // What was begun in a conversation waits here while one looks into another.
  readonly drafts = new Map<ConversationId, string>();
  private readonly http: Http;
  private readonly options: ChatOptions;
  private readonly socket: Socket;
  private memory: Memory | null = null;
  private stopSaving: (() => void) | null = null;
  // By client id: the timer of a message that waits for its acknowledgement.
  private readonly waiting = new Map<string, { timer: ReturnType<typeof setTimeout>; attempts: number }>();
  private readonly fetchingUsers = new Set<UserId>();
  private readonly fetchingConversations = new Map<ConversationId, Promise<Conversation | null>>();
  private readonly fillingGaps = new Set<ConversationId>();
  private resumes = 0;
  private restores = 0;
  private restoring: ReturnType<typeof setTimeout> | undefined;
  // Counts sessions: an answer to a request of an earlier one is not applied.
  private epoch = 0;

  constructor(options: ChatOptions) {
    this.options = options;
    this.store = options.store;
    this.http = options.http;
    const events: SocketEvents = {
      link: (link) => this.store.dispatch({ type: 'link', link }),
      up: () => void this.caughtUp(),
      frame: (frame) => this.take(frame),
      ended: () => this.ended(),
    };
    this.socket = new Socket(
      {
        ticket: async () => (await this.http.call<{ ticket: string }>('POST', '/api/ws/ticket')).ticket,
        connect: options.connect,
      },
      events,
    );
  }

  // ---- session

  // restore signs in with what this device kept, or shows the sign-in page.
  async restore(): Promise<void> {
    try {
      const { user } = await this.http.call<{ user: wire.WireUser }>('GET', '/api/auth/me');
      this.enter(wire.toUser(user));
    } catch (error) {
      if (error instanceof Ended) {
        this.http.forget();
        this.store.dispatch({ type: 'signed-out' });
        return;
      }
      // The services are away and the session may be fine: keep it, say so, and try again.
      this.store.dispatch({ type: 'notice', notice: reason(error) });
      clearTimeout(this.restoring);
      this.restoring = setTimeout(() => void this.restore(), backoff(this.restores++, Math.random));
    }
  }

  async signIn(name: string, password: string, remember: boolean): Promise<void> {
    await this.begin('/api/auth/login', name, password, remember);
  }

  async register(name: string, password: string, remember: boolean): Promise<void> {
    await this.begin('/api/auth/register', name, password, remember);
  }

  private async begin(path: string, name: string, password: string, remember: boolean): Promise<void> {
    const device = this.options.device?.slice(0, 64);
    const session = await this.http.open<wire.WireSession>('POST', path, { name, password, ...(device ? { device } : {}) });
    this.options.remember?.(remember);
    this.http.adopt(session);
    const user = wire.toUser(session.user);
    // Nobody can have written to a user who is new, so this device knows all that was read: nothing.
    if (path.endsWith('/register')) this.memoryOf(user.id).setRead({});
    this.enter(user);
  }

  async signOut(): Promise<void> {
    this.socket.stop();
    try {
      await this.http.call('POST', '/api/auth/logout');
    } catch {
      // The session ends here in any case; the server forgets it when its refresh token ends.
    }
    this.leave();
  }

  private ended(): void {
    this.leave('You were signed out. Sign in again.');
  }

  private enter(me: User): void {
    this.epoch++;
    this.memory = this.memoryOf(me.id);
    this.store.dispatch({ type: 'signed-in', me });
    for (const message of this.memory.outbox()) this.store.dispatch({ type: 'enqueue', message });
    this.stopSaving = this.store.subscribe(this.saver(this.memory));
    this.socket.start();
  }

  private leave(notice?: string): void {
    this.epoch++;
    this.socket.stop();
    this.stopSaving?.();
    this.stopSaving = null;
    this.memory = null;
    for (const { timer } of this.waiting.values()) clearTimeout(timer);
    this.waiting.clear();
    this.fetchingUsers.clear();
    this.fetchingConversations.clear();
    this.fillingGaps.clear();
    this.drafts.clear();
    this.http.forget();
    this.store.dispatch({ type: 'signed-out', ...(notice ? { notice } : {}) });
  }

  private memoryOf(user: UserId): Memory {
    return this.options.memory?.(user) ?? new Memory(user);
  }

  // saver writes read marks and the outbox when they changed.
  private saver(memory: Memory): () => void {
    let conversations: State['conversations'] | null = null;
    let threads: State['threads'] | null = null;
    return () => {
      const s = this.store.get();
      if (s.session !== 'in') return;
      if (s.loaded && s.conversations !== conversations) {
        conversations = s.conversations;
        const marks = { ...memory.read() };
        for (const c of Object.values(conversations)) marks[c.id] = Math.max(c.readSeq, marks[c.id] ?? 0);
        memory.setRead(marks);
      }
      if (s.threads !== threads) {
        threads = s.threads;
        memory.setOutbox(Object.values(threads).flatMap((t) => t.outbox));
      }
    };
  }

  // ---- connection

  // wake tries at once instead of waiting for the next attempt.
  wake(): void {
    if (this.store.get().session === 'restoring') {
      clearTimeout(this.restoring);
      void this.restore();
      return;
    }
    this.socket.wake();
  }

  // caughtUp asks for all that this device may have missed, then sends what is not acknowledged.
  private async caughtUp(): Promise<void> {
    this.resume();
    this.flush();
    try {
      await this.loadConversations();
    } catch (error) {
      this.complain(error);
    }
    const selected = this.store.get().selected;
    if (selected) await this.open(selected);
  }

  private resume(): void {
    const have = Object.entries(this.store.get().threads)
      .filter(([, t]) => t.stored.length > 0)
      .slice(0, wire.limits.resume)
      .map(([id, t]): [string, number] => [id, lastSeq(t)]);
    if (have.length > 0) this.socket.send({ type: 'resume', id: `r-${++this.resumes}`, have: Object.fromEntries(have) });
  }

  private take(frame: wire.ServerFrame): void {
    switch (frame.type) {
      case 'message':
        this.takeMessage(wire.toMessage(frame.message));
        return;
      case 'presence': {
        const at = wire.toTime(frame.at);
        this.store.dispatch({ type: 'presence', users: { [frame.user]: { online: frame.online, ...(at ? { lastSeen: at } : {}) } } });
        this.needUsers([frame.user]);
        return;
      }
      case 'resumed':
        for (const id of Object.keys(frame.behind ?? {})) void this.latest(id);
        return;
      case 'error':
        if (frame.client_id) this.refused(frame.client_id, frame.message, frame.retry ?? false);
        return;
    }
  }

  private takeMessage(message: Message): void {
    const s = this.store.get();
    const me = s.me;
    if (!me) return;
    if (message.sender === me.id) this.acknowledged(message.clientId);
    this.needUsers(mentioned(message));
    const known = s.conversations[message.conversation];
    if (excludes(message, me.id)) {
      // An old copy of this event may come again after one has been let back in.
      if (!known || message.seq <= known.lastSeq) return;
      const notice = message.sender === me.id ? undefined : `You were removed from “${known.title}”.`;
      this.store.dispatch({ type: 'conversation-gone', id: message.conversation, ...(notice ? { notice } : {}) });
      return;
    }
    this.store.dispatch({ type: 'message', message });
    if (!known) void this.loadConversation(message.conversation);
    if (gap(threadOf(this.store.get(), message.conversation))) void this.fillGap(message.conversation);
    // Presence comes by frames only for those one shares a conversation with: ask when that has just begun.
    if (message.event || message.seq === 1) this.askPresence(message.conversation);
    // A group that was opened before it had its first event had no history to show then.
    const { selected, threads } = this.store.get();
    const t = threads[message.conversation];
    if (selected === message.conversation && t && !t.opened && !t.loading) void this.latest(selected);
  }

  // ---- sending

  // say shows the message at once and sends it; it stays `sending` until the server has stored it.
  say(conversation: ConversationId, text: string): void {
    const message: Outgoing = {
      conversation,
      clientId: this.options.newId?.() ?? randomId(),
      text,
      at: Date.now(),
      state: 'sending',
    };
    this.store.dispatch({ type: 'enqueue', message });
    this.transmit(message, 1);
  }

  retry(message: Outgoing): void {
    this.store.dispatch({ type: 'retry', id: message.conversation, clientId: message.clientId });
    this.transmit(message, 1);
    this.socket.wake();
  }

  discard(message: Outgoing): void {
    this.acknowledged(message.clientId); // stops waiting for it
    this.store.dispatch({ type: 'discard', id: message.conversation, clientId: message.clientId });
  }

  // flush sends all that waits, in the order in which it was written.
  private flush(): void {
    Object.values(this.store.get().threads)
      .flatMap((t) => t.outbox)
      .filter((o) => o.state === 'sending')
      .sort((a, b) => a.at - b.at)
      .forEach((o) => this.transmit(o, 1));
  }

  private transmit(message: Outgoing, attempts: number): void {
    this.acknowledged(message.clientId);
    const { conversation, clientId, text } = message;
    // Without a connection the message waits; the next one flushes it.
    if (!this.socket.send({ type: 'send', conversation, client_id: clientId, body: text })) return;
    this.waitFor(message, attempts, ackWithin);
  }

  private waitFor(message: Outgoing, attempts: number, ms: number): void {
    const timer = setTimeout(() => {
      this.waiting.delete(message.clientId);
      if (attempts < sendAttempts) this.transmit(message, attempts + 1);
      else this.failed(message, 'The server did not confirm this message.');
    }, ms);
    this.waiting.set(message.clientId, { timer, attempts });
  }

  private refused(clientId: string, why: string, mayRetry: boolean): void {
    const attempts = this.waiting.get(clientId)?.attempts ?? sendAttempts;
    this.acknowledged(clientId);
    const message = Object.values(this.store.get().threads)
      .flatMap((t) => t.outbox)
      .find((o) => o.clientId === clientId);
    if (!message) return;
    if (mayRetry && attempts < sendAttempts) this.waitFor(message, attempts, retryWithin * 2 ** (attempts - 1));
    else this.failed(message, reason(why));
  }

  private failed(message: Outgoing, why: string): void {
    this.store.dispatch({ type: 'failed', id: message.conversation, clientId: message.clientId, reason: why });
  }

  private acknowledged(clientId: string): void {
    clearTimeout(this.waiting.get(clientId)?.timer);
    this.waiting.delete(clientId);
  }

  // ---- conversations and history

  private async loadConversations(): Promise<void> {
    const epoch = this.epoch;
    const { conversations } = await this.http.call<{ conversations: wire.WireConversation[] | null }>('GET', '/api/conversations');
    if (epoch !== this.epoch) return;
    const list = conversations ?? [];
    const marks = this.memory?.read() ?? null;
    // On a browser that is new to this user nothing is known to be unread, and a wall of numbers would be no help.
    const mark = (c: wire.WireConversation) => (marks ? (marks[c.id] ?? 0) : c.last_seq);
    this.store.dispatch({ type: 'conversations', list: list.map((c) => wire.toConversation(c, mark(c))) });
    const s = this.store.get();
    this.needUsers(list.flatMap((c) => [...(c.members ?? []).map((m) => m.user), ...(c.last_message ? mentioned(wire.toMessage(c.last_message)) : [])]));
    void this.fetchPresence(Object.values(s.conversations).flatMap((c) => c.members.map((m) => m.user)));
  }

  // loadConversation fetches one conversation; null where there is none, or not for this user.
  private loadConversation(id: ConversationId): Promise<Conversation | null> {
    const running = this.fetchingConversations.get(id);
    if (running) return running;
    const epoch = this.epoch;
    const fetching = (async () => {
      try {
        const said = await this.http.call<wire.WireConversation>('GET', `/api/conversations/${encodeURIComponent(id)}`);
        if (epoch !== this.epoch) return null;
        const conversation = wire.toConversation(said, this.memory?.read()?.[id] ?? 0);
        this.store.dispatch({ type: 'conversation', conversation });
        this.needUsers(conversation.members.map((m) => m.user));
        this.askPresence(id);
        return conversation;
      } catch (error) {
        if (!(error instanceof Failure && (error.status === 404 || error.status === 403))) this.complain(error);
        return null;
      } finally {
        this.fetchingConversations.delete(id);
      }
    })();
    this.fetchingConversations.set(id, fetching);
    return fetching;
  }

  select(id: ConversationId | null): void {
    this.store.dispatch({ type: 'select', id });
    if (id && this.store.get().session === 'in') void this.open(id);
  }

  // open gets what is needed to show a conversation.
  private async open(id: ConversationId): Promise<void> {
    const s = this.store.get();
    if (!s.conversations[id]) {
      if (!s.loaded) return; // comes again once the list is here
      if ((await this.loadConversation(id)) === null) {
        if (this.store.get().selected === id) this.store.dispatch({ type: 'select', id: null });
        return;
      }
    }
    const t = threadOf(this.store.get(), id);
    if (!t.opened && !t.loading) await this.latest(id);
    this.askPresence(id);
  }

  private async latest(id: ConversationId): Promise<void> {
    await this.history(id, '', (page, more) => ({ type: 'latest', id, page, complete: !more }));
    if (gap(threadOf(this.store.get(), id))) await this.fillGap(id);
  }

  async loadOlder(id: ConversationId): Promise<void> {
    const t = threadOf(this.store.get(), id);
    const first = t.stored[0]?.seq;
    if (t.complete || t.loading || !t.opened || first === undefined) return;
    await this.history(id, `&before=${first}`, (page, more) => ({ type: 'older', id, page, complete: !more }));
  }

  private async fillGap(id: ConversationId): Promise<void> {
    if (this.fillingGaps.has(id)) return;
    this.fillingGaps.add(id);
    try {
      for (let hole = gap(threadOf(this.store.get(), id)); hole; hole = gap(threadOf(this.store.get(), id))) {
        const after = hole.after;
        const ok = await this.history(
          id,
          `&after=${after}`,
          (page, more) => ({ type: 'filled', id, after, page, more }),
          wire.limits.gapPage,
        );
        if (!ok) return; // the next message or the next connection tries again
      }
    } finally {
      this.fillingGaps.delete(id);
    }
  }

  // history fetches a page and applies it; false where it could not.
  private async history(
    id: ConversationId,
    where: string,
    action: (page: readonly Message[], more: boolean) => Parameters<Store['dispatch']>[0],
    limit: number = wire.limits.page,
  ): Promise<boolean> {
    const epoch = this.epoch;
    this.store.dispatch({ type: 'loading', id, loading: true });
    try {
      const path = `/api/messages?conversation=${encodeURIComponent(id)}&limit=${limit}${where}`;
      const { messages, more } = await this.http.call<{ messages: wire.WireMessage[] | null; more: boolean }>('GET', path);
      if (epoch !== this.epoch) return false;
      const page = (messages ?? []).map(wire.toMessage);
      this.needUsers(page.flatMap(mentioned));
      this.store.dispatch(action(page, more));
      this.store.dispatch({ type: 'loading', id, loading: false });
      return true;
    } catch (error) {
      if (epoch !== this.epoch) return false;
      this.store.dispatch({ type: 'loading', id, loading: false });
      if (!(error instanceof Failure && error.status === 404)) this.complain(error);
      return false;
    }
  }

  // watch says which conversation's end is before somebody's eyes.
  watch(id: ConversationId | null): void {
    if (this.store.get().watching !== id) this.store.dispatch({ type: 'watch', id });
  }

  // ---- people

  // findUsers gives at most 20 users whose name begins with `start`.
  async findUsers(start: string): Promise<readonly User[]> {
    const { users } = await this.http.call<{ users: wire.WireUser[] | null }>('GET', `/api/auth/users?q=${encodeURIComponent(start)}`);
    return this.learned(users ?? []);
  }

  // findUser gives the user of that very name, or null.
  async findUser(name: string): Promise<User | null> {
    const { users } = await this.http.call<{ users: wire.WireUser[] | null }>('GET', `/api/auth/users?name=${encodeURIComponent(name)}`);
    return this.learned(users ?? [])[0] ?? null;
  }

  private learned(list: readonly wire.WireUser[]): readonly User[] {
    const users = list.map(wire.toUser);
    if (users.length > 0) this.store.dispatch({ type: 'users', users });
    return users;
  }

  // needUsers fetches the names that are not known yet.
  private needUsers(ids: readonly UserId[]): void {
    const known = this.store.get().users;
    const missing = [...new Set(ids)].filter((id) => id && !known[id] && !this.fetchingUsers.has(id));
    for (const chunk of chunks(missing)) {
      for (const id of chunk) this.fetchingUsers.add(id);
      const epoch = this.epoch;
      void this.http
        .call<{ users: wire.WireUser[] | null }>('GET', `/api/auth/users?ids=${chunk.map(encodeURIComponent).join(',')}`)
        .then(({ users }) => {
          if (epoch === this.epoch) this.learned(users ?? []);
        })
        .catch((error: unknown) => this.complain(error))
        .finally(() => {
          for (const id of chunk) this.fetchingUsers.delete(id);
        });
    }
  }

  // askPresence fetches who of a conversation is online.
  askPresence(id: ConversationId): void {
    void this.fetchPresence((this.store.get().conversations[id]?.members ?? []).map((m) => m.user));
  }

  private async fetchPresence(ids: readonly UserId[]): Promise<void> {
    const epoch = this.epoch;
    for (const chunk of chunks([...new Set(ids)])) {
      try {
        const { presence } = await this.http.call<{ presence: wire.WirePresence[] | null }>(
          'GET',
          `/api/presence?ids=${chunk.map(encodeURIComponent).join(',')}`,
        );
        if (epoch !== this.epoch) return;
        const users: Record<UserId, Presence> = {};
        for (const p of presence ?? []) {
          const seen = wire.toTime(p.seen);
          users[p.user] = { online: p.online, ...(seen ? { lastSeen: seen } : {}) };
        }
        this.store.dispatch({ type: 'presence', users });
      } catch {
        return; // dots are a courtesy: the next frame or the next connection brings them
      }
    }
  }

  // startDirect opens the conversation with a user; it comes to be with its first message.
  async startDirect(user: User): Promise<void> {
    const me = this.store.get().me;
    if (!me) return;
    const id = wire.directId(me.id, user.id);
    if (!this.store.get().conversations[id] && (await this.loadConversation(id)) === null) {
      throw new Failure(404, 'not_found', `A conversation with ${user.name} cannot be opened.`);
    }
    this.select(id);
  }

  // ---- groups

  async createGroup(title: string, members: readonly UserId[]): Promise<void> {
    const group = await this.http.call<wire.WireGroup>('POST', '/api/groups', { title, members });
    // The group's first event brings it too, in its time; one need not wait for it.
    const joined = wire.toMembers(group.members);
    if (!this.store.get().conversations[group.id]) {
      this.store.dispatch({
        type: 'conversation',
        conversation: { id: group.id, kind: 'group', title: group.title, members: joined, firstSeq: 1, lastSeq: 0, readSeq: 0 },
      });
    }
    this.needUsers(joined.map((m) => m.user));
    this.select(group.id);
  }

  async renameGroup(id: ConversationId, title: string): Promise<void> {
    this.takeGroup(await this.http.call<wire.WireGroup>('PATCH', groupPath(id), { title }));
  }

  async addMember(id: ConversationId, user: UserId): Promise<void> {
    this.takeGroup(await this.http.call<wire.WireGroup>('POST', `${groupPath(id)}/members`, { user }));
  }

  async removeMember(id: ConversationId, user: UserId): Promise<void> {
    this.takeGroup(await this.http.call<wire.WireGroup>('DELETE', `${groupPath(id)}/members/${encodeURIComponent(user)}`));
  }

  async leaveGroup(id: ConversationId): Promise<void> {
    await this.http.call('POST', `${groupPath(id)}/leave`);
    this.store.dispatch({ type: 'conversation-gone', id });
  }

  private takeGroup(group: wire.WireGroup): void {
    this.store.dispatch({ type: 'group', id: group.id, title: group.title, members: wire.toMembers(group.members) });
    this.needUsers(group.members.map((m) => m.user));
    this.askPresence(group.id);
  }

  // ---- notices

  notify(notice: string | null): void {
    this.store.dispatch({ type: 'notice', notice });
  }

  // complain shows what went wrong, where nobody who called can.
  private complain(error: unknown): void {
    if (error instanceof Ended) this.ended();
    // While the connection is down the banner says so already.
    else if (!(error instanceof Failure && error.status === 0)) this.notify(reason(error));
  }
}

const groupPath = (id: ConversationId): string => `/api/groups/${encodeURIComponent(id)}`;

// mentioned is everybody whose name is needed to show a message.
const mentioned = (m: Message): UserId[] => [m.sender, ...(m.event && 'users' in m.event ? m.event.users : [])];

// reason is what went wrong, as a sentence: the services' messages are parts of sentences.
export function reason(error: unknown): string {
  const text = (error instanceof Error ? error.message : String(error)).trim();
  const end = /[.!?…]$/.test(text) ? '' : '.';
  return text.charAt(0).toUpperCase() + text.slice(1) + end;
}

function chunks<T>(list: readonly T[]): T[][] {
  const out: T[][] = [];
  for (let i = 0; i < list.length; i += wire.limits.ids) out.push(list.slice(i, i + wire.limits.ids));
  return out;
}

// randomId works on plain http too, where crypto.randomUUID is not to be had.
function randomId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (b) => b.toString(16).padStart(2, '0')).join('');
}
