import { useSyncExternalStore } from 'react';

// The width below which styles/shell.css shows one pane at a time.
const query = '(width <= 720px)';

function subscribe(listener: () => void): () => void {
  if (typeof matchMedia === 'undefined') return () => undefined;
  const media = matchMedia(query);
  media.addEventListener('change', listener);
  return () => media.removeEventListener('change', listener);
}

// useNarrow says whether the window is that of a phone.
export const useNarrow = (): boolean => useSyncExternalStore(subscribe, () => typeof matchMedia !== 'undefined' && matchMedia(query).matches);
