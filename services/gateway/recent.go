package gateway

import (
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/labctl/labctl/services/internal/bus"
)

// recent keeps for some seconds what is told before it is stored. A socket that opens then gets it once more, since its client may not find it
// in what it fetches.
type recent struct {
	now func() time.Time

	mu   sync.Mutex
	told []told // in order
}

type told struct {
	at     time.Time
	record *kgo.Record
}

// pass keeps a record if it is one to keep, and calls deliver. No socket opens meanwhile.
func (r *recent) pass(record *kgo.Record, deliver func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	gone := 0
	for gone < len(r.told) && now.Sub(r.told[gone].at) > bus.AheadTime {
		gone++
	}
	if 2*gone >= len(r.told) { // not at each record
		r.told = slices.Clone(r.told[gone:])
	}
	if bus.IsAhead(record) {
		r.told = append(r.told, told{now, record})
	}
	deliver()
}

// open calls open with the frames for a user that a socket must begin with. Nothing is passed meanwhile.
func (r *recent) open(user string, open func(frames [][]byte)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var frames [][]byte
	for _, t := range r.told {
		if r.now().Sub(t.at) > bus.AheadTime {
			continue
		}
		for u := range bus.Audience(t.record) {
			if u == user {
				frames = append(frames, t.record.Value)
				break
			}
		}
	}
	open(frames)
}
