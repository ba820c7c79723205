import { renderToStaticMarkup } from 'react-dom/server';
import { describe, expect, it } from 'vitest';
import { links, mentionedIn, rich } from './links';

const html = (text: string) => renderToStaticMarkup(<>{links(text)}</>).replaceAll(' target="_blank" rel="noopener noreferrer nofollow"', '');

describe('links', () => {
  it.each([
    ['plain', 'plain'],
    ['see https://a.example/x?y=1.', 'see <a href="https://a.example/x?y=1">https://a.example/x?y=1</a>.'],
    ['(http://a.example) and http://b.example!', '(<a href="http://a.example">http://a.example</a>) and <a href="http://b.example">http://b.example</a>!'],
    ['javascript:alert(1)', 'javascript:alert(1)'],
    ['data:text/html,<script>alert(1)</script>', 'data:text/html,&lt;script&gt;alert(1)&lt;/script&gt;'],
    ['ftp://a.example file:///etc/passwd', 'ftp://a.example file:///etc/passwd'],
    ['jaVascript:https://a.example', 'jaVascript:<a href="https://a.example">https://a.example</a>'],
    ['<img src=x onerror=alert(1)>', '&lt;img src=x onerror=alert(1)&gt;'],
    ['https://', 'https://'],
    ['http://a.example/"onclick="x', '<a href="http://a.example/">http://a.example/</a>&quot;onclick=&quot;x'],
  ])('%s', (text, expected) => {
    expect(html(text)).toBe(expected);
  });
});

describe('mentions', () => {
  const users = [
    { id: '1', name: 'bob' },
    { id: '2', name: 'bob.b' },
    { id: '3', name: 'Ann' },
  ];

  it.each([
    ['hello @bob', ['1']],
    ['hello @bob.', ['1']],
    ['hello @bob.b and @ANN!', ['2', '3']],
    ['@bob @bob', ['1']],
    ['mail bob@bob', []],
    ['@bobby', []],
    ['@nobody', []],
  ])('in %s', (text, expected) => {
    expect(mentionedIn(text, users)).toEqual(expected);
  });

  it('are marked, and only those who are mentioned', () => {
    const out = renderToStaticMarkup(<>{rich('@bob <b> @Ann https://a.example/@bob', [{ name: 'bob', me: true, title: 'Bob' }])}</>);
    expect(out).toContain('<span class="mention me" title="Bob">@bob</span>');
    expect(out).toContain('&lt;b&gt; @Ann');
    expect(out.match(/class="mention/g)).toHaveLength(1);
  });
});
