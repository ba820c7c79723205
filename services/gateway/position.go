package gateway

import (
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/labctl/labctl/services/internal/bus"
	"github.com/labctl/labctl/services/internal/wire"
)

// position is how far this gateway has passed on what follows from the topic messages. A socket that opens does not get what was passed on
// before; what it reads from the database must go as far.
type position struct {
	topic string // the whole name of the topic messages

	mu sync.Mutex
	at wire.Position
}

// pass takes a record of the topic users that is about to be passed on.
func (p *position) pass(r *kgo.Record) {
	topic, partition, offset, ok := bus.SourceOf(r)
	if !ok || topic != p.topic {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if at, known := p.at[partition]; !known || offset > at {
		p.at[partition] = offset
	}
}

// String gives it as it is now.
func (p *position) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.at.String()
}

// reach takes in that all records before the ends of the topic messages may have been passed on, or missed, before.
func (p *position) reach(ends map[int32]int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.at == nil {
		p.at = wire.Position{}
	}
	for partition, end := range ends {
		if at, known := p.at[partition]; end > 0 && (!known || end-1 > at) {
			p.at[partition] = end - 1
		}
	}
}
