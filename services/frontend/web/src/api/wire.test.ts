import { describe, expect, it } from 'vitest';
import { decode, directId, limits, toMessage } from './wire';

describe('decode', () => {
  it.each([
    ['binary', new ArrayBuffer(2)],
    ['no JSON', '{'],
    ['no object', '7'],
    ['null', 'null'],
    ['no type', '{}'],
    ['a type of another kind', '{"type":1}'],
    ['a type of a newer server', '{"type":"dance"}'],
    ['a message without a message', '{"type":"message"}'],
    ['a message without a place', '{"type":"message","message":{"conversation":"c","sender":"u","seq":"1"}}'],
  ])('refuses %s', (_, data) => {
    expect(decode(data)).toBeNull();
  });

  it('takes a frame with fields that it does not know', () => {
    expect(decode('{"type":"pong","id":"p","more":1}')).toMatchObject({ type: 'pong', id: 'p' });
  });
});

it('takes events that it does not know as events without a change', () => {
  const m = toMessage({ conversation: 'g', seq: 1, kind: 'event', sender: 'u', at: '2026-11-21T08:15:30.123Z', event: { type: 'painted' } });
  expect(m).toEqual({ conversation: 'g', seq: 1, sender: 'u', clientId: '', event: { type: 'unknown' }, text: '', at: Date.parse('2026-11-21T08:15:30.123Z') });
});

it('names a direct conversation the same from both sides', () => {
  expect(directId('b', 'a')).toBe('dm:a:b');
  expect(directId('a', 'b')).toBe('dm:a:b');
});

it.each([
  ['al', true],
  ['Ada.L-1_x', true],
  ['a', false],
  ['.ada', false],
  ['ada lovelace', false],
  ['a'.repeat(33), false],
])('user name %s: %s', (name, ok) => {
  expect(limits.name.test(name)).toBe(ok);
});
