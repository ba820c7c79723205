// The services of docs/protocol.md in memory, as far as the page uses them, for tests only. It follows the protocol's
// rules (order, idempotence, membership), and can be told to misbehave: to lose frames, connections and answers.
import { react } from '../store/change';
import type { ClientFrame, ConversationPage, ServerFrame, WireConversation, WireGroup, WireMessage, WirePresence, WireSession, WireUser } from '../api/wire';

interface Account extends WireUser {
  password: string;
}

interface Room {
  id: string;
  kind: 'direct' | 'group';
  title: string;
  members: { user: string; role: 'owner' | 'admin' | 'member' }[];
  read: Map<string, number>; // by user
  first: Map<string, number>; // by user, the first seq that they may see
  messages: WireMessage[];
  version: number;
}

export interface FakeLink {
  user: string;
  session: string;
  // Gives a frame to the client.
  deliver: (frame: ServerFrame) => void;
  // Closes the connection from the server's side.
  close: (code: number) => void;
}

class Refusal extends Error {
  readonly status: number;
  readonly code: string;
  constructor(status: number, code: string, message = code) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

export class FakeServer {
  readonly users = new Map<string, Account>();
  readonly rooms = new Map<string, Room>();
  readonly links = new Set<FakeLink>();
  readonly requests: string[] = [];
  readonly frames: ClientFrame[] = [];
  // Knobs.
  down = false;
  // How many times the next resumes are answered by an error.
  failResumes = 0;
  dropFrame: (frame: ServerFrame, to: string) => boolean = () => false;
  refuseSend: ((frame: ClientFrame & { client_id: string }) => { code: string; retry: boolean } | null) | null = null;
  refuseRequest: (request: string) => { status: number; code: string } | null = () => null;
  now: () => number = Date.now;

  readonly contacts = new Map<string, { contacts: { user: string; nickname?: string; since: string }[]; incoming: { user: string; at: string }[]; outgoing: { user: string; at: string }[]; blocked: string[] }>();
  readonly invitations = new Map<string, { id: string; title: string; size: number; by: string; at: string }[]>();
  listSize = 500;
  breakExports = false;
  readonly roles = new Map<string, string>(); // by user; the others are users
  readonly suspended = new Set<string>();
  preferences = { theme: 'system', enter_sends: true, receipts: true, typing: true };

  private readonly sessions = new Map<string, { user: string; access: string; refresh: string }>();
  private count = 0;

  // request answers one HTTP request.
  request(method: string, url: string, headers: Headers, body: string | null): { status: number; body: unknown } {
    const { pathname, searchParams } = new URL(url, 'http://fake');
    this.requests.push(`${method} ${pathname}${url.includes('?') ? `?${searchParams.toString()}` : ''}`);
    if (this.down) return { status: 503, body: { error: { code: 'unavailable', message: 'a part is down' } } };
    try {
      const refusal = this.refuseRequest(`${method} ${pathname}`);
      if (refusal) throw new Refusal(refusal.status, refusal.code);
      return this.route(method, decodeURIComponent(pathname), searchParams, headers, body ? (JSON.parse(body) as Record<string, unknown>) : {});
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      return { status: error.status, body: { error: { code: error.code, message: error.message } } };
    }
  }

