import { useEffect, useState } from 'react';
import type { Conversation as Model, User } from '../store/model';
import { others, titleOf, type State } from '../store/state';
import { Avatar, GroupAvatar } from './avatar';
import { Composer } from './composer';
import { useChat, useChatState } from './context';
import { lastSeen, plural } from './format';
import { GroupDetails } from './group-details';
import { Back, Group } from './icons';
import { MessageList } from './message-list';

// Who has no message from me yet tells me nothing of their coming and going, so it is asked for.
const askAgain = 10_000; // ms

export function Conversation({ id, now, close }: { id: string; now: number; close: () => void }) {
  const chat = useChat();
  const conversation = useChatState((s) => s.conversations[id]);
  const me = useChatState((s) => s.me);
  const users = useChatState((s) => s.users);
  const presence = useChatState((s) => s.presence);
  const [details, setDetails] = useState(false);
  const silent = conversation?.lastSeq === 0;
  useEffect(() => {
    if (!silent) return;
    const timer = setInterval(() => chat.askPresence(id), askAgain);
    return () => clearInterval(timer);
  }, [chat, id, silent]);
  if (!conversation) return null;
  const title = titleOf(conversation, { me, users });
  const other = others(conversation, me)[0];
  return (
    <main className="conversation" aria-label={`Conversation: ${title}`}>
      <header className="conversation-head">
        <button type="button" className="icon-button back" aria-label="Back to the list" data-testid="back" onClick={close}>
          <Back />
        </button>
        {conversation.kind === 'direct' && other ? <Avatar user={{ id: other, name: title }} dot /> : <GroupAvatar id={id} />}
        <div className="grow">
          <h1 className="ellipsis" data-testid="conversation-title">
            {title}
          </h1>
          <p className="muted ellipsis" data-testid="conversation-status">
            {status(conversation, me, presence, now)}
          </p>
        </div>
        {conversation.kind === 'group' && (
          <button type="button" className="icon-button" aria-label="Group members" title="Group members" data-testid="group-details" onClick={() => setDetails(true)}>
            <Group />
          </button>
        )}
      </header>
      <MessageList conversation={conversation} now={now} />
      <Composer key={id} id={id} title={title} />
      {details && <GroupDetails conversation={conversation} close={() => setDetails(false)} />}
    </main>
  );
}

function status(c: Model, me: User | null, presence: State['presence'], now: number): string {
  if (c.kind === 'group') {
    const online = c.members.filter((m) => m.user === me?.id || presence[m.user]?.online).length;
    return `${plural(c.members.length, 'member', 'members')}, ${online} online`;
  }
  const other = others(c, me)[0];
  const p = other ? presence[other] : undefined;
  if (p?.online) return 'online';
  return p?.lastSeen ? lastSeen(p.lastSeen, now) : 'offline';
}
