import { describe, expect, it } from 'vitest';
import type { Message, Outgoing } from '../store/model';
import { emptyThread } from '../store/thread';
import { timeline } from './timeline';

const day = new Date(2026, 10, 20, 9).getTime();
const minute = 60_000;
const msg = (seq: number, sender: string, at: number, more: Partial<Message> = {}): Message => ({ conversation: 'c', seq, sender, clientId: `c${seq}`, text: '', at, ...more });
const show = (rows: ReturnType<typeof timeline>) =>
  rows.map((r) => (r.kind === 'bubble' ? `${r.sender}${r.first ? '<' : ''}${r.last ? '>' : ''}` : r.kind));

describe('timeline', () => {
  it('groups what one sender says within five minutes', () => {
    const stored = [msg(1, 'a', day), msg(2, 'a', day + minute), msg(3, 'b', day + minute), msg(4, 'a', day + 2 * minute), msg(5, 'a', day + 9 * minute)];
    expect(show(timeline({ ...emptyThread, stored }, 'me'))).toEqual(['day', 'a<', 'a>', 'b<>', 'a<>', 'a<>']);
  });

  it('separates days', () => {
    const stored = [msg(1, 'a', day), msg(2, 'a', day + 24 * 60 * minute)];
    expect(show(timeline({ ...emptyThread, stored }, 'me'))).toEqual(['day', 'a<>', 'day', 'a<>']);
  });

  it('puts events between', () => {
    const stored = [msg(1, 'a', day), msg(2, 'a', day, { event: { type: 'renamed', title: 'x' } }), msg(3, 'a', day)];
    expect(show(timeline({ ...emptyThread, stored }, 'me'))).toEqual(['day', 'a<>', 'event', 'a<>']);
  });

  it('shows a hole where something is missing', () => {
    expect(show(timeline({ ...emptyThread, stored: [msg(1, 'a', day)], outOfOrder: [msg(5, 'a', day)] }, 'me'))).toEqual(['day', 'a<>', 'hole', 'a<>']);
  });

  it('puts what is not stored last, under the key that it keeps when it is', () => {
    const o: Outgoing = { conversation: 'c', clientId: 'mine', text: 'x', at: day, state: 'sending' };
    const before = timeline({ ...emptyThread, outbox: [o] }, 'me').at(-1);
    const after = timeline({ ...emptyThread, stored: [msg(1, 'me', day, { clientId: 'mine' })] }, 'me').at(-1);
    expect(before).toMatchObject({ state: 'sending', mine: true });
    expect(after).toMatchObject({ state: 'stored', mine: true });
    expect(before?.key).toBe(after?.key);
  });
});
