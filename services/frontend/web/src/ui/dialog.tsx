import { useEffect, useId, useRef, type ReactNode } from 'react';
import { Close } from './icons';

// The browser's own modal dialog: it keeps the focus inside, closes on Escape, and gives the focus back.
export function Dialog({ title, close, children, side = false, wide = false }: { title: string; close: () => void; children: ReactNode; side?: boolean; wide?: boolean }) {
  const ref = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const dialog = ref.current;
    if (dialog && !dialog.open) {
      dialog.showModal();
      dialog.querySelector<HTMLElement>('[data-focus]')?.focus();
    }
    return () => dialog?.close();
  }, []);
  return (
    <dialog
      ref={ref}
      className={`dialog${side ? ' side' : ''}${wide ? ' wide' : ''}`}
      aria-labelledby={id}
      onCancel={(event) => {
        if (event.target !== ref.current) return; // of a dialog within this one
        event.preventDefault(); // React takes it away, so that both agree that it is gone
        close();
      }}
      onClick={(event) => {
        if (event.target === ref.current) close(); // the backdrop
      }}
    >
      <div className="dialog-body">
        <header>
          <h2 id={id}>
            <bdi>{title}</bdi>
          </h2>
          <button type="button" className="icon-button" aria-label="Close" onClick={close}>
            <Close />
          </button>
        </header>
        {children}
      </div>
    </dialog>
  );
}
