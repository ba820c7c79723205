// Package gateway holds the users' WebSockets: what they send goes to Kafka, what Kafka has for them goes to their devices.
// Any number of gateways may run; each reads all of the topics users and sessions and keeps no state that another would need.
package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/labctl/labctl/services/internal/bus"
	"github.com/labctl/labctl/services/internal/ended"
	"github.com/labctl/labctl/services/internal/env"
	"github.com/labctl/labctl/services/internal/limit"
	"github.com/labctl/labctl/services/internal/peer"
	"github.com/labctl/labctl/services/internal/service"
	"github.com/labctl/labctl/services/internal/token"
	"github.com/labctl/labctl/services/internal/trace"
	"github.com/labctl/labctl/services/internal/wire"
)

// Config is the configuration of the gateway.
type Config struct {
	service.Settings
	// Heartbeat is the time between two pings, HeartbeatTimeout how long the answer may take.
	Heartbeat, HeartbeatTimeout time.Duration
	// Lease is the time between two reports of a user's connections to presence.
	Lease time.Duration
	// Queue is how many frames may wait for a client.
	Queue int
	// WriteTimeout is how long one frame may take to a client.
	WriteTimeout time.Duration
	// ConnectionRate, UserRate and AddressRate limit frames (CONNECTION_RATE, USER_RATE, ADDRESS_RATE: "200/1000" or "off").
	ConnectionRate, UserRate, AddressRate limit.Rate
	// SendTimeout is how long Kafka may take for what a client sends.
	SendTimeout time.Duration
	// ShadowURL is the base address of the comparer of this gateway's shadow, where there is one (SHADOW_URL); empty: nothing is mirrored. MirrorLook is
	// the time between two looks for it.
	ShadowURL  string
	MirrorLook time.Duration
	// Now is the clock.
	Now func() time.Time
}

// Variables gives what ConfigFromEnv reads.
func Variables() []env.Variable {
	return append(service.Variables("gateway"),
		env.Variable{Name: "CONNECTION_RATE", Default: "200/1000", Form: limit.Form, Meaning: "How many frames each gateway takes from a connection."},
		env.Variable{Name: "USER_RATE", Default: "400/2000", Form: limit.Form, Meaning: "How many it takes from a user."},
		env.Variable{Name: "ADDRESS_RATE", Default: "2000/10000", Form: limit.Form, Meaning: "How many it takes from an address (an IPv6 network of 64 bits is one). Each request for a socket counts as one."},
		env.Variable{Name: "SHADOW_URL", Form: "a base address", Meaning: "Where the comparer of the gateway's shadow is, when there is one: sockets that open from then on are mirrored to it. Without it nothing is mirrored, nor is it by a shadow."},
	)
}

// ConfigFromEnv reads the configuration.
func ConfigFromEnv(getenv func(string) string) (Config, error) {
	s, err := service.FromEnv("gateway", getenv)
	c := Config{
		Settings: s, Heartbeat: 25 * time.Second, HeartbeatTimeout: 10 * time.Second,
		Lease: 15 * time.Second, Queue: 256, WriteTimeout: 10 * time.Second, SendTimeout: 15 * time.Second, MirrorLook: 3 * time.Second, Now: time.Now,
	}
	for _, rate := range []struct {
		name, standard string
		to             *limit.Rate
	}{
		{"CONNECTION_RATE", "200/1000", &c.ConnectionRate}, {"USER_RATE", "400/2000", &c.UserRate}, {"ADDRESS_RATE", "2000/10000", &c.AddressRate},
	} {
		r, bad := limit.ParseRate(cmp.Or(getenv(rate.name), rate.standard))
		if bad != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", rate.name, bad))
		}
		*rate.to = r
	}
	var bad error
	if c.ShadowURL, bad = shadowURL(getenv("SHADOW_URL")); bad != nil {
		err = errors.Join(err, bad)
	}
	return c, err
}

