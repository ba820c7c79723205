import type { KeyboardEvent } from 'react';

// rove moves the focus among the elements of a list with the arrow keys, Home and End, as in any list of an
// application. It gives whether it did.
export function rove(event: KeyboardEvent<HTMLElement>, selector = 'a, button:not(:disabled)', horizontal = false): boolean {
  const back = horizontal ? 'ArrowLeft' : 'ArrowUp';
  const on = horizontal ? 'ArrowRight' : 'ArrowDown';
  if (![back, on, 'Home', 'End'].includes(event.key) || event.altKey || event.ctrlKey || event.metaKey) return false;
  const items = [...event.currentTarget.querySelectorAll<HTMLElement>(selector)].filter((e) => !e.closest('[hidden]'));
  const at = items.findIndex((e) => e === document.activeElement);
  const to = event.key === 'Home' ? 0 : event.key === 'End' ? items.length - 1 : Math.min(items.length - 1, Math.max(0, at + (event.key === on ? 1 : -1)));
  items[to]?.focus();
  event.preventDefault();
  return true;
}
