package messaging

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/labctl/labctl/services/internal/bus"
	"github.com/labctl/labctl/services/internal/store"
	"github.com/labctl/labctl/services/internal/wire"
	"github.com/labctl/labctl/services/topics"
)

// Replayed is what became of the dead letters.
type Replayed struct {
	Good int      // put back
	Gone int      // of deleted users, whose texts stay away
	Bad  []string // which can't be handled yet, and why
}

func (r Replayed) text(dry bool) string {
	done := "put back"
	if dry {
		done = "can be put back"
	}
	return strings.Join(append([]string{fmt.Sprintf("%d %s, %d can't be handled yet, %d are of deleted users", r.Good, done, len(r.Bad), r.Gone)}, r.Bad...), "\n")
}

// replayTime is how long a replay may take.
const replayTime = 10 * time.Minute

// Replay puts the dead letters back that can be handled now, unless it is dry. They stay where they are: to do it again is safe, because
// messaging takes each record once, for as long as there are dead letters of it.
func Replay(ctx context.Context, c Config, dry bool) (r Replayed, err error) {
	ctx, cancel := context.WithTimeout(ctx, replayTime)
	defer cancel()
	defer func() {
		if err != nil {
			err = fmt.Errorf("replay the dead letters: %w", err)
		}
	}()
	topic, err := ownTopic(c)
	if err != nil {
		return r, err
	}
	err = withDatabase(ctx, c, func(ctx context.Context, d *database) error {
		r, err = d.replay(ctx, c, topic, dry)
		return err
	})
	return r, err
}

func (d *database) replay(ctx context.Context, c Config, topic string, dry bool) (r Replayed, err error) {
	dead := c.Kafka.Reads(bus.Dead)
	kafka, err := bus.Open(c.Kafka, "messaging", c.Log, kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return r, err
	}
	defer kafka.Close()
	starts, err := bus.Starts(ctx, kafka, dead)
	if err != nil {
		return r, err
	}
	ends, err := bus.Ends(ctx, kafka, dead)
	if err != nil {
		return r, err
	}
	from := map[int32]kgo.Offset{}
	for n, end := range ends {
		if starts[n] < end {
			from[n] = kgo.NewOffset().At(starts[n])
		}
	}
	kafka.AddConsumePartitions(map[string]map[int32]kgo.Offset{dead: from})
	for len(from) > 0 {
		fetches := kafka.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			return r, err
		}
		for _, e := range fetches.Errors() {
			return r, fmt.Errorf("read %s/%d: %w", e.Topic, e.Partition, e.Err)
		}
		var back []*kgo.Record
		for _, letter := range fetches.Records() {
			if letter.Offset+1 >= ends[letter.Partition] {
				delete(from, letter.Partition)
			}
			if letter.Offset >= ends[letter.Partition] {
				continue // it came while this was running
			}
			in := parse(letter, "")
			if in.invalid != nil {
				r.Bad = append(r.Bad, fmt.Sprintf("  %s/%d/%d: %v", letter.Topic, letter.Partition, letter.Offset, in.invalid))
				continue
			}
			if hasKey(in.record) {
				_, gone, err := store.Get[erasure](ctx, d.erasures, in.record.Sender)
				if err != nil {
					return r, err
				}
				if gone {
					r.Gone++
					continue
				}
			}
			r.Good++
			in.record.Again = true
			back = append(back, &kgo.Record{
				Topic: topic, Key: letter.Key, Value: wire.Encode(in.record), Headers: append(slices.DeleteFunc(slices.Clone(letter.Headers), ours), bus.Source(letter)),
			})
		}
		if dry {
			continue
		}
		if err := kafka.ProduceSync(ctx, back...).FirstErr(); err != nil {
			return r, fmt.Errorf("put back: %w", err)
		}
	}
	return r, nil
}

// deadLetter makes the record of one that can never be handled.
func deadLetter(in input) *kgo.Record {
	return &kgo.Record{
		Topic: bus.Dead, Key: in.raw.Key, Value: in.raw.Value,
		Headers: append(slices.DeleteFunc(slices.Clone(in.raw.Headers), ours), kgo.RecordHeader{Key: deadReason, Value: []byte(in.invalid.Error())}),
	}
}

// ours says whether a header is one of those that messaging adds to what it writes.
func ours(h kgo.RecordHeader) bool { return h.Key == deadReason || h.Key == topics.SourceHeader }

// deadReason is the header of a dead letter that says why it is one.
const deadReason = "reason"
