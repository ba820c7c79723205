import { describe, expect, it } from 'vitest';
import type { Conversation, Message } from './model';
import { excludes } from './conversation';
import { initialState, ordered, reduce, titleOf, type Action, type State } from './state';

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
  unread: 0,
  ...more,
});
const run = (...actions: Action[]): State => actions.reduce(reduce, reduce(initialState, { type: 'signed-in', me }));
const get = (s: State, id = 'g'): Conversation => {
  const c = s.conversations[id];
  if (!c) throw new Error(`no conversation ${id}`);
  return c;
};

describe('unread', () => {
  const list: Action = { type: 'conversations', list: [conv('g', { lastSeq: 5, readSeq: 3, unread: 2 })] };
  const cases: { name: string; actions: Action[]; unread: number }[] = [
    { name: 'what came after the mark', actions: [list], unread: 2 },
    { name: 'counts what arrives', actions: [list, { type: 'message', message: msg('g', 6) }], unread: 3 },
    { name: 'counts a repeated message once', actions: [list, { type: 'message', message: msg('g', 6) }, { type: 'message', message: msg('g', 6) }], unread: 3 },
    { name: 'ends with my own message', actions: [list, { type: 'message', message: msg('g', 6, { sender: 'me' }) }], unread: 0 },
    { name: 'ends when it is looked at', actions: [list, { type: 'watch', id: 'g' }], unread: 0 },
    { name: 'stays none while it is looked at', actions: [list, { type: 'watch', id: 'g' }, { type: 'message', message: msg('g', 6) }], unread: 0 },
    { name: 'begins again when one looks away', actions: [list, { type: 'watch', id: 'g' }, { type: 'watch', id: null }, { type: 'message', message: msg('g', 6) }], unread: 1 },
    { name: 'is not brought back by an older list', actions: [list, { type: 'watch', id: 'g' }, { type: 'watch', id: null }, list], unread: 0 },
    { name: 'does not count an event', actions: [list, { type: 'message', message: msg('g', 6, { event: { type: 'renamed', title: 'x' } }) }], unread: 2 },
    { name: 'does not count a reaction', actions: [list, { type: 'message', message: msg('g', 6, { change: { type: 'reaction', target: 5, emoji: '👍', on: true } }) }], unread: 2 },
    { name: 'is not ended by my own reaction', actions: [list, { type: 'message', message: msg('g', 6, { sender: 'me', change: { type: 'reaction', target: 5, emoji: '👍', on: true } }) }], unread: 2 },
    { name: 'ends when another device of mine has read', actions: [list, { type: 'read', id: 'g', user: 'me', seq: 5 }], unread: 0 },
    { name: 'does not end when somebody else has read', actions: [list, { type: 'read', id: 'g', user: 'other', seq: 5 }], unread: 2 },
    {
      name: 'counts what came after the mark of another device of mine',
      actions: [list, { type: 'latest', id: 'g', page: [msg('g', 4), msg('g', 5)], complete: true }, { type: 'message', message: msg('g', 6) }, { type: 'read', id: 'g', user: 'me', seq: 5 }],
      unread: 1,
    },
  ];
  it.each(cases)('$name', ({ actions, unread: expected }) => {
    expect(get(run(...actions)).unread).toBe(expected);
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

describe('read marks of others', () => {
  const list: Action = { type: 'conversations', list: [conv('g', { lastSeq: 5, reads: { other: 3 } })] };
  it('only grow', () => {
    const s = run(list, { type: 'read', id: 'g', user: 'other', seq: 5 }, { type: 'read', id: 'g', user: 'other', seq: 4 });
    expect(get(s).reads).toEqual({ other: 5 });
  });

  it('follow what somebody says', () => {
    expect(get(run(list, { type: 'message', message: msg('g', 6) })).reads).toEqual({ other: 6 });
  });

  it('are forgotten with a new list, which does not hold them', () => {
    const { reads: _, ...rest } = conv('g', { lastSeq: 5 });
    expect(get(run(list, { type: 'conversations', list: [rest] })).reads).toBeUndefined();
  });
});

describe('mentions', () => {
  const list: Action = { type: 'conversations', list: [conv('g', { lastSeq: 1, readSeq: 1 })] };
  const mention: Action = { type: 'message', message: msg('g', 2, { mentions: ['me'] }) };
  it('are marked until they are read', () => {
    expect(get(run(list, mention)).mentioned).toBe(true);
    expect(get(run(list, mention, { type: 'watch', id: 'g' })).mentioned).toBe(false);
  });
});

describe('typing', () => {
  const typing: Action = { type: 'typing', id: 'g', user: 'other', until: 6000 };
  it('fades', () => {
    expect(run(typing, { type: 'faded', now: 5999 }).typing).toEqual({ g: { other: 6000 } });
    expect(run(typing, { type: 'faded', now: 6000 }).typing).toEqual({});
  });

  it('ends with the message', () => {
    expect(run(typing, { type: 'message', message: msg('g', 1) }).typing.g?.other).toBe(0);
  });
});

describe('roles', () => {
  const start: Action = { type: 'conversations', list: [conv('g', { lastSeq: 1 })] };
  it('change with their event', () => {
    const s = run(start, { type: 'message', message: msg('g', 2, { event: { type: 'role_changed', users: ['other'], role: 'admin' } }) });
    expect(get(s).members).toContainEqual({ user: 'other', role: 'admin' });
  });

  it('make an admin of who handed the group over', () => {
    const s = run(start, { type: 'message', message: msg('g', 2, { sender: 'me', event: { type: 'role_changed', users: ['other'], role: 'owner', owner: 'other' } }) });
    expect(get(s).members).toEqual([
      { user: 'me', role: 'admin' },
      { user: 'other', role: 'owner' },
    ]);
  });
});

it('a nickname stands before the name, whichever comes first', () => {
  const people: Action = { type: 'people', people: { contacts: [{ user: 'other', nickname: 'O.' }], incoming: [], outgoing: [], blocked: [] } };
  const users: Action = { type: 'users', users: [{ id: 'other', name: 'other', display: 'The Other' }] };
  for (const s of [run(people, users), run(users, people)]) expect(titleOf(conv('d', { kind: 'direct' }), s)).toBe('O.');
  expect(titleOf(conv('d', { kind: 'direct' }), run(users, people, { type: 'people', people: { contacts: [], incoming: [], outgoing: [], blocked: [] } }))).toBe('The Other');
});
