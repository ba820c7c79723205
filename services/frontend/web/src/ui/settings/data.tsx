import { useId, useState, type FormEvent } from 'react';
import { limits } from '../../api/wire';
import { useChat, useChatState } from '../context';
import { useWork } from '../work';

// Data is what I may do with all of it: take it along, or have it deleted.
export function Data() {
  const chat = useChat();
  const name = useChatState((s) => s.me?.name) ?? '';
  const { busy, error, run } = useWork();
  const save = async () => {
    const lines = await chat.account.exported();
    const link = document.createElement('a');
    link.href = URL.createObjectURL(new Blob([lines], { type: 'application/x-ndjson' }));
    link.download = `chat-${name}.ndjson`;
    link.click();
    URL.revokeObjectURL(link.href);
  };
  return (
    <>
      <h3>Your data</h3>
      <p className="muted">Your profile, devices, contacts and groups, and all that you have said, as a file with a line of JSON for each.</p>
      <button type="button" className="button" data-testid="export" disabled={busy} onClick={() => void run(save)}>
        Export my data
      </button>
      <p className="error" role="alert" data-testid="export-error">
        {error}
      </p>
      <Deletion name={name} />
    </>
  );
}

function Deletion({ name }: { name: string }) {
  const chat = useChat();
  const has = useChatState((s) => s.hasPassword);
  const [open, setOpen] = useState(false);
  const [typed, setTyped] = useState('');
  const [password, setPassword] = useState('');
  const { busy, error, run } = useWork();
  const id = useId();
  const submit = (event: FormEvent) => {
    event.preventDefault();
    void run(() => chat.deleteAccount(has ? password : ''));
  };
  return (
    <form onSubmit={submit} noValidate>
      <h3>Delete your account</h3>
      <p className="muted">Your profile, your contacts and all that you have said go, for everybody. You leave your groups. Nobody can undo this, and nobody gets your name again.</p>
      {!open && (
        <button type="button" className="button danger" data-testid="delete-account" onClick={() => setOpen(true)}>
          Delete my account
        </button>
      )}
      {open && (
        <>
          <div>
            <label htmlFor={`${id}name`}>Your name, to confirm: {name}</label>
            <input id={`${id}name`} data-testid="delete-name" autoComplete="off" value={typed} onChange={(event) => setTyped(event.target.value)} />
          </div>
          {has && (
            <div>
              <label htmlFor={`${id}password`}>Your password</label>
              <input
                id={`${id}password`}
                data-testid="delete-password"
                type="password"
                autoComplete="current-password"
                maxLength={limits.password.most}
                value={password}
                aria-describedby={`${id}error`}
                onChange={(event) => setPassword(event.target.value)}
              />
            </div>
          )}
          <p className="error" role="alert" id={`${id}error`} data-testid="delete-error">
            {error}
          </p>
          <footer>
            <button type="submit" className="button danger" data-testid="delete-confirm" disabled={busy || typed !== name || (has && password === '')}>
              Delete my account for good
            </button>
          </footer>
        </>
      )}
    </form>
  );
}