type gateway struct {
	Config
	id        string // of this process, in leases
	kafka     *kgo.Client
	verifier  *token.Verifier
	auth      peer.Auth
	messaging peer.Messaging
	ended     *ended.Sessions
	hub       *hub
	missed    missed
	position  position
	typings   *typings
	tracer    *trace.Tracer
	byUser    *limit.Buckets
	byAddress *limit.Buckets
	draining  atomic.Bool
	leases    *leases
	mirrors   *mirrors
	known     sync.Map     // user ids that auth has confirmed, and when
	opened    atomic.Int64 // sockets, ever

	connections prometheus.Gauge
	received    prometheus.Counter
	delivered   prometheus.Counter
	slow        prometheus.Counter
	flooding    prometheus.Counter
}

// Run runs the gateway until ctx ends.
func Run(ctx context.Context, c Config) error {
	m := service.NewMetrics()
	tracer, err := trace.Open(c.Tracing, c.Log, m)
	if err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	defer tracer.Close()
	resets, missed := bus.Resets(m), newMissed()
	kafka, err := bus.Open(c.Kafka, "gateway", c.Log, bus.CountResets(c.Log, resets, missed.note),
		kgo.RecordDeliveryTimeout(c.SendTimeout), kgo.FetchMaxWait(500*time.Millisecond),
		// After the broker has lost its end (a restored disk): once more from there is better than a hole.
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	defer kafka.Close()
	over, err := ended.Open(c.Kafka, "gateway", c.Log, c.Now, resets)
	if err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	defer over.Close()
	client := peer.NewHTTPClient()
	g := &gateway{
		Config: c, id: wire.NewID(), kafka: kafka, ended: over, hub: newHub(), missed: missed, position: position{topic: c.Kafka.Reads(bus.Messages)},
		typings: newTypings(), leases: newLeases(), mirrors: newMirrors(c, m), tracer: tracer,
		byUser: limit.New(c.UserRate, c.Now), byAddress: limit.New(c.AddressRate, c.Now),
		verifier:    token.NewVerifier(token.Remote(client, c.AuthURL), c.Now),
		auth:        peer.Auth{Client: client, URL: c.AuthURL, Identity: c.Identity},
		messaging:   peer.Messaging{Client: client, URL: c.MessagingURL, Identity: c.Identity},
		connections: m.Gauge("gateway_connections", "Open WebSockets."),
		received:    m.Counter("gateway_frames_received_total", "Frames from clients."),
		delivered:   m.Counter("gateway_frames_delivered_total", "Frames queued to clients."),
		slow:        m.Counter("gateway_slow_clients_total", "Sockets closed because their client did not read."),
		flooding:    m.Counter("gateway_rate_limited_total", "Frames and sockets refused because there were too many."),
	}
	g.verifier.Refuse(over.Has)
	over.OnEnd(func(session, user string) {
		for _, c := range g.hub.of(user) {
			if c.session == session {
				c.close(wire.CloseSessionEnded, "the session has ended")
			}
		}
	})

	mux := http.NewServeMux()
	mux.Handle("GET /ws", service.Handle(g.socket))
	s := service.Server{
		Settings: c.Settings, Name: "gateway", Handler: mux, Metrics: m, Tracer: tracer, Start: g.start, Work: g.work, Drain: g.drain,
		Ready: func(ctx context.Context) error { return bus.Ready(ctx, kafka) },
	}
	return s.Run(ctx)
}

// start takes this gateway's place in the topic users. It is ready only then: what is produced from now on, it sees, and what may have been
// produced before, its sockets are to find in the database.
func (g *gateway) start(ctx context.Context) error {
	if err := bus.Create(ctx, g.kafka, g.Kafka); err != nil {
		return err
	}
	if err := g.ended.Start(ctx); err != nil {
		return err
	}
	ends, err := bus.Ends(ctx, g.kafka, g.Kafka.Reads(bus.Users))
	if err != nil {
		return err
	}
	at := map[int32]kgo.Offset{}
	for p, o := range ends {
		at[p] = kgo.NewOffset().At(o)
	}
	said, err := bus.Ends(ctx, g.kafka, g.Kafka.Reads(bus.Messages)) // after the ends of users: what is produced in between is in both
	if err != nil {
		return err
	}
	g.position.reach(said)
	g.kafka.AddConsumePartitions(map[string]map[int32]kgo.Offset{g.Kafka.Reads(bus.Users): at})
	return nil
}

// work delivers and reports the leases, until ctx ends.
func (g *gateway) work(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { g.ended.Follow(ctx) })
	wg.Go(func() { g.resync(ctx) })
	wg.Go(func() {
		g.typings.work(ctx, func(ctx context.Context, t wire.Typing) {
			if err := g.messaging.Typing(ctx, t); err != nil {
				g.Log.Debug("nobody is told who writes", "error", err)
			}
		})
	})
	wg.Go(func() {
		g.every(ctx, g.Lease, func() {
			for _, user := range g.hub.present() {
				g.announce(user)
			}
		})
	})
	wg.Go(func() { g.announceAll(ctx) })
	if g.mirrors != nil {
		wg.Go(func() { g.every(ctx, g.MirrorLook, func() { g.mirrors.look(ctx) }) })
	}
	wg.Go(func() { g.tidy(ctx) })
	for {
		fetches := g.kafka.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil
		}
		g.checkErrors(fetches)
		fetches.EachRecord(g.deliver)
	}
}

