import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Link } from '../store/model';
import { Ended } from './http';
import { backoff, Socket } from './socket';

class Wire {
  onopen: (() => void) | null = null;
  onmessage: ((e: { data: string }) => void) | null = null;
  onclose: ((e: { code: number }) => void) | null = null;
  readyState = 1;
  readonly sent: string[] = [];
  send(text: string): void {
    this.sent.push(text);
  }
  close(): void {
    this.readyState = 3;
  }
  hello(): void {
    this.onmessage?.({ data: '{"type":"hello"}' });
  }
}

let wires: Wire[];
let links: Link[];
let ups: number;
let ended: boolean;
let token: (refused: string) => Promise<string>;
let socket: Socket;

beforeEach(() => {
  vi.useFakeTimers({ now: 0 });
  wires = [];
  links = [];
  ups = 0;
  ended = false;
  token = () => Promise.resolve('t');
  socket = new Socket(
    {
      token: (refused) => token(refused),
      connect: () => {
        const wire = new Wire();
        wires.push(wire);
        return wire as unknown as WebSocket;
      },
      random: () => 1,
    },
    {
      link: (link) => links.push(link),
      up: () => ups++,
      frame: () => undefined,
      ended: () => {
        ended = true;
      },
    },
  );
});

afterEach(() => {
  socket.stop();
  vi.useRealTimers();
});

const settle = () => vi.advanceTimersByTimeAsync(0);
const wire = () => {
  const last = wires.at(-1);
  if (!last) throw new Error('no connection was made');
  return last;
};

async function connected(): Promise<Wire> {
  socket.start();
  await settle();
  wire().hello();
  return wire();
}

describe('backoff', () => {
  it('doubles from half a second to fifteen', () => {
    expect([0, 1, 2, 3, 4, 5, 6, 60].map((n) => backoff(n, () => 1))).toEqual([500, 1000, 2000, 4000, 8000, 15000, 15000, 15000]);
  });
  it('is spread over its upper half', () => {
    expect(backoff(2, () => 0)).toBe(1000);
    expect(backoff(2, () => 0.5)).toBe(1500);
  });
});

describe('socket', () => {
  it('is up with the first frame and not before', async () => {
    socket.start();
    await settle();
    expect(ups).toBe(0);
    expect(socket.send({ type: 'ping', id: 'x' })).toBe(false);
    expect(wire().sent).toEqual([]);
    wire().onopen?.();
    expect(wire().sent).toEqual(['{"type":"hello","token":"t"}']); // the client speaks first
    wire().hello();
    expect(ups).toBe(1);
    expect(socket.send({ type: 'ping', id: 'x' })).toBe(true);
  });

  it('comes back, and begins its waits anew', async () => {
    (await connected()).onclose?.({ code: 1006 });
    expect(links.at(-1)).toMatchObject({ state: 'waiting', retryAt: 500 });
    await vi.advanceTimersByTimeAsync(500);
    wire().onclose?.({ code: 1006 });
    expect(links.at(-1)).toMatchObject({ state: 'waiting', retryAt: 1500 });
    await vi.advanceTimersByTimeAsync(1000);
    wire().hello();
    wire().onclose?.({ code: 1006 });
    expect(links.at(-1)).toMatchObject({ state: 'waiting', retryAt: 2000 });
    expect(wires).toHaveLength(3);
  });

  it('hurries when the gateway is replaced, but not again and again', async () => {
    (await connected()).onclose?.({ code: 1012 });
    expect(links.at(-1)).toMatchObject({ retryAt: 500 });
    await vi.advanceTimersByTimeAsync(500);
    wire().onclose?.({ code: 1012 });
    await vi.advanceTimersByTimeAsync(500);
    wire().onclose?.({ code: 1012 });
    expect(links.at(-1)).toMatchObject({ state: 'waiting', retryAt: 2000 });
  });

  it('ends for good when the session does', async () => {
    (await connected()).onclose?.({ code: 4401 });
    await vi.advanceTimersByTimeAsync(60_000);
    expect(ended).toBe(true);
    expect(wires).toHaveLength(1);
  });

  it('ends for good when there is no token any more', async () => {
    token = () => Promise.reject(new Ended());
    socket.start();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(ended).toBe(true);
    expect(wires).toHaveLength(0);
  });

  it('asks for another token than the one that was refused', async () => {
    token = (refused) => Promise.resolve(refused === 't' ? 'new' : 't');
    socket.start();
    await settle();
    wire().onclose?.({ code: 4402 });
    await vi.advanceTimersByTimeAsync(500);
    wire().onopen?.();
    expect(wire().sent).toEqual(['{"type":"hello","token":"new"}']);
    expect(ended).toBe(false);
  });

  it('gives up on a server that does not say hello', async () => {
    socket.start();
    await settle();
    await vi.advanceTimersByTimeAsync(10_000);
    expect(links.at(-1)?.state).toBe('waiting');
    expect(wire().readyState).toBe(3);
  });

  it('notices a connection that fell silent', async () => {
    const first = await connected();
    await vi.advanceTimersByTimeAsync(20_000);
    expect(first.sent.map((f) => JSON.parse(f) as unknown)).toEqual([{ type: 'ping', id: 'p-1' }]);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(links.at(-1)).toMatchObject({ state: 'waiting', reason: 'The connection fell silent.' });
  });

  it('stays with a connection that answers', async () => {
    const first = await connected();
    for (let n = 0; n < 5; n++) {
      await vi.advanceTimersByTimeAsync(20_000);
      first.onmessage?.({ data: '{"type":"pong","id":"x"}' });
    }
    expect(links.at(-1)?.state).toBe('online');
    expect(first.sent).toHaveLength(5);
  });

  it('tries at once when it is woken', async () => {
    (await connected()).onclose?.({ code: 1006 });
    socket.wake();
    await settle();
    expect(wires).toHaveLength(2);
    expect(links.at(-1)?.state).toBe('connecting');
  });

  it('ignores what a connection says that it has given up', async () => {
    const first = await connected();
    first.onclose?.({ code: 1006 });
    await vi.advanceTimersByTimeAsync(500);
    first.hello();
    first.onclose?.({ code: 4401 });
    expect(ups).toBe(1);
    expect(ended).toBe(false);
  });
});
