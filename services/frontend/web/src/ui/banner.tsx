import { useEffect, useState } from 'react';
import { useChat, useChatState } from './context';
import { Close } from './icons';

// A connection that comes back at once is not worth a banner.
const patience = 700;

export function Banner() {
  const chat = useChat();
  const link = useChatState((s) => s.link);
  const down = link.state !== 'online';
  const [shown, setShown] = useState(false);
  const [now, setNow] = useState(Date.now);

  useEffect(() => {
    if (!down) {
      setShown(false);
      return;
    }
    const timer = setTimeout(() => setShown(true), patience);
    return () => clearTimeout(timer);
  }, [down]);

  useEffect(() => {
    if (link.state !== 'waiting') return;
    setNow(Date.now());
    const timer = setInterval(() => setNow(Date.now()), 500);
    return () => clearInterval(timer);
  }, [link]);

  const visible = down && shown;
  const seconds = link.state === 'waiting' ? Math.max(0, Math.ceil((link.retryAt - now) / 1000)) : 0;
  return (
    <div className="banner" data-testid="banner" data-state={link.state} hidden={!visible}>
      {/* The countdown is for eyes only; a screen reader would read each second. */}
      <span role="status">{visible && (link.state === 'waiting' ? link.reason : 'Connecting…')}</span>
      {visible && link.state === 'waiting' && (
        <>
          <span aria-hidden="true">{seconds > 0 ? `Trying again in ${seconds} s.` : 'Trying again…'}</span>
          <button type="button" className="link" onClick={() => chat.wake()}>
            Try now
          </button>
        </>
      )}
    </div>
  );
}

export function Notice() {
  const chat = useChat();
  const notice = useChatState((s) => s.notice);
  return (
    <div className="notice" role="status" data-testid="notice" hidden={!notice}>
      <span>{notice}</span>
      <button type="button" className="icon-button" aria-label="Dismiss" onClick={() => chat.notify(null)}>
        <Close />
      </button>
    </div>
  );
}
