import { describe, expect, it } from 'vitest';
import type { Conversation, Message } from './model';
import { excludes, initialState, ordered, reduce, titleOf, unread, type Action, type State } from './state';

const me = { id: 'me', name: 'Me' };
const msg = (conversation: string, seq: number, more: Partial<Message> = {}): Message => ({
  conversation,
  seq,
  sender: 'other',
  clientId: `c${seq}`,
  text: `m${seq}`,
  at: seq * 1000,
  ...more,
});
const conv = (id: string, more: Partial<Conversation> = {}): Conversation => ({
  id,
  kind: 'group',
  title: id,
  members: [
    { user: 'me', role: 'owner' },
    { user: 'other', role: 'member' },
  ],
  firstSeq: 1,
  lastSeq: 0,
  readSeq: 0,
  ...more,
});
const run = (...actions: Action[]): State => actions.reduce(reduce, reduce(initialState, { type: 'signed-in', me }));
const get = (s: State, id = 'g'): Conversation => {
  const c = s.conversations[id];
  if (!c) throw new Error(`no conversation ${id}`);
  return c;
};

describe('unread', () => {
  const list: Action = { type: 'conversations', list: [conv('g', { lastSeq: 5, readSeq: 3 })] };
  const cases: { name: string; actions: Action[]; unread: number }[] = [
    { name: 'what came after the mark', actions: [list], unread: 2 },
    { name: 'counts what arrives', actions: [list, { type: 'message', message: msg('g', 6) }], unread: 3 },
    { name: 'counts a repeated message once', actions: [list, { type: 'message', message: msg('g', 6) }, { type: 'message', message: msg('g', 6) }], unread: 3 },
    { name: 'ends with my own message', actions: [list, { type: 'message', message: msg('g', 6, { sender: 'me' }) }], unread: 0 },
    { name: 'ends when it is looked at', actions: [list, { type: 'watch', id: 'g' }], unread: 0 },
    { name: 'stays none while it is looked at', actions: [list, { type: 'watch', id: 'g' }, { type: 'message', message: msg('g', 6) }], unread: 0 },
    { name: 'begins again when one looks away', actions: [list, { type: 'watch', id: 'g' }, { type: 'watch', id: null }, { type: 'message', message: msg('g', 6) }], unread: 1 },
    { name: 'is not brought back by an older list', actions: [list, { type: 'watch', id: 'g' }, { type: 'watch', id: null }, list], unread: 0 },
    { name: 'leaves out what was before my time', actions: [{ type: 'conversations', list: [conv('g', { firstSeq: 5, lastSeq: 5 })] }], unread: 1 },
  ];
  it.each(cases)('$name', ({ actions, unread: expected }) => {
    expect(unread(get(run(...actions)))).toBe(expected);
  });
});

describe('the list of conversations', () => {
  it('puts the last active first', () => {
    const s = run(
      { type: 'conversations', list: [conv('a', { last: msg('a', 2), lastSeq: 2 }), conv('b', { last: msg('b', 1), lastSeq: 1 })] },
      { type: 'message', message: msg('b', 2, { at: 9000 }) },
    );
    expect(ordered(s.conversations).map((c) => c.id)).toEqual(['b', 'a']);
  });

  it('does not go back behind a live message', () => {
    const s = run(
      { type: 'conversations', list: [conv('g', { lastSeq: 1, last: msg('g', 1) })] },
      { type: 'message', message: msg('g', 2) },
      { type: 'conversations', list: [conv('g', { lastSeq: 1, last: msg('g', 1) })] },
    );
    expect(get(s)).toMatchObject({ lastSeq: 2, last: { seq: 2 } });
  });

  it('drops a conversation that is not there any more, and its messages', () => {
    const s = run({ type: 'conversations', list: [conv('g', { lastSeq: 1 })] }, { type: 'message', message: msg('g', 2) }, { type: 'conversations', list: [] });
    expect(s.conversations).toEqual({});
    expect(s.threads).toEqual({});
  });

  it('keeps a conversation that was just opened and holds nothing', () => {
    const s = run({ type: 'conversation', conversation: conv('dm:a:b', { kind: 'direct' }) }, { type: 'conversations', list: [] });
    expect(Object.keys(s.conversations)).toEqual(['dm:a:b']);
  });

  it('takes the list of a session that ended for nothing', () => {
    const s = run({ type: 'signed-out' }, { type: 'conversations', list: [conv('g')] });
    expect(s.conversations).toEqual({});
  });
});

describe('group events', () => {
  const start: Action = { type: 'conversations', list: [conv('g', { lastSeq: 1 })] };
  const event = (seq: number, event: Message['event']): Action => ({ type: 'message', message: msg('g', seq, event ? { event } : {}) });
  const members = (s: State) => get(s).members.map((m) => `${m.user}:${m.role}`);

  it('rename, add and remove', () => {
    const s = run(
      start,
      event(2, { type: 'renamed', title: 'New' }),
      event(3, { type: 'member_added', users: ['third', 'other'] }),
      event(4, { type: 'member_removed', users: ['other'] }),
    );
    expect(get(s).title).toBe('New');
    expect(members(s)).toEqual(['me:owner', 'third:member']);
  });

  it('hand the group over when its owner leaves', () => {
    const s = run(start, event(2, { type: 'member_left', users: ['me'], owner: 'other' }));
    expect(members(s)).toEqual(['other:owner']);
  });

  it('are applied once, in order: an old one changes nothing', () => {
    const s = run(start, event(3, { type: 'renamed', title: 'Newest' }), event(2, { type: 'renamed', title: 'Older' }));
    expect(get(s).title).toBe('Newest');
  });

  it('tell whether they exclude me', () => {
    expect(excludes(msg('g', 2, { event: { type: 'member_removed', users: ['me'] } }), 'me')).toBe(true);
    expect(excludes(msg('g', 2, { event: { type: 'member_left', users: ['me'] } }), 'me')).toBe(true);
    expect(excludes(msg('g', 2, { event: { type: 'member_removed', users: ['other'] } }), 'me')).toBe(false);
    expect(excludes(msg('g', 2, { event: { type: 'member_added', users: ['me'] } }), 'me')).toBe(false);
    expect(excludes(msg('g', 2), 'me')).toBe(false);
  });
});

describe('titles', () => {
  it('of a direct conversation is the other one', () => {
    const s = run({ type: 'users', users: [{ id: 'other', name: 'Other' }] });
    expect(titleOf(conv('d', { kind: 'direct' }), s)).toBe('Other');
    expect(titleOf(conv('Lab'), s)).toBe('Lab');
  });
});

it('signing out forgets everything', () => {
  const s = run({ type: 'conversations', list: [conv('g', { lastSeq: 1 })] }, { type: 'message', message: msg('g', 2) }, { type: 'signed-out', notice: 'bye' });
  expect(s).toEqual({ ...initialState, session: 'out', notice: 'bye' });
});
