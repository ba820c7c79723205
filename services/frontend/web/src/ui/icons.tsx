// Drawn for this page, 24 by 24, one stroke.
import type { ReactNode } from 'react';

function Icon({ children }: { children: ReactNode }) {
  return (
    <svg className="icon" viewBox="0 0 24 24" width="20" height="20" aria-hidden="true" focusable="false">
      {children}
    </svg>
  );
}

export const Back = () => (
  <Icon>
    <path d="M14.5 5.5 8 12l6.5 6.5" />
  </Icon>
);

export const Close = () => (
  <Icon>
    <path d="m6.5 6.5 11 11m0-11-11 11" />
  </Icon>
);

export const Compose = () => (
  <Icon>
    <path d="M12 5H7a2 2 0 0 0-2 2v10a2 2 0 0 0 2 2h10a2 2 0 0 0 2-2v-5" />
    <path d="m10 14 .6-2.8 7-7a1.5 1.5 0 0 1 2.2 2.2l-7 7L10 14Z" />
  </Icon>
);

export const Group = () => (
  <Icon>
    <circle cx="9" cy="8.5" r="3.2" />
    <path d="M3.5 18.5c.4-3 2.6-4.7 5.5-4.7s5.1 1.7 5.5 4.7" />
    <path d="M15.3 5.7a3.2 3.2 0 0 1 0 5.6M17.3 14.3c1.9.6 3 2.1 3.2 4.2" />
  </Icon>
);

export const Send = () => (
  <Icon>
    <path d="M12 19V5.5M6 11l6-6 6 6" />
  </Icon>
);

export const Down = () => (
  <Icon>
    <path d="m6 9.5 6 6 6-6" />
  </Icon>
);

export const Leave = () => (
  <Icon>
    <path d="M14 5H7a2 2 0 0 0-2 2v10a2 2 0 0 0 2 2h7" />
    <path d="M10.5 12H20m-3.5-3.5L20 12l-3.5 3.5" />
  </Icon>
);

export const Clock = () => (
  <Icon>
    <circle cx="12" cy="12" r="7.5" />
    <path d="M12 8v4.3l2.7 1.7" />
  </Icon>
);

export const Tick = () => (
  <Icon>
    <path d="m5.5 12.5 4.2 4.2 8.8-9.2" />
  </Icon>
);

export const Alert = () => (
  <Icon>
    <path d="M12 7.5v5.5m0 3.2v.3" />
    <circle cx="12" cy="12" r="8" />
  </Icon>
);

export const Crown = () => (
  <Icon>
    <path d="m5 8 3.5 3L12 6l3.5 5L19 8l-1.3 9H6.3L5 8Z" />
  </Icon>
);

// Two speech marks that share a corner: the page's own mark.
export const Mark = () => (
  <svg className="mark" viewBox="0 0 32 32" width="32" height="32" aria-hidden="true" focusable="false">
    <path className="mark-back" d="M13 4h11a5 5 0 0 1 5 5v7a5 5 0 0 1-5 5h-1v4.5L17.5 21" />
    <path className="mark-front" d="M8 10h9a5 5 0 0 1 5 5v4a5 5 0 0 1-5 5h-5l-6 5v-5.4A5 5 0 0 1 3 19v-4a5 5 0 0 1 5-5Z" />
  </svg>
);

export const Search = () => (
  <Icon>
    <circle cx="11" cy="11" r="6" />
    <path d="m15.5 15.5 4 4" />
  </Icon>
);

export const Chats = () => (
  <Icon>
    <path d="M6 5.5h12a2 2 0 0 1 2 2v7a2 2 0 0 1-2 2h-6l-4.5 3.3v-3.3H6a2 2 0 0 1-2-2v-7a2 2 0 0 1 2-2Z" />
  </Icon>
);

export const Person = () => (
  <Icon>
    <circle cx="12" cy="8.2" r="3.6" />
    <path d="M5 19.2c.6-3.6 3.4-5.4 7-5.4s6.4 1.8 7 5.4" />
  </Icon>
);

export const Gear = () => (
  <Icon>
    <path d="M4.5 7.5h9m5 0h1M4.5 16.5h1m5 0h9" />
    <circle cx="16" cy="7.5" r="2.3" />
    <circle cx="8" cy="16.5" r="2.3" />
  </Icon>
);

export const Reply = () => (
  <Icon>
    <path d="M9.5 6 4.5 11l5 5M5 11h8.5a6 6 0 0 1 6 6v1.5" />
  </Icon>
);

export const Pencil = () => (
  <Icon>
    <path d="m5 19 .9-3.9L15.6 5.4a1.8 1.8 0 0 1 2.6 0l.4.4a1.8 1.8 0 0 1 0 2.6L8.9 18.1 5 19Z" />
  </Icon>
);

export const Trash = () => (
  <Icon>
    <path d="M5 7h14M9.5 7V5.2h5V7M7 7l.8 12h8.4L17 7M10.5 10.5v5m3-5v5" />
  </Icon>
);

export const Smile = () => (
  <Icon>
    <circle cx="12" cy="12" r="7.8" />
    <path d="M8.6 13.8c.7 1.5 1.9 2.3 3.4 2.3s2.7-.8 3.4-2.3M9.3 9.6v.4m5.4-.4v.4" />
  </Icon>
);

export const More = () => (
  <Icon>
    <path d="M6 12h.01M12 12h.01M18 12h.01" strokeWidth="3" />
  </Icon>
);

export const Copy = () => (
  <Icon>
    <path d="M9 9h8.5a1.5 1.5 0 0 1 1.5 1.5V18a1.5 1.5 0 0 1-1.5 1.5H10.5A1.5 1.5 0 0 1 9 18V9Z" />
    <path d="M6.5 15A1.5 1.5 0 0 1 5 13.500V6A1.5 1.5 0 0 1 6.5 4.500H14A1.5 1.5 0 0 1 15.5 6" />
  </Icon>
);

export const Ticks = () => (
  <Icon>
    <path d="m2.5 12.8 3.9 3.9 8-9M12 16.700l8.8-9" />
  </Icon>
);

export const Globe = () => (
  <Icon>
    <circle cx="12" cy="12" r="7.8" />
    <path d="M4.2 12h15.600M12 4.200c4.4 4.8 4.4 10.8 0 15.6-4.4-4.8-4.4-10.8 0-15.600Z" />
  </Icon>
);

export const Screen = () => (
  <Icon>
    <path d="M4.5 5.500h15v10h-15zM9 19.500h6m-3-4v4" />
  </Icon>
);

export const Key = () => (
  <Icon>
    <circle cx="8" cy="15.5" r="3.5" />
    <path d="m10.5 13 8-8m-3.5 3.5 3 3" />
  </Icon>
);

export const Keyboard = () => (
  <Icon>
    <path d="M3.5 6.500h17v11h-17zM7 10h.01M10.3 10h.01M13.7 10h.01M17 10h.01M8 14h8" />
  </Icon>
);

export const Star = () => (
  <Icon>
    <path d="m12 5 2.1 4.5 4.9.6-3.6 3.4.9 4.9-4.3-2.4-4.3 2.4.9-4.900L5 10.100l4.9-.6L12 5Z" />
  </Icon>
);
