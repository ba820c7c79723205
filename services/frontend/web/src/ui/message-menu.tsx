import { useEffect, useLayoutEffect, useRef, useState } from 'react';
import { isolate } from '../store/bidi';
import type { Conversation } from '../store/model';
import { nameOf, others, roleIn } from '../store/state';
import { useChat, useChatState } from './context';
import { EmojiGrid, quick } from './emoji';
import { Copy, Pencil, Reply, Smile, Trash } from './icons';
import { rove } from './roving';
import type { Bubble } from './timeline';

export interface MenuTarget {
  readonly row: Bubble;
  readonly anchor: HTMLElement;
}

interface MenuActions {
  react: (emoji: string, on: boolean) => void;
  reply: () => void;
  edit: () => void;
  remove: () => void;
}

const margin = 8; // px to the edge of the window

// What can be done with a message. A modal dialog beside it; on a phone, a sheet from below.
export function MessageMenu({ target, conversation, close, act }: { target: MenuTarget; conversation: Conversation; close: () => void; act: MenuActions }) {
  const chat = useChat();
  const me = useChatState((s) => s.me);
  const users = useChatState((s) => s.users);
  const ref = useRef<HTMLDialogElement>(null);
  const [page, setPage] = useState<'actions' | 'emoji' | 'delete'>('actions');
  const { row, anchor } = target;
  const role = roleIn(conversation, me?.id);
  const mayDelete = row.mine || (conversation.kind === 'group' && (role === 'owner' || role === 'admin'));
  const readers = row.mine && row.seq !== undefined ? others(conversation, me).filter((user) => (conversation.reads?.[user] ?? 0) >= (row.seq ?? Infinity)) : [];

  useLayoutEffect(() => {
    const dialog = ref.current;
    if (dialog && !dialog.open) dialog.showModal();
    return () => dialog?.close();
  }, []);

  // Beside the message, and within the window.
  useLayoutEffect(() => {
    const dialog = ref.current;
    if (!dialog) return;
    const at = anchor.getBoundingClientRect();
    const { offsetWidth: width, offsetHeight: height } = dialog;
    const left = row.mine ? at.right - width : at.left;
    const top = at.bottom + 4 + height + margin > innerHeight ? at.top - height - 4 : at.bottom + 4;
    dialog.style.left = `${Math.max(margin, Math.min(left, innerWidth - width - margin))}px`;
    dialog.style.top = `${Math.max(margin, Math.min(top, innerHeight - height - margin))}px`;
  }, [anchor, row.mine, page]);

  useEffect(() => {
    ref.current?.querySelector<HTMLElement>('button')?.focus();
  }, [page]);

  const then = (work: () => void) => () => {
    close();
    work();
  };
  const react = (emoji: string) => then(() => act.react(emoji, !(row.reactions?.[emoji] ?? []).includes(me?.id ?? '')))();
  const copy = () => {
    navigator.clipboard?.writeText(row.text).catch(() => chat.notify('The text cannot be copied here.'));
  };

  return (
    <dialog
      ref={ref}
      className="menu"
      aria-label="Message actions"
      data-testid="menu"
      onCancel={(event) => {
        event.preventDefault();
        close();
      }}
      onClick={(event) => {
        if (event.target === ref.current) close();
      }}
    >
      {page === 'actions' && (
        <>
          <div className="menu-quick" role="group" aria-label="React" onKeyDown={(event) => rove(event, 'button', true)}>
            {quick.map((emoji) => (
              <button key={emoji} type="button" className="emoji" data-testid="quick-reaction" aria-pressed={(row.reactions?.[emoji] ?? []).includes(me?.id ?? '')} aria-label={`React with ${emoji}`} onClick={() => react(emoji)}>
                {emoji}
              </button>
            ))}
            <button type="button" aria-label="More reactions" data-testid="more-reactions" onClick={() => setPage('emoji')}>
              <Smile />
            </button>
          </div>
          <div className="menu-items" onKeyDown={(event) => rove(event)}>
            <button type="button" data-testid="menu-reply" onClick={then(act.reply)}>
              <Reply /> Reply
            </button>
            <button type="button" data-testid="menu-copy" onClick={then(copy)}>
              <Copy /> Copy text
            </button>
            {row.mine && (
              <button type="button" data-testid="menu-edit" onClick={then(act.edit)}>
                <Pencil /> Edit
              </button>
            )}
            {mayDelete && (
              <button type="button" className="danger" data-testid="menu-delete" onClick={() => setPage('delete')}>
                <Trash /> Delete
              </button>
            )}
          </div>
          {readers.length > 0 && <p className="menu-note">Read by {readers.map((user) => isolate(nameOf(users, user))).join(', ')}</p>}
        </>
      )}
      {page === 'emoji' && <EmojiGrid pick={react} />}
      {page === 'delete' && (
        <div className="menu-items" onKeyDown={(event) => rove(event)}>
          <p className="menu-note">Delete this message for everybody?</p>
          <button type="button" data-testid="menu-keep" onClick={close}>
            Keep it
          </button>
          <button type="button" className="danger" data-testid="menu-delete-sure" onClick={then(act.remove)}>
            <Trash /> Delete it
          </button>
        </div>
      )}
    </dialog>
  );
}
