import type { ReactNode } from 'react';

const address = /https?:\/\/[^\s<>"']+/g;
// What ends a sentence does not belong to the address before it.
const trailing = /[.,;:!?)\]}]+$/;

// links turns web addresses in a text into links, and leaves everything else text.
export function links(text: string): ReactNode[] {
  const out: ReactNode[] = [];
  let from = 0;
  for (const match of text.matchAll(address)) {
    const url = match[0].replace(trailing, '');
    if (!URL.canParse(url)) continue;
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
