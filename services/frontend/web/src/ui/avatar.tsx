import { useState } from 'react';
import type { User } from '../store/model';
import { called, stateOf } from '../store/state';
import { useChatState } from './context';
import { Group } from './icons';

// The names that a colour may have; styles/avatar.css knows them, too. Others are #rrggbb.
export const colours = ['red', 'orange', 'amber', 'green', 'teal', 'blue', 'indigo', 'violet', 'pink', 'slate'] as const;

// hue gives who has no colour yet one of them, always the same: it comes from the id.
export function hue(id: string): (typeof colours)[number] {
  let sum = 0;
  for (const c of id) sum = (sum * 31 + (c.codePointAt(0) ?? 0)) >>> 0;
  return colours[sum % colours.length] ?? 'slate';
}

export const initials = (name: string): string => {
  const words = name.split(/[\s._-]+/).filter((word) => /^\p{L}/u.test(word));
  const letters = words.length > 1 ? [words[0], words[1]].map((word) => [...(word ?? '')][0] ?? '').join('') : [...name].slice(0, 2).join('');
  return letters.toUpperCase();
};

// onColour is the ink, black or white, that is read best on #rrggbb.
export function onColour(hex: string): 'black' | 'white' {
  const [r = 0, g = 0, b = 0] = [1, 3, 5].map((at) => {
    const part = parseInt(hex.slice(at, at + 2), 16) / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? 'black' : 'white';
}

// Only what this origin serves is shown as a picture, whatever a profile says.
const own = (picture: string | undefined): picture is string => picture !== undefined && picture.startsWith('/api/auth/users/');

type Size = 'small' | 'large' | undefined;

export function Avatar({ user, dot = false, size }: { user: User; dot?: boolean; size?: Size }) {
  const [broken, setBroken] = useState<string | null>(null);
  const colour = user.colour ?? hue(user.id);
  const named = (colours as readonly string[]).includes(colour);
  const custom = !named && /^#[0-9a-f]{6}$/i.test(colour);
  return (
    <span
      className={`avatar ${named ? `tint-${colour}` : custom ? '' : `tint-${hue(user.id)}`}${size ? ` ${size}` : ''}`}
      {...(custom ? { style: { background: colour, color: onColour(colour) } } : {})}
    >
      {own(user.picture) && broken !== user.picture ? (
        <img src={user.picture} alt="" draggable={false} onError={() => setBroken(user.picture ?? null)} />
      ) : (
        <span aria-hidden="true">{initials(called(user))}</span>
      )}
      {dot && <PresenceDot id={user.id} />}
    </span>
  );
}

// UserAvatar is that of a user of whom only the id is at hand.
export function UserAvatar({ id, dot = false, size }: { id: string; dot?: boolean; size?: Size }) {
  const user = useChatState((s) => s.users[id]);
  return <Avatar user={user ?? { id, name: '…' }} dot={dot} size={size} />;
}

export function GroupAvatar({ id, size }: { id: string; size?: Size }) {
  return (
    <span className={`avatar square tint-${hue(id)}${size ? ` ${size}` : ''}`}>
      <Group />
    </span>
  );
}

export function PresenceDot({ id }: { id: string }) {
  // I am online as far as this device can tell: what it was told last may be old.
  const state = useChatState((s) => (id === s.me?.id && s.link.state === 'online' ? 'online' : id === s.me?.id ? 'offline' : stateOf(s, id)));
  const user = useChatState((s) => s.users[id]?.name);
  return <span className="dot" data-testid="presence-dot" data-online={state !== 'offline'} data-state={state} data-user={user} role="img" aria-label={state} />;
}