  private route(method: string, path: string, query: URLSearchParams, headers: Headers, body: Record<string, unknown>): { status: number; body: unknown } {
    const ok = (answer: unknown, status = 200) => ({ status, body: answer });
    const text = (name: string) => String(body[name] ?? '');
    switch (`${method} ${path}`) {
      case 'POST /api/auth/register': {
        if ([...this.users.values()].some((u) => u.name === text('name'))) throw new Refusal(409, 'name_taken', `the name "${text('name')}" is taken; choose another`);
        return ok(this.begin(this.addUser(text('name'), text('password'))), 201);
      }
      case 'POST /api/auth/login': {
        const user = [...this.users.values()].find((u) => u.name === text('name') && u.password === text('password'));
        if (!user) throw new Refusal(401, 'wrong_credentials', 'the name or the password is wrong');
        return ok(this.begin(user));
      }
      case 'POST /api/auth/refresh': {
        const found = [...this.sessions].find(([, s]) => s.refresh === text('refresh_token'));
        if (!found) throw new Refusal(401, 'session_ended');
        return ok(this.issue(found[0], found[1].user));
      }
    }
    const { user: me, session } = this.authenticate(headers);
    switch (`${method} ${path}`) {
      case 'POST /api/auth/logout':
        this.endSession(session);
        return { status: 204, body: null };
      case 'GET /api/auth/me':
        return ok({ user: this.user(me), role: this.roles.get(me) ?? 'user', session });
      case 'GET /api/auth/preferences':
        return ok(this.preferences);
      case 'PUT /api/auth/preferences':
        this.preferences = body as unknown as typeof this.preferences;
        return ok(this.preferences);
      case 'GET /api/auth/sessions':
        return ok({ sessions: [...this.sessions].filter(([, s]) => s.user === me).map(([id]) => ({ id, device: `device ${id}`, created: this.time(), used: this.time(), expires: this.time(), current: id === session })) });
      case 'DELETE /api/auth/sessions': {
        const others = [...this.sessions].filter(([id, s]) => s.user === me && id !== session);
        for (const [id] of others) this.endSession(id);
        return ok({ ended: others.length });
      }
      case 'POST /api/auth/password': {
        const account = this.users.get(me);
        if (!account || account.password !== text('password')) throw new Refusal(403, 'wrong_password', 'the password is wrong');
        account.password = text('new_password');
        return ok({ ended: 0 });
      }
      case 'POST /api/auth/delete': {
        if (this.users.get(me)?.password !== text('password')) throw new Refusal(403, 'wrong_password', 'the password is wrong');
        this.users.delete(me);
        for (const [id, s] of this.sessions) if (s.user === me) this.endSession(id);
        return { status: 204, body: null };
      }
      case 'GET /api/auth/export':
      case 'GET /api/groups/export':
        return ok({ type: 'end' });
      case 'GET /api/messages/export':
        return ok({ type: this.breakExports ? 'message' : 'end' });
      case 'GET /api/contacts':
        return ok(this.contacts.get(me) ?? { contacts: [], incoming: [], outgoing: [], blocked: [] });
      case 'GET /api/invitations':
        return ok({ invitations: this.invitations.get(me) ?? [] });
      case 'GET /api/messages/search':
        return ok({ messages: [...this.rooms.values()].filter((r) => isMember(r, me)).flatMap((r) => r.messages).filter((m) => m.kind === 'text' && (m.body ?? '').includes(query.get('q') ?? '')), more: false });
      case 'GET /api/auth/users': {
        const all = [...this.users.values()].map(({ id }) => this.user(id));
        const ids = query.get('ids')?.split(',');
        const name = query.get('name');
        const q = query.get('q') ?? '';
        return ok({ users: all.filter((u) => (ids ? ids.includes(u.id) : name !== null ? u.name === name : u.name.startsWith(q))) });
      }
      case 'GET /api/conversations':
        return ok(this.list(me, query.get('cursor') ?? ''));
      case 'GET /api/messages':
        return ok(this.page(me, query));
      case 'GET /api/presence':
        return ok({ presence: (query.get('ids') ?? '').split(',').map((id): WirePresence => ({ user: id, online: this.online(id), state: this.online(id) ? 'online' : 'offline' })) });
      case 'POST /api/groups':
        return ok(groupOf(this.addGroup(me, text('title'), body.members as string[])), 201);
    }
    const ending = /^\/api\/auth\/sessions\/(.+)$/.exec(path)?.[1];
    if (method === 'DELETE' && ending) {
      if (this.sessions.get(ending)?.user !== me) throw new Refusal(404, 'not_found');
      this.endSession(ending);
      return { status: 204, body: null };
    }
    const [, subject, about] = /^\/api\/auth\/users\/([^/]+)(?:\/(profile|suspension))?$/.exec(path) ?? [];
    if (subject) return this.about(me, method, subject, about);
    const conversation = /^\/api\/conversations\/(.+)$/.exec(path)?.[1];
    if (method === 'GET' && conversation) return ok(conversationFor(this.room(conversation, me), me));
    const [, group, part, member] = /^\/api\/groups\/([^/]+)(?:\/(members|leave)(?:\/(.+))?)?$/.exec(path) ?? [];
    if (!group) throw new Refusal(404, 'not_found');
    const room = this.room(group, me);
    if (method === 'POST' && part === 'leave') {
      this.leave(room, me, me);
      return { status: 204, body: null };
    }
    if (method === 'GET' && !part) return ok(groupOf(room));
    if (room.members.find((m) => m.user === me)?.role === 'member') throw new Refusal(403, 'forbidden');
    if (method === 'PATCH' && !part) {
      room.title = text('title');
      this.event(room, me, { type: 'renamed', title: room.title });
    } else if (method === 'POST' && part === 'members') {
      const user = text('user');
      if (!isMember(room, user)) {
        room.members.push({ user, role: 'member' });
        room.first.set(user, room.messages.length + 1);
        this.event(room, me, { type: 'member_added', users: [user] });
      }
    } else if (method === 'DELETE' && member) {
      this.leave(room, me, member);
    } else if (method === 'PUT' && member) {
      const role = text('role') === 'owner' ? 'owner' : text('role') === 'admin' ? 'admin' : 'member';
      room.members = room.members.map((m) => (m.user === member ? { ...m, role } : role === 'owner' && m.role === 'owner' ? { ...m, role: 'admin' } : m));
      this.event(room, me, { type: 'role_changed', users: [member], role, ...(role === 'owner' ? { owner: member } : {}) });
    } else throw new Refusal(405, 'method_not_allowed');
    return ok(groupOf(room));
  }

