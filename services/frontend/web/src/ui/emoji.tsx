import type { KeyboardEvent } from 'react';

export const quick = ['👍', '❤️', '😂', '😮', '🙏', '🎉'] as const;

const all = [
  '😀', '😄', '😁', '😅', '😂', '🙂', '😉', '😊', '😍', '😘', '😜', '🤔', '😐', '🙄', '😏', '😴', '😢', '😭', '😡', '😱', '🤯', '🥳', '😎', '🤓',
  '👍', '👎', '👌', '✌️', '🤞', '👏', '🙌', '🙏', '💪', '👀', '👋', '🤝', '❤️', '🧡', '💛', '💚', '💙', '💜', '💔', '🔥', '✨', '⭐', '🎉', '🎂',
  '✅', '❌', '❗', '❓', '💡', '🐛', '🚀', '☕', '🍕', '🌈', '☀️', '🌙',
] as const;

const columns = 8;

// EmojiGrid is a small choice; the arrow keys move through it in both directions.
export function EmojiGrid({ pick }: { pick: (emoji: string) => void }) {
  const keys = (event: KeyboardEvent<HTMLElement>) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
    if (step === undefined) return;
    const buttons = [...event.currentTarget.querySelectorAll('button')];
    buttons[buttons.findIndex((b) => b === document.activeElement) + step]?.focus();
    event.preventDefault();
  };
  return (
    <div className="emoji-grid" role="group" aria-label="Emoji" data-testid="emoji-grid" onKeyDown={keys}>
      {all.map((emoji) => (
        <button key={emoji} type="button" className="emoji" aria-label={emoji} onClick={() => pick(emoji)}>
          {emoji}
        </button>
      ))}
    </div>
  );
}
