import type { ConversationId } from '../store/model';

const prefix = '/c/';

export const pathOf = (id: ConversationId | null): string => (id === null ? '/' : prefix + encodeURIComponent(id));

export function selectedByPath(path: string): ConversationId | null {
  if (!path.startsWith(prefix) || path.length === prefix.length) return null;
  try {
    return decodeURIComponent(path.slice(prefix.length));
  } catch {
    return null; // a broken escape: not an address of this page
  }
}
