import { memo, useEffect, type MouseEvent } from 'react';
import { isolate } from '../store/bidi';
import type { Message, Outgoing, UserId } from '../store/model';
import { nameOf, type State } from '../store/state';
import { UserAvatar } from './avatar';
import { fullTime, timeOfDay } from './format';
import { Alert, Clock, More, Tick, Ticks } from './icons';
import { rich, type Mentionable } from './links';
import type { Bubble } from './timeline';

export interface RowActions {
  retry: (o: Outgoing) => void;
  discard: (o: Outgoing) => void;
  react: (seq: number, emoji: string, on: boolean) => void;
  menu: (row: Bubble, anchor: HTMLElement) => void;
  reply: (seq: number) => void;
  show: (seq: number) => void;
  quote: (seq: number) => void;
}

interface RowProps {
  row: Bubble;
  me: UserId;
  users: State['users'];
  group: boolean;
  // The message that this one answers; null: not to be had; undefined: not here yet.
  quoted: Message | null | undefined;
  seen: 'none' | 'some' | 'all';
  flash: boolean;
  tabbable: boolean;
  act: RowActions;
}

// What a thread rebuilds with each change is a new object, but seldom another one.
const same = (a: RowProps, b: RowProps): boolean =>
  a.me === b.me &&
  a.users === b.users &&
  a.group === b.group &&
  a.quoted === b.quoted &&
  a.seen === b.seen &&
  a.flash === b.flash &&
  a.tabbable === b.tabbable &&
  a.act === b.act &&
  (Object.keys({ ...a.row, ...b.row }) as (keyof Bubble)[]).every((key) => a.row[key] === b.row[key]);

export const MessageRow = memo(function MessageRow({ row, me, users, group, quoted, seen, flash, tabbable, act }: RowProps) {
  const { outgoing, seq } = row;
  const name = nameOf(users, row.sender);
  const withName = group && !row.mine;
  const mentions: Mentionable[] = (row.mentions ?? []).flatMap((id) => {
    const user = users[id];
    return user ? [{ name: user.name, me: id === me, title: nameOf(users, id) }] : [];
  });
  const actable = seq !== undefined && !row.deleted && row.state !== 'failed';
  const open = (event: MouseEvent<HTMLElement>) => {
    event.preventDefault();
    act.menu(row, event.currentTarget);
  };
  return (
    <div
      className={`row${row.mine ? ' mine' : ''}${row.first ? ' first' : ''}${row.last ? ' last' : ''}${withName ? ' named' : ''}${flash ? ' flash' : ''}`}
      data-testid="message"
      data-row={row.key}
      data-state={row.state}
      data-seq={seq}
      data-mine={row.mine}
      data-sender={users[row.sender]?.name}
      data-seen={seen}
      tabIndex={tabbable ? 0 : -1}
    >
      {withName && row.last && <UserAvatar id={row.sender} size="small" />}
      <div className="bubble-line">
        <div className="bubble" onContextMenu={actable ? open : undefined}>
          {withName && row.first ? (
            <span className="sender">
              <bdi>{name}</bdi>
            </span>
          ) : (
            <span className="visually-hidden">
              <bdi>{row.mine ? 'You' : name}</bdi>:{' '}
            </span>
          )}
          {row.replyTo !== undefined && !row.deleted && <Quote seq={row.replyTo} quoted={quoted} users={users} me={me} act={act} />}
          {row.deleted ? (
            <span className="text gone" data-testid="text">
              This message was deleted.
            </span>
          ) : (
            <span className="text" data-testid="text">
              {rich(row.text, mentions)}
            </span>
          )}
          <span className="meta">
            {row.edited && <span data-testid="edited">edited</span>}
            <time dateTime={new Date(row.at).toISOString()} title={fullTime(row.at)}>
              {timeOfDay(row.at)}
            </time>
            {row.mine && !row.deleted && <Mark state={row.state} seen={seen} />}
          </span>
        </div>
        {actable && (
          <button type="button" className="icon-button row-menu" data-testid="message-menu" tabIndex={tabbable ? 0 : -1} aria-haspopup="dialog" aria-label={`Actions for the message of ${row.mine ? 'you' : isolate(name)}`} onClick={open}>
            <More />
          </button>
        )}
      </div>
      {row.reactions && seq !== undefined && Object.keys(row.reactions).length > 0 && (
        <ul className="reactions" aria-label="Reactions">
          {Object.entries(row.reactions).map(([emoji, by]) => {
            const mine = by.includes(me);
            const who = by.map((id) => (id === me ? 'you' : isolate(nameOf(users, id)))).join(', ');
            return (
              <li key={emoji}>
                <button type="button" className="reaction" data-testid="reaction" data-emoji={emoji} aria-pressed={mine} tabIndex={tabbable ? 0 : -1} title={who} aria-label={`${emoji} ${by.length}, ${who}`} onClick={() => act.react(seq, emoji, !mine)}>
                  <span className="emoji" aria-hidden="true">
                    {emoji}
                  </span>
                  <span aria-hidden="true">{by.length}</span>
                </button>
              </li>
            );
          })}
        </ul>
      )}
      {row.state === 'failed' && outgoing && (
        <p className="failed" role="alert">
          <Alert />
          <span>{outgoing.reason ?? 'Not sent.'}</span>
          <button type="button" className="link" data-testid="retry" onClick={() => act.retry(outgoing)}>
            Try again
          </button>
          <button type="button" className="link" data-testid="discard" onClick={() => act.discard(outgoing)}>
            {outgoing.change ? 'Undo the edit' : 'Delete'}
          </button>
        </p>
      )}
    </div>
  );
}, same);

function Quote({ seq, quoted, users, me, act }: { seq: number; quoted: Message | null | undefined; users: State['users']; me: UserId; act: RowActions }) {
  useEffect(() => {
    if (quoted === undefined) act.quote(seq);
  }, [quoted, seq, act]);
  if (!quoted) {
    return (
      <span className="quote">
        <span className="quote-text muted">{quoted === null ? 'A message that is not to be had any more' : '…'}</span>
      </span>
    );
  }
  return (
    <button type="button" className="quote" data-testid="quote" tabIndex={-1} onClick={() => act.show(seq)}>
      <span className="visually-hidden">In answer to </span>
      <span className="quote-name">
        <bdi>{quoted.sender === me ? 'You' : nameOf(users, quoted.sender)}</bdi>
      </span>
      <span className="quote-text">{quoted.deleted ? 'Deleted message' : quoted.text}</span>
    </button>
  );
}

function Mark({ state, seen }: { state: Bubble['state']; seen: RowProps['seen'] }) {
  const [icon, label] =
    state === 'sending'
      ? [<Clock key="c" />, 'sending']
      : state === 'failed'
        ? [<Alert key="a" />, 'not sent']
        : seen === 'all'
          ? [<Ticks key="r" />, 'read']
          : seen === 'some'
            ? [<Ticks key="s" />, 'read by some']
            : [<Tick key="t" />, 'sent'];
  return (
    <span className={`mark-state ${seen}`} title={label} data-testid="receipt">
      {icon}
      <span className="visually-hidden">{label}</span>
    </span>
  );
}
