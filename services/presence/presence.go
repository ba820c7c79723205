// Package presence knows who is online, from the leases that gateways keep renewing in the topic presence.
//
// Instances share the topic as the consumer group "presence". Each time, a partition is read from its beginning, which
// compaction and retention keep near, so the state survives any instance. The database holds the last word on each user
// for whoever asks, with the time until which it is good.
//
// A lease leads to at most one change at once, and to others when it ends. It is committed when nothing can follow from
// it any more: there is a later one, or it has ended. Nobody reads from a commit on, but it says how far presence has
// come: a shadow is compared by it (docs/adr/0026-shadows.md).
package presence

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"golang.org/x/sync/errgroup"

	"github.com/labctl/labctl/services/internal/bus"
	"github.com/labctl/labctl/services/internal/deletion"
	"github.com/labctl/labctl/services/internal/ended"
	"github.com/labctl/labctl/services/internal/env"
	"github.com/labctl/labctl/services/internal/peer"
	"github.com/labctl/labctl/services/internal/service"
	"github.com/labctl/labctl/services/internal/store"
	"github.com/labctl/labctl/services/internal/token"
	"github.com/labctl/labctl/services/internal/trace"
	"github.com/labctl/labctl/services/internal/wire"
)

// Config is the configuration of presence.
type Config struct {
	service.Settings
	// TTL is how long a lease lasts; gateways renew it each 15 s.
	TTL time.Duration
	// Grace is how long a user keeps a state after the last device that made it so has gone or is left, so that nothing flickers.
	Grace time.Duration
	// Tick is the time between two looks at what has changed.
	Tick time.Duration
	// Erase is the time between two looks for deleted accounts.
	Erase time.Duration
	// Now is the clock.
	Now func() time.Time
}

// Variables gives what ConfigFromEnv reads.
func Variables() []env.Variable { return service.Variables("presence") }

// ConfigFromEnv reads the configuration.
func ConfigFromEnv(getenv func(string) string) (Config, error) {
	s, err := service.FromEnv("presence", getenv)
	return Config{Settings: s, TTL: time.Minute, Grace: 30 * time.Second, Tick: 250 * time.Millisecond, Erase: deletion.Every, Now: time.Now}, err
}

type presence struct {
	Config
	db        *store.DB
	kafka     *kgo.Client
	auth      peer.Auth
	messaging peer.Messaging
	groups    peer.Groups

	leases, reviews, told prometheus.Counter

	mu     sync.Mutex
	shards map[int32]*shard
}

// shard is the state of one partition.
type shard struct {
	users    map[string]*user
	assigned time.Time
	next     int64 // behind what was read
	end      int64 // the partition's end when it was assigned, -1 until it is known
	caughtUp bool  // that end was reached: before, what is read may be long over
}

func (p *presence) users() *mongo.Collection { return p.db.Collection("users") }

// migrations have made the database what it is. One that has run anywhere stays as it is; a change is a new one at the end.
func migrations() []store.Migration {
	return []store.Migration{store.Collections("users")}
}

