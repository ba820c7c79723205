package messaging

import (
	"context"
	"slices"
	"sync"
	"time"
)

// batch is what follows from records that came together.
type batch struct {
	number  int64 // counts from 1
	effects []effects
	end     func(error) // is called once it is published, or will not be
}

// retry tries something until it works or ctx ends.
type retry func(ctx context.Context, f func(context.Context) error) error

// pipeline takes batches through their stages, in order: each is published, then stored, then projected. A stage takes all that waits for it at once,
// so what comes while it works is work for one go.
type pipeline struct {
	publish func(context.Context, []*batch) error
	store   func(context.Context, []*batch) error

	adding sync.Mutex // batches come in the order of their numbers

	mu        sync.Mutex
	change    chan struct{} // closed, and made anew, at each change
	decided   []*batch      // to be published
	published []*batch      // to be stored
	added     int64         // the last batch
	stored    int64         // the last batch that is stored
	unstored  map[int32]int // effects, by the partitions of their records
	flush     bool          // somebody waits for what is not stored
}

const (
	// maxUnstored is how many effects of a partition may wait to be stored. What more there is of it waits to be decided: so a backlog of one
	// conversation leaves room for the others. It is more than one user may say at once (USER_RATE of the gateway), so that nobody who is let
	// say it makes the others of the partition wait for the database.
	maxUnstored = 3000
	// storePause is the least time between two rounds of storing, unless somebody waits for one: a round costs the database more than the
	// messages in it do.
	storePause = 50 * time.Millisecond
)

func newPipeline(publish func(context.Context, []*batch) error, store func(context.Context, []*batch) error) *pipeline {
	return &pipeline{publish: publish, store: store, change: make(chan struct{}), unstored: map[int32]int{}}
}

// until waits until ok, which is called with mu held. flush: storing is not to pause meanwhile.
func (p *pipeline) until(ctx context.Context, flush bool, ok func() bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for !ok() {
		if flush && !p.flush {
			p.flush = true
			p.changed()
		}
		change := p.change
		p.mu.Unlock()
		select {
		case <-change:
		case <-ctx.Done():
		}
		p.mu.Lock()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// changed tells those who wait. The caller holds mu.
func (p *pipeline) changed() {
	close(p.change)
	p.change = make(chan struct{})
}

// add takes the batch that decide gives for the next number. Partitions add theirs one after the other, so decide does not wait for anything.
func (p *pipeline) add(decide func(number int64) *batch) {
	p.adding.Lock()
	defer p.adding.Unlock()
	p.mu.Lock()
	number := p.added + 1
	p.mu.Unlock()
	b := decide(number)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.decided, p.added = append(p.decided, b), number
	p.count(b, 1)
	p.changed()
}

// count adds the effects of a batch to those that are not stored, or takes them from there. The caller holds mu.
func (p *pipeline) count(b *batch, sign int) {
	for _, e := range b.effects {
		if e.input.source.Log != "" {
			p.unstored[e.input.source.Partition] += sign
		}
	}
}

// hasRoom says whether a partition has less than its share in the pipeline.
func (p *pipeline) hasRoom(partition int32) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.unstored[partition] < maxUnstored
}

// awaitRoom waits until one of some partitions has less than its share.
func (p *pipeline) awaitRoom(ctx context.Context, partitions []int32) error {
	return p.until(ctx, true, func() bool {
		return slices.ContainsFunc(partitions, func(n int32) bool { return p.unstored[n] < maxUnstored })
	})
}

// drain waits until all is stored that was added before.
func (p *pipeline) drain(ctx context.Context) error {
	p.mu.Lock()
	added := p.added
	p.mu.Unlock()
	return p.until(ctx, true, func() bool { return p.stored >= added })
}

// last gives the last batch that is stored.
func (p *pipeline) last() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stored
}

// run takes batches through the stages until ctx ends, or one fails. then gets those that are stored.
func (p *pipeline) run(ctx context.Context, then func(context.Context, *batch) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var stages sync.WaitGroup
	stage := func(f func() error) {
		stages.Go(func() {
			for ctx.Err() == nil {
				if err := f(); err != nil {
					cancel(err)
				}
			}
		})
	}
	stage(func() error {
		batches, err := p.take(ctx, &p.decided)
		if err != nil {
			return err
		}
		if err := p.publish(ctx, batches); err != nil {
			return err
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.published = append(p.published, batches...)
		p.changed()
		return nil
	})
	stage(func() error {
		batches, err := p.take(ctx, &p.published)
		if err != nil {
			return err
		}
		if err := p.store(ctx, batches); err != nil {
			return err
		}
		for _, b := range batches {
			if err := then(ctx, b); err != nil {
				return err
			}
		}
		p.mu.Lock()
		p.stored = batches[len(batches)-1].number
		for _, b := range batches {
			p.count(b, -1)
		}
		p.flush = false
		p.changed()
		p.mu.Unlock()
		return p.pause(ctx)
	})
	stages.Wait()
	return context.Cause(ctx)
}

func allEffects(batches []*batch) (all []effects) {
	for _, b := range batches {
		all = append(all, b.effects...)
	}
	return all
}

// take waits for batches, and takes all of them.
func (p *pipeline) take(ctx context.Context, from *[]*batch) (all []*batch, err error) {
	err = p.until(ctx, false, func() bool {
		all, *from = *from, nil
		return len(all) > 0
	})
	return all, err
}

// pause waits for more to store, unless somebody waits for what there is.
func (p *pipeline) pause(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, storePause)
	defer cancel()
	_ = p.until(ctx, false, func() bool { return p.flush })
	return nil
}
