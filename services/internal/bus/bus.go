// Package bus is how services reach Kafka.
package bus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/labctl/labctl/services/internal/trace"
	"github.com/labctl/labctl/services/topics"
)

// The topics, by the table in services/topics.
const (
	Messages = topics.Messages
	Users    = topics.Users
	Sessions = topics.Sessions
	Presence = topics.Presence
	Dead     = topics.Dead
)

// Open makes a client for service, which may both produce and consume. The brokers may be down yet.
//
// A record is acknowledged once all in-sync replicas have it, and is written once however often it is sent (idempotent
// producer). It is sent at once: chat messages do not wait for company. But while a broker has not acknowledged the records before, those that come wait
// to be sent together, since it may sync each request by itself. A record carries the trace within which it is produced.
func Open(config Config, service string, log *slog.Logger, opts ...kgo.Opt) (*kgo.Client, error) {
	all := append(config.Access(),
		kgo.ClientID(service),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerLinger(0),
		kgo.MaxProduceRequestsInflightPerBroker(1),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.MetadataMinAge(250*time.Millisecond), // a restarted broker is found again soon
		kgo.RetryBackoffFn(func(tries int) time.Duration {
			return min(50*time.Millisecond<<min(tries, 6), 2*time.Second)
		}),
		kgo.WithLogger(logger{log: log}),
		kgo.WithHooks(trace.Hooks()),
	)
	c, err := kgo.NewClient(append(all, opts...)...)
	if err != nil {
		return nil, fmt.Errorf("open kafka: %w", err)
	}
	return c, nil
}

// Access are the options by which a client reaches the brokers.
func (c Config) Access() []kgo.Opt {
	all := []kgo.Opt{kgo.SeedBrokers(c.Brokers...)}
	if c.TLS != nil {
		all = append(all, kgo.DialTLSConfig(c.TLS))
	}
	if c.Login != nil {
		all = append(all, kgo.SASL(c.Login))
	}
	return all
}

// Ready says why the brokers do not answer.
func Ready(ctx context.Context, c *kgo.Client) error {
	err := c.Ping(ctx)
	if errors.Is(err, io.EOF) && c.OptValue(kgo.SASL) != nil {
		return fmt.Errorf("kafka: the brokers hang up, as they do on a log-in or a mechanism that they refuse: %w", err)
	}
	if err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	return nil
}

// Member are the options of a member of the service's consumer group, which reads a topic of the table and commits what MarkCommitRecords has marked,
// and whose partitions do not move while a poll is being handled. A member that is killed loses its partitions after 6 s. adjust, if any, may change
// where partitions are read from on.
func (c Config) Member(topic string, adjust func(context.Context, map[int32]kgo.Offset) error) []kgo.Opt {
	name := c.Reads(topic)
	return []kgo.Opt{
		kgo.ConsumerGroup(c.Group),
		kgo.ConsumeTopics(name),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.AdjustFetchOffsetsFn(func(ctx context.Context, offsets map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
			for n, o := range offsets[name] {
				if start, ok := c.Start[n]; ok && o.EpochOffset().Offset < 0 { // nothing was ever committed
					offsets[name][n] = kgo.NewOffset().At(start)
				}
			}
			if adjust == nil || len(offsets[name]) == 0 {
				return offsets, nil
			}
			return offsets, adjust(ctx, offsets[name])
		}),
		kgo.AutoCommitMarks(),
		kgo.AutoCommitInterval(time.Second),
		kgo.BlockRebalanceOnPoll(),
		kgo.SessionTimeout(6 * time.Second),
		// A partition that moves stands still until its next member hears of it, with a heartbeat, and until the fetch of its other partitions
		// returns. In a rollout people wait for that.
		kgo.HeartbeatInterval(200 * time.Millisecond),
		kgo.FetchMaxWait(100 * time.Millisecond),
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

// TopicID gives what tells a topic from one of the same name before or after it.
func TopicID(ctx context.Context, c *kgo.Client, topic string) (string, error) {
	list, err := kadm.NewClient(c).ListTopics(ctx, topic)
	if err == nil {
		err = list[topic].Err
	}
	if err != nil {
		return "", fmt.Errorf("look for topic %s: %w", topic, err)
	}
	return list[topic].ID.String(), nil
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

type logger struct {
	log     *slog.Logger
	resets  prometheus.Counter // nil: they are not counted
	onReset func()             // nil: nobody else is to know
}

func (l logger) Level() kgo.LogLevel {
	if l.resets != nil || l.log != nil && l.log.Enabled(context.Background(), slog.LevelDebug) {
		return kgo.LogLevelInfo
	}
	return kgo.LogLevelWarn
}

func (l logger) Log(level kgo.LogLevel, msg string, kv ...any) {
	reset := l.resets != nil && isReset(msg)
	if reset {
		l.resets.Inc()
		if l.onReset != nil {
			l.onReset()
		}
	}
	if l.log == nil {
		return
	}
	if reset {
		l.log.Error("records are gone that were to be read next; reading goes on with those that there are. The topic's retention is too short, or the brokers have lost records", kv...)
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
