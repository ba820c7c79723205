// Package presence knows who is online, from the leases that gateways keep renewing in the topic presence.
//
// Instances share the topic as the consumer group "presence" and never commit: each time, a partition is read from
// its beginning, which compaction and retention keep near. So the state survives any instance. The database holds the last
// word on each user for whoever asks, with the time until which it is good.
package presence

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"golang.org/x/sync/errgroup"

	"github.com/labctl/labctl/services/internal/bus"
	"github.com/labctl/labctl/services/internal/ended"
	"github.com/labctl/labctl/services/internal/peer"
	"github.com/labctl/labctl/services/internal/service"
	"github.com/labctl/labctl/services/internal/store"
	"github.com/labctl/labctl/services/internal/token"
	"github.com/labctl/labctl/services/internal/wire"
)

// Config is the configuration of presence.
type Config struct {
	service.Settings
	// TTL is how long a lease lasts; gateways renew it each 15 s.
	TTL time.Duration
	// Grace is how long a user stays online after the last device has gone, so that a reload does not flicker.
	Grace time.Duration
	// Tick is the time between two looks at what has changed.
	Tick time.Duration
	// Now is the clock.
	Now func() time.Time
}

// ConfigFromEnv reads the configuration.
func ConfigFromEnv(getenv func(string) string) (Config, error) {
	s, err := service.FromEnv("presence", getenv)
	return Config{Settings: s, TTL: time.Minute, Grace: 5 * time.Second, Tick: 250 * time.Millisecond, Now: time.Now}, err
}

type presence struct {
	Config
	db        *store.DB
	kafka     *kgo.Client
	messaging peer.Messaging

	mu     sync.Mutex
	shards map[int32]*shard
}

// shard is the state of one partition.
type shard struct {
	users    map[string]*user
	assigned time.Time
	end      int64 // the partition's end when it was assigned, -1 until it is known
	caughtUp bool  // that end was reached: before, what is read may be long over
}

// user is what is known of one user.
type user struct {
	leases map[string]lease // by gateway
	last   time.Time        // the time of the newest lease
	known  bool             // said is what the database says
	said   status
}

type lease struct {
	until time.Time
	at    time.Time
}

// status is what others are told of a user.
type status struct {
	ID     string    `bson:"_id"`
	Online bool      `bson:"online"`
	Until  time.Time `bson:"until"` // online is good until then
	Seen   time.Time `bson:"seen"`
}

func (p *presence) users() *mongo.Collection { return p.db.Collection("users") }

// Run runs presence until ctx ends.
func Run(ctx context.Context, c Config) error {
	db, err := store.Open(c.MongoDBURI, c.Database, "presence")
	if err != nil {
		return fmt.Errorf("presence: %w", err)
	}
	defer db.Close()
	client := peer.NewHTTPClient()
	p := &presence{Config: c, db: db, messaging: peer.Messaging{Client: client, URL: c.MessagingURL}, shards: map[int32]*shard{}}
	drop := func(_ context.Context, _ *kgo.Client, gone map[string][]int32) {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, n := range gone[bus.Presence] {
			delete(p.shards, n)
		}
	}
	p.kafka, err = bus.Open(c.KafkaBrokers, "presence", c.Log, append(bus.Group("presence", bus.Presence),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, got map[string][]int32) {
			p.mu.Lock()
			defer p.mu.Unlock()
			for _, n := range got[bus.Presence] {
				p.shards[n] = &shard{users: map[string]*user{}, assigned: c.Now(), end: -1}
			}
		}),
		kgo.OnPartitionsRevoked(drop), kgo.OnPartitionsLost(drop),
	)...)
	if err != nil {
		return fmt.Errorf("presence: %w", err)
	}
	defer p.kafka.CloseAllowingRebalance()

	over, err := ended.Open(c.KafkaBrokers, "presence", c.Log, c.Now)
	if err != nil {
		return fmt.Errorf("presence: %w", err)
	}
	defer over.Close()
	v := token.NewVerifier(token.Remote(client, c.AuthURL), c.Now)
	v.Refuse(over.Has)
	mux := http.NewServeMux()
	mux.Handle("GET /api/presence", service.Authenticated(v, p.show))
	srv := service.Server{
		Settings: c.Settings, Name: "presence", Handler: mux, Metrics: service.NewMetrics(), Work: over.Beside(p.work),
		Start: func(ctx context.Context) error {
			if err := db.Create(ctx, "users"); err != nil {
				return err
			}
			if err := bus.Create(ctx, p.kafka); err != nil {
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

// work follows the leases until ctx ends.
func (p *presence) work(ctx context.Context) error {
	var reviewed time.Time
	for ctx.Err() == nil {
		poll, cancel := context.WithTimeout(ctx, p.Tick)
		fetches := p.kafka.PollRecords(poll, 5000)
		cancel()
		if ctx.Err() == nil {
			p.read(fetches)
			if now := p.Now(); now.Sub(reviewed) >= p.Tick {
				reviewed = now
				p.review(ctx)
			}
		}
		p.kafka.AllowRebalance()
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
		if s.end >= 0 && r.Offset+1 >= s.end {
			s.caughtUp = true
		}
		var l wire.Lease
		if err := json.Unmarshal(r.Value, &l); err != nil || l.User != string(r.Key) || !wire.ValidID(l.User) || l.Gateway == "" {
			p.Log.Error("a lease is passed over", "partition", r.Partition, "offset", r.Offset, "error", err)
			return
		}
		u := s.users[l.User]
		if u == nil {
			u = &user{leases: map[string]lease{}}
			s.users[l.User] = u
		}
		at := l.At.Time
		if at.Before(u.leases[l.Gateway].at) {
			return
		}
		if at.After(u.last) {
			u.last = at
		}
		n := lease{until: at.Add(p.TTL), at: at}
		if l.Devices == 0 {
			n.until = at.Add(p.Grace)
		}
		u.leases[l.Gateway] = n
	})
}

// catchUpTime is when a partition counts as read to its end though its last record did not come: retention has taken it.
const catchUpTime = 3 * time.Second

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
				if ends, err = bus.Ends(ctx, p.kafka, bus.Presence); err != nil {
					p.Log.Warn("presence waits for the end of its topic", "error", err)
					ends = map[int32]int64{}
				}
			}
			if end, ok := ends[n]; ok {
				s.end = end
			}
		}
		if !s.caughtUp && (s.end == 0 || (s.end > 0 && now.Sub(s.assigned) > catchUpTime)) {
			s.caughtUp = true
		}
		if !s.caughtUp {
			continue
		}
		for id, u := range s.users {
			if is := u.status(id, now); u.known && is.Online == u.said.Online && (!is.Online || u.said.Until.Sub(now) > p.TTL/2) {
				continue // nothing to say; while online it is written again at half time only
			}
			g.Go(func() error {
				if err := p.settle(ctx, id, u, now); err != nil {
					p.Log.Warn("presence of a user waits", "user", id, "error", err)
				}
				return nil
			})
		}
	}
	_ = g.Wait() // none returns an error
	for _, s := range p.shards {
		for id, u := range s.users {
			if u.known && !u.said.Online && len(u.leases) == 0 {
				delete(s.users, id)
			}
		}
	}
}

