import { isolate } from '../store/bidi';
import type { Message, User } from '../store/model';
import { nameOf, type State } from '../store/state';

// eventText says a change of a group in a sentence.
export function eventText(m: Message, me: User | null, users: State['users']): string {
  const event = m.event;
  const who = (id: string) => (id === me?.id ? 'you' : isolate(nameOf(users, id)));
  const subject = m.sender === me?.id ? 'You' : isolate(nameOf(users, m.sender));
  switch (event?.type) {
    case 'created':
      return `${subject} created “${isolate(event.title)}”`;
    case 'renamed':
      return `${subject} renamed the group to “${isolate(event.title)}”`;
    case 'member_added':
      if (event.users.length === 1 && event.users[0] === m.sender) return `${subject} joined`;
      return `${subject} added ${list(event.users.map(who))}`;
    case 'member_removed':
      return `${subject} removed ${list(event.users.map(who))}`;
    case 'member_left': {
      const left = `${subject} left`;
      if (!event.owner) return left;
      return event.owner === me?.id ? `${left}; you own the group now` : `${left}; ${isolate(nameOf(users, event.owner))} owns the group now`;
    }
    case 'role_changed': {
      const whom = list(event.users.map(who));
      if (event.owner) return `${subject} handed the group over to ${whom}`;
      return event.role === 'admin' ? `${subject} made ${whom} an admin` : `${subject} made ${whom} a member again`;
    }
    case 'made_public':
      return `${subject} made the group public`;
    case 'made_private':
      return `${subject} made the group private`;
    default:
      return 'The group changed'; // an event that a newer server knows
  }
}

function list(names: readonly string[]): string {
  if (names.length <= 1) return names[0] ?? 'nobody';
  return `${names.slice(0, -1).join(', ')} and ${names.at(-1)}`;
}
