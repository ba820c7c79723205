import { useEffect, useId, useLayoutEffect, useMemo, useState, type FormEvent, type KeyboardEvent, type RefObject } from 'react';
import { limits } from '../api/wire';
import { isolate } from '../store/bidi';
import type { Conversation, Message, User } from '../store/model';
import { called, nameOf, others } from '../store/state';
import { Avatar } from './avatar';
import { useChat, useChatState } from './context';
import { Close, Send } from './icons';
import { mentionedIn } from './links';

const tallest = 180; // px, then it scrolls
const suggestions = 6;

// What is being written: something new, an answer to a message, or another text for one of mine.
export type Intent = { readonly type: 'reply' | 'edit'; readonly message: Message } | null;

interface Props {
  conversation: Conversation;
  title: string;
  intent: Intent;
  setIntent: (intent: Intent) => void;
  editLast: () => void;
  area: RefObject<HTMLTextAreaElement | null>;
}

export function Composer({ conversation, title, intent, setIntent, editLast, area }: Props) {
  const chat = useChat();
  const id = conversation.id;
  const users = useChatState((s) => s.users);
  const me = useChatState((s) => s.me);
  const enterSends = useChatState((s) => s.preferences.enterSends);
  const editing = intent?.type === 'edit' ? intent.message : null;
  const [text, setText] = useState(() => editing?.text ?? chat.draft(id));
  const [caret, setCaret] = useState(text.length);
  const [active, setActive] = useState(0);
  const [dismissed, setDismissed] = useState<string | null>(null); // the beginning of a name that was no mention
  const hint = useId();
  const list = useId();
  const left = limits.body - [...text].length;
  const sendable = text.trim() !== '' && left >= 0;

  const people = useMemo(() => others(conversation, me).flatMap((other) => users[other] ?? []), [conversation, me, users]);
  const begun = /(?:^|[\s([{"'])@([A-Za-z0-9._-]{0,31})$/.exec(text.slice(0, caret))?.[1];
  const found = useMemo(() => {
    if (begun === undefined || begun === dismissed || conversation.kind === 'direct') return [];
    const start = begun.toLowerCase();
    return people.filter((u) => u.name.toLowerCase().startsWith(start) || called(u).toLowerCase().startsWith(start)).slice(0, suggestions);
  }, [begun, dismissed, people, conversation.kind]);
  const chosen = found[Math.min(active, found.length - 1)];

  const write = (value: string) => {
    setText(value);
    if (!editing) chat.write(id, value);
  };

  const mention = (user: User) => {
    const from = caret - (begun?.length ?? 0);
    const next = `${text.slice(0, from)}${user.name} ${text.slice(caret)}`;
    write(next);
    const at = from + user.name.length + 1;
    setCaret(at);
    requestAnimationFrame(() => area.current?.setSelectionRange(at, at));
    area.current?.focus();
  };

  const send = (event?: FormEvent) => {
    event?.preventDefault();
    if (!sendable) return;
    const body = text.trim();
    if (editing) {
      if (body !== editing.text) chat.change(id, { type: 'edit', target: editing.seq, text: body });
    } else {
      const mentions = mentionedIn(body, people).slice(0, limits.mentions);
      chat.say(id, body, { ...(intent ? { replyTo: intent.message.seq } : {}), ...(mentions.length > 0 ? { mentions } : {}) });
      setText('');
    }
    setIntent(null);
    area.current?.focus();
  };

  const keys = (event: KeyboardEvent) => {
    // Enter that ends a word of an input method is not meant for us.
    if (event.nativeEvent.isComposing) return;
    if (found.length > 0 && chosen) {
      if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
        event.preventDefault();
        setActive((at) => (Math.min(at, found.length - 1) + (event.key === 'ArrowDown' ? 1 : -1) + found.length) % found.length);
        return;
      }
      if ((event.key === 'Enter' && !event.shiftKey) || event.key === 'Tab') {
        event.preventDefault();
        mention(chosen);
        return;
      }
      if (event.key === 'Escape') {
        event.preventDefault();
        event.stopPropagation();
        setDismissed(begun ?? null);
        return;
      }
    }
    if (event.key === 'Escape' && intent) {
      event.preventDefault();
      event.stopPropagation();
      setIntent(null);
    } else if (event.key === 'ArrowUp' && text === '' && !intent && !event.shiftKey && !event.altKey) {
      event.preventDefault();
      editLast();
    } else if (event.key === 'Enter' && !event.shiftKey && enterSends !== (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      send();
    }
  };

  useLayoutEffect(() => {
    const el = area.current;
    if (!el) return;
    el.style.height = 'auto';
    el.style.height = `${Math.min(el.scrollHeight, tallest)}px`;
  }, [text, area]);

  // On a phone the focus would bring the keyboard up before anything was read.
  useEffect(() => {
    const el = area.current;
    if (!el || !(intent || typeof matchMedia === 'undefined' || matchMedia('(pointer: fine)').matches)) return;
    el.focus();
    el.setSelectionRange(el.value.length, el.value.length);
  }, [intent, area]);

  return (
    <form className="composer" onSubmit={send}>
      {intent && (
        <div className="intent" data-testid="intent">
          <div className="grow">
            <strong>{editing ? 'Edit your message' : `Reply to ${intent.message.sender === me?.id ? 'yourself' : isolate(nameOf(users, intent.message.sender))}`}</strong>
            <p className="ellipsis muted">{intent.message.text}</p>
          </div>
          <button type="button" className="icon-button" aria-label={editing ? 'Stop editing' : 'Do not reply'} data-testid="intent-cancel" onClick={() => setIntent(null)}>
            <Close />
          </button>
        </div>
      )}
      <div className="composer-box">
        <ul id={list} role="listbox" aria-label="Mention somebody" className="suggestions above" hidden={found.length === 0}>
          {found.map((user, n) => (
            <li
              key={user.id}
              id={`${list}${n}`}
              role="option"
              aria-selected={user === chosen}
              data-testid="mention-suggestion"
              onMouseDown={(event) => {
                event.preventDefault(); // before the field loses the focus
                mention(user);
              }}
            >
              <Avatar user={user} size="small" />
              <bdi>{called(user)}</bdi>
              <span className="muted">@{user.name}</span>
            </li>
          ))}
        </ul>
        <textarea
          ref={area}
          data-testid="composer"
          rows={1}
          value={text}
          placeholder={editing ? 'Your message' : `Message ${isolate(title)}`}
          aria-label={editing ? 'Edit your message' : `Message to ${isolate(title)}`}
          aria-describedby={hint}
          aria-autocomplete="list"
          aria-controls={found.length > 0 ? list : undefined}
          aria-activedescendant={chosen ? `${list}${found.indexOf(chosen)}` : undefined}
          onChange={(event) => {
            write(event.target.value);
            setCaret(event.target.selectionStart);
            setActive(0);
            setDismissed(null);
          }}
          onSelect={(event) => setCaret(event.currentTarget.selectionStart)}
          onKeyDown={keys}
        />
        <button type="submit" className="send" data-testid="send" aria-label={editing ? 'Save' : 'Send'} title={editing ? 'Save' : 'Send'} disabled={!sendable}>
          <Send />
        </button>
      </div>
      <p className="composer-hint" id={hint}>
        {left < 200 ? (
          <span className={left < 0 ? 'over' : ''}>{left < 0 ? `${-left} characters too many` : `${left} characters left`}</span>
        ) : (
          <span>{enterSends ? 'Enter sends, Shift+Enter begins a new line' : 'Ctrl+Enter sends, Enter begins a new line'}</span>
        )}
      </p>
    </form>
  );
}
