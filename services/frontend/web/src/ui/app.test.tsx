import { act } from 'react';
import { createRoot, type Root } from 'react-dom/client';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Http } from '../api/http';
import { BrowserTokens } from '../api/tokens';
import { isolate } from '../store/bidi';
import { Chat } from '../store/chat';
import { Store } from '../store/store';
import { FakeSocket, fetchFrom } from '../testing/browser';
import { FakeServer } from '../testing/fake-server';
import { App } from './app';
import { ChatContext } from './context';

let server: FakeServer;
let chat: Chat;
let root: Root;
let box: HTMLElement;

beforeEach(async () => {
  vi.useFakeTimers({ now: Date.parse('2026-11-21T10:00:00Z') });
  vi.stubGlobal('IS_REACT_ACT_ENVIRONMENT', true);
  // jsdom knows the element, not how to open it.
  HTMLDialogElement.prototype.showModal = function () {
    this.open = true;
  };
  HTMLDialogElement.prototype.close = function () {
    this.open = false;
  };
  // jsdom draws nothing, so nothing has a size; the virtual list needs a window to show rows in.
  vi.spyOn(Element.prototype, 'clientHeight', 'get').mockReturnValue(600);
  vi.spyOn(Element.prototype, 'clientWidth', 'get').mockReturnValue(800);
  HTMLElement.prototype.scrollTo = () => undefined;
  sessionStorage.clear();
  localStorage.clear();
  history.replaceState(null, '', '/');
  server = new FakeServer();
  server.addUser('bob');
  vi.stubGlobal('fetch', fetchFrom(server));
  await load();
});

afterEach(async () => {
  await act(() => chat.signOut());
  close();
  vi.useRealTimers();
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});

async function load(): Promise<void> {
  const tokens = new BrowserTokens();
  chat = new Chat({
    http: new Http(tokens),
    store: new Store(),
    connect: () => new FakeSocket(server) as unknown as WebSocket,
    remember: (yes) => tokens.remember(yes),
  });
  box = document.body.appendChild(document.createElement('div'));
  root = createRoot(box);
  await act(async () => {
    root.render(
      <ChatContext value={chat}>
        <App />
      </ChatContext>,
    );
    await chat.restore();
  });
}

function close(): void {
  act(() => root.unmount());
  box.remove();
}

async function reload(): Promise<void> {
  close();
  server.cut();
  await load();
  await pass(0);
}

const all = (testid: string) => [...document.querySelectorAll<HTMLElement>(`[data-testid="${testid}"]`)];
function one(testid: string): HTMLElement {
  const [element, ...more] = all(testid);
  if (!element || more.length > 0) throw new Error(`${more.length + (element ? 1 : 0)} elements ${testid}, expected one`);
  return element;
}
const click = (testid: string) =>
  act(async () => {
    one(testid).click();
    await vi.advanceTimersByTimeAsync(0);
  });
const type = (testid: string, text: string) =>
  act(async () => {
    const field = one(testid) as HTMLInputElement;
    const proto = field instanceof HTMLTextAreaElement ? HTMLTextAreaElement.prototype : HTMLInputElement.prototype;
    Object.getOwnPropertyDescriptor(proto, 'value')?.set?.call(field, text);
    field.dispatchEvent(new Event('input', { bubbles: true }));
    await vi.advanceTimersByTimeAsync(0);
  });
const press = (testid: string, init: KeyboardEventInit) =>
  act(async () => {
    one(testid).dispatchEvent(new KeyboardEvent('keydown', { bubbles: true, cancelable: true, ...init }));
    await vi.advanceTimersByTimeAsync(0);
  });
const pass = (ms: number) => act(() => vi.advanceTimersByTimeAsync(ms));

async function register(name = 'alice', password = 'password'): Promise<void> {
  await click('register-toggle');
  await type('username', name);
  await type('password', password);
  await click('submit');
}

async function chatWithBob(): Promise<void> {
  await register();
  await click('new-chat');
  await type('new-chat-user', 'bob');
  await click('new-chat-start');
}

