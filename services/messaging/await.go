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

// reach waits until all up to a position is stored. Whoever has one was told that it is there.
func (s *messaging) reach(ctx context.Context, position string) error {
	to, err := wire.ParsePosition(position)
	if err != nil {
		return service.BadRequest("position: %v", err)
	}
	return s.reachAll(ctx, to)
}

func (s *messaging) reachAll(ctx context.Context, to wire.Position) error {
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

// current waits until all is stored of which the one who asks was told: up to a position, or, of one conversation, a seq. It does so before there is
// room at the bulkhead, so that nobody holds others up by waiting.
func (s *messaging) current(r *http.Request) error {
	q := r.URL.Query()
	if q.Has("position") {
		if q.Get("position") == "" {
			return service.BadRequest("position is empty")
		}
		if err := s.reach(r.Context(), q.Get("position")); err != nil {
			return err
		}
	}
	id := cmp.Or(r.PathValue("id"), q.Get("conversation"))
	seq, err := number(q, "at_least", 0)
	if err != nil || seq < 0 {
		return service.BadRequest("at_least must be a seq")
	}
	if seq == 0 || !wire.ValidConversation(id) {
		return nil
	}
	return s.await(r.Context(), func(ctx context.Context) (bool, error) {
		h, err := s.database.end(ctx, id)
		if err != nil || h.Seq < seq || h.projected >= seq {
			return h.Seq >= seq, err
		}
		return s.areEffectsStored(ctx, id, seq)
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
	_ = s.reachAll(ctx, at)
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
