import { useId, useState, type FormEvent } from 'react';
import { limits } from '../api/wire';
import { reason } from '../store/chat';
import type { User } from '../store/model';
import { called } from '../store/state';
import { Avatar } from './avatar';
import { useChat } from './context';
import { Dialog } from './dialog';
import { Close } from './icons';
import { PersonPicker } from './person-picker';

export function NewGroup({ close }: { close: () => void }) {
  const chat = useChat();
  const [title, setTitle] = useState('');
  const [people, setPeople] = useState<readonly User[]>([]);
  const [isPublic, setPublic] = useState(false);
  const [error, setError] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  const id = useId();

  const submit = async (event: FormEvent) => {
    event.preventDefault();
    if (busy || title.trim() === '') return;
    setBusy(true);
    setError(null);
    try {
      await chat.groups.create(
        title.trim(),
        people.map((p) => p.id),
        isPublic,
      );
      close();
    } catch (failure) {
      setError(reason(failure));
      setBusy(false);
    }
  };

  return (
    <Dialog title="New group" close={close}>
      <form onSubmit={(event) => void submit(event)} noValidate>
        <label htmlFor={`${id}title`}>Group name</label>
        <input
          id={`${id}title`}
          data-testid="new-group-title"
          data-focus
          autoComplete="off"
          maxLength={limits.title}
          value={title}
          onChange={(event) => setTitle(event.target.value)}
        />
        <PersonPicker
          label="Add people"
          testid="new-group"
          exclude={people.map((p) => p.id)}
          onAdd={(user) => setPeople((have) => (have.some((p) => p.id === user.id) ? have : [...have, user]))}
        />
        {people.length > 0 && (
          <ul className="chips" aria-label="People in the group">
            {people.map((p) => (
              <li key={p.id}>
                <Avatar user={p} size="small" />
                <bdi>{called(p)}</bdi>
                <button type="button" aria-label={`Take ${p.name} off`} onClick={() => setPeople(people.filter((other) => other.id !== p.id))}>
                  <Close />
                </button>
              </li>
            ))}
          </ul>
        )}
        <label className="check">
          <input type="checkbox" data-testid="new-group-public" checked={isPublic} onChange={(event) => setPublic(event.target.checked)} />
          Public: everybody can find the group and join it
        </label>
        <p className="error" role="alert">
          {error}
        </p>
        <footer>
          <button type="button" className="button" onClick={close}>
            Cancel
          </button>
          <button type="submit" className="button primary" data-testid="new-group-create" disabled={busy || title.trim() === ''}>
            Create group
          </button>
        </footer>
      </form>
    </Dialog>
  );
}
