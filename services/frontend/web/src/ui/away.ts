import { useEffect } from 'react';
import { useChat } from './context';

const idle = 5 * 60_000; // ms without a key or a pointer
const hidden = 60_000; // ms that the page was not to be seen

// useAway tells that nobody is at this device, and that somebody is again.
export function useAway(): void {
  const chat = useChat();
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout>;
    const wait = (ms: number) => {
      clearTimeout(timer);
      timer = setTimeout(() => chat.setAway(true), ms);
    };
    const here = () => {
      if (document.visibilityState === 'hidden') return;
      chat.setAway(false);
      wait(idle);
    };
    const seen = () => (document.visibilityState === 'hidden' ? wait(hidden) : here());
    const events = ['pointerdown', 'pointermove', 'keydown', 'wheel', 'focus'] as const;
    for (const event of events) addEventListener(event, here, { passive: true });
    document.addEventListener('visibilitychange', seen);
    seen();
    return () => {
      clearTimeout(timer);
      for (const event of events) removeEventListener(event, here);
      document.removeEventListener('visibilitychange', seen);
    };
  }, [chat]);
}
