// Package messaging stores what is said, in order and once, and tells every member's devices.
//
// It reads the topic messages as the consumer group "messaging", whose key is the conversation: so one instance at a time
// handles a conversation, in order. Kafka's commit and the database's write are two things, and an instance that was paused
// may go on after another has taken over. So each step may run again, and by two at once, and the result is the same:
//
//  1. Each record has a document in "sends" under (conversation, sender, client id), with every seq that it was
//     ever about to get, or its refusal. It is written first.
//  2. The message itself is inserted as "<conversation>/<seq>" with the next seq. That insert is what decides: of two
//     writers one gets the seq, the other reads again where the conversation stands.
//  3. A record that comes again finds its document, and by the seqs in it the message if it was stored. A seq is looked at only
//     after the conversation's end was read, so what is missing below that end was stored nowhere else.
//  4. Then members and inboxes are updated, and the message is produced to its audience (which follows from its seq, not from
//     the time of the attempt), while the next records are stored. Heads and buckets are written behind all that (behind.go), and only
//     then the record is marked for commit.
//
// What is plain, which is nearly everything, is told before the rest of this (ahead.go).
//
// Heads (the last seq, and how far the members have read) and buckets (50 messages in a document, so that a page of history is a few point
// reads) follow from the messages. A reader completes what they lack.
//
// An edit, a deletion or a reaction is a message too, and its text follows from it (change.go). A read and a block take no seq and are
// nobody's message: the first only ever grows, the second has a version, so both may come again. A refusal rests on what is in the
// database, not on what is remembered.
package messaging

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
	otel "go.opentelemetry.io/otel/trace"

	"github.com/labctl/labctl/services/internal/bus"
	"github.com/labctl/labctl/services/internal/ended"
	"github.com/labctl/labctl/services/internal/env"
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
	// Now is the clock.
	Now func() time.Time
}

// Variables gives what ConfigFromEnv reads.
func Variables() []env.Variable { return service.Variables("messaging") }

// ConfigFromEnv reads the configuration.
func ConfigFromEnv(getenv func(string) string) (Config, error) {
	s, err := service.FromEnv("messaging", getenv)
	return Config{Settings: s, Batch: 1000, SearchRate: limit.Rate{PerSecond: 2, Burst: 30}, Now: time.Now}, err
}

const group = "messaging"

