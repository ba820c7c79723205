import { useEffect, useState } from 'react';
import { limits } from '../api/wire';
import { isolate } from '../store/bidi';
import type { Profile, Rank, User, UserId } from '../store/model';
import { called, stateOf, type State } from '../store/state';
import { Avatar } from './avatar';
import { useChat, useChatState } from './context';
import { Dialog } from './dialog';
import { lastSeen } from './format';
import { useWork } from './work';

// What I have to do with somebody.
function relationOf(s: State, id: UserId): 'contact' | 'incoming' | 'outgoing' | 'none' {
  if (s.people.contacts.some((c) => c.user === id)) return 'contact';
  if (s.people.incoming.includes(id)) return 'incoming';
  return s.people.outgoing.includes(id) ? 'outgoing' : 'none';
}

// PersonCard is all about one person. `here`: it was opened from the conversation with them.
export function PersonCard({ user, close, here = false }: { user: User; close: () => void; here?: boolean }) {
  const chat = useChat();
  const known = useChatState((s) => s.users[user.id]) ?? user;
  const relation = useChatState((s) => relationOf(s, user.id));
  const blocked = useChatState((s) => s.people.blocked.includes(user.id));
  const state = useChatState((s) => stateOf(s, user.id));
  const seen = useChatState((s) => s.presence[user.id]?.lastSeen);
  const me = useChatState((s) => s.me?.id === user.id);
  const [profile, setProfile] = useState<Profile | null>(null);
  const { busy, error, run } = useWork();

  const gone = known.deleted === true;
  useEffect(() => {
    if (gone) return;
    void run(async () => setProfile(await chat.account.profile(user.id)));
    void chat.directory.askPresence([user.id]);
  }, [chat, gone, user.id, run]);

  const contacts = chat.contacts;
  const button = buttons(busy, run);
  if (gone) {
    return (
      <Dialog title={called(known)} close={close} side>
        <div className="card-top">
          <Avatar user={known} size="large" />
          <p className="muted">This account was deleted, with all that was said from it.</p>
        </div>
      </Dialog>
    );
  }
  return (
    <Dialog title={called(known)} close={close} side>
      <div className="card-top">
        <Avatar user={known} dot size="large" />
        <p className="card-name">@{known.name}</p>
        <p className="muted">{state === 'offline' && seen ? lastSeen(seen, Date.now()) : state}</p>
        {profile?.status && <p className="card-status">{profile.status}</p>}
      </div>
      {profile?.bio && <p className="card-bio">{profile.bio}</p>}
      <p className="error" role="alert">
        {error}
      </p>
      {!me && (
        <div className="card-actions">
          {!here && (
            <button
              type="button"
              className="button primary"
              data-testid="card-message"
              onClick={() =>
                void run(async () => {
                  await chat.startDirect(known);
                  close();
                })
              }
            >
              Write a message
            </button>
          )}
          {relation === 'none' && !blocked && button('Add to contacts', 'card-add', () => contacts.ask(user.id))}
          {relation === 'outgoing' && button('Take the request back', 'card-take-back', () => contacts.remove(user.id))}
          {relation === 'incoming' && button('Accept the request', 'card-accept', () => contacts.accept(user.id), 'primary')}
          {relation === 'incoming' && button('Decline', 'card-decline', () => contacts.decline(user.id))}
        </div>
      )}
      {relation === 'contact' && <Nickname user={known} />}
      {!me && (
        <div className="card-actions">
          {relation === 'contact' && button('Remove from contacts', 'card-remove', () => contacts.remove(user.id))}
          {blocked ? button('Unblock', 'card-unblock', () => contacts.unblock(user.id)) : button('Block', 'card-block', () => contacts.block(user.id), 'danger')}
        </div>
      )}
      {!me && <Moderation user={known} />}
    </Dialog>
  );
}

function Nickname({ user }: { user: User }) {
  const chat = useChat();
  const [name, setName] = useState(user.nickname ?? '');
  const { busy, error, run } = useWork();
  return (
    <form
      className="picker"
      onSubmit={(event) => {
        event.preventDefault();
        void run(() => chat.contacts.rename(user.id, name.trim()));
      }}
    >
      <label className="grow">
        What you call them
        <input data-testid="nickname" autoComplete="off" maxLength={limits.nickname} value={name} placeholder={user.display ?? user.name} onChange={(event) => setName(event.target.value)} />
      </label>
      <button type="submit" className="button" data-testid="nickname-save" disabled={busy || name.trim() === (user.nickname ?? '')}>
        Save
      </button>
      {error && (
        <p className="error" role="alert">
          {error}
        </p>
      )}
    </form>
  );
}

// buttons makes buttons that do some work, one at a time.
const buttons =
  (busy: boolean, run: ReturnType<typeof useWork>['run']) =>
  (label: string, testid: string, work: () => Promise<void>, kind = '') => (
    <button key={testid} type="button" className={`button ${kind}`} data-testid={testid} disabled={busy} onClick={() => void run(work)}>
      {label}
    </button>
  );

const devices = (n: number): string => `${n} ${n === 1 ? 'device' : 'devices'}`;

// Moderation is for those whose role lets them do more.
function Moderation({ user }: { user: User }) {
  const chat = useChat();
  const rank = useChatState((s) => s.rank);
  const [done, setDone] = useState<string | null>(null);
  const [confirming, setConfirming] = useState(false);
  const { busy, error, run } = useWork();
  if (rank === 'user') return null;
  const button = buttons(busy, run);
  const give = (role: Rank) => async () => {
    await chat.account.setRank(user.id, role);
    setDone(`${isolate(called(user))} is ${role === 'user' ? 'a user' : role === 'admin' ? 'an admin' : 'a moderator'} now, and has to sign in again.`);
  };
  const signOut = async () => setDone(`Signed out on ${devices(await chat.account.endSessionsOf(user.id))}.`);
  const suspend = async () => setDone(`Suspended, and signed out on ${devices(await chat.account.suspend(user.id))}.`);
  const lift = async () => {
    await chat.account.liftSuspension(user.id);
    setDone('Not suspended any more.');
  };
  return (
    <section className="card-moderation" aria-label="Moderation">
      <h3>Moderation</h3>
      <div className="card-actions">
        {button('Sign out everywhere', 'moderate-end', signOut, 'small')}
        {rank === 'admin' && (['user', 'moderator', 'admin'] as const).map((role) => button(`Make ${role}`, `moderate-${role}`, give(role), 'small'))}
      </div>
      {rank === 'admin' && (
        <div className="card-actions">
          {button('Suspend', 'moderate-suspend', suspend, 'small')}
          {button('Lift the suspension', 'moderate-lift', lift, 'small')}
          {!confirming && (
            <button type="button" className="button small danger" data-testid="moderate-delete" disabled={busy} onClick={() => setConfirming(true)}>
              Delete account
            </button>
          )}
        </div>
      )}
      {confirming && (
        <div role="group" aria-label="Delete account">
          <p>All that {isolate(called(user))} is and has said goes, for everybody. Nobody can undo this.</p>
          <div className="card-actions">
            {button('Delete for good', 'moderate-delete-confirm', () => chat.account.remove(user.id), 'small danger')}
            <button type="button" className="button small" data-testid="moderate-delete-cancel" disabled={busy} onClick={() => setConfirming(false)}>
              Cancel
            </button>
          </div>
        </div>
      )}
      <p className="error" role="alert">
        {error}
      </p>
      <p role="status" className="muted">
        {done}
      </p>
    </section>
  );
}
