import { useEffect, useId, useLayoutEffect, useRef, useState, type FormEvent, type KeyboardEvent } from 'react';
import { limits } from '../api/wire';
import { useChat } from './context';
import { Send } from './icons';

const tallest = 180; // px, then it scrolls

export function Composer({ id, title }: { id: string; title: string }) {
  const chat = useChat();
  const [text, setText] = useState(() => chat.drafts.get(id) ?? '');
  const area = useRef<HTMLTextAreaElement>(null);
  const hint = useId();
  const left = limits.body - [...text].length;
  const sendable = text.trim() !== '' && left >= 0;

  const write = (value: string) => {
    setText(value);
    if (value === '') chat.drafts.delete(id);
    else chat.drafts.set(id, value);
  };

  const send = (event?: FormEvent) => {
    event?.preventDefault();
    if (!sendable) return;
    chat.say(id, text.trim());
    write('');
    area.current?.focus();
  };

  const keys = (event: KeyboardEvent) => {
    // Enter that ends a word of an input method is not meant for us.
    if (event.key !== 'Enter' || event.shiftKey || event.nativeEvent.isComposing) return;
    event.preventDefault();
    send();
  };

  useLayoutEffect(() => {
    const el = area.current;
    if (!el) return;
    el.style.height = 'auto';
    el.style.height = `${Math.min(el.scrollHeight, tallest)}px`;
  }, [text]);

  // On a phone the focus would bring the keyboard up before anything was read.
  useEffect(() => {
    if (typeof matchMedia === 'undefined' || matchMedia('(pointer: fine)').matches) area.current?.focus();
  }, []);

  return (
    <form className="composer" onSubmit={send}>
      <div className="composer-box">
        <textarea
          ref={area}
          data-testid="composer"
          rows={1}
          value={text}
          placeholder={`Message ${title}`}
          aria-label={`Message to ${title}`}
          aria-describedby={hint}
          onChange={(event) => write(event.target.value)}
          onKeyDown={keys}
        />
        <button type="submit" className="send" data-testid="send" aria-label="Send" title="Send" disabled={!sendable}>
          <Send />
        </button>
      </div>
      <p className="composer-hint" id={hint}>
        {left < 200 ? <span className={left < 0 ? 'over' : ''}>{left < 0 ? `${-left} characters too many` : `${left} characters left`}</span> : <span>Enter sends, Shift+Enter begins a new line</span>}
      </p>
    </form>
  );
}
