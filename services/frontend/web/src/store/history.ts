// The history of conversations: pages, holes, jumps to old messages, search.
import * as wire from '../api/wire';
import { Failure } from '../api/http';
import { missing, type Core, type NeedUsers } from './core';
import type { ConversationId, Message, UserId } from './model';
import { threadOf, type Action } from './state';
import { gap, heard, lastSeq, messageAt } from './thread';

interface Page {
  messages: wire.WireMessage[] | null;
  more: boolean;
}

export class History {
  private readonly core: Core;
  private readonly need: NeedUsers;
  private readonly filling = new Set<ConversationId>();
  private readonly quoting = new Set<string>();

  constructor(core: Core, need: NeedUsers) {
    this.core = core;
    this.need = need;
  }

  forget(): void {
    this.filling.clear();
    this.quoting.clear();
  }

  private thread(id: ConversationId) {
    return threadOf(this.core.store.get(), id);
  }

  // latest shows the end of a conversation.
  async latest(id: ConversationId): Promise<void> {
    await this.fetch(id, `&at_least=${heard(this.thread(id))}`, (page, more) => ({ type: 'latest', id, page, complete: !more }));
    if (gap(this.thread(id))) await this.fillGap(id);
  }

  async older(id: ConversationId): Promise<void> {
    const t = this.thread(id);
    const first = t.stored[0]?.seq;
    if (t.complete || t.loading || !t.opened || first === undefined) return;
    await this.fetch(id, `&before=${first}`, (page, more) => ({ type: 'older', id, page, complete: !more }));
  }

  // following brings what comes behind a part that one jumped to.
  async following(id: ConversationId): Promise<void> {
    const t = this.thread(id);
    if (!t.detached || t.loading) return;
    await this.fetch(id, `&after=${lastSeq(t)}`, (page, more) => ({ type: 'following', id, page, more: more && page.length > 0 }));
    if (!this.thread(id).detached) await this.latest(id); // what came live meanwhile
  }

  // jump brings a message and what is around it, and has it shown.
  async jump(id: ConversationId, seq: number): Promise<void> {
    if (!this.thread(id).stored.some((m) => m.seq === seq)) {
      const last = this.core.store.get().conversations[id]?.lastSeq ?? 0;
      const before = seq + wire.limits.page / 2;
      const ok = await this.fetch(id, `&before=${before}`, (page, more) => ({ type: 'around', id, page, complete: !more, more: (page.at(-1)?.seq ?? 0) < last }));
      if (!ok) return;
    }
    if (this.core.store.get().selected === id) this.core.store.dispatch({ type: 'jump', seq });
  }

  // quote brings a message that another answers, where it is not here.
  quote(id: ConversationId, seq: number): void {
    const key = `${id} ${seq}`;
    if (messageAt(this.thread(id), seq) !== undefined || this.quoting.has(key)) return;
    this.quoting.add(key);
    const epoch = this.core.epoch();
    this.core.http
      .call<Page>('GET', `/api/messages?conversation=${encodeURIComponent(id)}&limit=1&before=${seq + 1}`)
      .then(({ messages }) => {
        if (epoch !== this.core.epoch()) return;
        const m = (messages ?? []).map(wire.toMessage).find((found) => found.seq === seq && !found.change);
        if (m) this.need(named(m));
        this.core.store.dispatch({ type: 'quote', id, seq, message: m ?? null });
      })
      .catch((error: unknown) => {
        if (epoch === this.core.epoch() && missing(error)) this.core.store.dispatch({ type: 'quote', id, seq, message: null });
      })
      .finally(() => this.quoting.delete(key));
  }

  // search gives messages that hold all the words, the newest first.
  async search(q: string, conversation?: ConversationId): Promise<readonly Message[]> {
    const where = conversation ? `&conversation=${encodeURIComponent(conversation)}` : '';
    const { messages } = await this.core.http.call<{ messages: wire.WireMessage[] | null }>('GET', `/api/messages/search?q=${encodeURIComponent(q)}${where}&limit=30`);
    const found = (messages ?? []).map(wire.toMessage);
    this.need(found.flatMap(named));
    return found;
  }

  async fillGap(id: ConversationId): Promise<void> {
    if (this.filling.has(id)) return;
    this.filling.add(id);
    try {
      for (let hole = gap(this.thread(id)); hole; hole = gap(this.thread(id))) {
        const after = hole.after;
        const ok = await this.fetch(id, `&after=${after}&at_least=${hole.before}`, (page, more) => ({ type: 'filled', id, after, page, more }), wire.limits.gapPage);
        if (!ok) return; // the next message or the next connection tries again
      }
    } finally {
      this.filling.delete(id);
    }
  }

  // fetch gets a page and applies it; false where it could not.
  private async fetch(id: ConversationId, where: string, action: (page: readonly Message[], more: boolean) => Action, limit: number = wire.limits.page): Promise<boolean> {
    const epoch = this.core.epoch();
    this.core.store.dispatch({ type: 'loading', id, loading: true });
    try {
      const path = `/api/messages?conversation=${encodeURIComponent(id)}&limit=${limit}${where}`;
      const { messages, more } = await this.core.http.call<Page>('GET', path);
      if (epoch !== this.core.epoch()) return false;
      const page = (messages ?? []).map(wire.toMessage);
      this.need(page.flatMap(named));
      this.core.store.dispatch(action(page, more));
      this.core.store.dispatch({ type: 'loading', id, loading: false });
      return true;
    } catch (error) {
      if (epoch !== this.core.epoch()) return false;
      this.core.store.dispatch({ type: 'loading', id, loading: false });
      if (!(error instanceof Failure && error.status === 404)) this.core.complain(error);
      return false;
    }
  }
}

// named is everybody whose name is needed to show a message.
export const named = (m: Message): UserId[] => [
  m.sender,
  ...(m.event && 'users' in m.event ? m.event.users : []),
  ...(m.mentions ?? []),
  ...Object.values(m.reactions ?? {}).flat(),
];
