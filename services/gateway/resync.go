package gateway

import (
	"context"
	"time"

	"github.com/labctl/labctl/services/internal/bus"
	"github.com/labctl/labctl/services/internal/service"
)

// missed says that this gateway has not read all records of the topic users: those that it was to read next were dropped before it came to them, or
// the brokers have lost them. Kafka's client notices it when the place where it reads is out of the partition's range, or of another leader's log. It
// does not follow from offsets that jump, though in this topic, which has no transactions and is not compacted, nothing else would make them.
type missed chan struct{}

func newMissed() missed { return make(missed, 1) }

// note does not wait: what is noted several times before the sockets are closed is one thing to do.
func (m missed) note() {
	select {
	case m <- struct{}{}:
	default:
	}
}

// resync has all clients connect again, each time that records were missed, until ctx ends. What was in the records is in the database, or will be
// once the records of the topic messages up to now are handled. So that is where a socket that opens from now on is told to read on.
func (g *gateway) resync(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.missed:
		}
		ends, err := bus.Ends(ctx, g.kafka, g.Kafka.Reads(bus.Messages))
		for ; err != nil; ends, err = bus.Ends(ctx, g.kafka, g.Kafka.Reads(bus.Messages)) {
			g.Log.Warn("the sockets lack what was missed until the brokers say where the topic messages ends", "error", err)
			if service.Sleep(ctx, time.Second) != nil {
				return
			}
		}
		g.position.reach(ends)
		all := g.closeAll(ctx, "frames were lost; connect again")
		g.Log.Warn("records for the sockets were lost, so their clients connect again and resume", "sockets", len(all))
	}
}
