package records_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/labctl/labctl/pkg/freeport"
	"github.com/labctl/labctl/pkg/kafka"
	"github.com/labctl/labctl/pkg/shadow/records"
	"github.com/labctl/labctl/pkg/shadow/side"
	"github.com/labctl/labctl/services/topics"
)

// sink keeps what it is given.
type sink struct {
	mu      sync.Mutex
	results [side.Count]map[string]records.Result // by partition/offset
	upTo    [side.Count]map[int32]int64
	change  chan struct{}
}

func newSink() *sink {
	s := &sink{change: make(chan struct{}, 1)}
	for _, of := range side.All() {
		s.results[of], s.upTo[of] = map[string]records.Result{}, map[int32]int64{}
	}
	return s
}

func (s *sink) Add(of side.Side, r records.Result) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := fmt.Sprint(r.Partition, "/", r.Offset)
	if _, twice := s.results[of][at]; twice {
		return fmt.Errorf("%s of %s comes twice", at, of)
	}
	s.results[of][at] = r
	return nil
}

func (s *sink) Advance(of side.Side, partition int32, upTo int64) error {
	s.mu.Lock()
	s.upTo[of][partition] = upTo
	s.mu.Unlock()
	select {
	case s.change <- struct{}{}:
	default:
	}
	return nil
}

// trial is a broker on which a test does what the sides do.
type trial struct {
	t      *testing.T
	start  func() // the broker
	broker *kafka.Broker
	client *kgo.Client
	admin  *kadm.Client
	sink   *sink
	reader *records.Reader
}

func newTrial(t *testing.T, from map[int32]int64) *trial {
	t.Helper()
	w := &trial{t: t, sink: newSink()}
	dir, addr := t.TempDir(), freeport.Of(t).Addr()
	w.start = func() {
		var err error
		w.broker, err = kafka.Start(kafka.Options{DataDir: dir, Listen: addr})
		require.NoError(t, err)
	}
	w.start()
	t.Cleanup(func() { w.broker.Close() })
	access := []kgo.Opt{kgo.SeedBrokers(addr)}
	client, err := kgo.NewClient(append(access, kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	require.NoError(t, err)
	t.Cleanup(client.Close)
	w.client, w.admin = client, kadm.NewClient(client)
	w.create(topics.Messages, topics.Users, topics.Dead)
	w.write(topics.Users, "c", `{"of": "before"}`, "messages/0/0")
	live, err := w.admin.ListEndOffsets(t.Context(), topics.Users, topics.Dead)
	require.NoError(t, err)
	w.reader, err = records.Open(records.Options{
		Kafka: access, Service: "messaging", Sides: side.NamesOf("messaging"), Begin: records.Begin(from, live),
	}, w.sink)
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.reader.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		require.NoError(t, <-ended)
	})
	return w
}

func (w *trial) create(names ...string) {
	w.t.Helper()
	made, err := w.admin.CreateTopics(w.t.Context(), 2, 1, nil, names...)
	require.NoError(w.t, err)
	require.NoError(w.t, made.Error())
}

// say writes a record for the sides.
func (w *trial) say(partition int32, kind string) {
	w.t.Helper()
	r := &kgo.Record{Topic: topics.Messages, Partition: partition, Value: fmt.Appendf(nil, `{"type": %q}`, kind)}
	require.NoError(w.t, w.client.ProduceSync(w.t.Context(), r).FirstErr())
}

// write writes what follows from a record.
func (w *trial) write(topic, key, value, source string) {
	w.t.Helper()
	w.tell("ann,ben", topic, key, value, source)
}

// tell writes what follows from a record, for some users.
func (w *trial) tell(users, topic, key, value, source string) {
	w.t.Helper()
	r := &kgo.Record{Topic: topic, Key: []byte(key), Value: []byte(value), Headers: []kgo.RecordHeader{
		{Key: "to", Value: []byte(users)}, {Key: "source", Value: []byte(source)}, {Key: "traceparent", Value: []byte("x")},
	}}
	require.NoError(w.t, w.client.ProduceSync(w.t.Context(), r).FirstErr())
}

// another has another process write from now on.
func (w *trial) another() {
	w.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(w.broker.Addr()), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	require.NoError(w.t, err)
	w.t.Cleanup(client.Close)
	w.client = client
}

func (w *trial) commit(of side.Side, partition int32, next int64) {
	w.t.Helper()
	var o kadm.Offsets
	o.Add(kadm.Offset{Topic: topics.Messages, Partition: partition, At: next})
	require.NoError(w.t, w.admin.CommitAllOffsets(w.t.Context(), side.NamesOf("messaging")[of].Group, o))
}

