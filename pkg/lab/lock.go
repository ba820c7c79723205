package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"
)

// LockedError says who else works on the lab.
type LockedError struct {
	Path    string    `json:"-"` // of the lock
	ID      string    `json:"id,omitempty"`
	PID     int       `json:"pid"`
	Command string    `json:"command"`
	User    string    `json:"user"`
	Host    string    `json:"host,omitempty"`
	Since   time.Time `json:"since"`
	// Expires is when others may take the lock unless the holder renews it; zero for the lock of this machine, and where it is not known.
	Expires time.Time `json:"-"`
	// Brief says that the holder only makes ready what it then reads without the lock.
	Brief bool `json:"brief,omitempty"`
	// Remote says that the lock is one that all machines see.
	Remote bool `json:"-"`
}

func (e *LockedError) Error() string {
	switch {
	case e.Remote && e.User == "":
		return fmt.Sprintf("somebody else holds the lock of this environment (%s); wait until they are done", e.Path)
	case e.Remote:
		said := fmt.Sprintf("`%s` of %s on %s (process %d) works on this environment since %s; wait until it is done",
			e.Command, e.User, e.Host, e.PID, stamp(e.Since))
		if !e.Expires.IsZero() {
			said += fmt.Sprintf(". If it is dead, its lock (%s) expires at %s", e.Path, stamp(e.Expires))
		}
		return said
	case e.PID == 0:
		return fmt.Sprintf("another labctl works on this lab (%s); wait until it is done", e.Path)
	}
	return fmt.Sprintf("`%s` of %s (process %d) works on this lab since %s; wait until it is done, or stop it with: kill -INT %d",
		e.Command, e.User, e.PID, stamp(e.Since), e.PID)
}

func stamp(t time.Time) string { return t.Local().Format("15:04:05 on 2 January") }

// lock is the lab's lock. The kernel drops it when its holder dies, so a dead holder never stands in the way.
type lock struct {
	file *os.File
	dead *LockedError // who died with it, where somebody did
}

// lockTries bounds how often the lock is tried again because its directory went away.
const lockTries = 1000

// takeLock takes the lock of the state directory, which it makes. Where somebody holds it the error is a *LockedError.
func takeLock(dir string, me LockedError) (*lock, error) {
	path := filepath.Join(dir, "lock")
	for try := 1; ; try++ {
		// A `down` can remove the directory between any two of these calls.
		retry := func(err error) bool {
			return try < lockTries && (errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrExist))
		}
		if err := os.MkdirAll(dir, 0o700); retry(err) {
			continue
		} else if err != nil {
			return nil, fmt.Errorf("make the lab's state directory: %w", err)
		}
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if retry(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("open the lab's lock: %w", err)
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case errors.Is(err, unix.EINTR):
			_ = f.Close()
			continue
		case errors.Is(err, unix.EWOULDBLOCK):
			holder := LockedError{Path: path}
			if data, err := io.ReadAll(f); err == nil {
				_ = json.Unmarshal(data, &holder) // a holder that has not written yet stays unnamed
			}
			_ = f.Close()
			return nil, &holder
		case err != nil:
			_ = f.Close()
			return nil, fmt.Errorf("take the lab's lock %s: %w", path, err)
		}
		if !same(f, path) { // a `down` removed the file between our open and our flock
			_ = f.Close()
			continue
		}
		var dead *LockedError
		if data, err := io.ReadAll(f); err == nil && len(data) > 0 { // release empties it
			var last LockedError
			if json.Unmarshal(data, &last) == nil && last.PID != 0 && !last.Brief { // a brief one made nothing that this one does not make again
				dead = &last
			}
		}
		data, err := json.Marshal(me)
		if err == nil {
			err = f.Truncate(0)
		}
		if err == nil {
			_, err = f.WriteAt(append(data, '\n'), 0)
		}
		if err != nil {
			_ = f.Close()
			return nil, fmt.Errorf("write the lab's lock %s: %w", path, err)
		}
		return &lock{file: f, dead: dead}, nil
	}
}

const (
	// briefPoll is the time between two tries of a lock that is held for a moment.
	briefPoll = 20 * time.Millisecond
	// unnamedTries bounds how often one is tried whose holder has not written its name yet.
	unnamedTries = 50
	// dyingTries bounds how often one is tried whose holder is dead: about ten seconds.
	dyingTries = 500
	// patientTries are those after which a wait is spoken of: about a second.
	patientTries = 50
)

// holder is who takes a lock in a run with these options.
func (o Options) holder() LockedError {
	return LockedError{ID: uuid.NewString(), PID: os.Getpid(), Command: o.Command, User: o.User, Host: o.Host, Since: time.Now().UTC()}
}

// awaitLock takes the lock as takeLock does, after those that have it for a moment only. Where the moment is long, such as that of a download,
// waiting is told once who has it.
func awaitLock(ctx context.Context, dir string, me LockedError, waiting func(*LockedError)) (*lock, error) {
	for try := 1; ; try++ {
		l, err := takeLock(dir, me)
		held := (*LockedError)(nil)
		if !errors.As(err, &held) || !held.passes(me, try) {
			return l, err
		}
		if try == patientTries {
			waiting(held)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", context.Cause(ctx), held)
		case <-time.After(briefPoll):
		}
	}
}

// passes says whether the lock is held for a moment only, at the try of that number.
func (e *LockedError) passes(me LockedError, try int) bool {
	switch {
	case e.Brief:
		return true
	case e.PID == 0:
		return try < unnamedTries
	}
	// A child that the holder was just starting when it was killed has a copy of the descriptor until it begins its program.
	return e.Host == me.Host && errors.Is(unix.Kill(e.PID, 0), unix.ESRCH) && try < dyingTries
}

func same(f *os.File, path string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Stat(path)
	return err == nil && os.SameFile(a, b)
}

// release empties the file, so that the next holder does not take this one for dead, and gives the lock back.
func (l *lock) release() {
	_ = l.file.Truncate(0)
	// Closing alone would leave it held for as long as a child that is just being started has a copy of the descriptor.
	_ = unix.Flock(int(l.file.Fd()), unix.LOCK_UN)
	_ = l.file.Close()
}
