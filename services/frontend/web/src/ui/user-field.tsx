import { useEffect, useId, useRef, useState, type KeyboardEvent } from 'react';
import type { User } from '../store/model';
import { called } from '../store/state';
import { Avatar } from './avatar';
import { useChat, useChatState } from './context';

const pause = 150; // ms without typing before the server is asked

interface Props {
  label: string;
  testid: string;
  value: string;
  exclude: readonly string[];
  onChange: (value: string) => void;
  onPick: (user: User) => void;
  // Enter without a suggestion chosen.
  onEnter?: () => void;
  invalid?: boolean;
  // The dialog puts the focus here when it opens.
  focus?: boolean;
  describedBy?: string;
}

// UserField asks for a user by name and suggests those that begin so: a combobox with a list, as ARIA describes it.
export function UserField({ label, testid, value, exclude, onChange, onPick, onEnter, invalid = false, focus = false, describedBy }: Props) {
  const chat = useChat();
  const me = useChatState((s) => s.me);
  const [found, setFound] = useState<readonly User[]>([]);
  const [active, setActive] = useState(-1);
  const [open, setOpen] = useState(false);
  const input = useRef<HTMLInputElement>(null);
  const id = useId();
  const text = value.trim();

  useEffect(() => {
    setActive(-1);
    if (text === '') {
      setFound([]);
      return;
    }
    let current = true;
    const timer = setTimeout(() => {
      chat.directory
        .findUsers(text)
        .then((users) => current && setFound(users))
        .catch(() => current && setFound([])); // no suggestions; the name can still be typed
    }, pause);
    return () => {
      current = false;
      clearTimeout(timer);
    };
  }, [chat, text]);

  const shown = open ? found.filter((u) => u.id !== me?.id && !exclude.includes(u.id)).slice(0, 6) : [];

  const pick = (user: User) => {
    setOpen(false);
    setActive(-1);
    onPick(user);
    input.current?.focus();
  };

  const keys = (event: KeyboardEvent) => {
    if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
      event.preventDefault();
      if (!open) setOpen(true);
      const step = event.key === 'ArrowDown' ? 1 : -1;
      setActive((at) => (shown.length === 0 ? -1 : (Math.max(at, step > 0 ? -1 : 0) + step + shown.length) % shown.length));
    } else if (event.key === 'Enter') {
      const user = shown[active];
      if (user) {
        event.preventDefault();
        pick(user);
      } else if (onEnter) {
        event.preventDefault();
        onEnter();
      }
    } else if (event.key === 'Escape' && shown.length > 0) {
      event.preventDefault(); // closes the list, not the dialog
      event.stopPropagation();
      setOpen(false);
    }
  };

  return (
    <div className="user-field">
      <label htmlFor={`${id}input`}>{label}</label>
      <input
        ref={input}
        id={`${id}input`}
        data-testid={testid}
        role="combobox"
        aria-expanded={shown.length > 0}
        aria-controls={`${id}list`}
        aria-autocomplete="list"
        aria-activedescendant={active >= 0 && shown[active] ? `${id}${active}` : undefined}
        aria-invalid={invalid}
        aria-describedby={describedBy}
        autoComplete="off"
        autoCapitalize="none"
        spellCheck={false}
        data-focus={focus || undefined}
        maxLength={32}
        value={value}
        onChange={(event) => {
          setOpen(true);
          onChange(event.target.value);
        }}
        onKeyDown={keys}
        onBlur={() => setOpen(false)}
      />
      <ul id={`${id}list`} role="listbox" aria-label="Suggestions" className="suggestions" hidden={shown.length === 0}>
        {shown.map((user, n) => (
          <li
            key={user.id}
            id={`${id}${n}`}
            role="option"
            aria-selected={n === active}
            data-testid="suggestion"
            // On mouse down, before the field loses the focus and the list with it.
            onMouseDown={(event) => {
              event.preventDefault();
              pick(user);
            }}
          >
            <Avatar user={user} size="small" />
            <bdi>{called(user)}</bdi>
            {called(user) !== user.name && <span className="muted">@{user.name}</span>}
          </li>
        ))}
      </ul>
    </div>
  );
}
