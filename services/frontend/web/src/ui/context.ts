import { createContext, useContext } from 'react';
import type { Chat } from '../store/chat';
import type { State } from '../store/state';
import { useStore } from '../store/store';

export const ChatContext = createContext<Chat | null>(null);

export function useChat(): Chat {
  const chat = useContext(ChatContext);
  if (!chat) throw new Error('useChat outside of ChatContext');
  return chat;
}

export function useChatState<T>(select: (s: State) => T): T {
  return useStore(useChat().store, select);
}
