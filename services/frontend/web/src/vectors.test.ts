// The Go client runs the same cases: docs/vectors/README.md.
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Http } from './api/http';
import { BrowserTokens } from './api/tokens';
import { toConversation, toMessage, type WireMessage } from './api/wire';
import { Chat } from './store/chat';
import type { Message } from './store/model';
import { initialState, reduce, threadOf, type Action } from './store/state';
import { Store } from './store/store';
import { emptyThread, latest, messageAt, receive } from './store/thread';

// The page is built without docs, so the compiler must not look for them.
const vectors: Record<string, unknown> = import.meta.glob('../../../../docs/vectors/*.json', { eager: true, import: 'default' });
const { changes, delivery, reads } = Object.fromEntries(Object.entries(vectors).map(([path, cases]) => [path.replace(/^.*\/|\.json$/g, ''), cases]));

const id = 'g:1';

describe('changes', () => {
  it.each(changes as unknown as { name: string; message: WireMessage; changes: WireMessage[]; want: WireMessage }[])('$name', (v) => {
    const held = latest(emptyThread, [toMessage(v.message)], false);
    // Each comes live; the seqs between the text and the changes were other messages.
    const thread = v.changes.reduce((t, change) => receive({ ...t, stored: [...t.stored, ...filler(t.stored.at(-1)?.seq ?? 0, change.seq)] }, toMessage(change)), held);
    expect(plain(messageAt(thread, v.message.seq))).toEqual(plain(toMessage(v.want)));
  });

  const filler = (after: number, before: number): Message[] => Array.from({ length: Math.max(0, before - after - 1) }, (_, n) => toMessage(text(after + 1 + n)));

  // No reactions are the same as none that are left.
  const plain = (m: Message | null | undefined): unknown => {
    if (!m?.reactions || Object.keys(m.reactions).length > 0) return m;
    const { reactions: _, ...rest } = m;
    return rest;
  };
});

describe('reads', () => {
  type Mark = { last_seq: number; read: number; unread: number };
  type Step = { type: 'message'; message: WireMessage } | { type: 'read'; user: string; seq: number } | { type?: undefined; answer: Mark };
  it.each(reads as unknown as { name: string; conversation: Mark; steps: Step[]; want: Mark }[])('$name', (v) => {
    const as = (mark: Mark) => toConversation({ id, kind: 'group', title: 'Lab', members: [], first_seq: 1, last_message: text(1), ...mark });
    const action = (s: Step): Action => {
      switch (s.type) {
        case 'message':
          return { type: 'message', message: toMessage(s.message) };
        case 'read':
          return { type: 'read', id, user: s.user, seq: s.seq };
        default:
          return { type: 'conversation', conversation: as(s.answer) };
      }
    };
    const begin: Action[] = [
      { type: 'signed-in', me: { id: 'me', name: 'me' } },
      { type: 'conversations', list: [as(v.conversation)] },
    ];
    const c = [...begin, ...v.steps.map(action)].reduce(reduce, initialState).conversations[id];
    expect({ last_seq: c?.lastSeq, read: c?.readSeq, unread: c?.unread }).toEqual(v.want);
  });
});

describe('delivery', () => {
  let chat: Chat;

  beforeEach(() => {
    vi.useFakeTimers();
    sessionStorage.clear();
    localStorage.clear();
  });

  afterEach(async () => {
    await chat.signOut();
    vi.useRealTimers();
    vi.unstubAllGlobals();
  });

  const cases = delivery as unknown as { name: string; have: number; frames: (number | object)[]; history: number[] | null; shown: number[] }[];
  it.each(cases)('$name', async (v) => {
    let history: readonly number[] | null = Array.from({ length: v.have }, (_, n) => n + 1);
    const conversation = { id, kind: 'group', title: 'Lab', members: [], first_seq: 1, last_seq: v.have, last_message: text(v.have), read: v.have, unread: 0 };
    vi.stubGlobal('fetch', (path: string) => {
      const url = new URL(path, 'http://chat');
      const answer: Record<string, unknown> = {
        '/api/auth/me': { user: { id: 'me', name: 'me' } },
        '/api/auth/preferences': { theme: 'system', enter_sends: true, receipts: true, typing: true },
        '/api/conversations': { conversations: [conversation] },
        [`/api/conversations/${encodeURIComponent(id)}`]: conversation,
        '/api/messages': history && page(history, url.searchParams),
      };
      const body = url.pathname in answer ? answer[url.pathname] : {};
      return Promise.resolve(new Response(JSON.stringify(body ?? { error: { code: 'not_found', message: 'there is no such conversation' } }), { status: body ? 200 : 404 }));
    });
    const tokens = new BrowserTokens();
    tokens.save({ session: 's', user: 'me', refresh: 'r', refreshUntil: Number.MAX_SAFE_INTEGER, access: 'a', accessUntil: Number.MAX_SAFE_INTEGER });
    let socket = new Line();
    chat = new Chat({ http: new Http(tokens), store: new Store(), connect: () => (socket = new Line()) as unknown as WebSocket });
    await chat.restore();
    await vi.advanceTimersByTimeAsync(0);
    chat.select(id);
    await vi.advanceTimersByTimeAsync(0);
    expect(shown()).toEqual(history);

    history = v.history;
    for (const frame of v.frames) socket.give(typeof frame === 'number' ? { type: 'message', message: text(frame) } : frame);
    await vi.advanceTimersByTimeAsync(0);
    expect(shown()).toEqual(v.shown);
  });

  const shown = () => {
    const t = threadOf(chat.store.get(), id);
    return [...t.stored, ...t.outOfOrder].map((m) => m.seq);
  };

  const page = (seqs: readonly number[], query: URLSearchParams) => {
    const after = Number(query.get('after') ?? 0);
    return { messages: seqs.filter((seq) => seq > after).map(text), more: false };
  };
});

const text = (seq: number): WireMessage => ({ conversation: id, seq, kind: 'text', sender: 'other', client_id: `c-${seq}`, body: `text ${seq}`, at: new Date(seq * 1000).toISOString() });

// Line is a socket that says hello, and what it is told to.
class Line {
  readyState: number = WebSocket.OPEN;
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: string }) => void) | null = null;

  constructor() {
    queueMicrotask(() => this.onopen?.());
  }

  send(frame: string): void {
    if ((JSON.parse(frame) as { type: string }).type === 'hello') this.give({ type: 'hello', user: 'me' });
  }

  give(frame: object): void {
    this.onmessage?.({ data: JSON.stringify(frame) });
  }

  close(): void {}
}
