import { describe, expect, it } from 'vitest';
import { applied, react } from './change';
import type { Change, Message } from './model';
import { around, emptyThread, following, gap, latest, messageAt, older, quote, receive, type Thread } from './thread';

const msg = (seq: number, more: Partial<Message> = {}): Message => ({ conversation: 'c', seq, sender: 'a', clientId: `c${seq}`, text: `m${seq}`, at: seq, ...more });
const change = (seq: number, c: Change, sender = 'a'): Message => msg(seq, { text: '', sender, change: c });
const take = (t: Thread, ...list: Message[]) => list.reduce(receive, t);
const open = (...page: Message[]) => latest(emptyThread, page, true);
const edit = (seq: number, target: number, text: string) => change(seq, { type: 'edit', target, text });
const like = (seq: number, target: number, on = true, sender = 'b') => change(seq, { type: 'reaction', target, emoji: '👍', on }, sender);

describe('a change', () => {
  it('applies to its message', () => {
    const t = take(open(msg(1), msg(2)), edit(3, 1, 'better'), like(4, 2), change(5, { type: 'delete', target: 1 }));
    expect(messageAt(t, 1)).toMatchObject({ text: '', deleted: 5, changed: 5 });
    expect(messageAt(t, 2)).toMatchObject({ text: 'm2', reactions: { '👍': ['b'] }, changed: 4 });
  });

  it('applies only if it is newer than what is in the message already', () => {
    const served = msg(1, { text: 'second', edited: 9, changed: 4 });
    const t = take(open(served, msg(2), msg(3)), edit(4, 1, 'first'));
    expect(messageAt(t, 1)?.text).toBe('second');
    expect(messageAt(take(t, edit(5, 1, 'third')), 1)).toMatchObject({ text: 'third', changed: 5 });
  });

  it('that comes twice applies once', () => {
    const t = take(open(msg(1)), like(2, 1), like(3, 1, false));
    expect(messageAt(take(t, like(2, 1)), 1)?.reactions).toEqual({});
  });

  it('that comes before what is missing waits for it, and then applies in order', () => {
    const early = take(open(msg(1)), edit(3, 1, 'last'));
    expect(messageAt(early, 1)?.text).toBe('m1');
    expect(gap(early)).toEqual({ after: 1, before: 3 });
    expect(messageAt(take(early, edit(2, 1, 'first')), 1)).toMatchObject({ text: 'last', changed: 3 });
  });

  it('in a page applies to what is here and older than the page', () => {
    const t = latest(open(msg(1)), [msg(2), edit(3, 1, 'better')], false);
    expect(messageAt(t, 1)?.text).toBe('better');
  });

  it('stays when an older page brings the message as it was before', () => {
    const t = take(open(msg(2)), edit(3, 2, 'better'));
    expect(messageAt(older(t, [msg(1), msg(2)], true), 2)?.text).toBe('better');
  });

  it('does nothing to a deleted message', () => {
    const gone = applied(msg(1), { type: 'delete', target: 1 }, 2, 'a', 2);
    expect(applied(gone, { type: 'edit', target: 1, text: 'back' }, 3, 'a', 3)).toBe(gone);
    expect(applied(gone, { type: 'reaction', target: 1, emoji: '👍', on: true }, 3, 'a', 3)).toBe(gone);
  });

  it('of a message that is only quoted changes the quotation', () => {
    const t = take(quote(open(msg(5)), 1, msg(1)), edit(6, 1, 'better'));
    expect(messageAt(t, 1)?.text).toBe('better');
  });
});

describe('reactions', () => {
  it('hold each user once, in order of coming, and no emoji without users', () => {
    const two = react(react(react({}, '👍', 'a', true), '👍', 'b', true), '👍', 'a', true);
    expect(two).toEqual({ '👍': ['a', 'b'] });
    expect(react(react(two, '👍', 'a', false), '👍', 'b', false)).toEqual({});
  });

  it('take any name that a text can be', () => {
    expect(Object.keys(react({}, 'constructor', 'a', true))).toEqual(['constructor']);
  });
});

describe('a jump to an old message', () => {
  const far = around(open(msg(100), msg(101)), [msg(9), msg(10), msg(11)], false, true);

  it('shows its surroundings instead of the end, without a hole to fill', () => {
    expect(far.stored.map((m) => m.seq)).toEqual([9, 10, 11]);
    expect(far.detached).toBe(true);
    expect(gap(take(far, msg(102)))).toBeNull();
  });

  it('still shows changes that come live', () => {
    expect(messageAt(take(far, edit(102, 10, 'better')), 10)?.text).toBe('better');
  });

  it('comes back to the end page by page', () => {
    const end = following(far, [msg(12), msg(13)], false);
    expect(end.detached).toBe(false);
    expect(end.stored.map((m) => m.seq)).toEqual([9, 10, 11, 12, 13]);
  });

  it('comes back to the end at once', () => {
    const end = latest(far, [msg(101), msg(102)], false);
    expect(end).toMatchObject({ detached: false, complete: false });
    expect(end.stored.map((m) => m.seq)).toEqual([101, 102]);
  });

  it('to what touches what is here only adds to it', () => {
    const t = around(open(msg(5), msg(6)), [msg(3), msg(4)], true, true);
    expect(t).toMatchObject({ detached: false });
    expect(t.stored.map((m) => m.seq)).toEqual([3, 4, 5, 6]);
  });
});