// Run runs presence until ctx ends.
func Run(ctx context.Context, c Config) error {
	m := service.NewMetrics()
	tracer, err := trace.Open(c.Tracing, c.Log, m)
	if err != nil {
		return fmt.Errorf("presence: %w", err)
	}
	defer tracer.Close()
	db, err := store.Open(c.MongoDBURI, c.Database, "presence")
	if err != nil {
		return fmt.Errorf("presence: %w", err)
	}
	defer db.Close()
	client := peer.NewHTTPClient()
	p := &presence{
		Config: c, db: db, shards: map[int32]*shard{},
		auth:      peer.Auth{Client: client, URL: c.AuthURL, Identity: c.Identity},
		messaging: peer.Messaging{Client: client, URL: c.MessagingURL, Identity: c.Identity},
		groups:    peer.Groups{Client: client, URL: c.GroupsURL, Identity: c.Identity},
		leases:    m.Counter("presence_leases_total", "Leases read."),
		reviews:   m.Counter("presence_reviews_total", "Looks at what has changed."),
		told:      m.Counter("presence_changes_total", "Changes of users' states that others were told."),
	}
	drop := func(_ context.Context, _ *kgo.Client, gone map[string][]int32) {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, n := range gone[c.Kafka.Reads(bus.Presence)] {
			delete(p.shards, n)
		}
	}
	resets := bus.Resets(m)
	p.kafka, err = bus.Open(c.Kafka, "presence", c.Log, append(c.Kafka.Member(bus.Presence, p.start), bus.CountResets(c.Log, resets, nil),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, got map[string][]int32) {
			p.mu.Lock()
			defer p.mu.Unlock()
			for _, n := range got[c.Kafka.Reads(bus.Presence)] {
				p.shards[n] = &shard{users: map[string]*user{}, assigned: p.Now(), end: -1}
			}
		}),
		kgo.OnPartitionsRevoked(drop), kgo.OnPartitionsLost(drop),
	)...)
	if err != nil {
		return fmt.Errorf("presence: %w", err)
	}
	defer p.kafka.CloseAllowingRebalance()

	over, err := ended.Open(c.Kafka, "presence", c.Log, c.Now, resets)
	if err != nil {
		return fmt.Errorf("presence: %w", err)
	}
	defer over.Close()
	v := token.NewVerifier(token.Remote(client, c.AuthURL), c.Now)
	v.Refuse(over.Has)
	mux := http.NewServeMux()
	mux.Handle("GET /api/presence", service.Authenticated(v, p.show))
	srv := service.Server{
		Settings: c.Settings, Name: "presence", Handler: mux, Metrics: m, Tracer: tracer, Work: over.Beside(p.work),
		Start: func(ctx context.Context) error {
			if err := db.Migrate(ctx, migrations()); err != nil {
				return err
			}
			if err := bus.Create(ctx, p.kafka, p.Kafka); err != nil {
				return err
			}
			return over.Start(ctx)
		},
		Ready: func(ctx context.Context) error {
			if err := db.Ready(ctx); err != nil {
				return err
			}
			return bus.Ready(ctx, p.kafka)
		},
	}
	return srv.Run(ctx)
}

// erase forgets when a deleted user was there. Until the deletion is final, leases may come.
func (p *presence) erase(ctx context.Context, d wire.Deletion) error {
	return store.Delete(ctx, p.users(), d.User)
}

// work follows the leases, and erases deleted users, until ctx ends.
func (p *presence) work(ctx context.Context) error {
	var erasing sync.WaitGroup
	erasing.Go(func() {
		deletion.Follower{Auth: p.auth, Every: p.Config.Erase, Log: p.Log, Shadow: p.Shadow, Erase: p.erase}.Follow(ctx)
	})
	defer erasing.Wait()
	var reviewed time.Time
	for ctx.Err() == nil {
		poll, cancel := context.WithTimeout(ctx, p.Tick)
		fetches := p.kafka.PollRecords(poll, 5000)
		cancel()
		if ctx.Err() == nil {
			p.read(fetches)
			if time.Since(reviewed) >= p.Tick {
				reviewed = time.Now()
				p.review(ctx)
				p.reviews.Inc()
			}
		}
		p.kafka.AllowRebalance()
	}
	return nil
}

// start has partitions read from their beginning, whatever is committed.
func (p *presence) start(_ context.Context, offsets map[int32]kgo.Offset) error {
	for n := range offsets {
		offsets[n] = kgo.NewOffset().AtStart()
		if first, ok := p.Kafka.Start[n]; ok {
			offsets[n] = kgo.NewOffset().At(first)
		}
	}
	return nil
}

