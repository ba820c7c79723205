package gateway

import (
	"context"
	"hash/maphash"
	"sync"
	"time"

	"github.com/labctl/labctl/services/internal/trace"
	"github.com/labctl/labctl/services/internal/wire"
)

// Who writes is news for seconds only, so nothing waits for it and nothing of it is kept: what finds a queue full is dropped.
const (
	typists     = 8  // how many calls of messaging there are at once
	typingQueue = 64 // how many wait for each
	typingTime  = 2 * time.Second
)

// typings passes on who writes. What one user says about one conversation stays in order.
type typings struct {
	seed   maphash.Seed
	queues [typists]chan typing
}

func newTypings() *typings {
	t := &typings{seed: maphash.MakeSeed()}
	for i := range t.queues {
		t.queues[i] = make(chan typing, typingQueue)
	}
	return t
}

// typing is that somebody writes, and the id of the frame that says so.
type typing struct {
	wire.Typing
	request string
}

// put queues, or drops.
func (t *typings) put(w typing) {
	select {
	case t.queues[maphash.String(t.seed, w.User+w.Conversation)%typists] <- w:
	default:
	}
}

// work calls tell for what is queued, until ctx ends.
func (t *typings) work(ctx context.Context, tell func(context.Context, wire.Typing)) {
	var wg sync.WaitGroup
	for _, queue := range t.queues {
		wg.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case w := <-queue:
					within, cancel := context.WithTimeout(ctx, typingTime)
					tell(trace.WithRequest(within, w.request), w.Typing)
					cancel()
				}
			}
		})
	}
	wg.Wait()
}

// typing tells messaging that the user writes, or does no more. A shadow tells nobody.
func (c *conn) typing(ctx context.Context, f wire.ClientFrame) {
	if !c.mayBeIn(f.Conversation) {
		c.complain(f, wire.CodeNotMember, "you are no member of this conversation, or there is none")
		return
	}
	if c.g.Shadow {
		return
	}
	c.g.typings.put(typing{wire.Typing{User: c.user, Conversation: f.Conversation, On: f.On}, trace.Request(ctx)})
}