  // about answers what is asked of a user, or done to one.
  private about(me: string, method: string, id: string, what?: string): { status: number; body: unknown } {
    const account = this.users.get(id);
    if (!account || account.deleted) throw new Refusal(404, 'not_found');
    if (what === 'profile') return { status: 200, body: { user: this.user(id) } };
    if (this.roles.get(me) !== 'admin') throw new Refusal(403, 'forbidden');
    const done = { status: 204, body: null };
    if (method === 'DELETE' && what === 'suspension') {
      this.suspended.delete(id);
      return done;
    }
    const sessions = [...this.sessions].filter(([, s]) => s.user === id);
    for (const [session] of sessions) this.endSession(session);
    if (method === 'PUT' && what === 'suspension') {
      this.suspended.add(id);
      return { status: 200, body: { ended: sessions.length } };
    }
    if (method !== 'DELETE' || what) throw new Refusal(405, 'method_not_allowed');
    this.retire(id);
    return done;
  }

  // retire leaves of a user what is left of a deleted one.
  retire(id: string): void {
    this.users.set(id, { id, name: '', display_name: 'Deleted user', deleted: true, password: '' });
  }

  addUser(name: string, password = 'password'): Account {
    const user = { id: `u-${name}`, name, password };
    this.users.set(user.id, user);
    return user;
  }

  addGroup(owner: string, title: string, members: readonly string[]): Room {
    const all = [owner, ...members];
    const room: Room = {
      id: `g:${++this.count}`,
      kind: 'group',
      title,
      members: all.map((user) => ({ user, role: user === owner ? 'owner' : 'member' })),
      read: new Map(),
      first: new Map(all.map((u) => [u, 1])),
      messages: [],
      version: 1,
    };
    this.rooms.set(room.id, room);
    this.event(room, owner, { type: 'created', title, users: all });
    return room;
  }

  direct(a: string, b: string): Room {
    const [x, y] = a < b ? [a, b] : [b, a];
    const id = `dm:${x}:${y}`;
    let room = this.rooms.get(id);
    if (!room) {
      const members = [x, y].map((user) => ({ user, role: 'member' as const }));
      room = { id, kind: 'direct', title: '', members, read: new Map(), first: new Map([[x, 1], [y, 1]]), messages: [], version: 1 };
      this.rooms.set(id, room);
    }
    return room;
  }

