// Package lease takes locks that all machines see. Such a lock lies beside the states in a remote backend. It is a lease: its
// holder renews it, and the lock of a holder that is gone expires.
//
// A holder stops before others may take its lock: it gives up after three quarters of the time that the lock lasts. The end of a
// lock is judged by the clock of the service that keeps it, so the clocks of the machines may differ.
package lease

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/zclconf/go-cty/cty"

	"github.com/labctl/labctl/pkg/stack"
)

// lasts is how long a lock lasts after its last renewal. A minute is the longest lease of a blob that ends.
const lasts = time.Minute

// acquireTries bounds how often an expired or a dead holder's lock is taken over before somebody else was faster.
const acquireTries = 4

// Clock is the time of this machine.
type Clock struct {
	Now   func() time.Time
	After func(d time.Duration) <-chan time.Time
}

// Options are of a Locks.
type Options struct {
	Getenv func(string) string
	Clock  Clock // the zero value means the machine's clock
	// BlobEndpoint is where Azure's blobs are served, "" for the one that belongs to the storage account.
	BlobEndpoint string
}

// Locks takes locks in the backends that can keep one: azurerm, and http with a lock_address.
type Locks struct{ options Options }

// New gives a Locks.
func New(o Options) *Locks {
	if o.Clock.Now == nil {
		o.Clock = Clock{Now: time.Now, After: time.After}
	}
	return &Locks{options: o}
}

// store keeps one lock.
type store interface {
	// place says where the lock lies, without any credential.
	place() string
	// acquire takes the lock, also where it has expired or dead holds it. It gives the holder that did not release it. The error
	// is a *stack.HeldError where somebody else holds it.
	acquire(ctx context.Context, me stack.LockHolder, dead string) (*stack.LockHolder, error)
	// renew makes the lock last anew. The error is a *lostError where it is not ours any more.
	renew(ctx context.Context, me stack.LockHolder) error
	release(ctx context.Context, me stack.LockHolder) error
}

// lostError says that a lock is not ours any more.
type lostError struct{ reason string }

func (e *lostError) Error() string { return e.reason }

// Acquire takes the lock beside the state at place, and renews it until it is released. The error is a *stack.HeldError where
// somebody else holds it; it wraps stack.ErrNoRemoteLock where the backend has none, and stack.ErrNoPlace where the place does not
// exist yet.
func (l *Locks) Acquire(ctx context.Context, place stack.StateBackend, request stack.LockRequest) (*stack.RemoteLock, error) {
	s, err := l.open(place)
	if err != nil {
		return nil, err
	}
	started := l.options.Clock.Now().Round(0)
	dead, err := s.acquire(ctx, request.Holder, request.Dead)
	if err != nil {
		return nil, fmt.Errorf("take the lock in %s: %w", s.place(), err)
	}
	renewing, stop := context.WithCancel(context.WithoutCancel(ctx))
	h := &holding{store: s, clock: l.options.Clock, me: request.Holder, lost: request.Lost, renewed: started, done: make(chan struct{})}
	go h.keep(renewing)
	release := sync.OnceValue(func() error {
		stop()
		<-h.done
		if h.gone {
			return nil
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lasts/4)
		defer cancel()
		if err := s.release(ctx, request.Holder); err != nil {
			return fmt.Errorf("release the lock in %s, which expires by itself: %w", s.place(), err)
		}
		return nil
	})
	return &stack.RemoteLock{Place: s.place(), Dead: dead, Release: release}, nil
}

func (l *Locks) open(place stack.StateBackend) (store, error) {
	config, err := texts(place.Config)
	if err != nil {
		return nil, fmt.Errorf("read the backend %s: %w", place.Type, err)
	}
	c := settings{config: config, getenv: l.options.Getenv}
	switch place.Type {
	case "azurerm":
		return newBlobStore(c, l.options)
	case "http":
		return newHTTPStore(c, l.options.Clock)
	}
	return nil, fmt.Errorf("%s: %w", place.Type, stack.ErrNoRemoteLock)
}

// settings are a backend's attributes, which terraform reads from the environment where the configuration has none.
type settings struct {
	config map[string]string
	getenv func(string) string
}

func (s settings) get(attribute string, variables ...string) string {
	if v := s.config[attribute]; v != "" {
		return v
	}
	for _, name := range variables {
		if v := s.getenv(name); v != "" {
			return v
		}
	}
	return ""
}

func texts(config map[string]cty.Value) (map[string]string, error) {
	out := map[string]string{}
	for name, v := range config {
		v, _ = v.UnmarkDeep()
		if v.IsNull() || !v.Type().IsPrimitiveType() {
			continue
		}
		text, err := stack.Text(v)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out[name] = text
	}
	return out, nil
}

// holding is a lock that is held.
type holding struct {
	store   store
	clock   Clock
	me      stack.LockHolder
	lost    func(error)
	renewed time.Time // when the last renewal that succeeded began
	done    chan struct{}
	gone    bool // it was lost; to be read after done
}

const (
	renewEvery = lasts / 4
	retryEvery = lasts / 12
	giveUp     = lasts * 3 / 4
)

// keep renews the lock until ctx ends or the lock is lost.
func (h *holding) keep(ctx context.Context) {
	defer close(h.done)
	wait := renewEvery
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.clock.After(wait):
		}
		// Without its monotonic part the time goes on while the machine sleeps.
		now := h.clock.Now().Round(0)
		err := h.renew(ctx, max(retryEvery, min(renewEvery, giveUp-now.Sub(h.renewed))))
		var lost *lostError
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			h.renewed, wait = now, renewEvery
			continue
		case !errors.As(err, &lost) && h.clock.Now().Round(0).Sub(h.renewed) < giveUp:
			wait = retryEvery
			continue
		case !errors.As(err, &lost):
			err = fmt.Errorf("it could not be renewed for %s: %w", giveUp, err)
		}
		h.gone = true
		h.lost(fmt.Errorf("the lock in %s is lost: %w", h.store.place(), err))
		return
	}
}

func (h *holding) renew(ctx context.Context, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	return h.store.renew(ctx, h.me)
}

// document is what lies beside the states. To a server of states it is a state that holds nothing.
type document struct {
	Version   int              `json:"version"`
	Serial    uint64           `json:"serial"`
	Lineage   string           `json:"lineage"`
	Outputs   map[string]any   `json:"outputs"`
	Resources []any            `json:"resources"`
	Lock      stack.LockHolder `json:"labctl_lock"`
	Released  bool             `json:"labctl_released"`
}

// stateVersion is that of terraform's states.
const stateVersion = 4

func newDocument(serial uint64, me stack.LockHolder, released bool) document {
	return document{Version: stateVersion, Serial: serial, Lineage: me.ID, Outputs: map[string]any{}, Resources: []any{}, Lock: me, Released: released}
}

// holder is who left the document without having released the lock.
func (d *document) holder() *stack.LockHolder {
	if d == nil || d.Released || d.Lock.ID == "" {
		return nil
	}
	return &d.Lock
}

// plain is an error in one line without the address that a client puts into it, which may hold credentials.
func plain(err error) error {
	if refused := (*azcore.ResponseError)(nil); errors.As(err, &refused) {
		return fmt.Errorf("its service answers %d %s", refused.StatusCode, refused.ErrorCode)
	}
	if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}
