import type { User } from '../store/model';
import { useChatState } from './context';
import { Group } from './icons';

// A user keeps the same colour on every device: it comes from the id.
export function hue(id: string): number {
  let sum = 0;
  for (const c of id) sum = (sum * 31 + (c.codePointAt(0) ?? 0)) >>> 0;
  return sum % 8;
}

export const initials = (name: string): string => {
  const words = name.split(/[._-]+/).filter((word) => /^[a-z]/i.test(word));
  const letters = words.length > 1 ? `${words[0]?.[0] ?? ''}${words[1]?.[0] ?? ''}` : name.slice(0, 2);
  return letters.toUpperCase();
};

export function Avatar({ user, dot = false, small = false }: { user: Pick<User, 'id' | 'name'>; dot?: boolean; small?: boolean }) {
  return (
    <span className={`avatar hue-${hue(user.id)}${small ? ' small' : ''}`}>
      <span aria-hidden="true">{initials(user.name)}</span>
      {dot && <PresenceDot id={user.id} />}
    </span>
  );
}

export function GroupAvatar({ id, small = false }: { id: string; small?: boolean }) {
  return (
    <span className={`avatar square hue-${hue(id)}${small ? ' small' : ''}`}>
      <Group />
    </span>
  );
}

export function PresenceDot({ id }: { id: string }) {
  // I am online as far as this device can tell: what it was told last may be old.
  const online = useChatState((s) => (id === s.me?.id ? s.link.state === 'online' : (s.presence[id]?.online ?? false)));
  const user = useChatState((s) => s.users[id]?.name);
  return (
    <span className="dot" data-testid="presence-dot" data-online={online} data-user={user} role="img" aria-label={online ? 'online' : 'offline'} />
  );
}
