package gateway

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/labctl/labctl/services/internal/bus"
	"github.com/labctl/labctl/services/internal/service"
	"github.com/labctl/labctl/services/internal/wire"
)

// leasePause is the least time between two tellings of leases. The devices of a user often come and go together, with a network or a gateway; then
// presence hears of them once.
const leasePause = 50 * time.Millisecond

// leases are what presence is to be told.
type leases struct {
	mu    sync.Mutex
	users map[string]struct{}
	wake  chan struct{}

	telling sync.Mutex // keeps the leases of a user in the order in which they were counted
}

func newLeases() *leases {
	return &leases{users: map[string]struct{}{}, wake: make(chan struct{}, 1)}
}

// announce has presence told which devices of a user are connected here, and which of them nobody is at.
func (g *gateway) announce(user string) {
	g.leases.mu.Lock()
	g.leases.users[user] = struct{}{}
	g.leases.mu.Unlock()
	select {
	case g.leases.wake <- struct{}{}:
	default:
	}
}

// announceAll tells what is to be told until ctx ends.
func (g *gateway) announceAll(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.leases.wake:
		}
		g.tellLeases()
		if service.Sleep(ctx, leasePause) != nil {
			return
		}
	}
}

func (g *gateway) tellLeases() {
	g.leases.telling.Lock()
	defer g.leases.telling.Unlock()
	g.leases.mu.Lock()
	users := g.leases.users
	g.leases.users = map[string]struct{}{}
	g.leases.mu.Unlock()
	for user := range users {
		devices, away, sessions := g.hub.count(user)
		value := wire.Encode(wire.Lease{User: user, Gateway: g.id, Devices: devices, Away: away, Sessions: sessions, At: wire.At(g.Now())})
		g.kafka.Produce(context.Background(), &kgo.Record{Topic: g.Kafka.Writes(bus.Presence), Key: []byte(user), Value: value}, func(_ *kgo.Record, err error) {
			if err != nil && !errors.Is(err, kgo.ErrClientClosed) {
				g.Log.Warn("a lease did not reach presence", "user", user, "error", err) // the next one will
			}
		})
	}
}
