import { useMemo, useState } from 'react';
import { limits } from '../api/wire';
import { reason } from '../store/chat';
import type { Conversation } from '../store/model';
import { nameOf } from '../store/state';
import { Avatar } from './avatar';
import { useChat, useChatState } from './context';
import { Dialog } from './dialog';
import { Crown, Leave } from './icons';
import { PersonPicker } from './person-picker';

export function GroupDetails({ conversation, close }: { conversation: Conversation; close: () => void }) {
  const chat = useChat();
  const me = useChatState((s) => s.me);
  const users = useChatState((s) => s.users);
  const presence = useChatState((s) => s.presence);
  const [error, setError] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  // Leaving and removing ask once more, in place.
  const [asking, setAsking] = useState<string | null>(null);
  const [title, setTitle] = useState(conversation.title);
  const id = conversation.id;
  const owner = conversation.members.some((m) => m.user === me?.id && m.role === 'owner');

  const members = useMemo(
    () =>
      [...conversation.members].sort(
        (a, b) =>
          Number(b.role === 'owner') - Number(a.role === 'owner') ||
          Number(presence[b.user]?.online ?? false) - Number(presence[a.user]?.online ?? false) ||
          nameOf(users, a.user).localeCompare(nameOf(users, b.user)),
      ),
    [conversation.members, users, presence],
  );

  const attempt = async (work: () => Promise<void>) => {
    setBusy(true);
    setError(null);
    try {
      await work();
      setAsking(null);
    } catch (failure) {
      setError(reason(failure));
    }
    setBusy(false);
  };

  return (
    <Dialog title={conversation.title} close={close} side>
      {owner && (
        <>
          <form
            className="picker"
            onSubmit={(event) => {
              event.preventDefault();
              void attempt(() => chat.renameGroup(id, title.trim()));
            }}
          >
            <label className="grow">
              Group name
              <input data-testid="group-title" autoComplete="off" maxLength={limits.title} value={title} onChange={(event) => setTitle(event.target.value)} />
            </label>
            <button type="submit" className="button" data-testid="group-rename" disabled={busy || title.trim() === '' || title.trim() === conversation.title}>
              Rename
            </button>
          </form>
          <PersonPicker label="Add people" testid="group" exclude={conversation.members.map((m) => m.user)} onAdd={(user) => chat.addMember(id, user.id)} />
        </>
      )}
      <p className="error" role="alert">
        {error}
      </p>
      <h3>
        Members <span className="count">{conversation.members.length}</span>
      </h3>
      <ul className="members" data-testid="members">
        {members.map((m) => {
          const name = nameOf(users, m.user);
          return (
            <li key={m.user} data-testid="member" data-user={name}>
              <Avatar user={{ id: m.user, name }} dot />
              <span className="grow ellipsis">
                {name}
                {m.user === me?.id && <span className="muted"> (you)</span>}
              </span>
              {m.role === 'owner' && (
                <span className="role">
                  <Crown /> owner
                </span>
              )}
              {owner && m.user !== me?.id && asking !== m.user && (
                <button type="button" className="button small" data-testid="member-remove" aria-label={`Remove ${name}`} onClick={() => setAsking(m.user)}>
                  Remove
                </button>
              )}
              {asking === m.user && (
                <button
                  type="button"
                  className="button small danger"
                  data-testid="member-remove-sure"
                  aria-label={`Remove ${name}, really`}
                  autoFocus
                  disabled={busy}
                  onBlur={() => setAsking(null)}
                  onClick={() => void attempt(() => chat.removeMember(id, m.user))}
                >
                  Really remove?
                </button>
              )}
            </li>
          );
        })}
      </ul>
      <footer>
        {asking === 'leave' ? (
          <>
            <span className="grow">{owner && members.length > 1 ? 'The longest-standing member will own the group.' : 'You will not see what is said after.'}</span>
            <button type="button" className="button" onClick={() => setAsking(null)}>
              Stay
            </button>
            <button type="button" className="button danger" data-testid="group-leave-sure" autoFocus disabled={busy} onClick={() => void attempt(() => chat.leaveGroup(id))}>
              Leave
            </button>
          </>
        ) : (
          <button type="button" className="button" data-testid="group-leave" onClick={() => setAsking('leave')}>
            <Leave /> Leave group
          </button>
        )}
      </footer>
    </Dialog>
  );
}
