// Package keyset keeps the public keys of whoever signs tokens, which are fetched from there again and again.
package keyset

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// ErrUnknown is about a key that whoever signs does not publish.
var ErrUnknown = errors.New("unknown key")

// Fetch gets the keys. It should have a time limit.
type Fetch func(context.Context) (jose.JSONWebKeySet, error)

// Set keeps keys. It is safe for concurrent use.
type Set struct {
	fetch Fetch
	now   func() time.Time

	mu      sync.Mutex
	keys    jose.JSONWebKeySet
	fetched time.Time     // when the last fetch ended, with or without success
	err     error         // of that fetch
	running chan struct{} // closed at the end of the fetch that runs; nil where none does
}

// New makes a set of the keys that fetch gives. now is the clock.
func New(fetch Fetch, now func() time.Time) *Set {
	return &Set{fetch: fetch, now: now}
}

// Forget makes the set fetch the keys before it gives one again.
func (s *Set) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys, s.fetched, s.err, s.running = jose.JSONWebKeySet{}, time.Time{}, nil, nil
}

// Keys in use are fetched again in the background. Keys that are older than a minute, as after a time without requests, may have been
// dropped: nobody uses them before the next fetch has ended. The back-off is the time from the end of a fetch that failed, or did not
// bring the key that is looked for, to the next one: so forged key ids make no flood of requests.
const (
	refreshAge = 30 * time.Second
	maxAge     = time.Minute
	backOff    = 2 * time.Second
)

// Key gives the key with that id: ErrUnknown if there is none, another error if the keys can't be had. Where whoever signs does not
// answer, the known keys stay good.
func (s *Set) Key(ctx context.Context, id string) (any, error) {
	for {
		key, ended, err := s.lookUp(ctx, id)
		if ended == nil {
			return key, err
		}
		select {
		case <-ended:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for the keys: %w", ctx.Err())
		}
	}
}

// lookUp gives the key, or why there is none, or a channel that is closed at the end of the fetch for which to wait. It starts a fetch
// if it is time for one and none runs.
func (s *Set) lookUp(ctx context.Context, id string) (key any, ended <-chan struct{}, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if found := s.keys.Key(id); len(found) > 0 {
		key = found[0].Key
	}
	age := s.now().Sub(s.fetched)
	isOld := s.fetched.IsZero() || age >= maxAge
	isDue := isOld || age >= refreshAge || (age >= backOff && (key == nil || s.err != nil))
	if s.running == nil && isDue {
		s.running = make(chan struct{})
		go s.refresh(context.WithoutCancel(ctx), s.running) // for all who wait, not only for this caller
	}
	switch {
	case s.running != nil && (isOld || key == nil):
		return nil, s.running, nil
	case key != nil:
		return key, nil, nil
	case s.err != nil:
		return nil, nil, s.err
	}
	return nil, nil, ErrUnknown
}

// refresh fetches the keys once, and closes ended.
func (s *Set) refresh(ctx context.Context, ended chan struct{}) {
	set, err := s.fetch(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	defer close(ended)
	if s.running != ended {
		return // Forget was called meanwhile
	}
	s.running, s.fetched, s.err = nil, s.now(), err
	if err == nil {
		s.keys = set
	}
}
