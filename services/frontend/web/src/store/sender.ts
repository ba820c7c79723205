// Sending: what I write shows at once and stays in the outbox until the server has stored it.
import type { ClientFrame } from '../api/wire';
import { randomId, reason, type Core } from './core';
import type { Change, ConversationId, Outgoing, UserId } from './model';

// An acknowledgement is waited for this long before the message is sent again, and so many times in all.
const ackWithin = 8_000;
const sendAttempts = 5;
const retryWithin = 1_000;

export interface Extras {
  readonly replyTo?: number;
  readonly mentions?: readonly UserId[];
}

export class Sender {
  private readonly core: Core;
  private readonly newId: () => string;
  // By client id: the timer of a message that waits for its acknowledgement.
  private readonly waiting = new Map<string, { timer: ReturnType<typeof setTimeout>; attempts: number }>();

  constructor(core: Core, newId: () => string = randomId) {
    this.core = core;
    this.newId = newId;
  }

  say(conversation: ConversationId, text: string, { replyTo, mentions }: Extras = {}): void {
    this.put({
      conversation,
      text,
      ...(replyTo ? { replyTo } : {}),
      ...(mentions && mentions.length > 0 ? { mentions } : {}),
    });
  }

  change(conversation: ConversationId, change: Change): void {
    // Of two changes of the same thing that both wait, the newer one says it all.
    for (const o of this.outbox()) {
      if (o.conversation === conversation && o.state === 'failed' && o.change?.type === change.type && o.change.target === change.target) this.discard(o);
    }
    this.put({ conversation, text: change.type === 'edit' ? change.text : '', change });
  }

  private put(message: Omit<Outgoing, 'clientId' | 'at' | 'state'>): void {
    const whole: Outgoing = { ...message, clientId: this.newId(), at: Date.now(), state: 'sending' };
    this.core.store.dispatch({ type: 'enqueue', message: whole });
    this.transmit(whole, 1, false);
  }

  retry(message: Outgoing): void {
    this.core.store.dispatch({ type: 'retry', id: message.conversation, clientId: message.clientId });
    this.transmit(message, 1);
    this.core.wake();
  }

  discard(message: Outgoing): void {
    this.acknowledged(message.clientId); // stops waiting for it
    this.core.store.dispatch({ type: 'discard', id: message.conversation, clientId: message.clientId });
  }

  // flush sends all that waits, in the order in which it was written.
  flush(): void {
    this.outbox()
      .filter((o) => o.state === 'sending')
      .sort((a, b) => a.at - b.at)
      .forEach((o) => this.transmit(o, 1));
  }

  // refused takes the server's no. It is not about a message of this device if nothing by that id waits here.
  refused(clientId: string, why: string, mayRetry: boolean): void {
    const attempts = this.waiting.get(clientId)?.attempts ?? sendAttempts;
    this.acknowledged(clientId);
    const message = this.outbox().find((o) => o.clientId === clientId);
    if (!message) return;
    if (mayRetry && attempts < sendAttempts) this.waitFor(message, attempts, retryWithin * 2 ** (attempts - 1));
    else this.failed(message, reason(why));
  }

  acknowledged(clientId: string): void {
    clearTimeout(this.waiting.get(clientId)?.timer);
    this.waiting.delete(clientId);
  }

  // forget is for the end of the session.
  forget(): void {
    for (const { timer } of this.waiting.values()) clearTimeout(timer);
    this.waiting.clear();
  }

  private outbox(): readonly Outgoing[] {
    return Object.values(this.core.store.get().threads).flatMap((t) => t.outbox);
  }

  // again: it may have been sent before.
  private transmit(message: Outgoing, attempts: number, again = true): void {
    this.acknowledged(message.clientId);
    // Without a connection the message waits; the next one flushes it.
    if (this.core.send(frameOf(message, again))) this.waitFor(message, attempts, ackWithin);
  }

  private waitFor(message: Outgoing, attempts: number, ms: number): void {
    const timer = setTimeout(() => {
      this.waiting.delete(message.clientId);
      if (attempts < sendAttempts) this.transmit(message, attempts + 1);
      else this.failed(message, 'The server did not confirm this.');
    }, ms);
    this.waiting.set(message.clientId, { timer, attempts });
  }

  private failed(message: Outgoing, why: string): void {
    const { conversation: id, clientId, change } = message;
    if (change && change.type !== 'edit') {
      // Nothing written is lost with it, so it is undone; only what somebody typed waits to be tried again.
      this.core.store.dispatch({ type: 'discard', id, clientId });
      this.core.store.dispatch({ type: 'notice', notice: why });
      return;
    }
    this.core.store.dispatch({ type: 'failed', id, clientId, reason: why });
  }
}

function frameOf({ conversation, clientId, text, replyTo, mentions, change }: Outgoing, again: boolean): ClientFrame {
  const head = { conversation, client_id: clientId, ...(again ? { again } : {}) };
  switch (change?.type) {
    case undefined:
    case 'void':
      return { type: 'send', ...head, body: text, ...(replyTo ? { reply_to: replyTo } : {}), ...(mentions ? { mentions } : {}) };
    case 'edit':
      return { type: 'edit', ...head, seq: change.target, body: change.text };
    case 'delete':
      return { type: 'delete', ...head, seq: change.target };
    case 'reaction':
      return { type: 'react', ...head, seq: change.target, emoji: change.emoji, on: change.on };
  }
}