  // say stores a message and delivers it.
  say(room: Room, sender: string, text: string, clientId = `c-${++this.count}`, at = this.now(), more: Partial<WireMessage> = {}): WireMessage {
    const before = room.messages.find((m) => m.sender === sender && m.client_id === clientId);
    if (before) {
      this.toUser(sender, { type: 'message', message: before });
      return before;
    }
    const message: WireMessage = {
      conversation: room.id,
      seq: room.messages.length + 1,
      kind: 'text',
      sender,
      client_id: clientId,
      body: text,
      at: new Date(at).toISOString(),
      ...more,
    };
    room.messages.push(message);
    room.read.set(sender, message.seq);
    for (const m of room.members) this.toUser(m.user, { type: 'message', message });
    return message;
  }

  // change stores a change of a text, applies it and delivers it. The text itself is served as it is now.
  change(room: Room, sender: string, kind: 'edit' | 'delete' | 'reaction', target: number, more: Partial<WireMessage> = {}, clientId = `c-${++this.count}`): WireMessage {
    const before = room.messages.find((m) => m.sender === sender && m.client_id === clientId);
    if (before) {
      this.toUser(sender, { type: 'message', message: before });
      return before;
    }
    const seq = room.messages.length + 1;
    const message: WireMessage = { conversation: room.id, seq, kind, sender, client_id: clientId, at: this.time(), target, ...more };
    room.messages.push(message);
    const at = room.messages[target - 1];
    if (at) {
      const now: WireMessage = { ...at, changed: seq };
      if (kind === 'edit') Object.assign(now, { body: more.body, edited: message.at });
      if (kind === 'delete') Object.assign(now, { body: '', deleted: message.at, reactions: {} });
      if (kind === 'reaction') Object.assign(now, { reactions: react(at.reactions ?? {}, more.emoji ?? '', sender, more.on ?? false) });
      room.messages[target - 1] = now;
    }
    for (const m of room.members) this.toUser(m.user, { type: 'message', message });
    return message;
  }

  // readUp is a user who has read.
  readUp(room: Room, user: string, seq: number): void {
    if ((room.read.get(user) ?? 0) >= seq) return;
    room.read.set(user, seq);
    for (const m of room.members) this.toUser(m.user, { type: 'read', conversation: room.id, user, seq, at: this.time() });
  }

  typing(room: Room, user: string, on: boolean): void {
    for (const m of room.members) if (m.user !== user) this.toUser(m.user, { type: 'typing', conversation: room.id, user, on });
  }

  notice(to: string, kind: string, user: string): void {
    this.toUser(to, { type: 'notice', kind, user });
  }

  private time(): string {
    return new Date(this.now()).toISOString();
  }

  // connect takes the first frame of a socket, the hello; null where its token is no good.
  connect(text: string, deliver: FakeLink['deliver'], close: FakeLink['close']): FakeLink | null {
    const hello = JSON.parse(text) as ClientFrame;
    const found = hello.type === 'hello' ? [...this.sessions].find(([, s]) => s.access === hello.token) : undefined;
    if (!found || this.down) {
      close(this.down ? 1006 : 4402);
      return null;
    }
    const [session, { user }] = found;
    const link: FakeLink = { user, session, deliver, close };
    const wasOnline = this.online(user);
    this.links.add(link);
    this.give(link, { type: 'hello', user, session, connection: `w${++this.count}`, heartbeat_seconds: 25, max_frame: 32768, position: '0:1' });
    if (!wasOnline) this.announce(user, true);
    return link;
  }

  // disconnect is the client's side of the end.
  disconnect(link: FakeLink): void {
    if (this.links.delete(link) && !this.online(link.user)) this.announce(link.user, false);
  }

  // cut ends all connections from the server's side.
  cut(code = 1006): void {
    for (const link of [...this.links]) {
      this.disconnect(link);
      link.close(code);
    }
  }