type messaging struct {
	Config
	archive  *archive
	kafka    *kgo.Client
	metrics  *service.Metrics
	tracer   *trace.Tracer
	verifier *token.Verifier

	worker  *worker
	telling chan struct{} // is full while what became of a batch is told
	ahead   *ahead
	behind  *behind

	reading, searching turns
	searches           *limit.Buckets
	fulls              chan full

	stored, repeated, refused, dead, pruned prometheus.Counter
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
	s := &messaging{
		Config: c, archive: newArchive(db), metrics: m, tracer: tracer,
		verifier: token.NewVerifier(token.Remote(peer.NewHTTPClient(), c.AuthURL), c.Now),
		reading:  newTurns(readsAtOnce), searching: newTurns(searchesAtOnce), searches: limit.New(c.SearchRate, c.Now), fulls: make(chan full, fullQueue),
		stored:   m.Counter("messaging_stored_total", "Messages stored."),
		repeated: m.Counter("messaging_repeated_total", "Records whose message was stored already."),
		refused:  m.Counter("messaging_refused_total", "Messages and changes that were refused."),
		dead:     m.Counter("messaging_dead_total", "Records that can never be handled."),
		pruned:   m.Counter("messaging_pruned_total", "Notes of what became of records, deleted after 30 days."),
	}
	s.telling = make(chan struct{}, 1)
	s.worker = &worker{messaging: s, conversations: map[string]*conversation{}, seen: map[int32]*seen{}, high: map[int32]int64{}}
	s.behind = newBehind(s.archive, func(rs ...*kgo.Record) { s.kafka.MarkCommitRecords(rs...) }, s.filled)
	s.ahead = newAhead(s.archive, s.behind, bus.AheadTime/2, s.retell)
	s.kafka, err = bus.Open(c.Kafka, "messaging", c.Log, append(bus.Group(group, bus.Messages),
		kgo.OnPartitionsAssigned(func(context.Context, *kgo.Client, map[string][]int32) { s.worker.moved.Store(true) }),
		kgo.OnPartitionsRevoked(func(ctx context.Context, _ *kgo.Client, p map[string][]int32) {
			s.commit(ctx)
			s.forget(p)
		}),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, p map[string][]int32) { s.forget(p) }),
	)...)
	if err != nil {
		return fmt.Errorf("messaging: %w", err)
	}
	// Committing and leaving the group happen here, after the work has ended.
	defer s.kafka.CloseAllowingRebalance()
	over, err := ended.Open(c.Kafka, "messaging", c.Log, c.Now)
	if err != nil {
		return fmt.Errorf("messaging: %w", err)
	}
	defer over.Close()
	s.verifier.Refuse(over.Has)

	mux := http.NewServeMux()
	mux.Handle("GET /api/conversations", s.answers(s.reading, s.list))
	mux.Handle("GET /api/conversations/{id}", s.answers(s.reading, s.conversation))
	mux.Handle("GET /api/messages", s.answers(s.reading, s.history))
	mux.Handle("GET /api/messages/search", s.answers(s.searching, s.search))
	mux.Handle("POST /internal/typing", service.Handle(s.typing))
	mux.Handle("POST /internal/resume", service.Handle(s.resume))
	mux.Handle("GET /internal/peers/{user}", service.Handle(func(w http.ResponseWriter, r *http.Request) error {
		return s.answer(s.reading, w, r, func() (any, error) { return s.peers(r) })
	}))
	srv := service.Server{
		Settings: c.Settings, Name: "messaging", Handler: mux, Metrics: m, Tracer: tracer, Work: over.Beside(s.work),
		Start: func(ctx context.Context) error {
			if err := db.Migrate(ctx, migrations()); err != nil {
				return err
			}
			if err := bus.Create(ctx, s.kafka, s.Kafka); err != nil {
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

// finishTime is how long what is being handled may go on after the service is told to stop.
const finishTime = 5 * time.Second

// work handles records until ctx ends. What it is handling then is finished if the database and Kafka are there, and
// repeated by the next instance if not.
func (s *messaging) work(ctx context.Context) error {
	finish, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(finishTime, cancel) })()
	var beside sync.WaitGroup
	defer beside.Wait()
	beside.Go(func() { s.keepPruned(ctx) })
	beside.Go(func() { s.filterAll(ctx) })
	beside.Go(func() {
		s.behind.run(ctx, func(ctx context.Context, write func(context.Context) error) error {
			return s.metrics.Retry(ctx, s.Log, "index", write)
		})
	})
	// What is told ahead is stored until the last commit.
	storing, stop := context.WithCancel(finish)
	var stored sync.WaitGroup
	defer stored.Wait()
	defer stop()
	stored.Go(func() {
		s.ahead.run(storing, func(ctx context.Context, f func(context.Context) error) error {
			return s.metrics.Retry(ctx, s.Log, "store", f)
		})
	})
	defer s.commit(context.WithoutCancel(ctx))
	for {
		poll, wake := context.WithCancel(ctx)
		s.ahead.watch(wake)
		fetches := s.kafka.PollRecords(poll, s.Batch)
		wake()
		if ctx.Err() != nil {
			s.kafka.AllowRebalance()
			return nil
		}
		fetches.EachError(func(topic string, partition int32, err error) {
			if errors.Is(err, context.Canceled) {
				return // something is to be handled again
			}
			s.Log.Warn("reading goes on after an error", "topic", topic, "partition", partition, "error", err)
		})
		var err error
		if records := fetches.Records(); len(records) > 0 || !s.ahead.clean() {
			high := map[int32]int64{}
			fetches.EachPartition(func(p kgo.FetchTopicPartition) { high[p.Partition] = p.HighWatermark })
			err = s.handle(finish, records, high)
		}
		s.kafka.AllowRebalance()
		if err != nil {
			return err // only ever because finish has ended
		}
	}
}

// handle decides records, has it told what became of them, and has it stored: at the same time if it can be (see ahead.go), or one
// after the other. What became of those before is told first. high is the end of each partition as it was when they came.
func (s *messaging) handle(ctx context.Context, records []*kgo.Record, high map[int32]int64) error {
	end := s.follow(records)
	epochs := s.behind.now()
	s.worker.see(records, high)
	if b := s.worker.swift(ctx, records); b != nil {
		b.epochs = epochs
		ok, err := s.ahead.add(ctx, b)
		if err != nil {
			end(err)
			return err
		}
		if ok {
			s.worker.remember(b.told.items)
			s.tell(ctx, b.told, func(err error) {
				end(err)
				b.err = err
				close(b.telling)
			})
			return nil
		}
	}
	redo, err := s.ahead.drain(ctx)
	if len(redo) > 0 {
		s.worker.moved.Store(true)
		records = slices.Concat(redo, records)
	}
	var told outcome
	if err == nil {
		err = s.metrics.Retry(ctx, s.Log, "store", func(ctx context.Context) (err error) {
			told, err = s.worker.handle(ctx, records)
			return err
		})
	}
	if err != nil {
		end(err)
		return err
	}
	s.worker.remember(told.items)
	s.tell(ctx, told, func(err error) {
		end(err)
		if err == nil {
			s.behind.done(records, epochs)
		}
	})
	return nil
}

// tell lets the users know what became of records, after what became of those before. It does not wait for the end, which it gives to then.
func (s *messaging) tell(ctx context.Context, o outcome, then func(error)) {
	s.telling <- struct{}{}
	go func() {
		defer func() { <-s.telling }()
		then(s.metrics.Retry(ctx, s.Log, "tell", func(ctx context.Context) error { return s.worker.tell(ctx, o) }))
	}()
}

// retell tells records once more.
func (s *messaging) retell(ctx context.Context, records []*kgo.Record) error {
	again := make([]*kgo.Record, len(records))
	for i, r := range records {
		again[i] = &kgo.Record{Topic: r.Topic, Key: r.Key, Value: r.Value, Headers: r.Headers}
	}
	if err := s.kafka.ProduceSync(ctx, again...).FirstErr(); err != nil {
		return fmt.Errorf("produce: %w", err)
	}
	return nil
}

// follow begins a span for each record of a batch, in the record's own trace, and puts it into the record's context. All last until the
// batch has come to its end, which none of its records does alone.
func (s *messaging) follow(records []*kgo.Record) (end func(error)) {
	if !s.tracer.On() {
		return func(error) {}
	}
	spans := make([]otel.Span, len(records))
	for i, r := range records {
		ctx, _ := trace.In(context.Background(), r)
		r.Context, spans[i] = s.tracer.Consume(ctx, "process", r)
	}
	return func(err error) {
		for _, span := range spans {
			if err != nil {
				trace.Fail(span, "not stored")
			}
			span.End()
		}
	}
}

// commitTime bounds how long the end of a turn waits for the database and Kafka.
const commitTime = 3 * time.Second

// commit writes what is ahead and behind, and commits all that has come to its end.
func (s *messaging) commit(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, commitTime)
	defer cancel()
	select {
	case s.telling <- struct{}{}:
		<-s.telling
	case <-ctx.Done(): // what is not told is not committed
	}
	err := errors.Join(s.ahead.wait(ctx), s.behind.write(ctx))
	if err := errors.Join(err, s.kafka.CommitMarkedOffsets(ctx)); err != nil {
		s.Log.Info("not committed at the end of a turn; the next one repeats it", "error", err)
	}
}

// forget drops what is known of partitions that go: others may write from now on.
func (s *messaging) forget(p map[string][]int32) {
	s.behind.gone(p[bus.Messages])
	s.worker.moved.Store(true)
}
