import { useCallback, useEffect, useMemo, useRef, useState } from 'react';
import { isolate } from '../store/bidi';
import type { Conversation as Model } from '../store/model';
import { nameOf, others, stateOf, threadOf, titleOf, type State } from '../store/state';
import { messageAt } from '../store/thread';
import { GroupAvatar, UserAvatar } from './avatar';
import { Composer, type Intent } from './composer';
import { useChat, useChatState } from './context';
import { lastSeen, plural } from './format';
import { GroupDetails } from './group-details';
import { Back, Group, Person } from './icons';
import { MessageList } from './message-list';
import { PersonCard } from './person-card';

// Who has no message from me yet tells me nothing of their coming and going, so it is asked for.
const askAgain = 10_000; // ms

export function Conversation({ id, now, close }: { id: string; now: number; close: () => void }) {
  const chat = useChat();
  const conversation = useChatState((s) => s.conversations[id]);
  const me = useChatState((s) => s.me);
  const users = useChatState((s) => s.users);
  const blocked = useChatState((s) => s.people.blocked);
  const thread = useChatState((s) => threadOf(s, id));
  const status = useChatState((s) => statusOf(s, id, now));
  const [details, setDetails] = useState(false);
  const [intent, setIntent] = useState<Intent>(null);
  const area = useRef<HTMLTextAreaElement>(null);
  const silent = conversation?.lastSeq === 0;
  useEffect(() => {
    if (!silent) return;
    const timer = setInterval(() => chat.askPresence(id), askAgain);
    return () => clearInterval(timer);
  }, [chat, id, silent]);

  const begin = useCallback(
    (type: 'reply' | 'edit', seq: number) => {
      const message = messageAt(threadOf(chat.store.get(), id), seq);
      if (message && !message.deleted) setIntent({ type, message });
    },
    [chat, id],
  );
  const reply = useCallback((seq: number) => begin('reply', seq), [begin]);
  const edit = useCallback((seq: number) => begin('edit', seq), [begin]);
  const leave = useCallback(() => area.current?.focus(), []);
  const editLast = () => {
    if (thread.outbox.some((o) => !o.change)) return; // the last one is not stored yet, and the one before is not meant
    const last = thread.stored.findLast((m) => m.sender === me?.id && !m.event && !m.change && !m.deleted);
    if (last) edit(last.seq);
  };

  if (!conversation) return null;
  const title = titleOf(conversation, { me, users });
  const other = conversation.kind === 'direct' ? others(conversation, me)[0] : undefined;
  const otherUser = other ? users[other] : undefined;
  return (
    <main className="conversation" aria-label={`Conversation: ${isolate(title)}`}>
      <header className="conversation-head">
        <button type="button" className="icon-button back" aria-label="Back to the list" data-testid="back" onClick={close}>
          <Back />
        </button>
        {other ? <UserAvatar id={other} dot /> : <GroupAvatar id={id} />}
        <div className="grow">
          <h1 className="ellipsis" data-testid="conversation-title">
            <bdi>{title}</bdi>
          </h1>
          <Status id={id} resting={status} conversation={conversation} />
        </div>
        <button
          type="button"
          className="icon-button"
          aria-label={other ? `About ${isolate(title)}` : 'About the group'}
          title={other ? `About ${isolate(title)}` : 'About the group'}
          data-testid={other ? 'person-details' : 'group-details'}
          onClick={() => setDetails(true)}
        >
          {other ? <Person /> : <Group />}
        </button>
      </header>
      <MessageList conversation={conversation} now={now} reply={reply} edit={edit} leave={leave} />
      {other && blocked.includes(other) ? (
        <p className="composer blocked" data-testid="blocked">
          You blocked <bdi>{title}</bdi>.
          <button type="button" className="link" onClick={() => void chat.contacts.unblock(other).catch((error: Error) => chat.notify(error.message))}>
            Unblock
          </button>
        </p>
      ) : (
        <Composer key={intent?.type === 'edit' ? `edit ${intent.message.seq}` : ''} conversation={conversation} title={title} intent={intent} setIntent={setIntent} editLast={editLast} area={area} />
      )}
      {details && !other && <GroupDetails conversation={conversation} close={() => setDetails(false)} />}
      {details && other && <PersonCard user={otherUser ?? { id: other, name: title }} close={() => setDetails(false)} here />}
    </main>
  );
}

// Status is who writes just now, or else who is there.
function Status({ id, resting, conversation }: { id: string; resting: string; conversation: Model }) {
  const typing = useChatState((s) => s.typing[id]);
  const users = useChatState((s) => s.users);
  const names = useMemo(() => Object.entries(typing ?? {}).filter(([, until]) => until > 0).map(([user]) => isolate(nameOf(users, user))), [typing, users]);
  const text = names.length === 0 ? resting : conversation.kind === 'direct' ? 'typing…' : names.length > 2 ? `${names.length} people are typing…` : `${names.join(' and ')} ${names.length === 1 ? 'is' : 'are'} typing…`;
  return (
    <p className={`ellipsis ${names.length > 0 ? 'typing' : 'muted'}`} data-testid="conversation-status" data-typing={names.length > 0}>
      {text}
    </p>
  );
}

function statusOf(s: State, id: string, now: number): string {
  const c = s.conversations[id];
  if (!c) return '';
  if (c.kind === 'group') {
    const online = c.members.filter((m) => m.user === s.me?.id || stateOf(s, m.user) !== 'offline').length;
    return `${plural(c.members.length, 'member', 'members')}, ${online} online`;
  }
  const other = others(c, s.me)[0] ?? '';
  const state = stateOf(s, other);
  const seen = s.presence[other]?.lastSeen;
  return state === 'offline' && seen ? lastSeen(seen, now) : state;
}
