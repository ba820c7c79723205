import type { Preferences } from '../store/model';

type Theme = Preferences['theme'];
const key = 'labchat.theme';

// showTheme sets the colours of the page. The browser keeps it, so that a reload does not flash in other ones.
export function showTheme(theme: Theme): void {
  if (theme === 'system') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  try {
    localStorage.setItem(key, theme);
  } catch {
    // The storage is full or forbidden: the theme comes with the preferences.
  }
}

export function keptTheme(): Theme {
  const kept = localStorage.getItem(key);
  return kept === 'dark' || kept === 'light' ? kept : 'system';
}
