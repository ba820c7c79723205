package messaging

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"

	"github.com/labctl/labctl/services/internal/wire"
)

// decider decides the records of a partition, batch by batch: the restorer loads what they need, the sequencer applies them. Records of a
// conversation in quarantine are not applied but kept, until a record says that it is released.
type decider struct {
	*restorer
	quarantine *quarantine
	retry      retry
	out        sink
	follow     func([]input) (end func(error)) // begins the traces of records
}

// sink takes what follows from records.
type sink interface {
	// add takes the batch that decide gives for the next number.
	add(decide func(number int64) *batch)
	// drain waits until all is stored that was added before.
	drain(ctx context.Context) error
}

// releaseChunk is how many records of a released conversation are decided together.
const releaseChunk = 1000

// handle decides records and hands on what follows. replayed says of a record that it may have been handled before.
func (d *decider) handle(ctx context.Context, inputs []input, replayed func(source) bool) error {
	i := slices.IndexFunc(inputs, func(in input) bool { return in.invalid == nil && in.record.Type == wire.RecordRelease })
	if i < 0 {
		return d.handleBatch(ctx, inputs, replayed)
	}
	if err := d.handleBatch(ctx, inputs[:i], replayed); err != nil {
		return err
	}
	if err := d.release(ctx, inputs[i]); err != nil {
		return err
	}
	return d.handle(ctx, inputs[i+1:], replayed)
}

// release handles what was kept of a conversation, and then the record that releases it.
func (d *decider) release(ctx context.Context, in input) error {
	// What was decided before is in the database then, or in the quarantine.
	if err := d.out.drain(ctx); err != nil {
		return err
	}
	id := in.record.Conversation
	var kept []input
	if err := d.retry(ctx, func(ctx context.Context) (err error) {
		kept, err = d.heldOf(ctx, id, in.raw)
		return err
	}); err != nil {
		return err
	}
	d.state.discard(id)
	d.quarantine.lift(id)
	for i, chunk := range slices.Collect(slices.Chunk(append(kept, in), releaseChunk)) {
		if i > 0 { // there may be many
			if err := d.out.drain(ctx); err != nil {
				return err
			}
		}
		if err := d.handleBatch(ctx, chunk, func(source) bool { return true }); err != nil {
			return err
		}
	}
	return nil
}

func (d *decider) handleBatch(ctx context.Context, inputs []input, replayed func(source) bool) error {
	if len(inputs) == 0 {
		return nil
	}
	end := d.follow(inputs)
	all, err := d.prepare(ctx, inputs, replayed)
	if err != nil {
		end(err)
		return err
	}
	d.out.add(func(number int64) *batch {
		d.state.batch = number
		for _, in := range inputs {
			all = append(all, d.apply(in))
		}
		return &batch{number: number, effects: all, end: end}
	})
	return nil
}

// prepare loads what records need. It gives what follows from what a killed instance left undone.
func (d *decider) prepare(ctx context.Context, inputs []input, replayed func(source) bool) (all []effects, err error) {
	tries := attempts{}
	err = d.retry(ctx, func(ctx context.Context) error {
		unfinished, err := d.load(ctx, slices.DeleteFunc(slices.Clone(inputs), d.isHeld), replayed)
		all = append(all, unfinished...)
		return d.quarantine.blame(err, inputs, tries)
	})
	return all, err
}

func (d *decider) isHeld(in input) bool {
	return in.invalid == nil && d.quarantine.blocks(in.record.Conversation, in.source)
}

// apply has the sequencer decide a record. A conversation with which that panics goes into quarantine.
func (d *decider) apply(in input) (e effects) {
	if d.isHeld(in) {
		return held(in)
	}
	defer func() {
		if p := recover(); p != nil {
			d.quarantine.hold(in.record.Conversation, in.source, fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
			d.state.discard(in.record.Conversation)
			e = held(in)
		}
	}()
	return d.state.apply(in)
}
