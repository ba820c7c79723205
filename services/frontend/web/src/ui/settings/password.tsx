import { useId, useState, type FormEvent } from 'react';
import { limits } from '../../api/wire';
import { useChat, useChatState } from '../context';
import { plural } from '../format';
import { useWork } from '../work';

export function Password() {
  const chat = useChat();
  const has = useChatState((s) => s.hasPassword);
  const name = useChatState((s) => s.me?.name);
  const [password, setPassword] = useState('');
  const [next, setNext] = useState('');
  const [done, setDone] = useState<string | null>(null);
  const { busy, error, setError, run } = useWork();
  const id = useId();

  const submit = async (event: FormEvent) => {
    event.preventDefault();
    setDone(null);
    if ([...next].length < limits.password.least) {
      setError(`The new password needs at least ${limits.password.least} characters.`);
      return;
    }
    await run(async () => {
      const ended = await chat.account.setPassword(password, next);
      setPassword('');
      setNext('');
      setDone(`The password was changed${ended > 0 ? `, and ${plural(ended, 'other device was', 'other devices were')} signed out` : ''}.`);
    });
  };

  return (
    <form onSubmit={(event) => void submit(event)} noValidate>
      <h3>Password</h3>
      <p className="muted">A new password signs out all your other devices.</p>
      {/* For password managers: whose password it is. */}
      <input className="visually-hidden" type="text" autoComplete="username" value={name ?? ''} readOnly tabIndex={-1} aria-hidden="true" />
      {has && (
        <div>
          <label htmlFor={`${id}now`}>Your password now</label>
          <input id={`${id}now`} data-testid="password-now" type="password" autoComplete="current-password" maxLength={limits.password.most} value={password} onChange={(event) => setPassword(event.target.value)} />
        </div>
      )}
      <div>
        <label htmlFor={`${id}new`}>The new one</label>
        <input
          id={`${id}new`}
          data-testid="password-new"
          type="password"
          autoComplete="new-password"
          maxLength={limits.password.most}
          value={next}
          aria-describedby={`${id}hint ${id}error`}
          aria-invalid={error !== null}
          onChange={(event) => setNext(event.target.value)}
        />
        <p className="hint" id={`${id}hint`}>
          At least {limits.password.least} characters.
        </p>
      </div>
      <p className="error" role="alert" id={`${id}error`} data-testid="password-error">
        {error}
      </p>
      <p role="status" data-testid="password-done">
        {done}
      </p>
      <footer>
        <button type="submit" className="button primary" data-testid="password-save" disabled={busy || next === '' || (has && password === '')}>
          Change password
        </button>
      </footer>
    </form>
  );
}
