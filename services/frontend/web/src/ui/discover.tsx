import { useEffect, useId, useState } from 'react';
import { isolate } from '../store/bidi';
import type { PublicGroup } from '../store/model';
import { nameOf } from '../store/state';
import { GroupAvatar } from './avatar';
import { useChat, useChatState } from './context';
import { plural } from './format';
import { Search } from './icons';
import { rove } from './roving';
import { useWork } from './work';

const pause = 250; // ms without typing before the server is asked

// Discover is the view of invitations, and of the public groups.
export function Discover({ create, opened }: { create: () => void; opened: () => void }) {
  const chat = useChat();
  const invitations = useChatState((s) => s.invitations);
  const users = useChatState((s) => s.users);
  const mine = useChatState((s) => s.conversations);
  const [query, setQuery] = useState('');
  const [found, setFound] = useState<readonly PublicGroup[] | null>(null);
  const looking = useWork();
  const { busy, error, run } = useWork();
  const id = useId();
  const look = looking.run;

  useEffect(() => {
    void run(() => chat.groups.loadInvitations());
  }, [chat, run]);
  useEffect(() => {
    let current = true;
    const timer = setTimeout(
      () =>
        void look(async () => {
          const groups = await chat.groups.findPublic(query.trim());
          if (current) setFound(groups);
        }),
      query === '' ? 0 : pause,
    );
    return () => {
      current = false;
      clearTimeout(timer);
    };
  }, [chat, query, look]);

  const enter = (work: () => Promise<void>) => void run(work).then((ok) => ok && opened());
  return (
    <section className="view people" aria-label="Groups">
      <p className="error" role="alert">
        {error}
      </p>
      {invitations.length > 0 && (
        <section aria-label="Invitations">
          <h2>
            Invitations <span className="count">{invitations.length}</span>
          </h2>
          <ul className="people-list">
            {invitations.map((i) => (
              <li key={i.group} data-testid="invitation" data-title={i.title}>
                <GroupAvatar id={i.group} />
                <span className="grow">
                  <span className="ellipsis person-name">
                    <bdi>{i.title}</bdi>
                  </span>
                  <span className="muted person-state ellipsis">
                    {plural(i.size, 'member', 'members')}, from <bdi>{nameOf(users, i.by)}</bdi>
                  </span>
                </span>
                <button type="button" className="button small primary" data-testid="invitation-accept" aria-label={`Join ${isolate(i.title)}`} disabled={busy} onClick={() => enter(() => chat.groups.accept(i.group))}>
                  Join
                </button>
                <button type="button" className="button small" data-testid="invitation-decline" aria-label={`Decline ${isolate(i.title)}`} disabled={busy} onClick={() => void run(() => chat.groups.decline(i.group))}>
                  Decline
                </button>
              </li>
            ))}
          </ul>
        </section>
      )}
      <section aria-label="Public groups">
        <h2>Public groups</h2>
        <div className="search" role="search">
          <label htmlFor={id} className="visually-hidden">
            Search public groups
          </label>
          <Search />
          <input id={id} type="search" data-testid="public-search" placeholder="Search public groups" autoComplete="off" maxLength={80} value={query} onChange={(event) => setQuery(event.target.value)} />
        </div>
        <p role="status" className="found-status">
          {looking.error ?? (found?.length === 0 ? 'No public group of that name.' : '')}
        </p>
        <ul className="people-list" onKeyDown={(event) => rove(event)}>
          {found?.map((g) => (
            <li key={g.id} data-testid="public-group" data-title={g.title}>
              <GroupAvatar id={g.id} />
              <span className="grow">
                <span className="ellipsis person-name">
                  <bdi>{g.title}</bdi>
                </span>
                <span className="muted person-state">{plural(g.size, 'member', 'members')}</span>
              </span>
              {mine[g.id] ? (
                <button
                  type="button"
                  className="button small"
                  aria-label={`Open ${isolate(g.title)}`}
                  onClick={() => {
                    chat.select(g.id);
                    opened();
                  }}
                >
                  Open
                </button>
              ) : (
                <button type="button" className="button small primary" data-testid="join" aria-label={`Join ${isolate(g.title)}`} disabled={busy} onClick={() => enter(() => chat.groups.join(g.id))}>
                  Join
                </button>
              )}
            </li>
          ))}
        </ul>
      </section>
      <button type="button" className="button" onClick={create}>
        New group
      </button>
    </section>
  );
}