// status gives what is so, and forgets leases that are over.
func (u *user) status(id string, now time.Time) status {
	is := status{ID: id, Seen: u.last}
	for gateway, l := range u.leases {
		if !l.until.After(now) {
			delete(u.leases, gateway)
			continue
		}
		is.Online = true
		if l.until.After(is.Until) {
			is.Until = l.until
		}
	}
	return is
}

// settle makes what is said of a user what is so.
func (p *presence) settle(ctx context.Context, id string, u *user, now time.Time) error {
	is := u.status(id, now)
	if !u.known {
		said, _, err := store.Get[status](ctx, p.users(), id)
		if err != nil {
			return err
		}
		u.said, u.known = said, true
	}
	if !is.Online && !u.said.Online {
		return nil
	}
	// Others may have been told the one and, by asking after its time, the other.
	change := is.Online != u.said.Online || !u.said.Until.After(now)
	if err := store.Upsert(ctx, p.users(), id, bson.D{{Key: "$set", Value: bson.D{
		{Key: "online", Value: is.Online}, {Key: "until", Value: is.Until}, {Key: "seen", Value: is.Seen},
	}}}); err != nil {
		return err
	}
	if change {
		if err := p.tell(ctx, is); err != nil {
			return err
		}
	}
	u.said = is
	return nil
}

// tell lets those who share a conversation with a user see the change.
func (p *presence) tell(ctx context.Context, s status) error {
	peers, err := p.messaging.Peers(ctx, s.ID)
	if err != nil {
		return err
	}
	value := wire.Encode(wire.PresenceFrame{Type: wire.FramePresence, User: s.ID, Online: s.Online, At: wire.At(s.Seen)})
	var records []*kgo.Record
	for _, to := range peers {
		records = append(records, &kgo.Record{Topic: bus.Users, Key: []byte(to), Value: value})
	}
	if err := p.kafka.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return fmt.Errorf("tell %d users: %w", len(peers), err)
	}
	return nil
}

func (p *presence) show(w http.ResponseWriter, r *http.Request, _ token.Claims) error {
	ids := strings.Split(r.URL.Query().Get("ids"), ",")
	if len(ids) > wire.MaxIDs {
		return service.BadRequest("%d ids; at most %d at once", len(ids), wire.MaxIDs)
	}
	type entry struct {
		User   string     `json:"user"`
		Online bool       `json:"online"`
		Seen   *wire.Time `json:"seen,omitempty"`
	}
	answer := make([]entry, len(ids))
	g, ctx := errgroup.WithContext(r.Context())
	g.SetLimit(8)
	for i, id := range ids {
		if !wire.ValidID(id) {
			return service.BadRequest("ids must be user ids, with commas between")
		}
		g.Go(func() error {
			s, ok, err := store.Get[status](ctx, p.users(), id)
			answer[i] = entry{User: id, Online: s.Online && p.Now().Before(s.Until)}
			if ok {
				seen := wire.At(s.Seen)
				answer[i].Seen = &seen
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return service.Unavailable("the database", err)
	}
	return service.Write(w, http.StatusOK, map[string][]entry{"presence": answer})
}
