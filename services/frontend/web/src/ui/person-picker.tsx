import { useId, useState } from 'react';
import { reason } from '../store/chat';
import type { User } from '../store/model';
import { useChat, useChatState } from './context';
import { UserField } from './user-field';

interface Props {
  label: string;
  testid: string;
  exclude: readonly string[];
  action?: string; // what the button says
  onAdd: (user: User) => void | Promise<void>;
}

// PersonPicker adds people one by one, by a name typed or a suggestion chosen.
export function PersonPicker({ label, testid, exclude, action = 'Add', onAdd }: Props) {
  const chat = useChat();
  const me = useChatState((s) => s.me);
  const [name, setName] = useState('');
  const [error, setError] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  const id = useId();

  const add = async (picked?: User) => {
    const wanted = name.trim();
    if (busy || (!picked && wanted === '')) return;
    setBusy(true);
    setError(null);
    try {
      const user = picked ?? (await chat.directory.findUser(wanted));
      if (!user) setError(`There is nobody called “${wanted}”.`);
      else if (user.id === me?.id || exclude.includes(user.id)) setError(`${user.name} is in already.`);
      else {
        await onAdd(user);
        setName((have) => (have === name ? '' : have)); // unless the next one is being typed already
      }
    } catch (failure) {
      setError(reason(failure));
    }
    setBusy(false);
  };

  return (
    <>
      <div className="picker">
        <UserField
          label={label}
          testid={`${testid}-user`}
          value={name}
          exclude={exclude}
          onChange={(value) => {
            setName(value);
            setError(null);
          }}
          onPick={(user) => void add(user)}
          onEnter={() => void add()}
          invalid={error !== null}
          describedBy={`${id}error`}
        />
        <button type="button" className="button" data-testid={`${testid}-add`} disabled={busy || name.trim() === ''} onClick={() => void add()}>
          {action}
        </button>
      </div>
      <p className="error" id={`${id}error`} role="alert">
        {error}
      </p>
    </>
  );
}
