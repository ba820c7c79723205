// Times as people read them, in their own language and time zone.

const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });
const weekday = new Intl.DateTimeFormat(undefined, { weekday: 'long' });
const shortWeekday = new Intl.DateTimeFormat(undefined, { weekday: 'short' });
const date = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'long', year: 'numeric' });
const shortDate = new Intl.DateTimeFormat(undefined, { day: '2-digit', month: '2-digit', year: '2-digit' });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: 'full', timeStyle: 'medium' });

const dayMs = 24 * 60 * 60 * 1000;

export const midnight = (at: number): number => new Date(at).setHours(0, 0, 0, 0);

// Rounded, because a day with a clock change has 23 or 25 hours.
const daysAgo = (at: number, now: number): number => Math.round((midnight(now) - midnight(at)) / dayMs);

export const timeOfDay = (at: number): string => clock.format(at);
export const fullTime = (at: number): string => full.format(at);

// dayName heads the messages of a day.
export function dayName(at: number, now: number): string {
  const days = daysAgo(at, now);
  if (days === 0) return 'Today';
  if (days === 1) return 'Yesterday';
  if (days > 1 && days < 7) return weekday.format(at);
  return date.format(at);
}

// shortTime stands in the list of conversations.
export function shortTime(at: number, now: number): string {
  const days = daysAgo(at, now);
  if (days <= 0) return clock.format(at);
  if (days === 1) return 'Yesterday';
  if (days < 7) return shortWeekday.format(at);
  return shortDate.format(at);
}

export function lastSeen(at: number, now: number): string {
  const minutes = Math.floor((now - at) / 60_000);
  if (minutes < 1) return 'last seen just now';
  if (minutes < 60) return `last seen ${minutes} min ago`;
  const days = daysAgo(at, now);
  if (days === 0) return `last seen at ${clock.format(at)}`;
  if (days === 1) return `last seen yesterday at ${clock.format(at)}`;
  return `last seen on ${date.format(at)}`;
}

export const plural = (n: number, one: string, many: string): string => `${n} ${n === 1 ? one : many}`;
