import type { ReactNode } from 'react';

const address = /https?:\/\/[^\s<>"']+/gi;
// What ends a sentence does not belong to the address before it.
const trailing = /[.,;:!?)\]}]+$/;

// links turns web addresses in a text into links, and leaves everything else text. No other scheme ever becomes a link.
export function links(text: string): ReactNode[] {
  const out: ReactNode[] = [];
  let from = 0;
  for (const match of text.matchAll(address)) {
    const url = match[0].replace(trailing, '');
    if (!isWeb(url)) continue;
    out.push(text.slice(from, match.index));
    out.push(
      <a key={match.index} href={url} target="_blank" rel="noopener noreferrer nofollow">
        {url}
      </a>,
    );
    from = match.index + url.length;
  }
  out.push(text.slice(from));
  return out;
}

function isWeb(url: string): boolean {
  if (!URL.canParse(url)) return false;
  const { protocol } = new URL(url);
  return protocol === 'https:' || protocol === 'http:';
}

export interface Mentionable {
  readonly name: string;
  readonly me: boolean;
  readonly title: string;
}

// rich is a text with its links and the mentions of these users in it.
export function rich(text: string, mentions: readonly Mentionable[]): ReactNode[] {
  if (mentions.length === 0) return links(text);
  const byName = new Map(mentions.map((m) => [m.name.toLowerCase(), m]));
  const out: ReactNode[] = [];
  let from = 0;
  for (const match of text.matchAll(mention)) {
    const found = longest(match[1] ?? '', byName);
    if (!found) continue;
    const end = match.index + 1 + found.name.length;
    out.push(<span key={`t${from}`}>{links(text.slice(from, match.index))}</span>);
    out.push(
      <span key={`m${match.index}`} className={found.me ? 'mention me' : 'mention'} title={found.title}>
        {text.slice(match.index, end)}
      </span>,
    );
    from = end;
  }
  out.push(<span key={`t${from}`}>{links(text.slice(from))}</span>);
  return out;
}

// A mention is @ and a name, at the beginning of a word; not what looks so within an address.
const mention = /(?<=^|[\s([{"'])@([A-Za-z0-9][A-Za-z0-9._-]{1,31})/gu;

// longest finds the name that a text begins with: a full stop behind a name may end the sentence, or belong to the name.
function longest<T>(text: string, byName: ReadonlyMap<string, T>): T | undefined {
  for (let n = text.length; n >= 2; n--) {
    const found = byName.get(text.slice(0, n).toLowerCase());
    if (found && !/[A-Za-z0-9_]/.test(text.charAt(n))) return found;
  }
  return undefined;
}

// mentionedIn gives those of the users whom a text mentions by name.
export function mentionedIn(text: string, users: readonly { id: string; name: string }[]): string[] {
  const byName = new Map(users.map((u) => [u.name.toLowerCase(), u.id]));
  const ids = [...text.matchAll(mention)].map((match) => longest(match[1] ?? '', byName)).filter((id): id is string => id !== undefined);
  return [...new Set(ids)];
}
