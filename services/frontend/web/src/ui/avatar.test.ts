import { expect, it } from 'vitest';
import { colours, hue, initials, onColour } from './avatar';

it.each([
  ['alice', 'AL'],
  ['ada.lovelace', 'AL'],
  ['Ada Lovelace', 'AL'],
  ['grace_h', 'GH'],
  ['bob-4d1d', 'BO'],
  ['x1', 'X1'],
  ['Ölaf Ühr', 'ÖÜ'],
  ['🦊 fox', '🦊 '],
])('initials of %s are %s', (name, expected) => {
  expect(initials(name)).toBe(expected);
});

it('gives a user one colour, always the same', () => {
  expect(hue('0193-a')).toBe(hue('0193-a'));
  for (const id of ['', 'a', '0193', 'ü']) expect(colours).toContain(hue(id));
});

it.each([
  ['#ffffff', 'black'],
  ['#000000', 'white'],
  ['#ffcc00', 'black'],
  ['#2b3a8c', 'white'],
])('what stands on %s is %s', (hex, ink) => {
  expect(onColour(hex)).toBe(ink);
});
