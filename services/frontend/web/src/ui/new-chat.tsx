import { useId, useState, type FormEvent } from 'react';
import { reason } from '../store/chat';
import type { User } from '../store/model';
import { useChat, useChatState } from './context';
import { Dialog } from './dialog';
import { UserField } from './user-field';

export function NewChat({ close }: { close: () => void }) {
  const chat = useChat();
  const me = useChatState((s) => s.me);
  const [name, setName] = useState('');
  const [error, setError] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  const id = useId();

  const start = async (picked?: User) => {
    const wanted = name.trim();
    if (busy || (!picked && wanted === '')) return;
    setBusy(true);
    setError(null);
    try {
      const user = picked ?? (await chat.directory.findUser(wanted));
      if (!user) setError(`There is nobody called “${wanted}”. Check the spelling, or ask them to create an account.`);
      else if (user.id === me?.id) setError('That is you. Enter the name of somebody else.');
      else {
        await chat.startDirect(user);
        close();
        return;
      }
    } catch (failure) {
      setError(reason(failure));
    }
    setBusy(false);
  };

  const submit = (event: FormEvent) => {
    event.preventDefault();
    void start();
  };

  return (
    <Dialog title="New chat" close={close}>
      <form onSubmit={submit} noValidate>
        <UserField
          label="User name"
          testid="new-chat-user"
          value={name}
          exclude={[]}
          focus
          onChange={(value) => {
            setName(value);
            setError(null);
          }}
          onPick={(user) => {
            setName(user.name);
            void start(user);
          }}
          onEnter={() => void start()}
          invalid={error !== null}
          describedBy={`${id}error`}
        />
        <p className="error" id={`${id}error`} role="alert">
          {error}
        </p>
        <footer>
          <button type="button" className="button" onClick={close}>
            Cancel
          </button>
          <button type="submit" className="button primary" data-testid="new-chat-start" disabled={busy || name.trim() === ''}>
            Start chat
          </button>
        </footer>
      </form>
    </Dialog>
  );
}
