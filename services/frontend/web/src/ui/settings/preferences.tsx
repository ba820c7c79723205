import type { Preferences as Model } from '../../store/model';
import { useChat, useChatState } from '../context';
import { useWork } from '../work';

const themes = [
  ['system', 'As the system'],
  ['light', 'Light'],
  ['dark', 'Dark'],
] as const;

const switches: readonly [keyof Omit<Model, 'theme'>, string, string][] = [
  ['enterSends', 'Enter sends a message', 'If not, Ctrl+Enter does, and Enter begins a new line.'],
  ['receipts', 'Others may see what I have read', 'If not, your other devices do not learn of it either.'],
  ['typing', 'Others may see that I am typing', ''],
];

export function Preferences() {
  const chat = useChat();
  const preferences = useChatState((s) => s.preferences);
  const loaded = useChatState((s) => s.preferencesLoaded);
  const { error, run } = useWork();
  const set = (change: Partial<Model>) => void run(() => chat.account.setPreferences({ ...preferences, ...change }));
  return (
    <>
      <h3>Preferences</h3>
      <fieldset className="themes">
        <legend>Colours</legend>
        {themes.map(([value, label]) => (
          <label key={value} className="check">
            <input type="radio" disabled={!loaded} name="theme" data-testid={`theme-${value}`} value={value} checked={preferences.theme === value} onChange={() => set({ theme: value })} />
            {label}
          </label>
        ))}
      </fieldset>
      {switches.map(([name, label, hint]) => (
        <div key={name}>
          <label className="check">
            <input type="checkbox" disabled={!loaded} data-testid={`preference-${name}`} checked={preferences[name]} onChange={(event) => set({ [name]: event.target.checked })} aria-describedby={hint ? `hint-${name}` : undefined} />
            {label}
          </label>
          {hint && (
            <p className="hint indented" id={`hint-${name}`}>
              {hint}
            </p>
          )}
        </div>
      ))}
      <p className="error" role="alert">
        {error}
      </p>
    </>
  );
}
