import { useCallback, useEffect, useState } from 'react';
import type { Device } from '../../store/model';
import { useChat } from '../context';
import { fullTime, plural, shortTime } from '../format';
import { Screen } from '../icons';
import { useWork } from '../work';

// Devices are the places where I am signed in.
export function Devices() {
  const chat = useChat();
  const [devices, setDevices] = useState<readonly Device[] | null>(null);
  const [done, setDone] = useState<string | null>(null);
  const { busy, error, run } = useWork();
  const load = useCallback(async () => setDevices(await chat.account.devices()), [chat]);
  useEffect(() => {
    void run(load);
  }, [run, load]);
  const others = devices?.filter((d) => !d.current) ?? [];
  const now = Date.now();
  return (
    <>
      <h3>Devices</h3>
      <p className="muted">Where you are signed in. Sign out what you do not know, and change your password then.</p>
      <p className="error" role="alert">
        {error}
      </p>
      {devices === null && !error && <span className="spinner" role="status" aria-label="Loading devices" />}
      <ul className="people-list">
        {devices?.map((d) => (
          <li key={d.id} data-testid="device" data-current={d.current}>
            <Screen />
            <span className="grow">
              <span className="person-name ellipsis">{d.name || 'Unnamed device'}</span>
              <span className="muted person-state" title={fullTime(d.used)}>
                {d.current ? 'this device' : `last used ${shortTime(d.used, now)}`}
              </span>
            </span>
            {!d.current && (
              <button
                type="button"
                className="button small"
                data-testid="device-end"
                aria-label={`Sign out ${d.name || 'the unnamed device'}`}
                disabled={busy}
                onClick={() =>
                  void run(async () => {
                    await chat.account.endDevice(d.id);
                    await load();
                    setDone(`${d.name || 'The device'} was signed out.`);
                  })
                }
              >
                Sign out
              </button>
            )}
          </li>
        ))}
      </ul>
      {others.length > 1 && (
        <button
          type="button"
          className="button danger"
          data-testid="devices-end"
          disabled={busy}
          onClick={() =>
            void run(async () => {
              const ended = await chat.account.endOthers();
              await load();
              setDone(`${plural(ended, 'device was', 'devices were')} signed out.`);
            })
          }
        >
          Sign out all others
        </button>
      )}
      <p role="status" className="muted" data-testid="devices-done">
        {done}
      </p>
    </>
  );
}