describe('the page', () => {
  it('says what is wrong with a name or a password before the server does', async () => {
    await register('a', 'password');
    expect(one('error').textContent).toContain('2 to 32');
    await type('username', 'alice');
    await type('password', 'short');
    await click('submit');
    expect(one('error').textContent).toContain('at least 8');
    expect(server.requests.filter((r) => r.startsWith('POST'))).toEqual([]);
  });

  it("shows the server's reason", async () => {
    await type('username', 'bob');
    await type('password', 'not that one');
    await click('submit');
    expect(one('error').textContent).toBe('The name or the password is wrong.');
  });

  it('registers, starts a chat and sends with Enter', async () => {
    await chatWithBob();
    expect(location.pathname).toBe(`/c/${encodeURIComponent('dm:u-alice:u-bob')}`);
    await type('composer', 'hello bob');
    await press('composer', { key: 'Enter' });
    expect(one('message').dataset).toMatchObject({ state: 'stored', seq: '1' });
    expect(one('text').textContent).toBe('hello bob');
    expect((one('composer') as HTMLTextAreaElement).value).toBe('');
    expect(one('conversation-item').textContent).toContain('You: hello bob');
  });

  it('shows after a reload what was being written', async () => {
    await chatWithBob();
    await type('composer', 'half a sentence');
    await reload();
    expect((one('composer') as HTMLTextAreaElement).value).toBe('half a sentence');
  });

  it('does not send on Shift+Enter, nor while a word is being composed, nor what is only white space', async () => {
    await chatWithBob();
    await type('composer', 'a line');
    await press('composer', { key: 'Enter', shiftKey: true });
    await press('composer', { key: 'Enter', isComposing: true });
    await type('composer', '  \n ');
    await press('composer', { key: 'Enter' });
    expect(all('message')).toEqual([]);
    expect((one('send') as HTMLButtonElement).disabled).toBe(true);
  });

  it('shows a failed message with its reason, and sends it on demand', async () => {
    await chatWithBob();
    server.refuseSend = () => ({ code: 'not_member', retry: false });
    await type('composer', 'hm');
    await click('send');
    expect(one('message').dataset.state).toBe('failed');
    server.refuseSend = null;
    await click('retry');
    expect(one('message').dataset.state).toBe('stored');
  });

  it('says when the connection is lost, and stops saying so', async () => {
    await register();
    server.down = true;
    server.cut();
    await pass(1_000);
    expect(one('banner').hidden).toBe(false);
    server.down = false;
    await pass(10_000);
    expect(one('banner').hidden).toBe(true);
  });

  it('does not flicker over a connection that comes back at once', async () => {
    await register();
    server.cut(1012);
    await pass(300);
    expect(one('banner').hidden).toBe(true);
    await pass(600);
    expect(one('banner').hidden).toBe(true);
  });

  it('counts what is unread in the list and in the title', async () => {
    await register();
    server.say(server.direct('u-alice', 'u-bob'), 'u-bob', 'psst');
    await pass(0);
    expect(one('conversation-item').dataset.unread).toBe('1');
    expect(document.title).toBe('(1) Labchat');
  });

  it('makes a group and shows its events', async () => {
    await register();
    await click('new-group');
    await type('new-group-title', 'Lab');
    await type('new-group-user', 'bob');
    await click('new-group-add');
    await click('new-group-create');
    expect(one('conversation-title').textContent).toBe('Lab');
    expect(one('event').textContent).toBe(`You created “${isolate('Lab')}”`);
    await click('group-details');
    expect(all('member').map((m) => m.dataset.user)).toEqual(['alice', 'bob']);
  });

  it('edits, reacts and deletes, and shows it before the server has it', async () => {
    await chatWithBob();
    await type('composer', 'helo');
    await click('send');
    server.dropFrame = (frame) => frame.type === 'message';
    await press('composer', { key: 'ArrowUp' });
    await type('composer', 'hello');
    await press('composer', { key: 'Enter' });
    expect(one('text').textContent).toBe('hello');
    expect(one('message').dataset.state).toBe('sending');
    server.dropFrame = () => false;
    await pass(8_000);
    expect(one('message').dataset.state).toBe('stored');
    await click('message-menu');
    await act(async () => all('quick-reaction')[0]?.click());
    await pass(0);
    expect(one('reaction').dataset.emoji).toBe('👍');
    await click('message-menu');
    await click('menu-delete');
    await click('menu-delete-sure');
    expect(one('text').textContent).toBe('This message was deleted.');
    expect(all('reaction')).toEqual([]);
  });

  it('undoes a reaction that the server refuses, and keeps an edit that it refuses', async () => {
    await chatWithBob();
    await type('composer', 'helo');
    await click('send');
    server.refuseSend = () => ({ code: 'not_allowed', retry: false });
    await click('message-menu');
    await act(async () => all('quick-reaction')[0]?.click());
    await pass(0);
    expect(all('reaction')).toEqual([]);
    await press('composer', { key: 'ArrowUp' });
    await type('composer', 'hello');
    await press('composer', { key: 'Enter' });
    expect(one('message').dataset.state).toBe('failed');
    await click('discard');
    expect(one('text').textContent).toBe('helo');
  });

  it('shows what comes live with the page that stands before it, not alone', async () => {
    server.addUser('alice');
    const room = server.direct('u-alice', 'u-bob');
    for (const n of [1, 2, 3]) server.say(room, 'u-bob', `earlier ${n}`);
    let answer = () => undefined as void;
    const asked = new Promise<void>((go) => (answer = go));
    const ask = fetchFrom(server);
    vi.stubGlobal('fetch', async (...[input, init]: Parameters<typeof fetch>) => {
      if (String(input).startsWith('/api/messages?')) await asked;
      return ask(input, init);
    });
    await type('username', 'alice');
    await type('password', 'password');
    await click('submit');
    await click('conversation-item');
    server.say(room, 'u-bob', 'live');
    await pass(0);
    expect(one('conversation-item').textContent).toContain('live');
    expect(all('message')).toEqual([]);
    await act(async () => answer());
    await pass(0);
    expect(all('text').map((t) => t.textContent)).toEqual(['earlier 1', 'earlier 2', 'earlier 3', 'live']);
  });

  it('answers a message, and shows what it answers', async () => {
    await chatWithBob();
    const said = server.say(server.direct('u-alice', 'u-bob'), 'u-bob', 'a question');
    await pass(0);
    await click('message-menu');
    await click('menu-reply');
    await type('composer', 'an answer');
    await press('composer', { key: 'Enter' });
    expect(server.rooms.get(said.conversation)?.messages.at(-1)?.reply_to).toBe(said.seq);
    expect(one('quote').textContent).toContain('a question');
  });

  it('tells what was read, and who writes', async () => {
    await chatWithBob();
    await type('composer', 'hello');
    await click('send');
    expect(one('receipt').title).toBe('sent');
    const room = server.direct('u-alice', 'u-bob');
    await act(async () => server.readUp(room, 'u-bob', 1));
    await pass(0);
    expect(one('receipt').title).toBe('read');
    await act(async () => server.typing(room, 'u-bob', true));
    await pass(0);
    expect(one('conversation-status').textContent).toBe('typing…');
    await pass(6_000);
    expect(one('conversation-status').dataset.typing).toBe('false');
  });

  it('lists the devices and ends another one', async () => {
    await register();
    const other = server.login('alice');
    await click('settings');
    await click('settings-devices');
    expect(all('device')).toHaveLength(2);
    await click('device-end');
    expect(all('device').map((d) => d.dataset.current)).toEqual(['true']);
    expect(server.knows(other)).toBe(false);
  });

  it('changes the password, and says why it cannot', async () => {
    await register();
    await click('settings');
    await click('settings-password');
    await type('password-now', 'wrong one');
    await type('password-new', 'a new password');
    await click('password-save');
    expect(one('password-error').textContent).toBe('The password is wrong.');
    await type('password-now', 'password');
    await click('password-save');
    expect(one('password-done').textContent).toContain('was changed');
  });

  it('saves all of the user as a file, if it is whole', async () => {
    await register();
    const saved: Blob[] = [];
    vi.stubGlobal('URL', Object.assign(URL, { createObjectURL: (b: Blob) => `blob:${saved.push(b)}`, revokeObjectURL: () => undefined }));
    const downloads: string[] = [];
    vi.spyOn(HTMLAnchorElement.prototype, 'click').mockImplementation(function (this: HTMLAnchorElement) {
      downloads.push(this.download);
    });
    await click('settings');
    await click('settings-data');
    server.breakExports = true;
    await click('export');
    expect(one('export-error').textContent).toContain('broke off');
    expect(downloads).toEqual([]);
    server.breakExports = false;
    await click('export');
    expect(one('export-error').textContent).toBe('');
    expect(downloads).toEqual(['chat-alice.ndjson']);
    expect(saved[0]?.size).toBe(3 * '{"type":"end"}\n'.length);
  });

  it('deletes the account once its name and the password are typed', async () => {
    await register();
    await click('settings');
    await click('settings-data');
    await click('delete-account');
    await type('delete-password', 'wrong one');
    expect((one('delete-confirm') as HTMLButtonElement).disabled).toBe(true);
    await type('delete-name', 'alice');
    await click('delete-confirm');
    expect(one('delete-error').textContent).toBe('The password is wrong.');
    expect(server.users.has('u-alice')).toBe(true);
    await type('delete-password', 'password');
    await click('delete-confirm');
    expect(server.users.has('u-alice')).toBe(false);
    expect(document.body.textContent).toContain('Your account was deleted.');
  });

  it('lets an admin suspend a user, and delete the account after a confirmation', async () => {
    server.roles.set('u-alice', 'admin');
    await chatWithBob();
    const his = server.login('bob');
    await click('person-details');
    await click('moderate-suspend');
    expect(document.body.textContent).toContain('signed out on 1 device.');
    expect([...server.suspended]).toEqual(['u-bob']);
    expect(server.knows(his)).toBe(false);
    await click('moderate-lift');
    expect([...server.suspended]).toEqual([]);
    await click('moderate-delete');
    await click('moderate-delete-cancel');
    expect(all('moderate-delete-confirm')).toEqual([]);
    expect(server.users.get('u-bob')?.deleted).toBeUndefined();
    await click('moderate-delete');
    await click('moderate-delete-confirm');
    expect(server.users.get('u-bob')?.deleted).toBe(true);
    expect(document.body.textContent).toContain('This account was deleted');
    expect(all('moderate-delete')).toEqual([]);
  });

  it('offers only admins to suspend and delete', async () => {
    server.roles.set('u-alice', 'moderator');
    await chatWithBob();
    await click('person-details');
    expect(all('moderate-end')).toHaveLength(1);
    for (const what of ['moderate-suspend', 'moderate-lift', 'moderate-delete']) expect(all(what)).toEqual([]);
  });

  it('takes the colours that the user prefers, on every device', async () => {
    server.preferences = { ...server.preferences, theme: 'dark' };
    await register();
    expect(document.documentElement.dataset.theme).toBe('dark');
    await click('tab-settings');
    await click('theme-light');
    expect(document.documentElement.dataset.theme).toBe('light');
    expect(server.preferences.theme).toBe('light');
  });

  it('keeps receipts and typing to itself for those who want it so', async () => {
    server.preferences = { ...server.preferences, receipts: false, typing: false };
    await chatWithBob();
    server.say(server.direct('u-alice', 'u-bob'), 'u-bob', 'psst');
    await pass(2_000);
    await type('composer', 'hm');
    await pass(2_000);
    expect(server.frames.filter((f) => f.type === 'read' || f.type === 'typing')).toEqual([]);
  });

  it('tells others nothing before it knows what the user wants them to see', async () => {
    server.preferences = { ...server.preferences, receipts: false, typing: false };
    let failures = 2;
    server.refuseRequest = (request) => (request === 'GET /api/auth/preferences' && failures-- > 0 ? { status: 503, code: 'unavailable' } : null);
    await chatWithBob();
    server.say(server.direct('u-alice', 'u-bob'), 'u-bob', 'psst');
    await type('composer', 'hm');
    await pass(600);
    await click('tab-settings');
    expect((one('preference-receipts') as HTMLInputElement).disabled).toBe(true);
    await pass(10_000);
    expect((one('preference-receipts') as HTMLInputElement).disabled).toBe(false);
    expect((one('preference-receipts') as HTMLInputElement).checked).toBe(false);
    expect(server.frames.filter((f) => f.type === 'read' || f.type === 'typing')).toEqual([]);
  });

  it('tells what was read as soon as it knows that the user wants it', async () => {
    let failures = 2;
    server.refuseRequest = (request) => (request === 'GET /api/auth/preferences' && failures-- > 0 ? { status: 503, code: 'unavailable' } : null);
    vi.spyOn(document, 'hasFocus').mockReturnValue(true);
    await chatWithBob();
    server.say(server.direct('u-alice', 'u-bob'), 'u-bob', 'psst');
    await pass(10_000);
    expect(server.frames.filter((f) => f.type === 'read')).toEqual([{ type: 'read', conversation: 'dm:u-alice:u-bob', seq: 1 }]);
  });

  it('shows requests when they come', async () => {
    await register();
    server.contacts.set('u-alice', { contacts: [], incoming: [{ user: 'u-bob', at: '2026-11-21T10:00:00Z' }], outgoing: [], blocked: [] });
    await act(async () => server.notice('u-alice', 'contact_request', 'u-bob'));
    await pass(0);
    expect(one('tab-people').textContent).toContain('1');
    await click('tab-people');
    expect(one('request').dataset.user).toBe('bob');
  });

  it('names somebody who is not there', async () => {
    await register();
    await click('new-chat');
    await type('new-chat-user', 'nobody');
    await click('new-chat-start');
    expect(document.querySelector('dialog [role=alert]')?.textContent).toContain('nobody called “nobody”');
  });

  it('keeps asking for the presence of one whom nobody has written to', async () => {
    await chatWithBob();
    const asked = () => server.requests.filter((r) => r.startsWith('GET /api/presence')).length;
    const before = asked();
    await pass(10_000);
    expect(asked()).toBe(before + 1);
    await type('composer', 'hello');
    await click('send');
    const after = asked();
    await pass(30_000);
    expect(asked()).toBe(after);
  });

  it('lets no name or title change the order of what stands around it', async () => {
    const name = 'Bob \u202Egnp.exe';
    const title = 'Lab \u202E\u2067gnp.exe';
    Object.assign(server.users.get('u-bob') ?? {}, { display_name: name });
    await chatWithBob();
    const room = server.addGroup('u-bob', title, ['u-alice']);
    const places = new Set<string>();
    const look = (where: string) => {
      const check = (text: string, element: Element, place: string) => {
        if (!text.includes('\u202E')) return;
        places.add(where);
        const names = [isolate(name), isolate(title)];
        const rest = element.tagName === 'BDI' ? '' : names.reduce((t, n) => t.replaceAll(n, ''), text);
        expect(rest, `${place} in ${where}: ${element.outerHTML}`).not.toContain('\u202E');
      };
      const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
      while (texts.nextNode()) if (texts.currentNode.parentElement) check(texts.currentNode.nodeValue ?? '', texts.currentNode.parentElement, 'text');
      for (const element of document.querySelectorAll('*')) {
        for (const attribute of ['title', 'aria-label', 'placeholder']) check(element.getAttribute(attribute) ?? '', element, attribute);
      }
    };
    const said = server.say(server.direct('u-alice', 'u-bob'), 'u-bob', 'hello');
    await pass(0);
    look('a direct conversation');
    await click('message-menu');
    await act(async () => all('quick-reaction')[0]?.click());
    await click('message-menu');
    await click('menu-reply');
    await type('composer', 'an answer');
    look('a reply');
    await press('composer', { key: 'Enter' });
    server.change(server.direct('u-alice', 'u-bob'), 'u-bob', 'reaction', said.seq, { emoji: '👍', on: true });
    await pass(0);
    look('a quotation and a reaction');
    await click('person-details');
    look('a person');
    await act(async () => document.querySelector<HTMLElement>('dialog [aria-label=Close]')?.click());
    await act(async () => all('conversation-item').find((item) => item.dataset.id === room.id)?.click());
    server.say(room, 'u-bob', 'hello all');
    server.typing(room, 'u-bob', true);
    await pass(0);
    look('a group');
    await type('composer', '@b');
    look('a mention');
    await click('group-details');
    look('about a group');
    await act(async () => document.querySelector<HTMLElement>('dialog [aria-label=Close]')?.click());
    server.contacts.set('u-alice', { contacts: [{ user: 'u-bob', since: '2026-11-21T10:00:00Z' }], incoming: [{ user: 'u-bob', at: '2026-11-21T10:00:00Z' }], outgoing: [], blocked: ['u-bob'] });
    server.invitations.set('u-alice', [{ id: 'g:other', title, size: 1, by: 'u-bob', at: '2026-11-21T10:00:00Z' }]);
    await act(async () => server.notice('u-alice', 'contact_request', 'u-bob'));
    await act(async () => server.notice('u-alice', 'invitation', 'u-bob'));
    await pass(0);
    await click('tab-people');
    look('people');
    await click('tab-groups');
    look('groups');
    await type('search', 'hello');
    await pass(1_000);
    look('a search');
    await click('tab-chats');
    await act(async () => all('conversation-item').find((item) => item.dataset.id === room.id)?.click());
    await act(async () => server.leave(room, 'u-bob', 'u-alice'));
    await pass(0);
    look('a removal');
    expect([...places]).toEqual(['a direct conversation', 'a reply', 'a quotation and a reaction', 'a person', 'a group', 'a mention', 'about a group', 'people', 'groups', 'a search', 'a removal']);
  });

  it('gives every control a name', async () => {
    await chatWithBob();
    for (const control of document.querySelectorAll<HTMLElement>('button, input, textarea, [role=log], [role=img]')) {
      const labels = control instanceof HTMLInputElement || control instanceof HTMLTextAreaElement ? (control.labels?.length ?? 0) : 0;
      expect(control.getAttribute('aria-label') || control.textContent || labels, control.outerHTML).toBeTruthy();
    }
  });
});
