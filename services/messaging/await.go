package messaging

import (
	"cmp"
	"context"
	"net/http"
	"time"

	"github.com/labctl/labctl/services/internal/bus"
	"github.com/labctl/labctl/services/internal/service"
	"github.com/labctl/labctl/services/internal/store"
	"github.com/labctl/labctl/services/internal/wire"
)

// What is said is published before it is stored. So whoever was told of it waits here for the database to have it.

// told is what the one who asks was told of: the answer has it.
type told struct {
	position     wire.Position
	conversation string
	seq          int64 // of a message there; 0: none
}

// parseTold reads the parameters position and at_least.
func parseTold(r *http.Request) (t told, err error) {
	q := r.URL.Query()
	if q.Has("position") {
		if q.Get("position") == "" {
			return t, service.BadRequest("position is empty")
		}
		if t.position, err = parsePosition(q.Get("position")); err != nil {
			return t, err
		}
	}
	seq, err := seqOf(q, "at_least")
	if id := cmp.Or(r.PathValue("id"), q.Get("conversation")); seq != nil && wire.ValidConversation(id) {
		t.conversation, t.seq = id, *seq
	}
	return t, err
}

func parsePosition(position string) (wire.Position, error) {
	to, err := wire.ParsePosition(position)
	if err != nil {
		return nil, service.BadRequest("position: %v", err)
	}
	return to, nil
}

// reach waits until all up to a position is stored. Whoever has one was told that it is there.
func (s *messaging) reach(ctx context.Context, to wire.Position) error {
	if len(to) == 0 {
		return nil
	}
	current := s.log.Load()
	if current == nil {
		return service.Unavailable("messaging", nil)
	}
	return s.await(ctx, func(ctx context.Context) (bool, error) {
		at, err := s.database.readPositions(ctx)
		if err != nil {
			return false, err
		}
		for partition, offset := range to {
			if !at.reached(source{Log: *current, Partition: partition, Offset: offset}) {
				return false, nil
			}
		}
		return true, nil
	})
}

// awaitTold waits until all is stored of which the one who asks was told. It does so before there is room at the bulkhead, so that nobody holds others
// up by waiting.
func (s *messaging) awaitTold(ctx context.Context, t told) error {
	if err := s.reach(ctx, t.position); err != nil || t.seq == 0 {
		return err
	}
	return s.await(ctx, func(ctx context.Context) (bool, error) {
		h, err := s.database.end(ctx, t.conversation)
		if err != nil || h.Seq < t.seq || h.projected >= t.seq {
			return h.Seq >= t.seq, err
		}
		return s.areEffectsStored(ctx, t.conversation, t.seq)
	})
}

// areEffectsStored says whether all is stored that follows from a stored message and those before it: what texts have become by changes, and who are
// members after events. It is stored after the messages, and before the position.
func (s *messaging) areEffectsStored(ctx context.Context, id string, seq int64) (bool, error) {
	m, _, err := store.Get[message](ctx, s.database.messages, messageID(id, seq))
	if err != nil {
		return false, err
	}
	if current := s.log.Load(); current != nil && m.Source.Log != *current {
		return true, nil // that log has ended
	}
	at, err := s.database.readPositions(ctx)
	return at.reached(m.Source), err
}

// settleTime bounds how long settle waits: who is online is better shown soon than completely.
const settleTime = time.Second

// settle waits until all is stored that is in the topic now, if that is soon. It is for who asks about a user and can't know what the user was told.
func (s *messaging) settle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	ends, err := s.ends.Get(ctx, bus.Messages, func(ctx context.Context) (map[int32]int64, error) { return bus.Ends(ctx, s.kafka, s.topic()) })
	if err != nil {
		return
	}
	at := wire.Position{}
	for partition, end := range ends {
		if end > 0 {
			at[partition] = end - 1
		}
	}
	_ = s.reach(ctx, at)
}

const (
	// freshTime bounds how long a request waits for what is not stored yet.
	freshTime = 5 * time.Second
	// freshPause is the first pause between two looks, and the last is twenty times as long.
	freshPause = 5 * time.Millisecond
)

// await looks again until it is so.
func (s *messaging) await(ctx context.Context, so func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, freshTime)
	defer cancel()
	for pause := freshPause; ; pause = min(2*pause, 20*freshPause) {
		ok, err := so(ctx)
		if err == nil && !ok {
			err = service.Sleep(ctx, pause)
		}
		if err != nil {
			return service.Unavailable("the database", err)
		}
		if ok {
			return nil
		}
	}
}
