import { useCallback, useState } from 'react';
import { reason } from '../store/chat';

// useWork runs what may fail, one at a time: it says that it runs, and with a sentence how it failed.
export function useWork(): { busy: boolean; error: string | null; setError: (error: string | null) => void; run: (work: () => Promise<unknown>) => Promise<boolean> } {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<string | null>(null);
  const run = useCallback(async (work: () => Promise<unknown>) => {
    setBusy(true);
    setError(null);
    try {
      await work();
      return true;
    } catch (failure) {
      setError(reason(failure));
      return false;
    } finally {
      setBusy(false);
    }
  }, []);
  return { busy, error, setError, run };
}
