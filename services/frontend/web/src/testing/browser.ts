// fetch and WebSocket that lead to a FakeServer, for tests only. Everything happens in microtasks, so fake timers can
// move the clock while answers still come.
import type { FakeLink, FakeServer } from './fake-server';

export function fetchFrom(server: FakeServer): typeof fetch {
  return (input, init) => {
    const answer = server.request(init?.method ?? 'GET', String(input), new Headers(init?.headers), typeof init?.body === 'string' ? init.body : null);
    return Promise.resolve(
      answer.status === 204 ? new Response(null, { status: 204 }) : new Response(`${JSON.stringify(answer.body)}\n`, { status: answer.status, headers: { 'Content-Type': 'application/json' } }),
    );
  };
}

// TabStorage is the sessionStorage of another tab.
export class TabStorage implements Storage {
  private readonly items = new Map<string, string>();
  get length(): number {
    return this.items.size;
  }
  key(n: number): string | null {
    return [...this.items.keys()][n] ?? null;
  }
  getItem(key: string): string | null {
    return this.items.get(key) ?? null;
  }
  setItem(key: string, value: string): void {
    this.items.set(key, value);
  }
  removeItem(key: string): void {
    this.items.delete(key);
  }
  clear(): void {
    this.items.clear();
  }
}

export class FakeSocket {
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: string }) => void) | null = null;
  onclose: ((event: { code: number }) => void) | null = null;
  readyState = 0;
  private link: FakeLink | null = null;
  private readonly server: FakeServer;

  constructor(server: FakeServer) {
    this.server = server;
    queueMicrotask(() => {
      if (this.readyState === 3) return;
      if (server.down) {
        this.closed(1006);
        return;
      }
      this.readyState = 1;
      this.onopen?.();
    });
  }

  send(text: string): void {
    // A close comes behind what was sent before it.
    queueMicrotask(() => {
      if (this.link) this.server.take(this.link, text);
      else if (this.readyState === 1) this.hello(text);
    });
  }

  private hello(text: string): void {
    this.link = this.server.connect(
      text,
      (frame) => queueMicrotask(() => this.readyState === 1 && this.onmessage?.({ data: JSON.stringify(frame) })),
      (code) => this.closed(code),
    );
  }

  close(): void {
    if (this.link) this.server.disconnect(this.link);
    this.readyState = 3;
  }

  private closed(code: number): void {
    if (this.readyState === 3) return;
    this.readyState = 3;
    queueMicrotask(() => this.onclose?.({ code }));
  }
}
