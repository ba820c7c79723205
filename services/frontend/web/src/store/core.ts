// What the parts of the page's doing share.
import { Failure, type Http } from '../api/http';
import type { ClientFrame } from '../api/wire';
import type { UserId } from './model';
import type { Store } from './store';

export interface Core {
  readonly http: Http;
  readonly store: Store;
  // Counts sessions: an answer to a request of an earlier one is not applied.
  epoch: () => number;
  // Gives a frame to the network and says whether it could.
  send: (frame: ClientFrame) => boolean;
  // Tries to connect now.
  wake: () => void;
  // Shows what went wrong, where nobody who called can.
  complain: (error: unknown) => void;
}

// NeedUsers fetches the users that are not known yet.
export type NeedUsers = (ids: readonly UserId[]) => void;

// reason is what went wrong, as a sentence: the services' messages are parts of sentences.
export function reason(error: unknown): string {
  const text = (error instanceof Error ? error.message : String(error)).trim();
  const end = /[.!?…]$/.test(text) ? '' : '.';
  return text.charAt(0).toUpperCase() + text.slice(1) + end;
}

export const missing = (error: unknown): boolean => error instanceof Failure && (error.status === 404 || error.status === 403);

export function chunks<T>(list: readonly T[], size: number): T[][] {
  const out: T[][] = [];
  for (let i = 0; i < list.length; i += size) out.push(list.slice(i, i + size));
  return out;
}

// randomId works on plain http too, where crypto.randomUUID is not to be had.
export function randomId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (b) => b.toString(16).padStart(2, '0')).join('');
}
