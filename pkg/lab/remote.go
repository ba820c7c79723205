package lab

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/zclconf/go-cty/cty"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/stack"
)

// The lock of lock.go is one machine's. An environment whose state is in a backend has a second lock, beside the state, which all
// machines see: docs/adr/0011-remote-lock.md.

// LockLostError says that a run was interrupted because it could not hold the remote lock any longer: another machine may take it.
type LockLostError struct{ Err error }

func (e *LockLostError) Error() string { return e.Err.Error() }
func (e *LockLostError) Unwrap() error { return e.Err }

// remoteLocks are those that a run holds: one, or two while the state moves from one place to another.
type remoteLocks struct {
	me     stack.LockHolder
	cancel context.CancelCauseFunc // ends the run

	mu      sync.Mutex
	held    []heldRemote
	refused bool // it was said that there is none
}

type heldRemote struct {
	stack string // the id of the stack beside whose state it lies
	place string // what identifies it
	lock  *stack.RemoteLock
}

func (l *remoteLocks) begin(ctx context.Context, me LockedError) context.Context {
	l.me = stack.LockHolder{ID: me.ID, User: me.User, Host: me.Host, PID: me.PID, Command: me.Command, Since: me.Since}
	ctx, l.cancel = context.WithCancelCause(ctx)
	return ctx
}

// lockKnownPlace takes the lock beside the first state whose place is known before the run does anything: where this machine's last
// run left it, else where its configuration says.
func (r *run) lockKnownPlace(ctx context.Context) error {
	if r.lab.deps.Locks == nil {
		return nil
	}
	var ids []string
	for _, s := range r.lab.graph.Stacks {
		ids = append(ids, s.ID)
		place, err := r.lab.deps.Terraform.Place(s.ID)
		if err != nil {
			return err
		}
		if place == nil {
			if place, err = r.backend(s); errors.Is(err, stack.ErrNotKnown) {
				continue
			} else if err != nil {
				return err
			}
		}
		if err := r.lockPlace(ctx, s, place, false); err != nil {
			return err
		}
		if r.remote.any() {
			return nil
		}
	}
	stored, err := r.lab.deps.Terraform.Stored()
	if err != nil {
		return err
	}
	slices.Sort(stored)
	for _, id := range stored { // of stacks that are no more
		if slices.Contains(ids, id) {
			continue
		}
		place, err := r.lab.deps.Terraform.Place(id)
		if err != nil {
			return err
		}
		if err := r.lockPlace(ctx, &stack.Stack{ID: id}, place, false); err != nil || r.remote.any() {
			return err
		}
	}
	return nil
}

func (l *remoteLocks) any() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.held) > 0
}

// lockPlace takes the lock beside the state of s at place, where the run needs it: it has none yet, or s is the stack that the other
// machines look at first. Made says that the place exists. The error is a *LockedError where somebody else works on the environment.
func (r *run) lockPlace(ctx context.Context, s *stack.Stack, place *stack.StateBackend, made bool) error {
	if r.lab.deps.Locks == nil || place == nil || place.Type == "" || place.Type == "local" {
		return nil
	}
	l := &r.remote
	l.mu.Lock()
	defer l.mu.Unlock()
	if first := r.lab.firstRemote(); len(l.held) > 0 && (first == nil || first.ID != s.ID) {
		return nil
	}
	config, err := stack.JSON(cty.ObjectVal(place.Config))
	if err != nil {
		return fmt.Errorf("read the backend of stack %q: %w", s.ID, err)
	}
	name := place.Type + string(config)
	if slices.ContainsFunc(l.held, func(h heldRemote) bool { return h.place == name }) {
		return nil
	}
	report := event.For(r.sink, "")
	request := stack.LockRequest{Holder: l.me, Lost: func(reason error) { l.cancel(&LockLostError{reason}) }}
	if dead := r.lock.dead; dead != nil {
		request.Dead = dead.ID
	}
	report.Doing("taking the environment's lock")
	lock, err := r.lab.deps.Locks.Acquire(ctx, *place, request)
	var held *stack.HeldError
	switch {
	case errors.As(err, &held) && held.Holder.ID == l.me.ID: // the same place, said otherwise
		return nil
	case errors.As(err, &held):
		h := held.Holder
		return &LockedError{Path: held.Place, ID: h.ID, PID: h.PID, Command: h.Command, User: h.User, Host: h.Host, Since: h.Since, Expires: h.Expires, Remote: true}
	case errors.Is(err, stack.ErrNoPlace) && !made:
		return nil
	case errors.Is(err, stack.ErrNoPlace), errors.Is(err, stack.ErrNoRemoteLock):
		if !l.refused {
			report.Line(fmt.Sprintf("other machines do not see that this run works on the environment (%s)", r.secrets.Redact(err.Error())))
		}
		l.refused = true
		return nil
	case err != nil:
		return err
	}
	l.held = append(l.held, heldRemote{stack: s.ID, place: name, lock: lock})
	r.lab.deps.Terraform.Forget()
	if dead := lock.Dead; dead != nil && dead.ID != request.Dead {
		event.For(r.sink, "")(event.Event{Time: time.Now(), Kind: event.Warning,
			Message: fmt.Sprintf("`%s` of %s on %s (process %d) ended in the middle of its work, which it began at %s, and its lock has expired; this run goes on from there",
				dead.Command, dead.User, dead.Host, dead.PID, stamp(dead.Since))})
	}
	return nil
}

// firstRemote is the first stack with a backend, nil where there is none.
func (l *Lab) firstRemote() *stack.Stack {
	for _, s := range l.graph.Stacks {
		if s.Backend != nil {
			return s
		}
	}
	return nil
}

// unlockRemote releases the locks beside the state of s, where s or another stack of the lab may have made their place; with nil, all
// locks.
func (r *run) unlockRemote(s *stack.Stack) {
	if s != nil && (s.Backend == nil || len(s.Backend.Refs) == 0) {
		return
	}
	l := &r.remote
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = slices.DeleteFunc(l.held, func(h heldRemote) bool {
		if s != nil && h.stack != s.ID {
			return false
		}
		if err := h.lock.Release(); err != nil {
			event.For(r.sink, "").Warn("%s", err)
		}
		return true
	})
}
