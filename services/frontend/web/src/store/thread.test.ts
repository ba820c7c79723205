import { describe, expect, it } from 'vitest';
import type { Message, Outgoing } from './model';
import { emptyThread, enqueue, fail, filled, gap, latest, older, receive, retry, type Thread } from './thread';

const msg = (seq: number, clientId = `c${seq}`): Message => ({ conversation: 'x', seq, sender: 'u', clientId, text: `m${seq}`, at: seq });
const out = (clientId: string): Outgoing => ({ conversation: 'x', clientId, text: clientId, at: 0, state: 'sending' });
const from = (...seqs: number[]): Thread => ({ ...emptyThread, stored: seqs.map((n) => msg(n)), opened: true });
const seqs = (t: Thread) => ({ stored: t.stored.map((m) => m.seq), outOfOrder: t.outOfOrder.map((m) => m.seq) });
const range = (a: number, b: number) => Array.from({ length: b - a + 1 }, (_, n) => msg(a + n));

describe('receive', () => {
  const cases: { name: string; have: Thread; receive: number[]; stored: number[]; outOfOrder: number[] }[] = [
    { name: 'begins anywhere', have: emptyThread, receive: [7], stored: [7], outOfOrder: [] },
    { name: 'appends the next', have: from(1, 2), receive: [3, 4], stored: [1, 2, 3, 4], outOfOrder: [] },
    { name: 'shows a message once', have: from(1, 2), receive: [2, 2, 1], stored: [1, 2], outOfOrder: [] },
    { name: 'keeps what is behind a hole aside', have: from(1), receive: [3, 4], stored: [1], outOfOrder: [3, 4] },
    { name: 'shows once also what is behind a hole', have: from(1), receive: [3, 3], stored: [1], outOfOrder: [3] },
    { name: 'joins when the hole is filled, in any order', have: from(1), receive: [4, 3, 2], stored: [1, 2, 3, 4], outOfOrder: [] },
    { name: 'ignores what is older than all that is here', have: from(5, 6), receive: [3], stored: [5, 6], outOfOrder: [] },
  ];
  it.each(cases)('$name', ({ have, receive: list, stored, outOfOrder }) => {
    expect(seqs(list.reduce((t, n) => receive(t, msg(n)), have))).toEqual({ stored, outOfOrder });
  });

  it('gives the same thread for every order of arrival', () => {
    const orders = [[2, 3, 4, 5], [5, 4, 3, 2], [3, 5, 2, 4], [4, 2, 2, 5, 3, 4]];
    for (const order of orders) {
      expect(seqs(order.reduce((t, n) => receive(t, msg(n)), from(1))).stored).toEqual([1, 2, 3, 4, 5]);
    }
  });
});

describe('outbox', () => {
  it('drops a message that is acknowledged', () => {
    const t = receive(enqueue(enqueue(from(1), out('a')), out('b')), msg(2, 'a'));
    expect(t.outbox.map((o) => o.clientId)).toEqual(['b']);
    expect(t.stored.at(-1)?.clientId).toBe('a');
  });

  it('drops a message that is acknowledged behind a hole', () => {
    const t = receive(enqueue(from(1), out('a')), msg(5, 'a'));
    expect(t.outbox).toEqual([]);
    expect(seqs(t)).toEqual({ stored: [1], outOfOrder: [5] });
  });

  it('drops a message whose acknowledgement was lost, once history holds it', () => {
    expect(latest(enqueue(from(1), out('a')), [msg(1), msg(2, 'a')], true).outbox).toEqual([]);
    expect(filled(enqueue(from(1), out('a')), 1, [msg(2, 'a')], false).outbox).toEqual([]);
  });

  it('queues a client id once', () => {
    expect(enqueue(enqueue(emptyThread, out('a')), out('a')).outbox).toHaveLength(1);
  });

  it('marks failed with the reason, and sending again on retry', () => {
    const failed = fail(enqueue(emptyThread, out('a')), 'a', 'no');
    expect(failed.outbox[0]).toMatchObject({ state: 'failed', reason: 'no' });
    expect(retry(failed, 'a').outbox[0]).toEqual(out('a'));
  });
});

describe('gap', () => {
  it('is between what is stored and what came out of order', () => {
    expect(gap(from(1, 2))).toBeNull();
    expect(gap(receive(from(1, 2), msg(6)))).toEqual({ after: 2, before: 6 });
  });

  it('closes with the page that was asked for', () => {
    const t = filled(receive(from(1), msg(4)), 1, [msg(2), msg(3), msg(4)], false);
    expect(seqs(t)).toEqual({ stored: [1, 2, 3, 4], outOfOrder: [] });
  });

  it('closes page by page', () => {
    const behind = receive(from(1), msg(6));
    const half = filled(behind, 1, [msg(2), msg(3)], true);
    expect(seqs(half)).toEqual({ stored: [1, 2, 3], outOfOrder: [6] });
    expect(seqs(filled(half, 3, [msg(4), msg(5), msg(6)], false)).stored).toEqual([1, 2, 3, 4, 5, 6]);
  });

  it('closes where the missing numbers are not for this user', () => {
    expect(seqs(filled(receive(from(3), msg(9)), 3, [msg(9)], false))).toEqual({ stored: [3, 9], outOfOrder: [] });
  });

  it('ignores an answer that a newer page has overtaken', () => {
    const t = receive(from(10, 11), msg(14));
    expect(filled(t, 4, [msg(5), msg(6)], false)).toBe(t);
  });
});

describe('latest', () => {
  it('replaces what it does not touch', () => {
    const t = latest(from(1, 2, 3), range(100, 150), false);
    expect(t.stored.map((m) => m.seq)).toEqual(range(100, 150).map((m) => m.seq));
    expect(t).toMatchObject({ complete: false, opened: true, loading: false });
  });

  it('extends what it touches', () => {
    expect(seqs(latest(from(1, 2, 3), range(3, 5), false)).stored).toEqual([1, 2, 3, 4, 5]);
    expect(seqs(latest(from(1, 2, 3), range(4, 5), false)).stored).toEqual([1, 2, 3, 4, 5]);
  });

  it('keeps what arrived live while it was fetched', () => {
    const t = latest(receive(emptyThread, msg(6)), range(1, 5), true);
    expect(seqs(t)).toEqual({ stored: [1, 2, 3, 4, 5, 6], outOfOrder: [] });
    expect(t.complete).toBe(true);
  });

  it('takes an empty conversation', () => {
    expect(latest(emptyThread, [], true)).toMatchObject({ complete: true, opened: true, stored: [] });
  });
});

describe('older', () => {
  it('puts the page in front', () => {
    const t = older(from(4, 5), range(1, 3), true);
    expect(seqs(t).stored).toEqual([1, 2, 3, 4, 5]);
    expect(t.complete).toBe(true);
  });
});
