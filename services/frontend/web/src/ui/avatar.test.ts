import { expect, it } from 'vitest';
import { hue, initials } from './avatar';

it.each([
  ['alice', 'AL'],
  ['ada.lovelace', 'AL'],
  ['grace_h', 'GH'],
  ['bob-4d1d', 'BO'],
  ['x1', 'X1'],
])('initials of %s are %s', (name, expected) => {
  expect(initials(name)).toBe(expected);
});

it('gives a user one colour of eight, always the same', () => {
  expect(hue('0193-a')).toBe(hue('0193-a'));
  for (const id of ['', 'a', '0193', 'ü']) expect(hue(id)).toBeLessThan(8);
});
