import { useEffect, useId, useRef, useState, type FormEvent } from 'react';
import { limits } from '../../api/wire';
import type { ProfileChange } from '../../store/account';
import { Avatar, colours, hue } from '../avatar';
import { useChat, useChatState } from '../context';
import { useWork } from '../work';
import { shrunk } from './picture';

export function Profile() {
  const chat = useChat();
  const me = useChatState((s) => s.me);
  const rank = useChatState((s) => s.rank);
  const [form, setForm] = useState<ProfileChange | null>(null);
  const [done, setDone] = useState<string | null>(null);
  const { busy, error, run } = useWork();
  const file = useRef<HTMLInputElement>(null);
  const id = useId();
  const my = me?.id;

  useEffect(() => {
    if (!my) return;
    void run(async () => {
      const { display, colour, bio, status } = await chat.account.profile(my);
      setForm({ display, colour, bio, status });
    });
  }, [chat, my, run]);

  if (!me) return null;
  const set = (change: Partial<ProfileChange>) => {
    setDone(null);
    setForm((have) => (have ? { ...have, ...change } : have));
  };
  const save = async (event: FormEvent) => {
    event.preventDefault();
    if (form && (await run(() => chat.account.setProfile({ ...form, display: form.display.trim() || me.name, status: form.status.trim() })))) setDone('Saved.');
  };
  const picture = async (picked: File | undefined) => {
    if (picked && (await run(async () => chat.account.setPicture(await shrunk(picked))))) setDone('That is you now.');
  };
  const colour = form?.colour || hue(me.id);

  return (
    <form onSubmit={(event) => void save(event)} noValidate>
      <h3>Profile</h3>
      <div className="profile-top">
        <Avatar user={{ ...me, ...(form ? { colour } : {}) }} size="large" />
        <div>
          <p className="card-name">
            @{me.name}
            {rank !== 'user' && <span className="rank">{rank}</span>}
          </p>
          <div className="card-actions">
            <button type="button" className="button small" disabled={busy} onClick={() => file.current?.click()}>
              {me.picture ? 'Another picture' : 'Add a picture'}
            </button>
            {me.picture && (
              <button type="button" className="button small" data-testid="picture-remove" disabled={busy} onClick={() => void run(() => chat.account.removePicture())}>
                Remove it
              </button>
            )}
          </div>
          <input
            ref={file}
            type="file"
            hidden
            data-testid="picture"
            accept="image/png,image/jpeg,image/webp"
            aria-label="Picture"
            onChange={(event) => {
              void picture(event.target.files?.[0]);
              event.target.value = '';
            }}
          />
        </div>
      </div>
      <div>
        <label htmlFor={`${id}display`}>Name that others see</label>
        <input id={`${id}display`} data-testid="profile-display" autoComplete="nickname" maxLength={limits.display} value={form?.display ?? ''} disabled={!form} onChange={(event) => set({ display: event.target.value })} />
      </div>
      <fieldset className="colours">
        <legend>Colour</legend>
        {colours.map((name) => (
          <label key={name} className={`swatch tint-${name}`} title={name}>
            <input type="radio" name="colour" data-testid={`colour-${name}`} value={name} checked={colour === name} disabled={!form} aria-label={name} onChange={() => set({ colour: name })} />
          </label>
        ))}
      </fieldset>
      <div>
        <label htmlFor={`${id}status`}>Status</label>
        <input id={`${id}status`} data-testid="profile-status" autoComplete="off" placeholder="Drinking coffee" maxLength={limits.status} value={form?.status ?? ''} disabled={!form} onChange={(event) => set({ status: event.target.value })} />
      </div>
      <div>
        <label htmlFor={`${id}bio`}>About you</label>
        <textarea id={`${id}bio`} data-testid="profile-bio" className="field" rows={3} maxLength={limits.bio} value={form?.bio ?? ''} disabled={!form} onChange={(event) => set({ bio: event.target.value })} />
      </div>
      <p className="error" role="alert">
        {error}
      </p>
      <footer>
        <p role="status" className="grow muted" data-testid="profile-done">
          {done}
        </p>
        <button type="submit" className="button primary" data-testid="profile-save" disabled={busy || !form}>
          Save
        </button>
      </footer>
    </form>
  );
}