  take(link: FakeLink, text: string): void {
    const frame = JSON.parse(text) as ClientFrame;
    this.frames.push(frame);
    switch (frame.type) {
      case 'ping':
        this.give(link, { type: 'pong', id: frame.id });
        return;
      case 'resume':
        if (this.failResumes > 0) {
          this.failResumes--;
          this.give(link, { type: 'error', code: 'unavailable', message: 'try again', retry: true, id: frame.id });
          return;
        }
        for (const [id, have] of Object.entries(frame.have)) {
          const room = this.rooms.get(id);
          if (!room || !isMember(room, link.user)) continue;
          const first = room.first.get(link.user) ?? 1;
          for (const message of room.messages) if (message.seq > have && message.seq >= first) this.give(link, { type: 'message', message });
        }
        this.give(link, { type: 'resumed', id: frame.id });
        return;
      case 'read':
      case 'typing': {
        const room = this.rooms.get(frame.conversation);
        if (!room || !isMember(room, link.user)) return;
        if (frame.type === 'read') this.readUp(room, link.user, frame.seq);
        else this.typing(room, link.user, frame.on);
        return;
      }
      case 'send':
      case 'edit':
      case 'delete':
      case 'react': {
        const refusal = this.refuseSend?.(frame);
        if (refusal) {
          this.give(link, { type: 'error', code: refusal.code, message: `refused: ${refusal.code}`, retry: refusal.retry, client_id: frame.client_id, conversation: frame.conversation });
          return;
        }
        const [, a, b] = /^dm:([^:]+):(.+)$/.exec(frame.conversation) ?? [];
        const room = a && b ? this.direct(a, b) : this.rooms.get(frame.conversation);
        if (!room || !isMember(room, link.user)) {
          this.give(link, { type: 'error', code: 'not_member', message: 'you are no member', retry: false, client_id: frame.client_id });
          return;
        }
        if (frame.type === 'send') this.say(room, link.user, frame.body, frame.client_id, this.now(), { ...(frame.reply_to ? { reply_to: frame.reply_to } : {}), ...(frame.mentions ? { mentions: [...frame.mentions] } : {}) });
        else if (frame.type === 'edit') this.change(room, link.user, 'edit', frame.seq, { body: frame.body }, frame.client_id);
        else if (frame.type === 'delete') this.change(room, link.user, 'delete', frame.seq, {}, frame.client_id);
        else this.change(room, link.user, 'reaction', frame.seq, { emoji: frame.emoji, on: frame.on }, frame.client_id);
      }
    }
  }

  // endSession is a log-out, from here or from another device.
  endSession(session: string): void {
    this.sessions.delete(session);
    for (const link of [...this.links]) {
      if (link.session !== session) continue;
      this.disconnect(link);
      link.close(4401);
    }
  }

  // login is a session on another device; knows tells whether it still stands.
  login(name: string): string {
    const user = [...this.users.values()].find((u) => u.name === name);
    if (!user) throw new Error(`nobody is called ${name}`);
    return this.begin(user).session;
  }

  knows(session: string): boolean {
    return this.sessions.has(session);
  }

  private begin(user: Account): WireSession {
    return this.issue(`s${++this.count}`, user.id);
  }

  private issue(session: string, user: string): WireSession {
    const access = `a${++this.count}`;
    const refresh = `r${++this.count}`;
    this.sessions.set(session, { user, access, refresh });
    return { user: this.user(user), role: this.roles.get(user) ?? 'user', session, access_token: access, access_expires_in: 600, refresh_token: refresh, refresh_expires_in: 1000 };
  }

  private authenticate(headers: Headers): { user: string; session: string } {
    const token = headers.get('Authorization')?.replace('Bearer ', '');
    const found = [...this.sessions].find(([, s]) => s.access === token);
    if (!found) throw new Refusal(401, 'unauthenticated');
    return { user: found[1].user, session: found[0] };
  }

  private user(id: string): WireUser {
    const { name = '?', display_name, deleted } = this.users.get(id) ?? {};
    return { id, name, ...(display_name ? { display_name } : {}), ...(deleted ? { deleted } : {}) };
  }

