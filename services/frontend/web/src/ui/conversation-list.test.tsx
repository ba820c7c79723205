import { act } from 'react';
import { createRoot, type Root } from 'react-dom/client';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import type { Chat } from '../store/chat';
import type { Conversation } from '../store/model';
import { initialState, ordered } from '../store/state';
import { Store } from '../store/store';
import { ChatContext, useChatState } from './context';
import { ConversationList } from './conversation-list';
import * as format from './format';

// Each row that is drawn says its time once.
vi.mock('./format', async (original) => {
  const real = await original<typeof format>();
  return { ...real, shortTime: vi.fn(real.shortTime) };
});

let root: Root;
let box: HTMLElement;
let store: Store;

const group = (n: number): Conversation => ({
  id: `g:${n}`,
  kind: 'group',
  title: `Group ${n}`,
  members: [],
  firstSeq: 1,
  lastSeq: 1,
  readSeq: 1,
  unread: 0,
  last: { conversation: `g:${n}`, seq: 1, sender: 'u', clientId: 'c', text: 'hello', at: n },
});

function List() {
  const conversations = useChatState((s) => s.conversations);
  return <ConversationList list={ordered(conversations)} now={0} box={{ current: box }} />;
}

beforeEach(() => {
  vi.stubGlobal('IS_REACT_ACT_ENVIRONMENT', true);
  // jsdom draws nothing, so nothing has a size; the virtual list needs a window to show rows in.
  for (const size of ['clientHeight', 'clientWidth'] as const) vi.spyOn(Element.prototype, size, 'get').mockReturnValue(600);
  HTMLElement.prototype.scrollTo = () => undefined;
  store = new Store({ ...initialState, session: 'in', selected: 'g:2', conversations: Object.fromEntries([1, 2, 3].map((n) => [`g:${n}`, group(n)])) });
  box = document.body.appendChild(document.createElement('div'));
  root = createRoot(box);
  act(() =>
    root.render(
      <ChatContext value={{ store } as Chat}>
        <List />
      </ChatContext>,
    ),
  );
});

afterEach(() => {
  act(() => root.unmount());
  box.remove();
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});

const titles = () => [...document.querySelectorAll<HTMLElement>('[data-testid=conversation-item]')].map((e) => e.dataset.title);

it('draws only the row of the conversation that a message comes to, and moves it up', () => {
  expect(titles()).toEqual(['Group 3', 'Group 2', 'Group 1']);
  vi.mocked(format.shortTime).mockClear();
  act(() => store.dispatch({ type: 'message', message: { conversation: 'g:1', seq: 2, sender: 'u', clientId: 'd', text: 'news', at: 9 } }));
  expect(titles()).toEqual(['Group 1', 'Group 3', 'Group 2']);
  expect(vi.mocked(format.shortTime).mock.calls).toEqual([[9, 0]]);
});
