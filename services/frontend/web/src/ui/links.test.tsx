import { renderToStaticMarkup } from 'react-dom/server';
import { describe, expect, it } from 'vitest';
import { links } from './links';

const html = (text: string) => renderToStaticMarkup(<>{links(text)}</>).replaceAll(' target="_blank" rel="noopener noreferrer nofollow"', '');

describe('links', () => {
  it.each([
    ['plain', 'plain'],
    ['see https://a.example/x?y=1.', 'see <a href="https://a.example/x?y=1">https://a.example/x?y=1</a>.'],
    ['(http://a.example) and http://b.example!', '(<a href="http://a.example">http://a.example</a>) and <a href="http://b.example">http://b.example</a>!'],
    ['javascript:alert(1)', 'javascript:alert(1)'],
    ['<img src=x onerror=alert(1)>', '&lt;img src=x onerror=alert(1)&gt;'],
    ['https://', 'https://'],
    ['http://a.example/"onclick="x', '<a href="http://a.example/">http://a.example/</a>&quot;onclick=&quot;x'],
  ])('%s', (text, expected) => {
    expect(html(text)).toBe(expected);
  });
});
