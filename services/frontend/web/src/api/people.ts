// The part of the protocol that is about people: profiles, devices, preferences, contacts, invitations.
import type { Device, Invitation, People, Preferences, Profile, PublicGroup } from '../store/model';
import { toTime, toUser, type WireUser } from './wire';

export interface WireMe {
  user: WireUser;
  role?: string;
  session: string;
  password?: boolean;
}

export interface WireProfile {
  user: WireUser;
  display_name?: string;
  colour?: string;
  bio?: string;
  status?: string;
  picture?: string;
}

export interface WirePreferences {
  theme: string;
  enter_sends: boolean;
  receipts: boolean;
  typing: boolean;
}

export interface WireDevice {
  id: string;
  device: string;
  created: string;
  used: string;
  current?: boolean;
}

export interface WirePeople {
  contacts: { user: string; nickname?: string; since: string }[] | null;
  incoming: { user: string; at: string }[] | null;
  outgoing: { user: string; at: string }[] | null;
  blocked: string[] | null;
}

export interface WireInvitation {
  id: string;
  title: string;
  size: number;
  by: string;
  at: string;
}

export interface WirePublicGroup {
  id: string;
  title: string;
  size: number;
}

export function toProfile(p: WireProfile): Profile {
  const display = p.display_name || p.user.name;
  return {
    user: toUser({ ...p.user, display_name: display, ...(p.colour ? { colour: p.colour } : {}), ...(p.picture ? { picture: p.picture } : {}) }),
    display,
    colour: p.colour ?? '',
    bio: p.bio ?? '',
    status: p.status ?? '',
    ...(p.picture ? { picture: p.picture } : {}),
  };
}

export const toPreferences = (p: WirePreferences): Preferences => ({
  theme: p.theme === 'dark' || p.theme === 'light' ? p.theme : 'system',
  enterSends: p.enter_sends,
  receipts: p.receipts,
  typing: p.typing,
});

export const fromPreferences = (p: Preferences): WirePreferences => ({
  theme: p.theme,
  enter_sends: p.enterSends,
  receipts: p.receipts,
  typing: p.typing,
});

export const toDevice = (d: WireDevice): Device => ({
  id: d.id,
  name: d.device,
  created: toTime(d.created),
  used: toTime(d.used),
  current: d.current ?? false,
});

export const toPeople = (p: WirePeople): People => ({
  contacts: (p.contacts ?? []).map((c) => ({ user: c.user, ...(c.nickname ? { nickname: c.nickname } : {}) })),
  incoming: (p.incoming ?? []).map((r) => r.user),
  outgoing: (p.outgoing ?? []).map((r) => r.user),
  blocked: p.blocked ?? [],
});

export const toInvitation = (i: WireInvitation): Invitation => ({ group: i.id, title: i.title, by: i.by, size: i.size });

export const toPublicGroup = (g: WirePublicGroup): PublicGroup => ({ id: g.id, title: g.title, size: g.size });
