import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Http } from '../api/http';
import { BrowserTokens } from '../api/tokens';
import { FakeSocket, fetchFrom, TabStorage } from '../testing/browser';
import { FakeServer } from '../testing/fake-server';
import { isolate } from './bidi';
import { Chat } from './chat';
import { Memory } from './memory';
import { nameOf, ordered, threadOf } from './state';
import { Store } from './store';

let server: FakeServer;
let tab: Storage;
let lasting: Storage;
const open: Chat[] = [];

beforeEach(() => {
  vi.useFakeTimers({ now: Date.parse('2026-11-21T10:00:00Z') });
  server = new FakeServer();
  server.addUser('bob');
  server.addUser('carol');
  tab = sessionStorage;
  lasting = localStorage;
  tab.clear();
  lasting.clear();
  vi.stubGlobal('fetch', fetchFrom(server));
});

afterEach(() => {
  for (const chat of open.splice(0)) void chat.signOut();
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

// settle lets everything happen that needs no time to pass.
const settle = () => vi.advanceTimersByTimeAsync(0);

// device is a page of this tab, or of another one.
function device(place: Storage = tab): Chat {
  const tokens = new BrowserTokens(place, lasting);
  const chat = new Chat({
    http: new Http(tokens),
    store: new Store(),
    connect: () => new FakeSocket(server) as unknown as WebSocket,
    remember: (yes) => tokens.remember(yes),
    memory: (user) => new Memory(user, lasting, place),
  });
  open.push(chat);
  return chat;
}

async function alice(): Promise<Chat> {
  const chat = device();
  await chat.register('alice', 'password', false);
  await settle();
  return chat;
}

const dm = 'dm:u-alice:u-bob';
const thread = (chat: Chat, id: string) => threadOf(chat.store.get(), id);
const texts = (chat: Chat, id: string) => thread(chat, id).stored.map((m) => m.text);
const count = (chat: Chat, id: string) => {
  const c = chat.store.get().conversations[id];
  return c ? c.unread : -1;
};

async function withBob(chat: Chat): Promise<void> {
  const bob = await chat.directory.findUser('bob');
  if (!bob) throw new Error('no bob');
  await chat.startDirect(bob);
  await settle();
}

describe('the list of conversations', () => {
  it('has all pages of it', async () => {
    await alice();
    for (const title of ['one', 'two', 'three', 'four', 'five']) server.addGroup('u-bob', title, ['u-alice']);
    server.listSize = 2;
    const again = device();
    await again.signIn('alice', 'password', false);
    await settle();
    expect(Object.values(again.store.get().conversations).map((c) => c.title).sort()).toEqual(['five', 'four', 'one', 'three', 'two']);
  });
});

describe('a user who is deleted while the page is open', () => {
  const bob = (chat: Chat) => nameOf(chat.store.get().users, 'u-bob');
  const cases: Record<string, (chat: Chat) => Promise<unknown> | void> = {
    'is no contact any more': () => server.notice('u-alice', 'contact_gone', 'u-bob'),
    'has left a group': () => server.leave([...server.rooms.values()].find((r) => r.kind === 'group')!, 'u-bob', 'u-bob'),
    'is in a conversation that is opened again': (chat) => {
      chat.select(null);
      chat.select(dm);
    },
    'has a card that is opened': (chat) => chat.account.profile('u-bob').catch(() => undefined),
    'is in the conversation that is open when the socket connects again': async () => {
      server.cut();
      await vi.advanceTimersByTimeAsync(20_000);
    },
  };
  for (const [name, learn] of Object.entries(cases)) {
    it(name, async () => {
      const chat = await alice();
      server.addGroup('u-carol', 'Lab', ['u-alice', 'u-bob']);
      await withBob(chat);
      expect(bob(chat)).toBe('bob');
      server.retire('u-bob');
      await settle();
      expect(bob(chat)).toBe('bob');
      await learn(chat);
      await settle();
      expect(bob(chat)).toBe('Deleted user');
    });
  }
});

describe('sending', () => {
  it('shows a message at once and as stored when the server says so', async () => {
    const chat = await alice();
    await withBob(chat);
    chat.say(dm, 'hello');
    expect(thread(chat, dm).outbox).toMatchObject([{ text: 'hello', state: 'sending' }]);
    await settle();
    expect(thread(chat, dm).outbox).toEqual([]);
    expect(thread(chat, dm).stored).toMatchObject([{ seq: 1, text: 'hello', sender: 'u-alice' }]);
    expect(count(chat, dm)).toBe(0);
  });

  it('sends again, with the same client id, when the acknowledgement is lost; it is stored once', async () => {
    const chat = await alice();
    await withBob(chat);
    let lost = 0;
    server.dropFrame = (frame) => frame.type === 'message' && lost++ === 0;
    const again: (boolean | undefined)[] = [];
    server.refuseSend = (frame) => {
      again.push('again' in frame ? frame.again : undefined);
      return null;
    };
    chat.say(dm, 'once');
    await settle();
    expect(thread(chat, dm).outbox).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(8_000);
    expect(thread(chat, dm).outbox).toEqual([]);
    expect(texts(chat, dm)).toEqual(['once']);
    expect(server.rooms.get(dm)?.messages).toHaveLength(1);
    expect(again, 'whether it says that it may have been sent before').toEqual([undefined, true]);
  });

  it('keeps what is written without a connection and sends it, in order, when there is one', async () => {
    const chat = await alice();
    await withBob(chat);
    server.down = true;
    server.cut();
    await settle();
    chat.say(dm, 'one');
    vi.setSystemTime(Date.now() + 5);
    chat.say(dm, 'two');
    expect(thread(chat, dm).outbox.map((o) => o.state)).toEqual(['sending', 'sending']);
    server.down = false;
    await vi.advanceTimersByTimeAsync(30_000);
    expect(texts(chat, dm)).toEqual(['one', 'two']);
    expect(thread(chat, dm).outbox).toEqual([]);
  });

  it('fails with the reason where the server refuses for good, and can be tried again', async () => {
    const chat = await alice();
    await withBob(chat);
    server.refuseSend = () => ({ code: 'not_member', retry: false });
    chat.say(dm, 'no');
    await settle();
    const [failed] = thread(chat, dm).outbox;
    expect(failed).toMatchObject({ state: 'failed', reason: 'Refused: not_member.' });
    server.refuseSend = null;
    if (failed) chat.retry(failed);
    await settle();
    expect(texts(chat, dm)).toEqual(['no']);
  });

  it('tries again by itself where the server says that it may', async () => {
    const chat = await alice();
    await withBob(chat);
    let refusals = 2;
    server.refuseSend = () => (refusals-- > 0 ? { code: 'unavailable', retry: true } : null);
    chat.say(dm, 'patient');
    await settle();
    expect(thread(chat, dm).outbox[0]?.state).toBe('sending');
    await vi.advanceTimersByTimeAsync(10_000);
    expect(texts(chat, dm)).toEqual(['patient']);
  });

  it('gives up after several attempts', async () => {
    const chat = await alice();
    await withBob(chat);
    server.refuseSend = () => ({ code: 'unavailable', retry: true });
    chat.say(dm, 'never');
    await vi.advanceTimersByTimeAsync(120_000);
    expect(thread(chat, dm).outbox[0]?.state).toBe('failed');
    expect(server.frames.filter((f) => f.type === 'send')).toHaveLength(5);
  });

  it('survives a reload of the page', async () => {
    const before = await alice();
    await withBob(before);
    server.down = true;
    server.cut();
    await settle();
    before.say(dm, 'kept');
    server.down = false;
    const after = device(); // the same tab, loaded again
    await after.restore();
    await settle();
    expect(server.rooms.get(dm)?.messages.map((m) => m.body)).toEqual(['kept']);
    after.select(dm);
    await settle();
    expect(texts(after, dm)).toEqual(['kept']);
    expect(thread(after, dm).outbox).toEqual([]);
  });

  it('can be discarded after it failed', async () => {
    const chat = await alice();
    await withBob(chat);
    server.refuseSend = () => ({ code: 'not_member', retry: false });
    chat.say(dm, 'no');
    await settle();
    const [failed] = thread(chat, dm).outbox;
    if (failed) chat.discard(failed);
    expect(thread(chat, dm).outbox).toEqual([]);
  });
});

describe('receiving', () => {
  it('brings a conversation that was not known', async () => {
    const chat = await alice();
    server.say(server.direct('u-alice', 'u-bob'), 'u-bob', 'hi');
    await settle();
    expect(ordered(chat.store.get().conversations).map((c) => c.id)).toEqual([dm]);
    expect(count(chat, dm)).toBe(1);
    expect(chat.store.get().users['u-bob']?.name).toBe('bob');
    chat.select(dm);
    await settle();
    expect(texts(chat, dm)).toEqual(['hi']);
  });

  it('fetches what is missing when a frame was lost, and shows all in order', async () => {
    const chat = await alice();
    await withBob(chat);
    const room = server.direct('u-alice', 'u-bob');
    server.say(room, 'u-bob', 'one');
    await settle();
    server.dropFrame = (frame) => frame.type === 'message';
    server.say(room, 'u-bob', 'two');
    server.say(room, 'u-bob', 'three');
    server.dropFrame = () => false;
    server.say(room, 'u-bob', 'four');
    await settle();
    expect(texts(chat, dm)).toEqual(['one', 'two', 'three', 'four']);
    expect(server.requests.filter((r) => r.includes('after=1'))).toHaveLength(1);
  });

  it('resumes after the connection was lost', async () => {
    const chat = await alice();
    await withBob(chat);
    const room = server.direct('u-alice', 'u-bob');
    server.say(room, 'u-bob', 'before');
    await settle();
    server.cut();
    await settle();
    expect(chat.store.get().link.state).toBe('waiting');
    server.say(room, 'u-bob', 'meanwhile');
    await vi.advanceTimersByTimeAsync(1_000);
    expect(chat.store.get().link.state).toBe('online');
    expect(texts(chat, dm)).toEqual(['before', 'meanwhile']);
    expect(server.frames.filter((f) => f.type === 'resume').at(-1)).toMatchObject({ have: { [dm]: 1 } });
  });

  it('resumes again where the server could not say what was missed', async () => {
    const chat = await alice();
    await withBob(chat);
    const room = server.direct('u-alice', 'u-bob');
    server.say(room, 'u-bob', 'before');
    await settle();
    const resumes = () => server.frames.filter((f) => f.type === 'resume').length;
    const before = resumes();
    server.failResumes = 2;
    server.cut();
    await vi.advanceTimersByTimeAsync(1_000);
    expect(resumes()).toBe(before + 1);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(resumes()).toBe(before + 2);
    await vi.advanceTimersByTimeAsync(900);
    expect(resumes()).toBe(before + 2); // each time it waits longer
    await vi.advanceTimersByTimeAsync(2_000);
    expect(resumes()).toBe(before + 3);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(resumes()).toBe(before + 3);
  });

  it('reaches every device of a user, the sending one included, in one order', async () => {
    const phone = await alice();
    await withBob(phone);
    const laptop = device(new TabStorage());
    await laptop.signIn('alice', 'password', false);
    await settle();
    phone.say(dm, 'from the phone');
    await settle();
    laptop.select(dm);
    await settle();
    laptop.say(dm, 'from the laptop');
    await settle();
    expect(texts(phone, dm)).toEqual(['from the phone', 'from the laptop']);
    expect(texts(laptop, dm)).toEqual(texts(phone, dm));
  });

  it('loads older history, page by page, to its beginning', async () => {
    const room = server.direct('u-alice', 'u-bob');
    for (let n = 1; n <= 120; n++) server.say(room, 'u-bob', `m${n}`);
    const chat = await alice();
    chat.select(dm);
    await settle();
    expect(thread(chat, dm).stored).toHaveLength(50);
    await chat.history.older(dm);
    await chat.history.older(dm);
    expect(thread(chat, dm).stored).toHaveLength(120);
    expect(thread(chat, dm).complete).toBe(true);
    const requests = server.requests.length;
    await chat.history.older(dm);
    expect(server.requests).toHaveLength(requests);
  });

  it('remembers what was read on this device', async () => {
    const chat = await alice();
    const room = server.direct('u-alice', 'u-bob');
    server.say(room, 'u-bob', 'one');
    await settle();
    chat.select(dm);
    chat.watch(dm);
    await settle();
    expect(count(chat, dm)).toBe(0);
    await chat.signOut();
    server.say(room, 'u-bob', 'two');
    const again = device();
    await again.signIn('alice', 'password', false);
    await settle();
    expect(count(again, dm)).toBe(1);
  });
});

describe('presence', () => {
  it('is asked for when a conversation begins: no frame told of one who was there before', async () => {
    const chat = await alice();
    await withBob(chat);
    await device(new TabStorage()).signIn('bob', 'password', false);
    await settle();
    expect(chat.store.get().presence['u-bob']?.state).toBe('offline');
    chat.say(dm, 'there?');
    await settle();
    expect(chat.store.get().presence['u-bob']?.state).toBe('online');
  });

  it('follows the frames', async () => {
    const chat = await alice();
    await withBob(chat);
    chat.say(dm, 'there?');
    await settle();
    const online = () => chat.store.get().presence['u-bob']?.state;
    expect(online()).toBe('offline');
    const bob = device(new TabStorage());
    await bob.signIn('bob', 'password', false);
    await settle();
    expect(online()).toBe('online');
    await bob.signOut();
    await settle();
    expect(online()).toBe('offline');
  });
});

describe('groups', () => {
  it('are made, opened and talked in', async () => {
    const chat = await alice();
    await chat.groups.create('Lab', ['u-bob']);
    await settle();
    const id = chat.store.get().selected ?? '';
    expect(chat.store.get().conversations[id]).toMatchObject({ kind: 'group', title: 'Lab' });
    chat.say(id, 'welcome');
    await settle();
    expect(thread(chat, id).stored.map((m) => m.event?.type ?? m.text)).toEqual(['created', 'welcome']);
  });

  it('change for all members', async () => {
    const chat = await alice();
    await chat.groups.create('Lab', ['u-bob']);
    await settle();
    const id = chat.store.get().selected ?? '';
    await chat.groups.add(id, 'u-carol');
    await chat.groups.remove(id, 'u-bob');
    await chat.groups.rename(id, 'Lab two');
    await settle();
    const group = chat.store.get().conversations[id];
    expect(group?.title).toBe('Lab two');
    expect(group?.members.map((m) => m.user)).toEqual(['u-alice', 'u-carol']);
    await chat.groups.leave(id);
    await settle();
    expect(chat.store.get().conversations[id]).toBeUndefined();
    expect(chat.store.get().selected).toBeNull();
  });

  it('disappear for one who is removed, with a word', async () => {
    const chat = await alice();
    const room = server.addGroup('u-bob', 'Secret', ['u-alice']);
    await settle();
    chat.select(room.id);
    await settle();
    const bob = device(new TabStorage());
    await bob.signIn('bob', 'password', false);
    await settle();
    await bob.groups.remove(room.id, 'u-alice');
    await settle();
    expect(chat.store.get().conversations[room.id]).toBeUndefined();
    expect(chat.store.get().notice).toBe(`You were removed from “${isolate('Secret')}”.`);
    server.say(room, 'u-bob', 'they are gone');
    await settle();
    expect(chat.store.get().threads[room.id]).toBeUndefined();
  });

  it('come back with the next addition, from there on', async () => {
    const chat = await alice();
    const room = server.addGroup('u-bob', 'Lab', ['u-alice']);
    await settle();
    const bob = device(new TabStorage());
    await bob.signIn('bob', 'password', false);
    await settle();
    await bob.groups.remove(room.id, 'u-alice');
    server.say(room, 'u-bob', 'hidden');
    await bob.groups.add(room.id, 'u-alice');
    server.say(room, 'u-bob', 'visible');
    await settle();
    chat.select(room.id);
    await settle();
    expect(thread(chat, room.id).stored.map((m) => m.event?.type ?? m.text)).toEqual(['member_added', 'visible']);
    expect(thread(chat, room.id).complete).toBe(true);
  });
});

describe('the session', () => {
  it('is restored after a reload', async () => {
    await alice();
    const again = device();
    await again.restore();
    await settle();
    expect(again.store.get()).toMatchObject({ session: 'in', me: { name: 'alice' }, link: { state: 'online' } });
  });

  it('is not renewed by a reload while its access token is good', async () => {
    await alice();
    await device().restore();
    await settle();
    expect(server.requests).not.toContain('POST /api/auth/refresh');
    await vi.advanceTimersByTimeAsync(600_000);
    await device().restore();
    await settle();
    expect(server.requests).toContain('POST /api/auth/refresh');
  });

  it('is asked for where there is none', async () => {
    const chat = device();
    await chat.restore();
    expect(chat.store.get().session).toBe('out');
  });

  it('is not given up because the services are away', async () => {
    await alice();
    server.down = true;
    const again = device();
    await again.restore();
    expect(again.store.get().session).toBe('restoring');
    expect(again.store.get().notice).toBe('A part is down.');
    server.down = false;
    await vi.advanceTimersByTimeAsync(1_000);
    expect(again.store.get()).toMatchObject({ session: 'in', notice: null });
  });

  it('ends everywhere when it is ended elsewhere', async () => {
    const chat = await alice();
    const link = [...server.links][0];
    server.endSession(link?.session ?? '');
    await settle();
    expect(chat.store.get()).toMatchObject({ session: 'out', notice: 'You were signed out. Sign in again.' });
    expect(tab.length).toBe(0);
  });

  it('leaves nothing of its user behind after a sign-out', async () => {
    const chat = await aliceWhoTyped();
    await chat.signOut();
    expect(chat.store.get()).toMatchObject({ session: 'out', me: null, threads: {}, conversations: {}, users: {} });
    expect([tab.length, lasting.length]).toEqual([0, 0]);
    expect(chat.draft(dm)).toBe('');
    server.down = false;
    await chat.signIn('alice', 'password', false);
    await settle();
    expect(chat.draft(dm)).toBe('');
    expect(server.rooms.get(dm)?.messages).toEqual([]);
  });

  it('leaves nothing of its user behind where the server ends it', async () => {
    const chat = await aliceWhoTyped();
    server.down = false;
    server.endSession(storedSession());
    await vi.advanceTimersByTimeAsync(30_000);
    expect(chat.store.get()).toMatchObject({ session: 'out', notice: 'You were signed out. Sign in again.' });
    expect([tab.length, lasting.length]).toEqual([0, 0]);
  });

  it('leaves nothing of its user behind where the server has ended it before a reload', async () => {
    await aliceWhoTyped();
    server.down = false;
    server.endSession(storedSession());
    const again = device();
    await again.restore();
    expect(again.store.get()).toMatchObject({ session: 'out', notice: 'You were signed out. Sign in again.' });
    expect([tab.length, lasting.length]).toEqual([0, 0]);
  });

  it('ends in all its tabs by a sign-out in one, also while the server is away', async () => {
    const chat = await aliceWhoTyped();
    chat.signedOutElsewhere('another session');
    expect(chat.store.get().session).toBe('in');
    chat.signedOutElsewhere(storedSession());
    expect(chat.store.get()).toMatchObject({ session: 'out', notice: 'You signed out in another tab.' });
    expect([tab.length, lasting.length]).toEqual([0, 0]);
  });

  it('that expires loses nothing that was typed', async () => {
    const chat = await aliceWhoTyped();
    await expire();
    expect(chat.store.get()).toMatchObject({ session: 'out', notice: 'Your session has expired. Sign in again.' });
    const again = device(); // a reload at the sign-in page changes nothing
    await again.restore();
    await again.signIn('alice', 'password', false);
    await settle();
    expect(again.draft(dm)).toBe('half a sentence');
    expect(server.rooms.get(dm)?.messages.map((m) => m.body)).toEqual(['unsent']);
  });

  it('of another user shows and sends nothing that was typed before', async () => {
    const chat = await aliceWhoTyped();
    await expire();
    await chat.signIn('bob', 'password', false);
    await settle();
    expect(chat.draft(dm)).toBe('');
    expect(server.rooms.get(dm)?.messages).toEqual([]);
    expect(Object.keys(tab).filter((key) => key.includes('u-alice'))).toEqual([]);
  });

  it('keeps drafts over a reload, until they are sent', async () => {
    const chat = await alice();
    await withBob(chat);
    chat.write(dm, 'half a sentence');
    const again = device();
    await again.restore();
    await settle();
    expect(again.draft(dm)).toBe('half a sentence');
    again.say(dm, 'half a sentence, and the rest');
    const last = device();
    await last.restore();
    expect(last.draft(dm)).toBe('');
  });

  it('goes on where the storage is full', async () => {
    const chat = await alice();
    await withBob(chat);
    const full = vi.spyOn(Storage.prototype, 'setItem').mockImplementation(() => {
      throw new DOMException('full', 'QuotaExceededError');
    });
    chat.write(dm, 'half a sentence');
    expect(chat.draft(dm)).toBe('half a sentence');
    chat.say(dm, 'hello');
    await settle();
    full.mockRestore();
    expect(texts(chat, dm)).toEqual(['hello']);
  });

  const storedSession = (): string => (JSON.parse(tab.getItem('labchat.session') ?? '') as { session: string }).session;

  // aliceWhoTyped has a draft, an unsent text and a read cursor, and no connection.
  async function aliceWhoTyped(): Promise<Chat> {
    const chat = await alice();
    await withBob(chat);
    chat.watch(dm);
    server.down = true;
    server.cut();
    await settle();
    chat.say(dm, 'unsent');
    chat.write(dm, 'half a sentence');
    expect(Object.keys(tab).sort()).toEqual(['labchat.drafts.u-alice', 'labchat.outbox.u-alice', 'labchat.session']);
    expect(Object.keys(lasting)).toEqual(['labchat.read.u-alice']);
    return chat;
  }

  // expire ends a session after its time.
  async function expire(): Promise<void> {
    const session = storedSession();
    await vi.advanceTimersByTimeAsync(1_000_000);
    server.down = false;
    server.endSession(session);
    await vi.advanceTimersByTimeAsync(30_000);
  }
});
