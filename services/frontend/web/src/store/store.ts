import { useSyncExternalStore } from 'react';
import { initialState, reduce, type Action, type State } from './state';

// One store for each page; components subscribe to the parts that they show.
export class Store {
  private state: State;
  private readonly listeners = new Set<() => void>();

  constructor(state: State = initialState) {
    this.state = state;
  }

  readonly get = (): State => this.state;

  readonly dispatch = (action: Action): void => {
    const next = reduce(this.state, action);
    if (next === this.state) return;
    this.state = next;
    for (const listener of this.listeners) listener();
  };

  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };
}

// useStore gives what `select` picks. It must return the same object while nothing changed: pick, don't build.
export function useStore<T>(store: Store, select: (s: State) => T): T {
  return useSyncExternalStore(store.subscribe, () => select(store.get()));
}
