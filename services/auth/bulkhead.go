package auth

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
)

// bulkhead bounds how many passwords are hashed at once. The others wait in a queue for each address, and the addresses are served in
// turn (round-robin): many passwords from one address hold up no other address.
//
// Within an address those come first who have tried first. A place that was refused is remembered, so whoever tries again stands before all
// who have come since: a flood of log-ins, each with another name, keeps nobody out for long who shares its address.
type bulkhead struct {
	mu      sync.Mutex
	free    int // slots that nobody holds; 0 where somebody waits
	places  int // how many may wait in all
	waiting int
	queues  map[string][]*waiter // by address; none is empty
	turns   []string             // the addresses that have a queue, the next one first

	tries   int64            // so far
	refused map[uint64]int64 // by who was refused and has had no slot since: the first try
	forget  []firstTry       // of those, the oldest first
}

// maxRefused bounds how many are remembered, to some 500 KB.
const maxRefused = 10_000

type firstTry struct {
	who   uint64
	first int64
}

type waiter struct {
	address string
	who     uint64
	first   int64      // the number of their first try
	result  chan error // nil: the waiter has a slot
}

// errFull is the refusal of one for whom there is no place to wait.
var errFull = errors.New("too many wait")

func newBulkhead(slots, places int) *bulkhead {
	return &bulkhead{free: slots, places: places, queues: map[string][]*waiter{}, refused: map[uint64]int64{}}
}

// acquire waits for a slot, which the caller must release. It gives errFull where too many wait. who is what is the same when the same is tried again.
func (b *bulkhead) acquire(ctx context.Context, address string, who uint64) error {
	w, err := b.enter(address, who)
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
// makes room if the caller's queue is still shorter than that one afterwards, or else the last of the caller's own, if it has come later.
func (b *bulkhead) enter(address string, who uint64) (*waiter, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tries++
	w := &waiter{address: address, who: who, first: b.tries, result: make(chan error, 1)}
	if first, ok := b.refused[who]; ok {
		w.first = first
	}
	if b.free > 0 {
		b.free--
		delete(b.refused, who)
		return nil, nil //nolint:nilnil // a slot needs no waiter
	}
	if b.waiting >= b.places {
		out := b.worst(w)
		b.remember(out)
		if out == w {
			return nil, errFull
		}
		b.remove(out)
		out.result <- errFull
	}
	q := b.queues[address]
	if len(q) == 0 {
		b.turns = append(b.turns, address)
	}
	at, _ := slices.BinarySearchFunc(q, w.first, func(o *waiter, first int64) int { return cmp.Compare(o.first, first) })
	b.queues[address] = slices.Insert(q, at, w)
	b.waiting++
	return w, nil
}

// worst gives who is refused, of all who wait and one who would. The caller holds the lock.
func (b *bulkhead) worst(w *waiter) *waiter {
	own := b.queues[w.address]
	longest := own
	for _, q := range b.queues {
		if len(q) > len(longest) {
			longest = q
		}
	}
	switch {
	case len(own)+1 < len(longest):
		return longest[len(longest)-1]
	case len(own) > 0 && w.first < own[len(own)-1].first:
		return own[len(own)-1]
	}
	return w
}

// remember keeps when one who is refused came first. The caller holds the lock.
func (b *bulkhead) remember(w *waiter) {
	if _, ok := b.refused[w.who]; ok {
		return
	}
	b.refused[w.who] = w.first
	b.forget = append(b.forget, firstTry{w.who, w.first})
	if len(b.forget) <= maxRefused {
		return
	}
	if old := b.forget[0]; b.refused[old.who] == old.first {
		delete(b.refused, old.who)
	}
	b.forget = b.forget[1:]
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
	delete(b.refused, w.who)
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