// until waits until a side has given all up to an offset.
func (w *trial) until(of side.Side, partition int32, upTo int64) {
	w.t.Helper()
	for {
		w.sink.mu.Lock()
		now, ok := w.sink.upTo[of][partition]
		w.sink.mu.Unlock()
		if ok && now >= upTo {
			require.Equal(w.t, upTo, now)
			return
		}
		select {
		case <-w.sink.change:
		case <-time.After(time.Minute):
			w.t.Fatalf("%s does not come to %d of partition %d; it is at %d", of, upTo, partition, now)
		}
	}
}

// of gives a result.
func (w *trial) of(s side.Side, at string) (r records.Result, outputs []records.Output) {
	w.t.Helper()
	w.sink.mu.Lock()
	defer w.sink.mu.Unlock()
	r, ok := w.sink.results[s][at]
	require.True(w.t, ok, "%s has a result for %s", s, at)
	var body struct{ Outputs []records.Output }
	require.NoError(w.t, json.Unmarshal(r.Body, &body))
	return r, body.Outputs
}

// A result is complete once the side has committed its record, and is all that the side wrote because of it.
func TestResults(t *testing.T) {
	w := newTrial(t, map[int32]int64{0: 1, 1: 0})
	w.say(0, "send") // before the beginning
	w.say(0, "send")
	w.say(0, "edit")
	w.say(0, "read")
	w.say(1, "join")
	w.write(topics.Users, "c", `{"seq": 1}`, "messages/0/1")
	w.write(topics.Users, "b", `{"seq": 1}`, "messages/0/1")
	w.write(topics.Users, "c", `{"seq": 2}`, "messages/0/2")
	w.write(topics.Users, "c", `{"is": "of a request"}`, "presence/0/2")
	w.commit(side.Live, 0, 3)
	w.until(side.Live, 0, 2)

	first, outputs := w.of(side.Live, "0/1")
	require.Equal(t, "send", first.Kind)
	require.Positive(t, first.Latency)
	require.Equal(t, []string{"b", "c"}, []string{outputs[0].Key, outputs[1].Key}, "in an order that all sides have")
	require.JSONEq(t, `{"seq": 1}`, string(outputs[0].Value))
	require.Equal(t, "ann,ben", outputs[0].To)
	second, outputs := w.of(side.Live, "0/2")
	require.Equal(t, "edit", second.Kind)
	require.Len(t, outputs, 1)
	w.sink.mu.Lock()
	require.Len(t, w.sink.results[side.Live], 2, "nothing that is not committed, and nothing from before the beginning")
	require.Empty(t, w.sink.results[side.Candidate])
	w.sink.mu.Unlock()

	w.commit(side.Live, 0, 4)
	w.commit(side.Live, 1, 1)
	w.until(side.Live, 0, 3)
	w.until(side.Live, 1, 0)
	third, outputs := w.of(side.Live, "0/3")
	require.Empty(t, outputs, "nothing is a result, too")
	require.Empty(t, third.Kind)
	require.Zero(t, third.Latency)
	require.JSONEq(t, `{"outputs": []}`, string(third.Body))
}

// The topics of a copy are read from when they are there. What it writes twice or in another order shows.
func TestCopies(t *testing.T) {
	w := newTrial(t, map[int32]int64{0: 0, 1: 0})
	for range 3 {
		w.say(0, "send")
	}
	users, dead := "shadow.messaging."+topics.Users, "shadow.messaging."+topics.Dead
	w.create(users, dead)
	w.write(users, "c", `{"seq": 2}`, "messages/0/1")
	w.write(users, "c", `{"seq": 2}`, "messages/0/1")
	w.write(users, "c", `{"seq": 1}`, "messages/0/0")
	w.write(dead, "c", "no JSON", "messages/0/2")
	w.commit(side.Candidate, 0, 3)
	w.until(side.Candidate, 0, 2)

	_, outputs := w.of(side.Candidate, "0/0")
	require.Len(t, outputs, 1)
	require.Zero(t, outputs[0].Times)
	require.True(t, outputs[0].Disordered)
	_, outputs = w.of(side.Candidate, "0/1")
	require.Len(t, outputs, 1)
	require.Equal(t, 2, outputs[0].Times)
	require.False(t, outputs[0].Disordered)
	letter, outputs := w.of(side.Candidate, "0/2")
	require.True(t, letter.Dead)
	require.JSONEq(t, `"no JSON"`, string(outputs[0].Value))
	require.Equal(t, topics.Dead, outputs[0].Topic, "by its name in the table, which all sides have")

	// As after a crash.
	w.write(users, "c", `{"seq": 1}`, "messages/0/0")
	w.say(0, "send")
	w.write(users, "c", `{"seq": 3}`, "messages/0/3")
	w.commit(side.Candidate, 0, 4)
	w.until(side.Candidate, 0, 3)
	require.EqualValues(t, 1, w.reader.Facts().Repeated[side.Candidate])
	_, outputs = w.of(side.Candidate, "0/3")
	require.False(t, outputs[0].Disordered)
	require.Equal(t, []int64{4, 0, 4}, slices.Collect(func(yield func(int64) bool) {
		for _, lag := range w.reader.Facts().Lag {
			if !yield(lag) {
				return
			}
		}
	}))
}

