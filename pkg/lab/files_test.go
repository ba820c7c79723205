package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestRemoveStateStopsAtMounts(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	dir := filepath.Join(root, ".lab", "local")
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "clu ster"), 0o700))
	mountinfo := filepath.Join(root, "mountinfo")
	line := "36 35 98:0 / " + dir + `/clu\040ster rw,noatime master:1 - ext3 /dev/root rw` + "\n"
	require.NoError(t, os.WriteFile(mountinfo, []byte(line), 0o600))
	err := removeState(dir, mountinfo)
	require.ErrorContains(t, err, filepath.Join(dir, "clu ster")+" is still mounted")
	require.DirExists(t, dir)

	// A directory of a longer name is another one.
	require.NoError(t, os.WriteFile(mountinfo, []byte("36 35 98:0 / "+dir+"2 rw - ext3 /dev/root rw\n"), 0o600))
	require.NoError(t, removeState(dir, mountinfo))
	require.NoDirExists(t, filepath.Join(root, ".lab"))
}

func TestRemoveStateFinishesWhatAKilledOneBegan(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	dir := filepath.Join(root, ".lab", "local")
	require.NoError(t, os.MkdirAll(dir, 0o700))
	require.NoError(t, os.MkdirAll(filepath.Join(root, ".lab", ".removed-1", "state"), 0o700))
	require.NoError(t, removeState(dir, "/proc/self/mountinfo"))
	require.NoDirExists(t, filepath.Join(root, ".lab"))
}

func TestRemoveStateKeepsOtherEnvironments(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	for _, env := range []string{"local", "staging"} {
		require.NoError(t, os.MkdirAll(filepath.Join(root, ".lab", env), 0o700))
	}
	require.NoError(t, removeState(filepath.Join(root, ".lab", "local"), "/proc/self/mountinfo"))
	require.DirExists(t, filepath.Join(root, ".lab", "staging"))
}

func TestJournal(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "journal.json")
	j, err := openJournal(path)
	require.NoError(t, err)
	at := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
	require.NoError(t, j.put("1-cluster", entry{State: Done, Digests: digests{"main.tf": "h"}, At: at, Serial: 3}))
	require.NoError(t, j.finish("2-databases", entry{State: Done, At: at}, time.Minute))
	require.NoError(t, j.remove("2-databases"))
	require.NoError(t, j.remove("never there"))
	j, err = openJournal(path)
	require.NoError(t, err)
	e, ok := j.get("1-cluster")
	require.True(t, ok)
	require.Equal(t, entry{State: Done, Digests: digests{"main.tf": "h"}, At: at, Serial: 3}, e)
	_, ok = j.get("2-databases")
	require.False(t, ok)
	require.Equal(t, time.Minute, j.took("2-databases"), "it is known of what was taken down, too")
	require.Zero(t, j.took("1-cluster"))
	left, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, left, 1, "no temporary file stays")
}

func TestJournalThatCannotBeUnderstoodCountsAsEmpty(t *testing.T) {
	t.Parallel()
	for name, content := range map[string]string{
		"empty": "", "cut off": `{"version": 2, "steps": {"1-clu`, "another version": `{"version": 1, "steps": {"a": {"state": "done"}}}`, "no steps": `{"version": 2}`,
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "journal.json")
			require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
			j, err := openJournal(path)
			require.NoError(t, err)
			_, ok := j.get("a")
			require.False(t, ok)
			require.NoError(t, j.put("a", entry{State: Done}))
		})
	}
}

func TestLock(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), ".lab", "local")
	since := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
	me := LockedError{PID: 42, Command: "labctl up", User: "ada", Since: since}
	l, err := takeLock(dir, me)
	require.NoError(t, err)
	_, err = takeLock(dir, LockedError{PID: 43})
	var locked *LockedError
	require.ErrorAs(t, err, &locked)
	require.Equal(t, LockedError{Path: filepath.Join(dir, "lock"), PID: 42, Command: "labctl up", User: "ada", Since: since}, *locked)
	require.ErrorContains(t, err, "`labctl up` of ada (process 42) works on this lab since")
	require.ErrorContains(t, err, "kill -INT 42")

	// `down` removes the directory while it holds the lock: the next one must not end up with the removed file.
	require.NoError(t, os.RemoveAll(dir))
	next, err := takeLock(dir, LockedError{PID: 44})
	require.NoError(t, err)
	l.release()
	_, err = takeLock(dir, LockedError{PID: 45})
	require.ErrorAs(t, err, &locked)
	require.Equal(t, 44, locked.PID)
	next.release()
	last, err := takeLock(dir, LockedError{PID: 46})
	require.NoError(t, err)
	last.release()
}