  private online(id: string): boolean {
    return [...this.links].some((l) => l.user === id);
  }

  private announce(user: string, online: boolean): void {
    const peers = new Set([...this.rooms.values()].filter((r) => r.messages.length > 0 && isMember(r, user)).flatMap((r) => r.members.map((m) => m.user)));
    peers.add(user);
    for (const peer of peers) this.toUser(peer, { type: 'presence', user, online, state: online ? 'online' : 'offline', at: new Date(this.now()).toISOString() });
  }

  private room(id: string, me: string): Room {
    const [, a, b] = /^dm:([^:]+):(.+)$/.exec(id) ?? [];
    const room = a && b ? this.direct(a, b) : this.rooms.get(id);
    if (!room || !isMember(room, me)) throw new Refusal(404, 'not_found');
    return room;
  }

  private list(me: string, cursor: string): ConversationPage {
    const rooms = [...this.rooms.values()].filter((r) => r.messages.length > 0 && isMember(r, me) && r.id > cursor).sort((a, b) => (a.id < b.id ? -1 : 1));
    const page = rooms.slice(0, this.listSize).map((r) => conversationFor(r, me));
    return { conversations: page, ...(rooms.length > page.length && { next: page.at(-1)?.id ?? '' }) };
  }

  private page(me: string, query: URLSearchParams): { messages: WireMessage[]; more: boolean } {
    const room = this.room(query.get('conversation') ?? '', me);
    const limit = Number(query.get('limit') ?? 50);
    const before = Number(query.get('before') ?? Infinity);
    const after = query.get('after');
    const visible = room.messages.filter((m) => m.seq >= (room.first.get(me) ?? 1) && m.seq < before && m.seq > Number(after ?? 0));
    return { messages: after !== null ? visible.slice(0, limit) : visible.slice(-limit), more: visible.length > limit };
  }

  // leave ends a membership: `by` is who does it.
  leave(room: Room, by: string, user: string): void {
    if (!isMember(room, user)) return;
    const to = room.members.map((m) => m.user);
    const role = room.members.find((m) => m.user === user)?.role;
    room.members = room.members.filter((m) => m.user !== user);
    const heir = room.members[0];
    const owner = role === 'owner' && heir ? heir.user : undefined;
    if (owner && heir) heir.role = 'owner';
    this.event(room, by, by === user ? { type: 'member_left', users: [user], ...(owner ? { owner } : {}) } : { type: 'member_removed', users: [user] }, to);
  }

  private event(room: Room, sender: string, event: NonNullable<WireMessage['event']>, to = room.members.map((m) => m.user)): void {
    const message: WireMessage = { conversation: room.id, seq: room.messages.length + 1, kind: 'event', sender, at: new Date(this.now()).toISOString(), event };
    room.version++;
    room.messages.push(message);
    for (const user of to) this.toUser(user, { type: 'message', message });
  }

  private toUser(user: string, frame: ServerFrame): void {
    for (const link of this.links) if (link.user === user) this.give(link, frame);
  }

  private give(link: FakeLink, frame: ServerFrame): void {
    if (!this.dropFrame(frame, link.user)) link.deliver(frame);
  }
}

const isMember = (room: Room, user: string): boolean => room.members.some((m) => m.user === user);

const groupOf = (r: Room): WireGroup => ({ id: r.id, title: r.title, version: r.version, members: r.members });

const conversationFor = (r: Room, me: string): WireConversation => ({
  id: r.id,
  kind: r.kind,
  ...(r.kind === 'group' ? { title: r.title } : {}),
  members: r.members,
  first_seq: r.first.get(me) ?? 1,
  last_seq: r.messages.length,
  last_message: r.messages.findLast((m) => !m.target) ?? null,
  read: r.read.get(me) ?? 0,
  unread: r.messages.filter((m) => m.kind === 'text' && m.seq > (r.read.get(me) ?? 0) && m.seq >= (r.first.get(me) ?? 1)).length,
  reads: Object.fromEntries(r.read),
});
