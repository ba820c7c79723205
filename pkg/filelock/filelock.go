//go:build unix

// Package filelock is an advisory lock between processes, held on an open file. The kernel drops it when its holder
// dies, however it dies, so a lock never has to be broken by hand.
package filelock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// poll is the time between two tries of a lock that another process holds. flock can wait by itself, but not for a context.
const poll = 100 * time.Millisecond

// ErrHeld is what Try returns when another holder has the lock.
var ErrHeld = errors.New("the lock is held")

// Lock is a lock that is held.
type Lock struct{ file *os.File }

// Try takes the lock at path, or returns ErrHeld at once. The file is created if need be, and left behind by Unlock:
// removing it would let two holders lock two files of the same name.
func Try(path string) (*Lock, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	for {
		err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err == nil {
		return &Lock{file}, nil
	}
	_ = file.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, ErrHeld
	}
	return nil, fmt.Errorf("lock %s: %w", path, err)
}

// Wait takes the lock at path, waiting for its holder until ctx ends. held, if not nil, is called once when there is
// something to wait for.
func Wait(ctx context.Context, path string, held func()) (*Lock, error) {
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	for {
		lock, err := Try(path)
		if !errors.Is(err, ErrHeld) {
			return lock, err
		}
		if held != nil {
			held()
			held = nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for the lock %s, which another process holds: %w", path, ctx.Err())
		case <-ticker.C:
		}
	}
}

// Unlock gives the lock back. A nil Lock is allowed.
func (l *Lock) Unlock() {
	if l == nil || l.file == nil {
		return
	}
	// Closing alone would leave it held for as long as a child that is just being started has a copy of the descriptor.
	_ = syscall.Flock(int(l.file.Fd()), syscall.LOCK_UN)
	_ = l.file.Close()
	l.file = nil
}
