package shadow

import (
	"context"
	"time"

	"github.com/labctl/labctl/pkg/shadow/records"
)

const (
	// saveEvery is the time between two snapshots: what a comparer that is killed has to read again.
	saveEvery = 5 * time.Second
	// saveTime is how long the database may take for one.
	saveTime = 10 * time.Second
)

// saver saves a comparer's snapshots beside its work, which does not wait for the database.
type saver struct {
	comparer *Comparer
	store    store
	every    time.Duration
	last     time.Time
	waits    chan []byte
}

func newSaver(c *Comparer, s store, every time.Duration) *saver {
	return &saver{comparer: c, store: s, every: every, waits: make(chan []byte, 1)}
}

// take takes a snapshot where the last one is old enough and saved. It is called where the position is the reader's.
func (s *saver) take(position func() records.Position) {
	now := s.comparer.o.Now()
	if now.Sub(s.last) < s.every || len(s.waits) > 0 {
		return
	}
	snapshot, err := s.comparer.snapshot(position())
	if err != nil {
		s.comparer.saved(err)
		return
	}
	s.last = now
	s.waits <- snapshot // there is room: nobody else puts one in
}

// run saves what take takes, until ctx ends.
func (s *saver) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case snapshot := <-s.waits:
			s.comparer.saved(s.save(ctx, snapshot))
		}
	}
}

// now saves a position at once. It is called while nothing else is at work.
func (s *saver) now(ctx context.Context, position records.Position) {
	snapshot, err := s.comparer.snapshot(position)
	if err == nil {
		err = s.save(context.WithoutCancel(ctx), snapshot)
	}
	s.comparer.saved(err)
}

func (s *saver) save(ctx context.Context, snapshot []byte) error {
	ctx, cancel := context.WithTimeout(ctx, saveTime)
	defer cancel()
	return s.store.save(ctx, snapshot)
}