// read takes leases in.
func (p *presence) read(fetches kgo.Fetches) {
	fetches.EachError(func(topic string, partition int32, err error) {
		if !errors.Is(err, context.DeadlineExceeded) {
			p.Log.Warn("reading goes on after an error", "topic", topic, "partition", partition, "error", err)
		}
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	fetches.EachRecord(func(r *kgo.Record) {
		s := p.shards[r.Partition]
		if s == nil {
			return
		}
		s.next = r.Offset + 1
		var l wire.Lease
		if err := json.Unmarshal(r.Value, &l); err != nil || l.User != string(r.Key) || !wire.ValidID(l.User) || l.Gateway == "" {
			p.Log.Error("a lease is passed over", "partition", r.Partition, "offset", r.Offset, "error", err)
			return
		}
		u := s.users[l.User]
		if u == nil {
			u = newUser(l, r.Offset)
			s.users[l.User] = u
		}
		u.take(l, r.Offset, p.TTL, p.Grace)
		if !s.caughtUp {
			u.changes = nil // another instance may have told them; what counts is what is so in the end
		}
		p.leases.Inc()
	})
}

// catchUpTime is when a partition counts as read to its end though its last record did not come: retention has taken it.
const catchUpTime = 3 * time.Second

// catchUp says whether the partition was read to the end that it had when it was assigned.
func (s *shard) catchUp(now time.Time) bool {
	s.caughtUp = s.caughtUp || (s.end >= 0 && (s.next >= s.end || now.Sub(s.assigned) > catchUpTime))
	return s.caughtUp
}

// review finds out what has changed, and tells it. What can't be told is tried again the next time.
func (p *presence) review(ctx context.Context) {
	now := p.Now().UTC()
	p.mu.Lock()
	defer p.mu.Unlock() // no partition moves during a poll's work, and nobody else needs the lock
	var ends map[int32]int64
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for n, s := range p.shards {
		if s.end < 0 {
			if ends == nil {
				var err error
				if ends, err = bus.Ends(ctx, p.kafka, p.Kafka.Reads(bus.Presence)); err != nil {
					p.Log.Warn("presence waits for the end of its topic", "error", err)
					ends = map[int32]int64{}
				}
			}
			if end, ok := ends[n]; ok {
				s.end = end
			}
		}
		if !s.catchUp(now) {
			continue
		}
		for id, u := range s.users {
			u.pass(now)
			if is := u.status(id); u.known && len(u.changes) == 0 && !u.said.differs(is, u.now) && !u.said.stale(is, u.now, p.TTL/2) {
				continue // nothing to say; while it stays so, it is written again at half time only
			}
			g.Go(func() error {
				if err := p.settle(ctx, n, id, u); err != nil {
					p.Log.Warn("presence of a user waits", "user", id, "error", err)
				}
				return nil
			})
		}
	}
	_ = g.Wait() // none returns an error
	p.commit()
}

// commit says how far all is told that can follow. The caller holds mu.
func (p *presence) commit() {
	done := map[int32]kgo.EpochOffset{}
	for n, s := range p.shards {
		if !s.caughtUp {
			continue
		}
		next := max(s.next, s.end)
		for id, u := range s.users {
			if u.isOver() {
				delete(s.users, id)
				continue
			}
			next = u.open(next)
		}
		done[n] = kgo.EpochOffset{Epoch: -1, Offset: next}
	}
	p.kafka.MarkCommitOffsets(map[string]map[int32]kgo.EpochOffset{p.Kafka.Reads(bus.Presence): done})
}

// source names a lease of a partition.
func (p *presence) source(partition int32, offset int64) string {
	return string(bus.Source(&kgo.Record{Topic: p.Kafka.Reads(bus.Presence), Partition: partition, Offset: offset}).Value)
}

// settle makes what is said of a user what is so.
func (p *presence) settle(ctx context.Context, partition int32, id string, u *user) error {
	if !u.known {
		said, ok, err := store.Get[status](ctx, p.users(), id)
		if err != nil {
			return err
		}
		if !ok || said.State == "" {
			said.State = wire.StateOffline
		}
		u.said, u.known = said, true
		if len(u.changes) > 0 && u.changes[0].state == said.State {
			u.changes = u.changes[1:]
		}
	}
	is := u.status(id)
	is.Source = p.source(partition, u.newest)
	if len(u.changes) == 0 && u.said.differs(is, u.now) {
		u.changes = append(u.changes, u.is) // others may have been told this and, by asking after its time, another
	}
	if len(u.changes) == 0 && !u.said.stale(is, u.now, p.TTL/2) {
		return nil
	}
	if err := store.Upsert(ctx, p.users(), id, bson.D{{Key: "$set", Value: bson.D{
		{Key: "active", Value: is.Active}, {Key: "until", Value: is.Until}, {Key: "seen", Value: is.Seen}, {Key: "devices", Value: is.Devices},
		{Key: "source", Value: is.Source},
	}}}); err != nil {
		return err
	}
	for ; len(u.changes) > 0; u.changes = u.changes[1:] {
		c := u.changes[0]
		if err := p.tell(ctx, id, c, p.source(partition, c.source)); err != nil {
			return err
		}
		// Only now: who takes over after a crash in between tells it once more.
		if err := store.Upsert(ctx, p.users(), id, bson.D{{Key: "$set", Value: bson.D{{Key: "state", Value: c.state}}}}); err != nil {
			return err
		}
	}
	u.said = is
	return nil
}
