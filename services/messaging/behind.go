package messaging

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/labctl/labctl/services/internal/service"
)

// Buckets, heads and how far members have read follow from what is stored. They are written behind it, so that many messages of a busy
// conversation come into its bucket and its head in one write each. Until then whoever reads finds the messages themselves (see
// archive.bucket and archive.last). A record is committed to Kafka after this, so what a crash keeps from being written is handled again.
const (
	// behindPause is the least time between two rounds of writing. At rest there is no wait.
	behindPause = 500 * time.Millisecond
	// behindShare bounds the part of the time that the database works on this: after a round it has rest for so many times as long, and the
	// messages of a busy conversation come into its bucket in fewer writes.
	behindShare = 7
	// maxBehind is how many messages may wait. Who adds more writes them first.
	maxBehind = 10_000
	// behindAtOnce is how many conversations are written at once. The messages of others come in between.
	behindAtOnce = 2
)

// behind is what is still to be written.
type behind struct {
	archive *archive
	mark    func(...*kgo.Record)               // commits records in time
	full    func(conversation string, n int64) // is told of buckets that are full

	// writing is held while it is written. A change of a message holds it, too, from the message to what waits here, so that no copy of
	// before comes into a bucket after it.
	writing sync.Mutex

	mu      sync.Mutex
	waiting map[string]*unwritten
	current map[string]*unwritten // is being written
	size    int                   // messages in waiting
	handled map[int32]*kgo.Record // the last of each partition that waits to be committed
	epochs  map[int32]int         // how often a partition has gone
	wake    chan struct{}
}

// unwritten is what is not written yet of a conversation.
type unwritten struct {
	large    bool
	messages map[int64]message
	marks    map[string]mark
}

func newBehind(a *archive, mark func(...*kgo.Record), full func(string, int64)) *behind {
	return &behind{
		archive: a, mark: mark, full: full, waiting: map[string]*unwritten{}, handled: map[int32]*kgo.Record{}, epochs: map[int32]int{},
		wake: make(chan struct{}, 1),
	}
}

// add takes messages, and how far members have read, of a conversation.
func (b *behind) add(conversation string, large bool, messages []message, marks map[string]mark) {
	if len(messages)+len(marks) == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	u := b.of(conversation)
	u.large = large
	for _, m := range messages {
		u.messages[m.Seq] = m
	}
	b.size += len(messages)
	u.read(marks)
}

// of gives what waits of a conversation. The caller holds mu.
func (b *behind) of(conversation string) *unwritten {
	u := b.waiting[conversation]
	if u == nil {
		u = &unwritten{messages: map[int64]message{}, marks: map[string]mark{}}
		b.waiting[conversation] = u
	}
	return u
}

func (u *unwritten) read(marks map[string]mark) {
	for user, m := range marks {
		if m.Seq > u.marks[user].Seq {
			u.marks[user] = m
		}
	}
}

// replace takes what became of messages, of those that wait. The caller holds writing.
func (b *behind) replace(now map[string]map[int64]message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for id, messages := range now {
		u := b.waiting[id]
		if u == nil {
			continue
		}
		for seq, m := range messages {
			if _, waits := u.messages[seq]; waits {
				u.messages[seq] = m
			}
		}
	}
}

// known adds to a conversation that was read from the database how far members have read that is not written yet.
func (b *behind) known(c *conversation) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, from := range []map[string]*unwritten{b.current, b.waiting} {
		if u := from[c.id]; u != nil && !u.large {
			for user, m := range u.marks {
				c.read(user, m)
			}
		}
	}
	c.settle()
}

// now says which partitions have gone how often.
func (b *behind) now() map[int32]int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.epochs)
}

// done takes records that have come to their end but for what was added. They are in order, and came when epochs were now; those of partitions
// that have gone since are another instance's.
func (b *behind) done(records []*kgo.Record, epochs map[int32]int) {
	b.mu.Lock()
	for _, r := range records {
		if b.epochs[r.Partition] == epochs[r.Partition] {
			b.handled[r.Partition] = r
		}
	}
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// overfull says whether no more should be added before all is written.
func (b *behind) overfull() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.size > maxBehind
}

// gone forgets to commit records of partitions that are no longer this instance's.
func (b *behind) gone(partitions []int32) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range partitions {
		b.epochs[p]++
		delete(b.handled, p)
	}
}

// run writes until ctx ends.
func (b *behind) run(ctx context.Context, retry func(context.Context, func(context.Context) error) error) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.wake:
		}
		begin := time.Now()
		if retry(ctx, b.write) != nil || service.Sleep(ctx, max(behindPause, behindShare*time.Since(begin))) != nil {
			return // ctx has ended
		}
	}
}

// write writes all that waits and marks its records. After an error all of it waits again.
func (b *behind) write(ctx context.Context) error {
	b.writing.Lock()
	defer b.writing.Unlock()
	b.mu.Lock()
	waiting, handled, size, epochs := b.waiting, b.handled, b.size, maps.Clone(b.epochs)
	b.waiting, b.handled, b.size = map[string]*unwritten{}, map[int32]*kgo.Record{}, 0
	b.current = waiting
	b.mu.Unlock()

	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(behindAtOnce)
	for id, u := range waiting {
		g.Go(func() error { return b.conversation(gctx, id, u) })
	}
	err := g.Wait()

	b.mu.Lock()
	defer b.mu.Unlock()
	b.current = nil
	for p := range handled {
		if b.epochs[p] != epochs[p] {
			delete(handled, p)
		}
	}
	if err == nil {
		b.mark(slices.Collect(maps.Values(handled))...)
		return nil
	}
	b.size += size
	for id, old := range waiting {
		u := b.of(id)
		u.large = u.large || old.large
		maps.Copy(old.messages, u.messages)
		u.messages = old.messages
		u.read(old.marks)
	}
	maps.Copy(handled, b.handled)
	b.handled = handled
	return err
}

func (b *behind) conversation(ctx context.Context, id string, u *unwritten) error {
	marks := u.marks
	var errs []error
	if u.large {
		marks = nil
		for user, m := range u.marks {
			errs = append(errs, b.archive.putRead(ctx, id, user, m))
		}
	}
	if len(u.messages)+len(marks) > 0 {
		messages := slices.SortedFunc(maps.Values(u.messages), func(a, b message) int { return int(a.Seq - b.Seq) })
		full, err := b.archive.index(ctx, id, messages, marks)
		errs = append(errs, err)
		for _, n := range full {
			b.full(id, n)
		}
	}
	return errors.Join(errs...)
}
