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
