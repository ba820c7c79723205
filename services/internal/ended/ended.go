// Package ended knows the sessions that have ended, for as long as an access token of theirs may live. auth writes them
// to the topic sessions; who follows it refuses their tokens and closes their sockets, however long it has been running.
package ended

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/labctl/labctl/services/internal/bus"
	"github.com/labctl/labctl/services/internal/wire"
)

// keep is how long an end is remembered: as long as the topic keeps it, which is longer than an access token lives.
const keep = time.Hour

// Sessions are those that have ended. They are safe for concurrent use.
type Sessions struct {
	kafka *kgo.Client
	topic string
	log   *slog.Logger
	now   func() time.Time

	mu      sync.RWMutex
	ended   map[string]time.Time // until when it matters
	swept   time.Time
	onEnd   func(session, user string)
	started bool
	missing map[int32]int64 // partition to the offset up to which Start still has to read
}

// Open prepares to follow the topic for a service; the brokers may be down yet. now is the clock, and resets a counter
// of bus.Resets.
func Open(kafka bus.Config, service string, log *slog.Logger, now func() time.Time, resets prometheus.Counter) (*Sessions, error) {
	c, err := bus.Open(kafka, service, log, kgo.FetchMaxWait(500*time.Millisecond), bus.CountResets(log, resets, nil),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return nil, err
	}
	return &Sessions{kafka: c, topic: kafka.Reads(bus.Sessions), log: log, now: now, ended: map[string]time.Time{}, swept: now()}, nil
}

// Close ends the connections.
func (s *Sessions) Close() { s.kafka.Close() }

// OnEnd calls f for each session that ends from now on, after Has says so. It must be called before Start.
func (s *Sessions) OnEnd(f func(session, user string)) { s.onEnd = f }

// Start reads what the topic holds. It may be called again after an error. The topic must be there.
func (s *Sessions) Start(ctx context.Context) error {
	ends, err := bus.Ends(ctx, s.kafka, s.topic)
	if err != nil {
		return err
	}
	if !s.started {
		at := map[int32]kgo.Offset{}
		for p := range ends {
			at[p] = kgo.NewOffset().AtStart()
		}
		s.kafka.AddConsumePartitions(map[string]map[int32]kgo.Offset{s.topic: at})
		s.started, s.missing = true, ends
	}
	for {
		starts, err := bus.Starts(ctx, s.kafka, s.topic)
		if err != nil {
			return err
		}
		for p, end := range s.missing {
			if starts[p] >= end { // empty, or retention has taken all there was
				delete(s.missing, p)
			}
		}
		if len(s.missing) == 0 {
			return nil
		}
		poll, cancel := context.WithTimeout(ctx, 2*time.Second)
		s.take(s.kafka.PollFetches(poll))
		cancel()
		if ctx.Err() != nil {
			return fmt.Errorf("read the ended sessions: %w", ctx.Err())
		}
	}
}

// Follow takes in what comes, until ctx ends. Start must have succeeded.
func (s *Sessions) Follow(ctx context.Context) {
	for {
		fetches := s.kafka.PollFetches(ctx)
		if ctx.Err() != nil {
			return
		}
		s.take(fetches)
	}
}

// Beside gives work with Follow beside it: a service's work that lasts until its context ends.
func (s *Sessions) Beside(work func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		ctx, cancel := context.WithCancel(ctx)
		var following sync.WaitGroup
		following.Go(func() { s.Follow(ctx) })
		defer following.Wait()
		defer cancel()
		return work(ctx)
	}
}

func (s *Sessions) take(fetches kgo.Fetches) {
	fetches.EachError(func(topic string, partition int32, err error) {
		if errors.Is(err, context.DeadlineExceeded) {
			return // nothing came in a poll's time
		}
		s.log.Warn("reading goes on after an error", "topic", topic, "partition", partition, "error", err)
	})
	fetches.EachRecord(func(r *kgo.Record) {
		if end, ok := s.missing[r.Partition]; ok && r.Offset+1 >= end {
			delete(s.missing, r.Partition)
		}
		var e wire.SessionEnd
		if err := json.Unmarshal(r.Value, &e); err != nil || e.Session != string(r.Key) || e.User == "" {
			s.log.Error("the end of a session is passed over", "partition", r.Partition, "offset", r.Offset, "error", err)
			return
		}
		s.end(e)
	})
}

func (s *Sessions) end(e wire.SessionEnd) {
	now := s.now()
	s.mu.Lock()
	if until := e.At.Add(keep); until.After(now) {
		s.ended[e.Session] = until
	}
	if now.Sub(s.swept) > time.Minute {
		s.swept = now
		for id, until := range s.ended {
			if now.After(until) {
				delete(s.ended, id)
			}
		}
	}
	s.mu.Unlock()
	if s.onEnd != nil {
		s.onEnd(e.Session, e.User)
	}
}

// Has says whether a session has ended.
func (s *Sessions) Has(session string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, ok := s.ended[session]
	return ok
}
