// Package bus is how services reach Kafka.
package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// The topics (DESIGN, section 6).
const (
	Messages = "messages"      // key conversation: what users send and how groups change
	Users    = "users"         // key user: what a user's devices must see
	Sessions = "sessions"      // key session: sessions that have ended
	Presence = "presence"      // key user: leases of connections
	Dead     = "messages.dead" // records of messages that can never be handled, with the reason
)

// Partitions of each topic but Dead and Sessions. Keys must keep their partition, so it can't be changed later.
const Partitions = 12

func topics() []struct {
	name       string
	partitions int32
	configs    map[string]*string
} {
	days := func(n float64) *string {
		return new(strconv.FormatInt(int64(n*24*float64(time.Hour.Milliseconds())), 10))
	}
	mib := func(n int) *string { return new(strconv.Itoa(n << 20)) }
	hour := days(1.0 / 24)
	return []struct {
		name       string
		partitions int32
		configs    map[string]*string
	}{
		// What is stored is in the database; the log must last over the longest time that messaging is down.
		{Messages, Partitions, map[string]*string{"cleanup.policy": new("delete"), "retention.ms": days(3), "retention.bytes": mib(64), "segment.bytes": mib(8), "segment.ms": hour}},
		// Gateways read from the end, so it must last over a broker's restart only.
		{Users, Partitions, map[string]*string{"cleanup.policy": new("delete"), "retention.ms": hour, "retention.bytes": mib(32), "segment.bytes": mib(8), "segment.ms": hour}},
		// Whoever starts reads all of it. It must last longer than an access token.
		{Sessions, 1, map[string]*string{"cleanup.policy": new("delete"), "retention.ms": hour, "segment.bytes": mib(1), "segment.ms": new("600000")}},
		// A lease is good for a minute. Compaction keeps replay short.
		{Presence, Partitions, map[string]*string{"cleanup.policy": new("compact,delete"), "retention.ms": hour, "segment.bytes": mib(1), "segment.ms": new("600000")}},
		{Dead, 1, map[string]*string{"cleanup.policy": new("delete"), "retention.ms": days(30), "retention.bytes": mib(64)}},
	}
}

// Create makes the topics that are missing. Several instances may do it at once.
func Create(ctx context.Context, c *kgo.Client) error {
	admin := kadm.NewClient(c)
	for _, t := range topics() {
		r, err := admin.CreateTopic(ctx, t.partitions, -1, t.configs, t.name)
		if err == nil {
			err = r.Err
		}
		if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
			return fmt.Errorf("create topic %s: %w", t.name, err)
		}
	}
	return nil
}

// Open makes a client for service, which may both produce and consume. The brokers may be down yet.
//
// A record is acknowledged once all in-sync replicas have it, and is written once however often it is sent (idempotent
// producer). It is sent at once: chat messages do not wait for company.
func Open(brokers []string, service string, log *slog.Logger, opts ...kgo.Opt) (*kgo.Client, error) {
	c, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(brokers...),
		kgo.ClientID(service),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerLinger(0),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.MetadataMinAge(250 * time.Millisecond), // a restarted broker is found again soon
		kgo.RetryBackoffFn(func(tries int) time.Duration {
			return min(50*time.Millisecond<<min(tries, 6), 2*time.Second)
		}),
		kgo.WithLogger(logger{log}),
	}, opts...)...)
	if err != nil {
		return nil, fmt.Errorf("open kafka: %w", err)
	}
	return c, nil
}

// Ready says why the brokers do not answer.
func Ready(ctx context.Context, c *kgo.Client) error {
	if err := c.Ping(ctx); err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	return nil
}

// Group are the options of a consumer group that commits what MarkCommitRecords has marked, and whose partitions do not move
// while a poll is being handled. A member that is killed loses its partitions after 6 s.
func Group(name string, topics ...string) []kgo.Opt {
	return []kgo.Opt{
		kgo.ConsumerGroup(name),
		kgo.ConsumeTopics(topics...),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.AutoCommitMarks(),
		kgo.AutoCommitInterval(time.Second),
		kgo.BlockRebalanceOnPoll(),
		kgo.SessionTimeout(6 * time.Second),
		kgo.HeartbeatInterval(time.Second),
		kgo.FetchMaxWait(500 * time.Millisecond),
	}
}

// Ends gives the end offsets of a topic: partition to the offset that the next record gets.
func Ends(ctx context.Context, c *kgo.Client, topic string) (map[int32]int64, error) {
	return offsets(ctx, "end", topic, kadm.NewClient(c).ListEndOffsets)
}

// Starts gives the start offsets of a topic: partition to the offset of the first record that it still holds.
func Starts(ctx context.Context, c *kgo.Client, topic string) (map[int32]int64, error) {
	return offsets(ctx, "start", topic, kadm.NewClient(c).ListStartOffsets)
}

func offsets(ctx context.Context, what, topic string, ask func(context.Context, ...string) (kadm.ListedOffsets, error)) (map[int32]int64, error) {
	list, err := ask(ctx, topic)
	if err == nil {
		err = list.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("list %s offsets of %s: %w", what, topic, err)
	}
	found := map[int32]int64{}
	list.Each(func(o kadm.ListedOffset) { found[o.Partition] = o.Offset })
	if len(found) == 0 {
		return nil, fmt.Errorf("list %s offsets of %s: no partition", what, topic)
	}
	return found, nil
}

type logger struct{ log *slog.Logger }

func (l logger) Level() kgo.LogLevel {
	if l.log != nil && l.log.Enabled(context.Background(), slog.LevelDebug) {
		return kgo.LogLevelInfo
	}
	return kgo.LogLevelWarn
}

func (l logger) Log(level kgo.LogLevel, msg string, kv ...any) {
	if l.log == nil {
		return
	}
	at := slog.LevelDebug
	switch level {
	case kgo.LogLevelError:
		at = slog.LevelWarn // the client goes on by itself; who gives up says so
	case kgo.LogLevelWarn:
		at = slog.LevelInfo
	}
	l.log.Log(context.Background(), at, "kafka: "+msg, kv...)
}
