// What the page does: it joins the store, the services and the socket. Components call these methods and those of the
// parts below (people, groups, account), and nothing else.
import type { WireMe } from '../api/people';
import { Ended, Failure, type Http } from '../api/http';
import { backoff, Socket, type SocketEvents } from '../api/socket';
import * as wire from '../api/wire';
import { Account } from './account';
import { isolate } from './bidi';
import { Contacts } from './contacts';
import { excludes } from './conversation';
import { reason, type Core } from './core';
import { Directory } from './directory';
import { Groups } from './groups';
import { History, named } from './history';
import { Memory } from './memory';
import type { Change, Conversation, ConversationId, Message, Outgoing, Rank, User, UserId } from './model';
import { Sender, type Extras } from './sender';
import { Signals } from './signals';
import { threadOf, type State } from './state';
import type { Store } from './store';
import { gap, heard, lastSeq } from './thread';

export { reason } from './core';

export interface ChatOptions {
  http: Http;
  store: Store;
  connect: () => WebSocket;
  // Where the next session is kept: for the browser, or for this tab.
  remember?: (yes: boolean) => void;
  memory?: (user: UserId) => Memory;
  newId?: () => string;
  device?: string;
}

export class Chat {
  readonly store: Store;
  readonly directory: Directory;
  readonly contacts: Contacts;
  readonly groups: Groups;
  readonly account: Account;
  readonly history: History;
  private readonly http: Http;
  private readonly options: ChatOptions;
  private readonly socket: Socket;
  private readonly sender: Sender;
  private readonly signals: Signals;
  private memory: Memory | null = null;
  // What was begun in a conversation waits here while one looks into another.
  private readonly drafts = new Map<ConversationId, string>();
  private stops: (() => void)[] = [];
  private readonly fetchingConversations = new Map<ConversationId, Promise<Conversation | null>>();
  private resumes = 0;
  private resuming: ReturnType<typeof setTimeout> | undefined;
  private resumePause = 1000;
  private restores = 0;
  private restoring: ReturnType<typeof setTimeout> | undefined;
  private epoch = 0;

  constructor(options: ChatOptions) {
    this.options = options;
    this.store = options.store;
    this.http = options.http;
    const core: Core = {
      http: options.http,
      store: options.store,
      epoch: () => this.epoch,
      send: (frame) => this.socket.send(frame),
      wake: () => this.socket.wake(),
      complain: (error) => this.complain(error),
    };
    this.directory = new Directory(core);
    this.contacts = new Contacts(core, this.directory);
    this.groups = new Groups(core, { need: this.directory.need, select: (id) => this.select(id), askPresence: (id) => this.askPresence(id) });
    this.account = new Account(core, this.directory);
    this.history = new History(core, this.directory.need);
    this.sender = new Sender(core, options.newId);
    this.signals = new Signals(core);
    const events: SocketEvents = {
      link: (link) => this.store.dispatch({ type: 'link', link }),
      up: () => void this.caughtUp(),
      frame: (frame) => this.take(frame),
      ended: () => this.ended(),
    };
    this.socket = new Socket(
      {
        token: (refused) => this.http.token(refused),
        connect: options.connect,
      },
      events,
    );
  }

  // ---- session

