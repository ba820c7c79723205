import { useState, type KeyboardEvent, type ReactNode } from 'react';
import { useChat } from '../context';
import { Dialog } from '../dialog';
import { Gear, Key, Keyboard, Leave, Person, Screen, Trash } from '../icons';
import { rove } from '../roving';
import { Data } from './data';
import { Devices } from './devices';
import { Password } from './password';
import { Preferences } from './preferences';
import { Profile } from './profile';
import { Shortcuts } from './shortcuts';

export type Section = 'profile' | 'preferences' | 'devices' | 'password' | 'data' | 'shortcuts';

const sections: readonly { id: Section; label: string; icon: ReactNode; page: () => ReactNode }[] = [
  { id: 'profile', label: 'Profile', icon: <Person />, page: () => <Profile /> },
  { id: 'preferences', label: 'Preferences', icon: <Gear />, page: () => <Preferences /> },
  { id: 'devices', label: 'Devices', icon: <Screen />, page: () => <Devices /> },
  { id: 'password', label: 'Password', icon: <Key />, page: () => <Password /> },
  { id: 'data', label: 'Your data', icon: <Trash />, page: () => <Data /> },
  { id: 'shortcuts', label: 'Keyboard', icon: <Keyboard />, page: () => <Shortcuts /> },
];

// Settings is all about my own account. Its sections are tabs: the arrow keys move between them.
export function Settings({ begin, close }: { begin: Section; close: () => void }) {
  const chat = useChat();
  const [open, setOpen] = useState<Section>(begin);
  const keys = (event: KeyboardEvent<HTMLElement>) => {
    if (!rove(event, '[role=tab]') && !rove(event, '[role=tab]', true)) return;
    const to = document.activeElement?.getAttribute('data-section');
    if (to) setOpen(to as Section);
  };
  return (
    <Dialog title="Settings" close={close} wide>
      <div className="settings">
        <div className="settings-nav">
          <div role="tablist" aria-label="Settings" aria-orientation="vertical" onKeyDown={keys}>
            {sections.map(({ id, label, icon }) => (
              <button
                key={id}
                type="button"
                role="tab"
                id={`settings-${id}`}
                data-section={id}
                data-testid={`settings-${id}`}
                data-focus={open === id || undefined}
                aria-selected={open === id}
                aria-controls="settings-page"
                tabIndex={open === id ? 0 : -1}
                onClick={() => setOpen(id)}
              >
                {icon}
                <span>{label}</span>
              </button>
            ))}
          </div>
        </div>
        <div className="settings-page" id="settings-page" role="tabpanel" aria-labelledby={`settings-${open}`} tabIndex={0}>
          {sections.find((s) => s.id === open)?.page()}
        </div>
        <button type="button" className="sign-out" data-testid="sign-out" onClick={() => void chat.signOut()}>
          <Leave />
          <span>Sign out</span>
        </button>
      </div>
    </Dialog>
  );
}
