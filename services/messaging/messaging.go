// Package messaging stores what is said, in order and once, and tells every member's devices.
//
// The topic messages is the log, whose key is the conversation: so one instance at a time decides what a conversation's records come to, in
// order. docs/architecture/messaging.md shows the way of a record:
//
//   - consumer.go reads records, as the consumer group "messaging";
//   - decide.go has restore.go load what they need, and sequencer.go decide them: a function of the records so far;
//   - erase.go writes the records that delete what a deleted user has said;
//   - quarantine.go keeps the records of a conversation that cannot be handled, so that the others go on;
//   - pipeline.go takes what follows from them through publisher.go (the topic users), store.go and projector.go (the database), and only then
//     are they committed.
//
// Kafka's commit and the database's writes are two things, and an instance that was paused may go on after another has taken over. Neither matters:
// the same records come to the same effects, whoever decides them, and each write of an effect can be repeated.
package messaging

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/labctl/labctl/services/internal/bus"
	"github.com/labctl/labctl/services/internal/deletion"
	"github.com/labctl/labctl/services/internal/ended"
	"github.com/labctl/labctl/services/internal/env"
	"github.com/labctl/labctl/services/internal/export"
	"github.com/labctl/labctl/services/internal/limit"
	"github.com/labctl/labctl/services/internal/peer"
	"github.com/labctl/labctl/services/internal/service"
	"github.com/labctl/labctl/services/internal/store"
	"github.com/labctl/labctl/services/internal/token"
	"github.com/labctl/labctl/services/internal/trace"
)

// Config is the configuration of messaging.
type Config struct {
	service.Settings
	// Batch is how many records are taken from Kafka at once.
	Batch int
	// SearchRate limits each user's searches.
	SearchRate limit.Rate
	// Erase is the time between two looks for deleted accounts.
	Erase time.Duration
	// Now is the clock.
	Now func() time.Time
}

// Variables gives what ConfigFromEnv reads.
func Variables() []env.Variable { return service.Variables("messaging") }

// ConfigFromEnv reads the configuration.
func ConfigFromEnv(getenv func(string) string) (Config, error) {
	s, err := service.FromEnv("messaging", getenv)
	return Config{Settings: s, Batch: 1000, SearchRate: limit.Rate{PerSecond: 2, Burst: 30}, Erase: deletion.Every, Now: time.Now}, err
}

type messaging struct {
	Config
	database *database
	kafka    *kgo.Client
	metrics  *service.Metrics
	tracer   *trace.Tracer
	verifier *token.Verifier
	auth     peer.Auth

	log        atomic.Pointer[log] // nil until it is known
	quarantine *quarantine
	pipeline   *pipeline
	projector  *projector

	reading, listing, searching, exporting *bulkhead

	searches, exports *limit.Buckets
	ends              store.Shared[map[int32]int64]
	fulls             chan full

	stored, repeated, refused, held, skipped, dead, missing, pruned prometheus.Counter
}

