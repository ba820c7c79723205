import { useEffect, useState, type ReactNode } from 'react';
import { isolate } from '../store/bidi';
import type { User, UserId } from '../store/model';
import { called, nameOf, stateOf } from '../store/state';
import { Avatar } from './avatar';
import { useChat, useChatState } from './context';
import { PersonCard } from './person-card';
import { PersonPicker } from './person-picker';
import { rove } from './roving';
import { useWork } from './work';

// People is the view of my contacts, of requests, and of whom I have blocked.
export function People() {
  const chat = useChat();
  const people = useChatState((s) => s.people);
  const users = useChatState((s) => s.users);
  const [card, setCard] = useState<User | null>(null);
  const { busy, error, run } = useWork();
  useEffect(() => {
    void run(() => chat.contacts.load());
  }, [chat, run]);
  const contacts = [...people.contacts].sort((a, b) => nameOf(users, a.user).localeCompare(nameOf(users, b.user)));
  const action = (label: string, testid: string, id: UserId, work: () => Promise<void>, kind = '') => (
    <button type="button" className={`button small ${kind}`} data-testid={testid} aria-label={`${label}: ${isolate(nameOf(users, id))}`} disabled={busy} onClick={() => void run(work)}>
      {label}
    </button>
  );
  const list = (title: string, testid: string, ids: readonly UserId[], actions?: (id: UserId) => ReactNode) =>
    ids.length > 0 && (
      <section aria-label={title}>
        <h2>
          {title} <span className="count">{ids.length}</span>
        </h2>
        <ul className="people-list" onKeyDown={(event) => rove(event)}>
          {ids.map((id) => (
            <li key={id} data-testid={testid} data-user={users[id]?.name}>
              <Entry id={id} open={setCard} />
              {actions?.(id)}
            </li>
          ))}
        </ul>
      </section>
    );
  const { contacts: service } = chat;
  return (
    <section className="view people" aria-label="People">
      <PersonPicker
        label="Add a contact"
        testid="contact"
        action="Ask"
        exclude={[...people.contacts.map((c) => c.user), ...people.outgoing]}
        onAdd={(user) => (people.incoming.includes(user.id) ? service.accept(user.id) : service.ask(user.id))}
      />
      <p className="error" role="alert">
        {error}
      </p>
      {list('Requests', 'request', people.incoming, (id) => (
        <>
          {action('Accept', 'request-accept', id, () => service.accept(id), 'primary')}
          {action('Decline', 'request-decline', id, () => service.decline(id))}
        </>
      ))}
      {list('Contacts', 'contact', contacts.map((c) => c.user))}
      {list('Asked', 'asked', people.outgoing, (id) => action('Take back', 'asked-take-back', id, () => service.remove(id)))}
      {list('Blocked', 'blocked-user', people.blocked, (id) => action('Unblock', 'unblock', id, () => service.unblock(id)))}
      {people.contacts.length + people.incoming.length + people.outgoing.length + people.blocked.length === 0 && (
        <p className="nothing">No contacts yet. Ask somebody by their user name; you will see when they are there.</p>
      )}
      {card && <PersonCard user={card} close={() => setCard(null)} />}
    </section>
  );
}

function Entry({ id, open }: { id: UserId; open: (user: User) => void }) {
  const known = useChatState((s) => s.users[id]);
  const state = useChatState((s) => stateOf(s, id));
  const user = known ?? { id, name: '…' };
  return (
    <button type="button" className="person" onClick={() => open(user)}>
      <Avatar user={user} dot />
      <span className="grow">
        <span className="ellipsis person-name">
          <bdi>{called(user)}</bdi>
        </span>
        <span className="muted person-state">{user.deleted || called(user) === user.name ? state : `@${user.name}, ${state}`}</span>
      </span>
    </button>
  );
}
