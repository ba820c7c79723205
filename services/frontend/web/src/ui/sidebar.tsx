import { useState, type ReactNode } from 'react';
import { called } from '../store/state';
import { Avatar } from './avatar';
import { Chats } from './chats';
import { useChatState } from './context';
import { Discover } from './discover';
import { Chats as ChatsIcon, Compose, Gear, Globe, Group, Person } from './icons';
import { useNarrow } from './narrow';
import { NewChat } from './new-chat';
import { NewGroup } from './new-group';
import { People } from './people';
import { Settings, type Section } from './settings';

type View = 'chats' | 'people' | 'groups';

export function Sidebar({ now }: { now: number }) {
  const me = useChatState((s) => s.me);
  const rank = useChatState((s) => s.rank);
  const requests = useChatState((s) => s.people.incoming.length);
  const invitations = useChatState((s) => s.invitations.length);
  const nothing = useChatState((s) => s.selected === null);
  const [view, setView] = useState<View>('chats');
  const [dialog, setDialog] = useState<'chat' | 'group' | Section | null>(null);
  const close = () => setDialog(null);
  const tab = (name: View, label: string, icon: ReactNode, count = 0) => (
    <li>
      <button type="button" data-testid={`tab-${name}`} aria-current={view === name ? 'page' : undefined} onClick={() => setView(name)}>
        {icon}
        <span>{label}</span>
        {count > 0 && (
          <span className="badge">
            {count}
            <span className="visually-hidden"> waiting</span>
          </span>
        )}
      </button>
    </li>
  );
  // On a phone the list is the page while no conversation is open.
  const Place = useNarrow() && nothing ? 'main' : 'aside';
  return (
    <Place className="sidebar" aria-label="Your chats">
      {nothing && <h1 className="visually-hidden">Labchat</h1>}
      <header className="sidebar-head">
        <button type="button" className="me grow" data-testid="settings" title="Settings" onClick={() => setDialog('profile')}>
          {me && <Avatar user={me} dot size="small" />}
          <span className="me-name">
            <strong className="ellipsis" data-testid="me">
              <bdi>{called(me ?? undefined)}</bdi>
            </strong>
            {rank !== 'user' && (
              <span className="rank" data-testid="rank">
                {rank}
              </span>
            )}
          </span>
          <span className="visually-hidden">, settings</span>
        </button>
        <button type="button" className="icon-button" data-testid="new-chat" aria-label="New chat" title="New chat" onClick={() => setDialog('chat')}>
          <Compose />
        </button>
        <button type="button" className="icon-button" data-testid="new-group" aria-label="New group" title="New group" onClick={() => setDialog('group')}>
          <Group />
        </button>
      </header>
      <Chats now={now} hidden={view !== 'chats'} startChat={() => setDialog('chat')} />
      {view === 'people' && <People />}
      {view === 'groups' && <Discover create={() => setDialog('group')} opened={() => setView('chats')} />}
      <nav className="tabs" aria-label="Views">
        <ul>
          {tab('chats', 'Chats', <ChatsIcon />)}
          {tab('people', 'People', <Person />, requests)}
          {tab('groups', 'Groups', <Globe />, invitations)}
          <li>
            <button type="button" data-testid="tab-settings" onClick={() => setDialog('preferences')}>
              <Gear />
              <span>Settings</span>
            </button>
          </li>
        </ul>
      </nav>
      {dialog === 'chat' && <NewChat close={close} />}
      {dialog === 'group' && <NewGroup close={close} />}
      {dialog !== null && dialog !== 'chat' && dialog !== 'group' && <Settings begin={dialog} close={close} />}
    </Place>
  );
}
