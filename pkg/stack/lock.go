package stack

import (
	"errors"
	"fmt"
	"time"
)

var (
	// ErrNoRemoteLock says that a backend has no lock for a whole run that labctl can take.
	ErrNoRemoteLock = errors.New("the backend has no lock that labctl can take")
	// ErrNoPlace says that the place of a state, and so the place of its lock, does not exist yet.
	ErrNoPlace = errors.New("the place of the state does not exist")
)

// LockHolder says who holds a lock that all machines see. It holds no secret: everybody who may read the state may read it.
type LockHolder struct {
	ID      string    `json:"id"` // random, of one run
	User    string    `json:"user"`
	Host    string    `json:"host"`
	PID     int       `json:"pid"`
	Command string    `json:"command"`
	Since   time.Time `json:"since"`
	Expires time.Time `json:"expires,omitzero"` // by the clock of the lock's service; each renewal sets it anew
}

// LockRequest asks for a lock that all machines see.
type LockRequest struct {
	Holder LockHolder // who asks
	// Dead is the id of a holder that is known to be dead: its lock is taken over although it has not expired.
	Dead string
	// Lost is called, once, when the lock cannot be held any longer. Its holder must stop.
	Lost func(reason error)
}

// RemoteLock is a lock that all machines see. It is renewed until it is released or lost.
type RemoteLock struct {
	Place   string      // what it lies in, for messages
	Dead    *LockHolder // who held it before and did not release it; nil where nobody did
	Release func() error
}

// HeldError says that somebody else holds a lock.
type HeldError struct {
	Place  string
	Holder LockHolder // without an ID where the holder is no labctl
}

func (e *HeldError) Error() string {
	return fmt.Sprintf("the lock in %s is held by %s on %s", e.Place, e.Holder.User, e.Holder.Host)
}
