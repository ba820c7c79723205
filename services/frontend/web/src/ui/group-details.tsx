import { useEffect, useMemo, useState } from 'react';
import { limits } from '../api/wire';
import { isolate } from '../store/bidi';
import type { Conversation, Member, Role, User } from '../store/model';
import { nameOf, roleIn, stateOf, type State } from '../store/state';
import { UserAvatar } from './avatar';
import { useChat, useChatState } from './context';
import { Dialog } from './dialog';
import { Crown, Leave, Star } from './icons';
import { PersonCard } from './person-card';
import { PersonPicker } from './person-picker';
import { useWork } from './work';

const weight: Record<Role, number> = { owner: 0, admin: 1, member: 2 };

export function GroupDetails({ conversation, close }: { conversation: Conversation; close: () => void }) {
  const chat = useChat();
  const id = conversation.id;
  const me = useChatState((s) => s.me);
  const users = useChatState((s) => s.users);
  const presence = useChatState((s) => s.presence);
  const info = useChatState((s) => s.groups[id]);
  const { busy, error, run } = useWork();
  // What cannot be undone asks once more, in place.
  const [asking, setAsking] = useState<string | null>(null);
  const [card, setCard] = useState<User | null>(null);
  const role = roleIn(conversation, me?.id);
  const governs = role === 'owner' || role === 'admin';

  useEffect(() => {
    void run(() => chat.groups.load(id));
  }, [chat, id, run]);

  const members = useMemo(() => {
    const s = { presence } as State;
    const there = (m: Member) => Number(stateOf(s, m.user) !== 'offline');
    return [...conversation.members].sort((a, b) => weight[a.role] - weight[b.role] || there(b) - there(a) || nameOf(users, a.user).localeCompare(nameOf(users, b.user)));
  }, [conversation.members, users, presence]);

  const attempt = (work: () => Promise<void>) => run(work).then(() => setAsking(null));
  const mayRemove = (m: Member) => m.user !== me?.id && (role === 'owner' || (role === 'admin' && m.role === 'member'));
  const inOrAsked = [...conversation.members.map((m) => m.user), ...(info?.invited ?? [])];

  return (
    <Dialog title={conversation.title} close={close} side>
      {governs && (
        <>
          <Rename key={conversation.title} conversation={conversation} />
          <label className="check">
            <input type="checkbox" data-testid="group-public" checked={info?.public ?? false} disabled={busy || !info} onChange={(event) => void attempt(() => chat.groups.setPublic(id, event.target.checked))} />
            Public: everybody can find the group and join it
          </label>
          <PersonPicker label="Invite people" testid="group" action="Invite" exclude={inOrAsked} onAdd={(user) => chat.groups.invite(id, user.id)} />
        </>
      )}
      {!governs && info?.public && <p className="muted">A public group: everybody can find it and join.</p>}
      <p className="error" role="alert">
        {error}
      </p>
      {governs && (info?.invited.length ?? 0) > 0 && (
        <>
          <h3>
            Invited <span className="count">{info?.invited.length}</span>
          </h3>
          <ul className="people-list">
            {info?.invited.map((user) => (
              <li key={user} data-testid="invited" data-user={users[user]?.name}>
                <UserAvatar id={user} size="small" />
                <span className="grow ellipsis">
                  <bdi>{nameOf(users, user)}</bdi>
                </span>
                <button type="button" className="button small" aria-label={`Take the invitation of ${isolate(nameOf(users, user))} back`} disabled={busy} onClick={() => void attempt(() => chat.groups.takeBack(id, user))}>
                  Take back
                </button>
              </li>
            ))}
          </ul>
        </>
      )}
      <h3>
        Members <span className="count">{conversation.members.length}</span>
      </h3>
      <ul className="people-list members" data-testid="members">
        {members.map((m) => {
          const name = nameOf(users, m.user);
          const user = users[m.user];
          return (
            <li key={m.user} data-testid="member" data-user={users[m.user]?.name} data-role={m.role}>
              <button type="button" className="person" disabled={!user} onClick={() => user && setCard(user)}>
                <UserAvatar id={m.user} dot />
                <span className="grow ellipsis">
                  <bdi>{name}</bdi>
                  {m.user === me?.id && <span className="muted"> (you)</span>}
                </span>
              </button>
              {m.role !== 'member' && (
                <span className="role">
                  {m.role === 'owner' ? <Crown /> : <Star />} {m.role}
                </span>
              )}
              {asking === m.user ? (
                <button
                  type="button"
                  className="button small danger"
                  data-testid="member-remove-sure"
                  aria-label={`Remove ${isolate(name)}, really`}
                  autoFocus
                  disabled={busy}
                  onBlur={() => setAsking(null)}
                  onClick={() => void attempt(() => chat.groups.remove(id, m.user))}
                >
                  Really remove?
                </button>
              ) : (
                <>
                  {role === 'owner' && m.user !== me?.id && (
                    <select
                      aria-label={`Role of ${isolate(name)}`}
                      data-testid="member-role"
                      disabled={busy}
                      value={m.role}
                      onChange={(event) => {
                        const next = event.target.value as Role;
                        if (next === 'owner') setAsking(`owner ${m.user}`);
                        else void attempt(() => chat.groups.setRole(id, m.user, next));
                      }}
                    >
                      <option value="member">Member</option>
                      <option value="admin">Admin</option>
                      <option value="owner">Owner…</option>
                    </select>
                  )}
                  {mayRemove(m) && (
                    <button type="button" className="button small" data-testid="member-remove" aria-label={`Remove ${isolate(name)}`} onClick={() => setAsking(m.user)}>
                      Remove
                    </button>
                  )}
                </>
              )}
            </li>
          );
        })}
      </ul>
      <footer>
        {asking?.startsWith('owner ') ? (
          <>
            <span className="grow">Hand the group over to <bdi>{nameOf(users, asking.slice(6))}</bdi>? You will be an admin.</span>
            <button type="button" className="button" onClick={() => setAsking(null)}>
              Keep it
            </button>
            <button type="button" className="button danger" data-testid="group-hand-over" autoFocus disabled={busy} onClick={() => void attempt(() => chat.groups.setRole(id, asking.slice(6), 'owner'))}>
              Hand over
            </button>
          </>
        ) : asking === 'leave' ? (
          <>
            <span className="grow">{role === 'owner' && members.length > 1 ? 'The longest-standing member will own the group.' : 'You will not see what is said after.'}</span>
            <button type="button" className="button" onClick={() => setAsking(null)}>
              Stay
            </button>
            <button type="button" className="button danger" data-testid="group-leave-sure" autoFocus disabled={busy} onClick={() => void attempt(() => chat.groups.leave(id))}>
              Leave
            </button>
          </>
        ) : (
          <button type="button" className="button" data-testid="group-leave" onClick={() => setAsking('leave')}>
            <Leave /> Leave group
          </button>
        )}
      </footer>
      {card && <PersonCard user={card} close={() => setCard(null)} />}
    </Dialog>
  );
}

function Rename({ conversation }: { conversation: Conversation }) {
  const chat = useChat();
  const [title, setTitle] = useState(conversation.title);
  const { busy, error, run } = useWork();
  const wanted = title.trim();
  return (
    <form
      className="picker"
      onSubmit={(event) => {
        event.preventDefault();
        void run(() => chat.groups.rename(conversation.id, wanted));
      }}
    >
      <label className="grow">
        Group name
        <input data-testid="group-title" autoComplete="off" maxLength={limits.title} value={title} onChange={(event) => setTitle(event.target.value)} />
      </label>
      <button type="submit" className="button" data-testid="group-rename" disabled={busy || wanted === '' || wanted === conversation.title}>
        Rename
      </button>
      {error && (
        <p className="error" role="alert">
          {error}
        </p>
      )}
    </form>
  );
}
