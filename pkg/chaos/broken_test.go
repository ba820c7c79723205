package chaos

import (
	"cmp"
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/labctl/labctl/pkg/load"
)

// The checker must find a chat that is broken. The services have no switch for that, and must not: what stands between them and the
// broker, or beside them at the database, makes the very same of their work as the mistake would.

// topicNames learns the names of topics from what a client is told of them.
type topicNames struct {
	mu    sync.Mutex
	names map[[16]byte]string
}

func (n *topicNames) learn(answer kmsg.Response) {
	if m, ok := answer.(*kmsg.MetadataResponse); ok {
		n.mu.Lock()
		defer n.mu.Unlock()
		for _, t := range m.Topics {
			if t.Topic != nil {
				n.names[t.TopicID] = *t.Topic
			}
		}
	}
}

func (n *topicNames) name(topic string, id [16]byte) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if topic != "" {
		return topic
	}
	return n.names[id]
}

// commitFirst makes of messaging one that reads on while it cannot write, and commits what it has read: who comes after it begins behind
// all that was said.
func commitFirst() func(part string, l *link) {
	n := &topicNames{names: map[[16]byte]string{}}
	var mu sync.Mutex
	said := map[int32]int64{} // the offset behind what was said last, by partition
	return func(part string, l *link) {
		l.tamper = func(_ kmsg.Request, answer kmsg.Response) {
			n.learn(answer)
			mu.Lock()
			defer mu.Unlock()
			switch a := answer.(type) {
			case *kmsg.ProduceResponse:
				for _, t := range a.Topics {
					for _, p := range t.Partitions {
						if n.name(t.Topic, t.TopicID) == "messages" {
							said[p.Partition] = max(said[p.Partition], p.BaseOffset+1)
						}
					}
				}
			case *kmsg.OffsetFetchResponse:
				if !strings.HasPrefix(part, "messaging/") {
					return
				}
				for g := range a.Groups {
					for t := range a.Groups[g].Topics {
						for p := range a.Groups[g].Topics[t].Partitions {
							part := &a.Groups[g].Topics[t].Partitions[p]
							part.Offset = max(part.Offset, said[part.Partition])
						}
					}
				}
			}
		}
	}
}

// sharedGroup makes of the gateways ones that share a consumer group: each gets the records of its partitions alone.
func sharedGroup() func(part string, l *link) {
	n := &topicNames{names: map[[16]byte]string{}}
	return func(part string, l *link) {
		number, ok := strings.CutPrefix(part, "gateway/")
		if !ok {
			return
		}
		mine := int32(number[0] - '0')
		l.tamper = func(_ kmsg.Request, answer kmsg.Response) {
			n.learn(answer)
			f, ok := answer.(*kmsg.FetchResponse)
			if !ok {
				return
			}
			held := false
			for _, t := range f.Topics {
				for p := range t.Partitions {
					if n.name(t.Topic, t.TopicID) == "users" && t.Partitions[p].Partition%2 != mine && len(t.Partitions[p].RecordBatches) > 0 {
						t.Partitions[p].RecordBatches = nil
						held = true
					}
				}
			}
			if held {
				time.Sleep(20 * time.Millisecond) // the gateway asks for it again at once
			}
		}
	}
}

// forget makes of messaging one that, once it has been started anew, does not know what it has stored: its idempotency keys are deleted all
// the time.
func forget(t *testing.T, p *Processes) {
	c, err := mongo.Connect(options.Client().ApplyURI("mongodb://" + p.parts["mongodb"].address))
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		for sleep(ctx, 10*time.Millisecond) == nil {
			_, _ = c.Database("messaging").Collection("sends").DeleteMany(ctx, bson.D{})
		}
	})
	t.Cleanup(func() {
		stop()
		running.Wait()
		_ = c.Disconnect(context.Background())
	})
}

func TestBrokenBuildsAreFound(t *testing.T) {
	instances := map[string]int{"auth": 1, "messaging": 1, "groups": 1, "presence": 1, "gateway": 2}
	// Messaging is killed when it has read what it cannot write.
	killed := []Fault{
		{At: 500 * time.Millisecond, Kind: Cut, Part: "messaging/0", To: "mongodb", Time: 3500 * time.Millisecond},
		{At: 3 * time.Second, Kind: Kill, Part: "messaging/0", Time: 100 * time.Millisecond},
	}
	// At this rate what is sent again was committed before messaging was killed.
	forgotten := []Fault{{At: 3500 * time.Millisecond, Kind: Kill, Part: "messaging/0", Time: 100 * time.Millisecond}, {At: 4500 * time.Millisecond, Kind: Retry}}
	retries := []Fault{{At: time.Second, Kind: Retry}, {At: 3 * time.Second, Kind: Retry}}
	for name, tc := range map[string]struct {
		tamper func(string, *link)
		beside func(*testing.T, *Processes)
		faults []Fault
		rate   float64                  // 0: 40
		found  func(load.Verdict) int64 // nil: nothing is broken
	}{
		"as it is, killed":  {faults: killed},
		"as it is, retried": {faults: retries},
		"commit before write": {tamper: commitFirst(), faults: killed,
			found: func(v load.Verdict) int64 { return v.Unanswered + v.Lost }},
		"no dedupe": {beside: forget, rate: 10, faults: forgotten,
			found: func(v load.Verdict) int64 { return v.Duplicated }},
		"a shared consumer group of gateways": {tamper: sharedGroup(),
			found: func(v load.Verdict) int64 { return min(v.Lost, v.Unanswered) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := start(t, ProcessesOptions{Instances: instances, tamper: tc.tamper})
			if tc.beside != nil {
				tc.beside(t, p)
			}
			settle := 30 * time.Second // what is broken does not get well, but the rest must, on a busy machine, too
			if tc.found == nil {
				settle = 3 * time.Minute
			}
			res, err := Run(t.Context(), Options{Lab: p, Seed: 1, Duration: 5 * time.Second, Settle: settle, Rate: cmp.Or(tc.rate, 40), Key: key, Faults: append([]Fault{}, tc.faults...)})
			t.Logf("%+v", res.Verdict)
			if tc.found == nil {
				require.NoError(t, err, "%v", res.Verdict.Examples)
				return
			}
			require.ErrorIs(t, err, ErrBroken)
			require.Positive(t, tc.found(res.Verdict), "%+v", res.Verdict)
		})
	}
}
