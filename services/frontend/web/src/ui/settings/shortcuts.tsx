const keys: readonly [string, string][] = [
  ['Ctrl+K', 'Search'],
  ['Alt+↑, Alt+↓', 'The conversation above, or below'],
  ['Ctrl+/', 'These shortcuts'],
  ['Esc', 'Close, stop editing or replying, go back to writing'],
  ['↑ in an empty message', 'Edit your last message'],
  ['Enter, Shift+Enter', 'Send, or begin a new line'],
  ['@', 'Mention somebody in a group'],
  ['↑ ↓ Home End in the messages', 'Go from message to message'],
  ['Enter on a message', 'What can be done with it'],
  ['R, E on a message', 'Reply to it, or edit it if it is yours'],
  ['↑ ↓ in any list', 'Go from entry to entry'],
];

// The keys of the page, for those who use no mouse. On a Mac, Cmd does what Ctrl does.
export function Shortcuts() {
  return (
    <>
      <h3>Keyboard</h3>
      <dl className="shortcuts" data-testid="shortcuts">
        {keys.map(([key, what]) => (
          <div key={key}>
            <dt>
              <kbd>{key}</kbd>
            </dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
    </>
  );
}