// A side that handles records once more, or sends a batch once more, writes the same again. That is no difference: consumers take it once.
func TestHandledAgain(t *testing.T) {
	for name, tt := range map[string]struct {
		isOther  bool  // another process does it
		repeated int64 // how many outputs
		records  []int
	}{
		"the last one, by another process":        {true, 1, []int{1}},
		"several, by the same process":            {false, 2, []int{0, 1}},
		"several, by another, which then goes on": {true, 2, []int{0, 1, 2}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTrial(t, map[int32]int64{0: 0, 1: 0})
			for i := range 3 {
				w.say(0, "send")
				if i < 2 {
					w.write(topics.Users, "c", fmt.Sprintf(`{"seq": %d}`, i), fmt.Sprintf("messages/0/%d", i))
				}
			}
			if tt.isOther {
				w.another()
			}
			for _, i := range tt.records {
				w.write(topics.Users, "c", fmt.Sprintf(`{"seq": %d}`, i), fmt.Sprintf("messages/0/%d", i))
			}
			w.commit(side.Live, 0, 3)
			w.until(side.Live, 0, 2)
			for i := range 2 {
				_, outputs := w.of(side.Live, fmt.Sprintf("0/%d", i))
				require.Len(t, outputs, 1)
				require.Zero(t, outputs[0].Times)
				require.False(t, outputs[0].Disordered)
			}
			require.Equal(t, tt.repeated, w.reader.Facts().Repeated[side.Live])
		})
	}
}

// Who handles a record once more knows the members of then: some have left, others have come. Those who were told before take it once; that
// somebody else is told is a difference.
func TestHandledAgainForOthers(t *testing.T) {
	for name, tt := range map[string]struct {
		again   string
		isOther bool
		want    []string // who is told
	}{
		"one has left":                  {"ben", true, []string{"ann,ben"}},
		"in another order":              {"ben,ann", true, []string{"ann,ben"}},
		"one has come":                  {"ann,ben,cal", true, []string{"ann,ben", "cal"}},
		"one has come, another left":    {"cal,ben", true, []string{"ann,ben", "cal"}},
		"the same process tells others": {"ben", false, []string{"ann,ben", "ben"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTrial(t, map[int32]int64{0: 0, 1: 0})
			for _, kind := range []string{"read", "leave", "send"} {
				w.say(0, kind)
			}
			w.write(topics.Users, "c", `{"read": 1}`, "messages/0/0")
			w.write(topics.Users, "c", `{"left": "ann"}`, "messages/0/1")
			if tt.isOther {
				w.another()
			}
			w.tell(tt.again, topics.Users, "c", `{"read": 1}`, "messages/0/0")
			w.commit(side.Live, 0, 3)
			w.until(side.Live, 0, 2)
			_, outputs := w.of(side.Live, "0/0")
			var got []string
			for _, o := range outputs {
				got = append(got, o.To)
			}
			require.Equal(t, tt.want, got)
		})
	}
}

// A broker that is away for a while ends nothing, and no result is lost or given twice.
func TestBrokerIsAway(t *testing.T) {
	w := newTrial(t, map[int32]int64{0: 0, 1: 0})
	w.say(0, "send")
	w.write(topics.Users, "c", `{"seq": 1}`, "messages/0/0")
	w.commit(side.Live, 0, 1)
	w.until(side.Live, 0, 0)
	w.broker.Close()
	w.start()
	w.say(0, "send")
	w.write(topics.Users, "c", `{"seq": 2}`, "messages/0/1")
	w.commit(side.Live, 0, 2)
	w.until(side.Live, 0, 1)
	_, outputs := w.of(side.Live, "0/1")
	require.Len(t, outputs, 1)
	require.JSONEq(t, `{"seq": 2}`, string(outputs[0].Value))
	require.Zero(t, w.reader.Facts().Lost[side.Live])
}
