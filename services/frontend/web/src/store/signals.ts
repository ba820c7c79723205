// What is told to others by the way: that I write, how far I have read, that I am away.
import type { Core } from './core';
import type { ConversationId } from './model';

const typingEvery = 3_000;
const typingLasts = 6_000;
const readEvery = 500;

export class Signals {
  private readonly core: Core;
  private readonly typed = new Map<ConversationId, number>();
  // How far the server knows that I have read.
  private readonly told = new Map<ConversationId, number>();
  private reading: ReturnType<typeof setTimeout> | undefined;
  private fading: ReturnType<typeof setTimeout> | undefined;
  private away = false;

  constructor(core: Core) {
    this.core = core;
  }

  forget(): void {
    clearTimeout(this.reading);
    clearTimeout(this.fading);
    this.reading = this.fading = undefined;
    this.typed.clear();
    this.told.clear();
  }

  // up repeats what a new connection cannot know.
  up(): void {
    this.typed.clear();
    if (this.away) this.core.send({ type: 'away', away: true });
    this.sendReads();
  }

  setAway(away: boolean): void {
    if (away === this.away) return;
    this.away = away;
    this.core.send({ type: 'away', away });
  }

  writing(conversation: ConversationId, text: string): void {
    const { preferences, preferencesLoaded } = this.core.store.get();
    if (!preferencesLoaded || !preferences.typing) return;
    const last = this.typed.get(conversation);
    if (text.trim() === '') {
      if (last !== undefined) this.core.send({ type: 'typing', conversation, on: false });
      this.typed.delete(conversation);
      return;
    }
    if (last !== undefined && Date.now() - last < typingEvery) return;
    if (this.core.send({ type: 'typing', conversation, on: true })) this.typed.set(conversation, Date.now());
  }

  // said: the message itself ends the typing.
  said(conversation: ConversationId): void {
    this.typed.delete(conversation);
  }

  // heard takes another's typing, and lets it fade.
  heard(id: ConversationId, user: string, on: boolean): void {
    if (user === this.core.store.get().me?.id) return;
    this.core.store.dispatch({ type: 'typing', id, user, until: on ? Date.now() + typingLasts : 0 });
    clearTimeout(this.fading);
    this.fading = setTimeout(() => this.fade(), on ? typingLasts : 0);
  }

  private fade(): void {
    this.core.store.dispatch({ type: 'faded', now: Date.now() });
    const rest = Object.values(this.core.store.get().typing).flatMap((users) => Object.values(users));
    if (rest.length > 0) this.fading = setTimeout(() => this.fade(), Math.max(50, Math.min(...rest) - Date.now()));
  }

  // known takes what the server says of my reading.
  known(id: ConversationId, seq: number): void {
    this.told.set(id, Math.max(seq, this.told.get(id) ?? 0));
  }

  // read looks for what was read and not told. It is called for every change of the state, so it only sets a timer.
  readonly read = (): void => {
    if (this.reading !== undefined || this.untold().length === 0) return;
    this.reading = setTimeout(() => {
      this.reading = undefined;
      this.sendReads();
    }, readEvery);
  };

  // sendReads sends what was read and not told.
  sendReads(): void {
    for (const [conversation, seq] of this.untold()) {
      if (!this.core.send({ type: 'read', conversation, seq })) return;
      this.known(conversation, seq);
    }
  }

  private untold(): readonly (readonly [ConversationId, number])[] {
    const s = this.core.store.get();
    if (s.session !== 'in' || !s.preferencesLoaded || !s.preferences.receipts || s.link.state !== 'online') return [];
    return Object.values(s.conversations)
      .filter((c) => c.readSeq > (this.told.get(c.id) ?? 0) && c.readSeq >= c.firstSeq)
      .map((c) => [c.id, c.readSeq] as const);
  }
}
