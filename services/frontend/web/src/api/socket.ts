// One WebSocket to the gateway that comes back by itself.
import type { Link } from '../store/model';
import { Ended } from './http';
import { decode, type ClientFrame, type ServerFrame } from './wire';

export interface SocketEvents {
  link(link: Link): void;
  // A new connection stands: from here on everything arrives; what came before has to be asked for.
  up(): void;
  frame(frame: ServerFrame): void;
  // The session is over; the socket will not try again.
  ended(): void;
}

export interface SocketOptions {
  // Gives an access token, another one than that which was refused.
  token: (refused: string) => Promise<string>;
  connect: () => WebSocket;
  random?: () => number;
}

const firstWait = 500;
const longestWait = 15_000;
const helloWithin = 10_000;
const pingEvery = 20_000;
const pongWithin = 10_000;

// backoff doubles up to 15 s and is spread over the upper half, so that a gateway's clients do not return as one.
export function backoff(attempt: number, random: () => number): number {
  const most = Math.min(longestWait, firstWait * 2 ** Math.min(attempt, 10));
  return Math.round(most / 2 + (most / 2) * random());
}

export class Socket {
  private ws: WebSocket | null = null;
  private live = false; // hello has come
  // What was passed on before this socket opened, and is to be found by HTTP.
  position = '';
  private refused = ''; // the token that the last hello was refused for
  private attempt = 0;
  private pings = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private heartbeat: ReturnType<typeof setTimeout> | undefined;
  // Counts connections: what belongs to an older one is ignored.
  private generation = 0;
  private running = false;
  private readonly options: SocketOptions;
  private readonly events: SocketEvents;
  private readonly random: () => number;

  constructor(options: SocketOptions, events: SocketEvents) {
    this.options = options;
    this.events = events;
    this.random = options.random ?? Math.random;
  }

  start(): void {
    if (this.running) return;
    this.running = true;
    this.attempt = 0;
    void this.connect();
  }

  stop(): void {
    this.running = false;
    this.drop(1000);
    clearTimeout(this.timer);
  }

  // wake is for when things may have changed: the network is back, the tab is looked at again, "Try now".
  wake(): void {
    if (!this.running) return;
    if (this.live) {
      this.ping();
      return;
    }
    if (this.ws) return; // already at it
    clearTimeout(this.timer);
    this.attempt = 0;
    void this.connect();
  }

  // send gives the frame to the network and says whether it could.
  send(frame: ClientFrame): boolean {
    if (!this.live || this.ws?.readyState !== WebSocket.OPEN) return false;
    this.ws.send(JSON.stringify(frame));
    return true;
  }

  private async connect(): Promise<void> {
    const generation = ++this.generation;
    const current = () => this.running && generation === this.generation;
    this.events.link({ state: 'connecting' });
    let ws: WebSocket;
    let token: string;
    try {
      token = await this.options.token(this.refused);
      if (!current()) return;
      ws = this.options.connect();
    } catch (error) {
      if (!current()) return;
      if (error instanceof Ended) this.end();
      else this.wait('The server cannot be reached.');
      return;
    }
    this.ws = ws;
    this.timer = setTimeout(() => {
      if (current()) this.lost('The server does not answer.');
    }, helloWithin);
    // The client speaks first; the server stays silent until then.
    ws.onopen = () => ws.send(JSON.stringify({ type: 'hello', token } satisfies ClientFrame));
    ws.onmessage = (event) => {
      if (!current()) return;
      const frame = decode(event.data);
      if (frame) this.take(frame);
    };
    ws.onclose = (event) => {
      if (!current()) return;
      if (event.code === 4402) this.refused = token;
      if (event.code === 4401) this.end();
      else this.lost('The connection was lost.', event.code === 1012 || event.code === 1001);
    };
  }

  private take(frame: ServerFrame): void {
    this.alive();
    if (frame.type === 'hello') {
      clearTimeout(this.timer);
      this.live = true;
      this.position = frame.position ?? '';
      this.attempt = 0;
      this.events.link({ state: 'online' });
      this.events.up();
      return;
    }
    if (frame.type !== 'pong') this.events.frame(frame);
  }

  // alive puts off the next ping: whatever arrives is proof of life.
  private alive(): void {
    clearTimeout(this.heartbeat);
    this.heartbeat = setTimeout(() => this.ping(), pingEvery);
  }

  private ping(): void {
    if (!this.send({ type: 'ping', id: `p-${++this.pings}` })) return;
    clearTimeout(this.heartbeat);
    const generation = this.generation;
    this.heartbeat = setTimeout(() => {
      if (this.running && generation === this.generation) this.lost('The connection fell silent.');
    }, pongWithin);
  }

  private lost(reason: string, soon = false): void {
    const wasLive = this.live;
    this.drop(1000);
    // A gateway that stops says so: another one is there, so hurry, but not all at the same moment. The hurry is for
    // connections that stood, so that a gateway which never gets ready is not asked without end.
    this.wait(reason, soon && wasLive ? Math.round(50 + 450 * this.random()) : undefined);
  }

  private wait(reason: string, ms = backoff(this.attempt++, this.random)): void {
    this.ws = null;
    this.events.link({ state: 'waiting', retryAt: Date.now() + ms, reason });
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.connect(), ms);
  }

  private end(): void {
    this.stop();
    this.events.ended();
  }

  private drop(code: number): void {
    this.generation++;
    this.live = false;
    clearTimeout(this.heartbeat);
    clearTimeout(this.timer);
    const ws = this.ws;
    this.ws = null;
    ws?.close(code);
  }
}