  // restore signs in with what this device kept, or shows the sign-in page.
  async restore(): Promise<void> {
    try {
      const { user, role, password } = await this.http.call<WireMe>('GET', '/api/auth/me');
      this.enter(wire.toUser(user), wire.toRank(role), password ?? true);
    } catch (error) {
      if (error instanceof Ended) {
        this.ended();
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
    this.adopt(await this.http.open<wire.WireSession>('POST', path, { name, password, ...this.device() }), remember);
  }

  // otherProvider is the name of another provider that one can sign in with, or null.
  async otherProvider(): Promise<string | null> {
    try {
      const { enabled, name } = await this.http.open<{ enabled: boolean; name?: string }>('GET', '/api/auth/oidc');
      return enabled ? (name ?? 'single sign-on') : null;
    } catch {
      return null; // then there is the password
    }
  }

  // signInWith exchanges the code that the way back from another provider gave, once.
  async signInWith(code: string): Promise<void> {
    const session = await this.http.openHere<wire.WireSession>('POST', '/api/auth/oidc/session', { code, ...this.device() });
    this.http.adopt(session);
    await this.restore(); // it also tells whether there is a password
  }

  // refuse shows the sign-in page with a word about why.
  refuse(notice: string): void {
    this.store.dispatch({ type: 'signed-out', notice });
  }

  private device(): { device?: string } {
    const device = this.options.device?.slice(0, 64);
    return device ? { device } : {};
  }

  private adopt(session: wire.WireSession, remember: boolean): void {
    this.options.remember?.(remember);
    this.http.adopt(session);
    this.enter(wire.toUser(session.user), wire.toRank(session.role), true);
  }

  async signOut(): Promise<void> {
    this.signals.sendReads(); // nothing here remembers it any more
    this.socket.stop();
    try {
      await this.http.call('POST', '/api/auth/logout');
    } catch {
      // The session ends here in any case; the server forgets it when its refresh token ends.
    }
    this.http.signOut();
    this.memory?.forget();
    this.leave();
  }

  // deleteAccount deletes my account. The password is empty where there is none.
  async deleteAccount(password: string): Promise<void> {
    await this.http.call('POST', '/api/auth/delete', { password });
    this.socket.stop();
    this.http.signOut();
    this.memory?.forget();
    this.leave('Your account was deleted.');
  }

  // signedOutElsewhere is for a sign-out in another tab.
  signedOutElsewhere(session: string): void {
    if (this.http.session?.session !== session) return;
    this.memory?.forget();
    this.leave('You signed out in another tab.');
  }

  // ended is for a session that the server does not accept any more. What was typed outlives one that has expired: its
  // user has not asked to leave.
  private ended(): void {
    if (this.store.get().session === 'out') return; // another request has found it out
    const user = this.http.session?.user;
    if (user === undefined) {
      this.leave();
    } else if (this.http.hasExpired()) {
      this.leave('Your session has expired. Sign in again.');
    } else {
      this.memoryOf(user).forget();
      this.leave('You were signed out. Sign in again.');
    }
  }

  private memoryOf(user: UserId): Memory {
    return this.options.memory?.(user) ?? new Memory(user);
  }

  private enter(me: User, rank: Rank, hasPassword: boolean): void {
    this.epoch++;
    this.memory = this.memoryOf(me.id);
    this.memory.forgetOthers();
    this.store.dispatch({ type: 'signed-in', me, rank, hasPassword });
    for (const message of this.memory.outbox()) this.store.dispatch({ type: 'enqueue', message });
    for (const [id, text] of Object.entries(this.memory.drafts())) this.drafts.set(id, text);
    this.stops = [this.store.subscribe(this.saver(this.memory)), this.store.subscribe(this.signals.read)];
    void this.account.loadPreferences();
    this.directory.refresh([me.id]); // with the profile, which a session object does not hold
    this.socket.start();
  }

  private leave(notice?: string): void {
    this.epoch++;
    this.socket.stop();
    for (const stop of this.stops.splice(0)) stop();
    this.memory = null;
    this.sender.forget();
    this.signals.forget();
    this.directory.forget();
    this.history.forget();
    this.fetchingConversations.clear();
    this.drafts.clear();
    this.http.forget();
    this.store.dispatch({ type: 'signed-out', ...(notice ? { notice } : {}) });
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
    this.sender.flush();
    this.signals.up();
    this.contacts.follow();
    this.groups.follow();
    try {
      await this.loadConversations();
    } catch (error) {
      this.complain(error);
    }
    const selected = this.store.get().selected;
    if (selected) await this.open(selected);
  }

  // resumeLater asks once more for what was missed, where the server could not say. Each time it waits longer.
  private resumeLater(): void {
    clearTimeout(this.resuming);
    this.resuming = setTimeout(() => this.resume(), this.resumePause);
    this.resumePause = Math.min(2 * this.resumePause, 30_000);
  }

  private resume(): void {
    clearTimeout(this.resuming);
    const have = Object.entries(this.store.get().threads)
      .filter(([, t]) => t.stored.length > 0 && !t.detached)
      .slice(0, wire.limits.resume)
      .map(([id, t]): [string, number] => [id, lastSeq(t)]);
    if (have.length > 0) this.socket.send({ type: 'resume', id: `r-${++this.resumes}`, have: Object.fromEntries(have) });
  }

  private take(frame: wire.ServerFrame): void {
    switch (frame.type) {
      case 'message':
        this.takeMessage(wire.toMessage(frame.message));
        return;
      case 'presence':
        this.store.dispatch({ type: 'presence', users: { [frame.user]: wire.toPresence(frame, frame.at) } });
        this.directory.need([frame.user]);
        return;
      case 'read':
        if (frame.user === this.store.get().me?.id) this.signals.known(frame.conversation, frame.seq);
        this.store.dispatch({ type: 'read', id: frame.conversation, user: frame.user, seq: frame.seq });
        return;
      case 'typing':
        this.signals.heard(frame.conversation, frame.user, frame.on);
        return;
      case 'notice':
        if (frame.kind === 'contact_gone') this.directory.refresh([frame.user]); // the account may be deleted
        else this.directory.need([frame.user]);
        if (frame.kind.startsWith('invitation')) this.groups.follow();
        else this.contacts.follow();
        return;
      case 'resumed':
        this.resumePause = 1000;
        for (const id of Object.keys(frame.behind ?? {})) void this.history.latest(id);
        return;
      case 'error':
        if (frame.client_id) this.sender.refused(frame.client_id, frame.message, frame.retry ?? false);
        else if (frame.id === `r-${this.resumes}` && frame.retry) this.resumeLater();
        return;
    }
  }

  private takeMessage(message: Message): void {
    const s = this.store.get();
    const me = s.me;
    if (!me) return;
    if (message.sender === me.id) this.sender.acknowledged(message.clientId);
    if (message.event?.type === 'member_left') this.directory.refresh(message.event.users); // the account may be deleted
    this.directory.need(named(message));
    const known = s.conversations[message.conversation];
    if (excludes(message, me.id)) {
      // An old copy of this event may come again after one has been let back in.
      if (!known || message.seq <= known.lastSeq) return;
      const notice = message.sender === me.id ? undefined : `You were removed from “${isolate(known.title)}”.`;
      this.store.dispatch({ type: 'conversation-gone', id: message.conversation, ...(notice ? { notice } : {}) });
      return;
    }
    this.store.dispatch({ type: 'message', message });
    if (!known) void this.loadConversation(message.conversation);
    if (gap(threadOf(this.store.get(), message.conversation))) void this.history.fillGap(message.conversation);
    // Presence comes by frames only for those one shares a conversation with: ask when that has just begun.
    if (message.event || message.seq === 1) this.askPresence(message.conversation);
    // A group that was opened before it had its first event had no history to show then.
    const { selected, threads } = this.store.get();
    const t = threads[message.conversation];
    if (selected === message.conversation && t && !t.opened && !t.loading) void this.history.latest(selected);
  }

  // ---- writing

  // say shows the message at once and sends it; it stays `sending` until the server has stored it.
  say(conversation: ConversationId, text: string, extras?: Extras): void {
    this.setDraft(conversation, '');
    this.signals.said(conversation);
    if (threadOf(this.store.get(), conversation).detached) void this.history.latest(conversation);
    this.sender.say(conversation, text, extras);
  }

  // change edits, deletes or reacts; it shows at once, too.
  change(conversation: ConversationId, change: Change): void {
    this.sender.change(conversation, change);
  }

  retry(message: Outgoing): void {
    this.sender.retry(message);
  }

  discard(message: Outgoing): void {
    this.sender.discard(message);
  }

  // write is for each change of what stands in the composer.
  write(conversation: ConversationId, text: string): void {
    this.setDraft(conversation, text);
    this.signals.writing(conversation, text);
  }

  draft(conversation: ConversationId): string {
    return this.drafts.get(conversation) ?? '';
  }

  private setDraft(conversation: ConversationId, text: string): void {
    if (text === '') this.drafts.delete(conversation);
    else this.drafts.set(conversation, text);
    this.memory?.setDrafts(this.drafts);
  }

  setAway(away: boolean): void {
    this.signals.setAway(away);
  }

  // ---- conversations

  private async loadConversations(): Promise<void> {
    const epoch = this.epoch;
    const { position } = this.socket;
    const list: Conversation[] = [];
    for (let next: string | undefined = ''; next !== undefined; ) {
      const query = new URLSearchParams({ ...(position && { position }), ...(next && { cursor: next }) });
      const page: wire.ConversationPage = await this.http.call('GET', `/api/conversations?${query.toString()}`);
      if (epoch !== this.epoch) return;
      list.push(...(page.conversations ?? []).map((c) => this.marked(wire.toConversation(c))));
      next = page.next;
    }
    this.store.dispatch({ type: 'conversations', list });
    this.directory.need(list.flatMap((c) => [...c.members.map((m) => m.user), ...(c.last ? named(c.last) : [])]));
    void this.directory.askPresence(Object.values(this.store.get().conversations).flatMap((c) => c.members.map((m) => m.user)));
  }

  // marked adds what this device remembers of having been read: those who keep that to themselves do not tell the server.
  private marked(c: Conversation): Conversation {
    this.signals.known(c.id, c.readSeq);
    const mark = Math.min(this.memory?.read()?.[c.id] ?? 0, c.lastSeq);
    if (mark <= c.readSeq) return c;
    return { ...c, readSeq: mark, unread: Math.min(c.unread, c.lastSeq - mark) };
  }

  // loadConversation fetches one conversation; null where there is none, or not for this user.
  private loadConversation(id: ConversationId): Promise<Conversation | null> {
    const running = this.fetchingConversations.get(id);
    if (running) return running;
    const epoch = this.epoch;
    const fetching = (async () => {
      try {
        const said = await this.http.call<wire.WireConversation>('GET', `/api/conversations/${encodeURIComponent(id)}?at_least=${heard(threadOf(this.store.get(), id))}`);
        if (epoch !== this.epoch) return null;
        const conversation = this.marked(wire.toConversation(said));
        this.store.dispatch({ type: 'conversation', conversation });
        this.directory.need(conversation.members.map((m) => m.user));
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

  // show opens a conversation at one of its messages.
  async show(id: ConversationId, seq: number): Promise<void> {
    if (this.store.get().selected !== id) this.store.dispatch({ type: 'select', id });
    await this.open(id);
    if (this.store.get().selected === id) await this.history.jump(id, seq);
  }

  // open gets what is needed to show a conversation.
  private async open(id: ConversationId): Promise<void> {
    const s = this.store.get();
    const known = s.conversations[id];
    if (!known) {
      if (!s.loaded) return; // comes again once the list is here
      if ((await this.loadConversation(id)) === null) {
        if (this.store.get().selected === id) this.store.dispatch({ type: 'select', id: null });
        return;
      }
    } else if (!known.reads && known.lastSeq > 0) void this.loadConversation(id); // the list does not say who has read
    const t = threadOf(this.store.get(), id);
    if (!t.opened && !t.loading) await this.history.latest(id);
    this.askPresence(id);
    this.refreshNames(id);
  }

  // refreshNames asks again who those are whose names a conversation shows: they may have changed them, or be deleted. In a group with many, it asks for those
  // who have spoken last.
  private refreshNames(id: ConversationId): void {
    const s = this.store.get();
    const senders = threadOf(s, id).stored.map((m) => m.sender).reverse();
    const members = (s.conversations[id]?.members ?? []).map((m) => m.user);
    this.directory.refresh([...new Set([...senders, ...members])].slice(0, wire.limits.ids));
  }

  // watch says which conversation's end is before somebody's eyes.
  watch(id: ConversationId | null): void {
    if (this.store.get().watching !== id) this.store.dispatch({ type: 'watch', id });
  }

  // askPresence fetches who of a conversation is online.
  askPresence(id: ConversationId): void {
    void this.directory.askPresence((this.store.get().conversations[id]?.members ?? []).map((m) => m.user));
  }

  // startDirect opens the conversation with a user; it comes to be with its first message.
  async startDirect(user: Pick<User, 'id' | 'name'>): Promise<void> {
    const me = this.store.get().me;
    if (!me) return;
    const id = wire.directId(me.id, user.id);
    if (!this.store.get().conversations[id] && (await this.loadConversation(id)) === null) {
      throw new Failure(404, 'not_found', `A conversation with ${user.name} cannot be opened.`);
    }
    this.select(id);
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