// checkErrors logs what went wrong. Reading goes on by itself, but where records were lost, behind those.
func (g *gateway) checkErrors(fetches kgo.Fetches) {
	fetches.EachError(func(topic string, partition int32, err error) {
		g.Log.Warn("reading goes on after an error", "topic", topic, "partition", partition, "error", err)
		if _, ok := errors.AsType[*kgo.ErrDataLoss](err); ok {
			g.missed.note()
		}
	})
}

// tidy gives the system back what many sockets needed to open, once they have: requests, tokens and the deep stacks of both, some 40 KiB each.
// The runtime alone would keep it for minutes, or for as long as the gateway is quiet.
func (g *gateway) tidy(ctx context.Context) {
	const many = 1000
	var tidied, before int64
	g.every(ctx, time.Second, func() {
		now := g.opened.Load()
		if now-tidied >= many && now-before < many/10 {
			tidied = now
			debug.FreeOSMemory()
		}
		before = now
	})
}

func (g *gateway) every(ctx context.Context, d time.Duration, f func()) {
	for service.Sleep(ctx, d) == nil {
		f()
	}
}

// deliver passes a record of the topic users on to those devices of its users that are connected here.
func (g *gateway) deliver(r *kgo.Record) {
	g.position.pass(r) // before the sockets are looked up: one that opens meanwhile is found here, or finds it there
	// One for all; those who follow a trace want to see each socket's.
	f := text(r.Value)
	ctx, traced := context.Background(), false
	if g.tracer.On() {
		ctx, traced = trace.In(ctx, r)
	}
	n := 0
	for c := range g.hub.each(bus.Audience(r)) {
		if traced {
			_, span := g.tracer.Consume(ctx, "deliver", r)
			f = &frame{data: f.data, span: span}
		}
		if c.put(f) {
			n++
		}
	}
	g.delivered.Add(float64(n))
}

// drain sends the clients elsewhere, and lets Kafka have what they sent.
func (g *gateway) drain(ctx context.Context) {
	g.draining.Store(true)
	all := g.closeAll(ctx, "the gateway stops; connect again")
	for _, c := range all {
		select {
		case <-c.gone:
		case <-ctx.Done():
			return
		}
	}
	g.tellLeases()
	if err := g.kafka.Flush(ctx); err != nil {
		g.Log.Warn("not all reached kafka before the end; clients will send it again", "error", err)
	}
}

// closeAll closes all sockets, a few at a time: their clients connect again at once.
func (g *gateway) closeAll(ctx context.Context, reason string) []*conn {
	all := g.hub.all()
	const burst = 50
	for i, c := range all {
		c.close(closeRestart, reason)
		if i%burst == burst-1 {
			_ = service.Sleep(ctx, 10*time.Millisecond)
		}
	}
	return all
}
