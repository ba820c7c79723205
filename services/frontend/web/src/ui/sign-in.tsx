import { useEffect, useId, useRef, useState, type FormEvent } from 'react';
import { limits } from '../api/wire';
import { reason } from '../store/chat';
import { useChat, useChatState } from './context';
import { Mark } from './icons';

export function SignIn() {
  const chat = useChat();
  const notice = useChatState((s) => s.notice);
  const [registering, setRegistering] = useState(false);
  const [name, setName] = useState('');
  const [password, setPassword] = useState('');
  const [remember, setRemember] = useState(false);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<string | null>(null);
  const nameField = useRef<HTMLInputElement>(null);
  const [provider, setProvider] = useState<string | null>(null);
  const id = useId();

  useEffect(() => {
    let current = true;
    void chat.otherProvider().then((name) => current && setProvider(name));
    return () => {
      current = false;
    };
  }, [chat]);

  const submit = async (event: FormEvent) => {
    event.preventDefault();
    const wrong = name === '' || password === '' ? 'Enter a user name and a password.' : registering ? check(name, password) : null;
    if (wrong) {
      setError(wrong);
      return;
    }
    setBusy(true);
    setError(null);
    try {
      if (registering) await chat.register(name, password, remember);
      else await chat.signIn(name, password, remember);
    } catch (failure) {
      setError(reason(failure));
      setBusy(false);
      nameField.current?.focus();
    }
  };

  const toggle = () => {
    setRegistering(!registering);
    setError(null);
    nameField.current?.focus();
  };

  return (
    <main className="signin">
      <div className="signin-card">
        <header>
          <Mark />
          <h1>{registering ? 'Create your account' : 'Sign in to Labchat'}</h1>
          <p className="muted">{registering ? 'A name and a password are all it takes.' : 'Good to see you again.'}</p>
        </header>
        {notice && !error && (
          <p className="note" role="status">
            {notice}
          </p>
        )}
        <form onSubmit={(event) => void submit(event)} noValidate>
          <label htmlFor={`${id}name`}>User name</label>
          <input
            ref={nameField}
            id={`${id}name`}
            data-testid="username"
            name="username"
            autoComplete="username"
            autoCapitalize="none"
            spellCheck={false}
            autoFocus
            required
            maxLength={32}
            value={name}
            onChange={(event) => setName(event.target.value)}
            aria-invalid={error !== null}
            aria-describedby={`${id}hint ${id}error`}
          />
          {registering && (
            <p className="hint" id={`${id}hint`}>
              2 to 32 letters, digits, dots, dashes or underscores. Others find you by it.
            </p>
          )}
          <label htmlFor={`${id}password`}>Password</label>
          <input
            id={`${id}password`}
            data-testid="password"
            name="password"
            type="password"
            autoComplete={registering ? 'new-password' : 'current-password'}
            required
            maxLength={limits.password.most}
            value={password}
            onChange={(event) => setPassword(event.target.value)}
            aria-invalid={error !== null}
            aria-describedby={`${id}phint ${id}error`}
          />
          {registering && (
            <p className="hint" id={`${id}phint`}>
              At least {limits.password.least} characters.
            </p>
          )}
          <label className="check">
            <input type="checkbox" checked={remember} onChange={(event) => setRemember(event.target.checked)} />
            Stay signed in on this browser
          </label>
          <p className="error" id={`${id}error`} role="alert" data-testid="error">
            {error}
          </p>
          <button type="submit" className="button primary wide" data-testid="submit" disabled={busy}>
            {busy ? 'One moment…' : registering ? 'Create account' : 'Sign in'}
          </button>
        </form>
        {provider && (
          <a className="button wide" data-testid="oidc" href="/api/auth/oidc/login">
            Sign in with {provider}
          </a>
        )}
        <p className="switch">
          {registering ? 'Have an account already?' : 'New here?'}{' '}
          <button type="button" className="link" data-testid="register-toggle" onClick={toggle}>
            {registering ? 'Sign in' : 'Create an account'}
          </button>
        </p>
      </div>
    </main>
  );
}

function check(name: string, password: string): string | null {
  if (!limits.name.test(name)) {
    return 'A user name has 2 to 32 letters, digits, dots, dashes or underscores, and begins with a letter or digit.';
  }
  if ([...password].length < limits.password.least) return `The password needs at least ${limits.password.least} characters.`;
  return null;
}