// Run runs messaging until ctx ends.
func Run(ctx context.Context, c Config) error {
	m := service.NewMetrics()
	tracer, err := trace.Open(c.Tracing, c.Log, m)
	if err != nil {
		return fmt.Errorf("messaging: %w", err)
	}
	defer tracer.Close()
	db, err := store.Open(c.MongoDBURI, c.Database, "messaging")
	if err != nil {
		return fmt.Errorf("messaging: %w", err)
	}
	defer db.Close()
	client := peer.NewHTTPClient()
	s := &messaging{
		Config: c, database: newDatabase(db), metrics: m, tracer: tracer,
		verifier: token.NewVerifier(token.Remote(client, c.AuthURL), c.Now), auth: peer.Auth{Client: client, URL: c.AuthURL, Identity: c.Identity},
		reading: newReading(), listing: newListing(), searching: newSearching(), searches: limit.New(c.SearchRate, c.Now),
		exporting: newExporting(), exports: limit.New(export.Rate(), c.Now), fulls: make(chan full, fullQueue),
		stored:   m.Counter("messaging_stored_total", "Messages stored."),
		repeated: m.Counter("messaging_repeated_total", "Records whose message was stored already."),
		refused:  m.Counter("messaging_refused_total", "Messages and changes that were refused."),
		held:     m.Counter("messaging_held_total", "Records of conversations in quarantine, which are kept."),
		skipped:  m.Counter("messaging_skipped_projections_total", "Projections of conversations that could not be written."),
		dead:     m.Counter("messaging_dead_total", "Records that can never be handled."),
		missing:  m.Counter("messaging_lost_total", "Records that the topic lost before they were handled."),
		pruned:   m.Counter("messaging_pruned_total", "Idempotency keys deleted after 30 days."),
	}
	consumer := newConsumer(s)
	s.projector = newProjector(s.database, s.retry("project"), consumer.mark, s.filled, s.reportSkip)
	s.quarantine = newQuarantine(s.database, c.Now, s.reportHold)
	m.GaugeOf("messaging_quarantined", "Conversations in quarantine, of the partitions of this instance.", func() float64 { return float64(s.quarantine.size()) })
	s.pipeline = newPipeline(s.publish, s.storeAll)
	s.kafka, err = bus.Open(c.Kafka, "messaging", c.Log, append(c.Kafka.Member(bus.Messages, consumer.assigned),
		kgo.OnPartitionsRevoked(func(ctx context.Context, _ *kgo.Client, p map[string][]int32) {
			consumer.endTurns(p[consumer.topic()])
			consumer.drain(ctx)
			consumer.lost(p[consumer.topic()])
		}),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, p map[string][]int32) {
			consumer.endTurns(p[consumer.topic()])
			consumer.lost(p[consumer.topic()])
		}),
	)...)
	if err != nil {
		return fmt.Errorf("messaging: %w", err)
	}
	// Committing and leaving the group happen here, after the work has ended.
	defer s.kafka.CloseAllowingRebalance()
	over, err := ended.Open(c.Kafka, "messaging", c.Log, c.Now, bus.Resets(m))
	if err != nil {
		return fmt.Errorf("messaging: %w", err)
	}
	defer over.Close()
	s.verifier.Refuse(over.Has)

	mux := http.NewServeMux()
	mux.Handle("GET /api/conversations", s.answers(s.listing, s.list))
	mux.Handle("GET /api/conversations/{id}", s.answers(s.reading, s.conversation))
	mux.Handle("GET /api/messages", s.answers(s.reading, s.history))
	mux.Handle("GET /api/messages/search", s.answers(s.searching, s.search))
	mux.Handle("GET /api/messages/export", service.Authenticated(s.verifier, export.Exporter{Often: s.exports, Log: c.Log, Write: s.exportOf}.Handle))
	callers := c.Callers("messaging", c.Now)
	mux.Handle("POST /internal/typing", service.Internal(callers, s.typing, "gateway"))
	mux.Handle("POST /internal/resume", service.Internal(callers, s.resume, "gateway"))
	mux.Handle("GET /internal/peers/{user}", service.Internal(callers, func(w http.ResponseWriter, r *http.Request) error {
		s.settle(r.Context())
		return s.listing.answer(w, r, r.PathValue("user"), func() (any, error) { return s.peers(r) })
	}, "presence"))
	srv := service.Server{
		Settings: c.Settings, Name: "messaging", Handler: mux, Metrics: m, Tracer: tracer, Work: over.Beside(consumer.work),
		Start: func(ctx context.Context) error {
			if err := db.Migrate(ctx, migrations()); err != nil {
				return err
			}
			if err := bus.Create(ctx, s.kafka, s.Kafka); err != nil {
				return err
			}
			if _, err := s.findLog(ctx); err != nil {
				return err
			}
			return over.Start(ctx)
		},
		Ready: func(ctx context.Context) error {
			if err := db.Ready(ctx); err != nil {
				return err
			}
			return bus.Ready(ctx, s.kafka)
		},
	}
	return srv.Run(ctx)
}

// topic gives the whole name of the topic messages.
func (s *messaging) topic() string { return s.Kafka.Reads(bus.Messages) }

// findLog learns which log the topic messages is.
func (s *messaging) findLog(ctx context.Context) (log, error) {
	id, err := bus.TopicID(ctx, s.kafka, s.topic())
	if err != nil {
		return "", err
	}
	now := log(id)
	if s.log.CompareAndSwap(nil, &now) || *s.log.Load() == now {
		return now, nil
	}
	return "", errors.New("the topic messages was deleted and made anew while messaging ran; restart messaging")
}

// storeAll stores what follows from records.
func (s *messaging) storeAll(ctx context.Context, batches []*batch) error {
	tries := attempts{}
	return s.retry("store")(ctx, func(ctx context.Context) error { return s.quarantine.store(ctx, batches, tries) })
}

// reportHold says that a conversation has gone into quarantine.
func (s *messaging) reportHold(h hold, err error) {
	s.Log.Error("a conversation is in quarantine: its records are kept, and not handled; mend the reason, then run `messaging release CONVERSATION`",
		"conversation", h.Conversation, "partition", h.From.Partition, "offset", h.From.Offset, "error", err)
}

// reportSkip says that the projection of a conversation could not be written.
func (s *messaging) reportSkip(conversation string, err error) {
	s.skipped.Inc()
	s.Log.Error("reads of a conversation are slow, and some read cursors lost, since its projection cannot be written; mend the reason, then run `messaging rebuild CONVERSATION`",
		"conversation", conversation, "error", err)
}

// retry tries again what a part that is away makes fail.
func (s *messaging) retry(step string) retry {
	return func(ctx context.Context, f func(context.Context) error) error {
		return s.metrics.Retry(ctx, s.Log, step, f)
	}
}