// TestLockWhileDownsRemoveIt has holders remove the directory, as down does, while others take the lock.
// A process that was killed while it started another leaves the lock with that one for a moment.
func TestTheLockOfTheDeadIsWaitedFor(t *testing.T) {
	t.Parallel()
	dead := exec.Command("true")
	require.NoError(t, dead.Run())
	dir, me := t.TempDir(), LockedError{PID: os.Getpid(), Command: "labctl up", Host: "here", ID: "mine"}
	hold := func(host string) *os.File {
		f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR|os.O_TRUNC, 0o600)
		require.NoError(t, err)
		require.NoError(t, unix.Flock(int(f.Fd()), unix.LOCK_EX))
		require.NoError(t, json.NewEncoder(f).Encode(LockedError{PID: dead.Process.Pid, Command: "labctl up", Host: host}))
		return f
	}
	f := hold("elsewhere")
	_, err := awaitLock(t.Context(), dir, me, nil)
	var held *LockedError
	require.ErrorAs(t, err, &held, "a process of another machine may live")
	require.NoError(t, f.Close())

	f = hold("here")
	l, err := awaitLock(t.Context(), dir, me, func(*LockedError) { require.NoError(t, f.Close()) })
	require.NoError(t, err)
	l.release()
}

func TestLockWhileDownsRemoveIt(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), ".lab", "local")
	var holders atomic.Int32
	var group sync.WaitGroup
	for me := range 8 {
		group.Go(func() {
			for range 500 {
				l, err := takeLock(dir, LockedError{PID: me + 1})
				if err != nil {
					var locked *LockedError
					if !errors.As(err, &locked) {
						t.Error(err)
					}
					continue
				}
				if holders.Add(1) != 1 {
					t.Error("two hold the lock")
				}
				if data, err := os.ReadFile(filepath.Join(dir, "lock")); err != nil || !strings.Contains(string(data), fmt.Sprintf(`"pid":%d,`, me+1)) {
					t.Errorf("the lock that is held is not the one that others see: %s %v", data, err)
				}
				holders.Add(-1) // from here on the next one may begin
				if err := removeState(dir, "/proc/self/mountinfo"); err != nil && !errors.Is(err, os.ErrNotExist) {
					t.Error(err)
				}
				l.release()
			}
		})
	}
	group.Wait()
}

// TestTheNextHolderKnowsOfADeadOne leaves a lock as a killed process does: not held, and with its holder's name.
func TestTheNextHolderKnowsOfADeadOne(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), ".lab", "local")
	since := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
	killed, err := takeLock(dir, LockedError{PID: 42, Command: "labctl up", User: "ada", Since: since})
	require.NoError(t, err)
	require.Nil(t, killed.dead, "there was nobody before")
	require.NoError(t, killed.file.Close())
	next, err := takeLock(dir, LockedError{PID: 43})
	require.NoError(t, err)
	require.Equal(t, &LockedError{PID: 42, Command: "labctl up", User: "ada", Since: since}, next.dead)
	next.release()
	last, err := takeLock(dir, LockedError{PID: 44})
	require.NoError(t, err)
	require.Nil(t, last.dead, "one that ended well is not dead")
	last.release()
}

func TestChangedInputs(t *testing.T) {
	t.Parallel()
	done := entry{State: Done, Digests: digests{"main.tf": "1", "input a": "1", "old.tf": "1"}}
	for _, tc := range []struct {
		name  string
		entry entry
		there bool
		now   digests
		want  string
	}{
		{"the same", done, true, digests{"main.tf": "1", "input a": "1", "old.tf": "1"}, ""},
		{"never done", entry{}, false, digests{}, "it was not there yet"},
		{"killed", entry{State: Begun}, true, digests{}, "it was interrupted"},
		{"failed", entry{State: Failed}, true, digests{}, "it failed"},
		{"changed, new and gone", done, true, digests{"main.tf": "2", "input a": "1", "new.tf": "1"}, "main.tf changed, new.tf is new, old.tf is gone"},
		{"a lot", entry{State: Done}, true, digests{"a": "1", "b": "1", "c": "1", "d": "1", "e": "1", "f": "1"}, "a is new, b is new, c is new, d is new, and 2 more"},
	} {
		t.Run(tc.name, func(t *testing.T) { require.Equal(t, tc.want, tc.entry.changedInputs(tc.there, tc.now)) })
	}
}

// A holder that has the lock for a moment is waited for, and named where the moment is long. Another one is not waited for.
func TestBriefHoldersAreWaitedFor(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "local")
	brief, err := takeLock(dir, LockedError{PID: 42, Brief: true})
	require.NoError(t, err)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	silent := func(*LockedError) {}
	_, err = awaitLock(ended, dir, LockedError{PID: 43}, silent)
	require.ErrorIs(t, err, context.Canceled)
	long, err := awaitLock(t.Context(), dir, LockedError{PID: 43}, func(by *LockedError) {
		require.Equal(t, 42, by.PID)
		brief.release()
	})
	require.NoError(t, err)
	defer long.release()
	require.Nil(t, long.dead)
	_, err = awaitLock(t.Context(), dir, LockedError{PID: 44}, silent)
	held := (*LockedError)(nil)
	require.ErrorAs(t, err, &held)
	require.Equal(t, 43, held.PID)
}
