package auth

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// bulkhead bounds how many passwords are hashed at once. The others wait in a queue for each address, and the addresses are served in
// turn (round-robin): many passwords from one address hold up no other address.
type bulkhead struct {
	mu      sync.Mutex
	free    int // slots that nobody holds; 0 where somebody waits
	places  int // how many may wait in all
	waiting int
	queues  map[string][]*waiter // by address; none is empty
	turns   []string             // the addresses that have a queue, the next one first
}

type waiter struct {
	address string
	result  chan error // nil: the waiter has a slot
}

// errFull is the refusal of one for whom there is no place to wait.
var errFull = errors.New("too many wait")

func newBulkhead(slots, places int) *bulkhead {
	return &bulkhead{free: slots, places: places, queues: map[string][]*waiter{}}
}

// acquire waits for a slot, which the caller must release. It gives errFull where too many wait.
func (b *bulkhead) acquire(ctx context.Context, address string) error {
	w, err := b.enter(address)
	if err != nil || w == nil {
		return err
	}
	select {
	case err := <-w.result:
		return err
	case <-ctx.Done():
		if b.leave(w) {
			return ctx.Err()
		}
		if err := <-w.result; err != nil {
			return err
		}
		b.release() // the slot came as the caller went
		return ctx.Err()
	}
}

// enter takes a free slot, or else a place to wait, and then gives the waiter. Where all places are taken, the last of the longest queue
// makes room if the caller's queue is still shorter than that one afterwards.
func (b *bulkhead) enter(address string) (*waiter, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.free > 0 {
		b.free--
		return nil, nil //nolint:nilnil // a slot needs no waiter
	}
	if b.waiting >= b.places {
		longest := address
		for a, q := range b.queues {
			if len(q) > len(b.queues[longest]) {
				longest = a
			}
		}
		q := b.queues[longest]
		if len(b.queues[address])+1 >= len(q) {
			return nil, errFull
		}
		last := q[len(q)-1]
		b.remove(last)
		last.result <- errFull
	}
	w := &waiter{address: address, result: make(chan error, 1)}
	if len(b.queues[address]) == 0 {
		b.turns = append(b.turns, address)
	}
	b.queues[address] = append(b.queues[address], w)
	b.waiting++
	return w, nil
}

// leave says whether the waiter still waited. Then it waits no more.
func (b *bulkhead) leave(w *waiter) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.remove(w)
}

// release gives a slot to the first waiter of the next address.
func (b *bulkhead) release() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.waiting == 0 {
		b.free++
		return
	}
	address := b.turns[0]
	b.turns = append(b.turns[1:], address)
	w := b.queues[address][0]
	b.remove(w)
	w.result <- nil
}

// remove takes a waiter out of its queue. The caller holds the lock.
func (b *bulkhead) remove(w *waiter) bool {
	q := b.queues[w.address]
	at := slices.Index(q, w)
	if at < 0 {
		return false
	}
	b.waiting--
	if len(q) > 1 {
		b.queues[w.address] = slices.Delete(q, at, at+1)
		return true
	}
	delete(b.queues, w.address)
	b.turns = slices.DeleteFunc(b.turns, func(a string) bool { return a == w.address })
	return true
}
