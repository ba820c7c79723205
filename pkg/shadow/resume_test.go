package shadow

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/labctl/labctl/pkg/freeport"
	"github.com/labctl/labctl/pkg/kafka"
	"github.com/labctl/labctl/pkg/shadow/compare"
	"github.com/labctl/labctl/pkg/shadow/records"
	"github.com/labctl/labctl/pkg/shadow/side"
	"github.com/labctl/labctl/services/topics"
	"github.com/labctl/labctl/test/scope"
)

// memory is a store that keeps all snapshots.
type memory struct {
	mu    sync.Mutex
	all   [][]byte
	saved chan struct{}
}

func newMemory() *memory { return &memory{saved: make(chan struct{}, 1)} }

func (m *memory) load(context.Context) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.all) == 0 {
		return nil, nil
	}
	return m.all[len(m.all)-1], nil
}

func (m *memory) save(_ context.Context, snapshot []byte) error {
	m.mu.Lock()
	m.all = append(m.all, snapshot)
	m.mu.Unlock()
	select {
	case m.saved <- struct{}{}:
	default:
	}
	return nil
}

// lose forgets the last snapshots, as if the comparer had been killed before it saved them. One stays.
func (m *memory) lose(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.all = m.all[:max(1, len(m.all)-n)]
}

// chat is a broker on which a test does what the three sides of a shadow do.
type chat struct {
	t      *testing.T
	access []kgo.Opt
	client *kgo.Client
	admin  *kadm.Client
	begin  records.Position
}

// partitions of each topic.
const partitions = 2

func newChat(t *testing.T) *chat {
	t.Helper()
	addr := freeport.Of(t).Addr()
	broker, err := kafka.Start(kafka.Options{DataDir: t.TempDir(), Listen: addr})
	require.NoError(t, err)
	t.Cleanup(broker.Close)
	w := &chat{t: t, access: []kgo.Opt{kgo.SeedBrokers(addr)}}
	w.client, err = kgo.NewClient(append(w.access, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0))...)
	require.NoError(t, err)
	t.Cleanup(w.client.Close)
	w.admin = kadm.NewClient(w.client)
	w.create(topics.Messages)
	w.create(w.outputsOf(side.Live)...)
	live, err := w.admin.ListEndOffsets(t.Context(), w.outputsOf(side.Live)...)
	require.NoError(t, err)
	counted := map[int32]int64{}
	for n := range int32(partitions) {
		counted[n] = 0
	}
	w.begin = records.Begin(counted, live)
	return w
}

func (w *chat) create(names ...string) {
	w.t.Helper()
	made, err := w.admin.CreateTopics(w.t.Context(), partitions, 1, nil, names...)
	require.NoError(w.t, err)
	require.NoError(w.t, made.Error())
}

// outputsOf gives the topics that a side writes.
func (w *chat) outputsOf(s side.Side) (names []string) {
	for _, topic := range topics.Outputs("messaging") {
		names = append(names, side.NamesOf("messaging")[s].Writes(topic))
	}
	return names
}

// say writes a record for the sides, and gives its name as a source.
func (w *chat) say(partition int32, kind string) (source string) {
	w.t.Helper()
	r := &kgo.Record{Topic: topics.Messages, Partition: partition, Value: fmt.Appendf(nil, `{"type": %q}`, kind)}
	require.NoError(w.t, w.client.ProduceSync(w.t.Context(), r).FirstErr())
	return fmt.Sprint(topics.Messages, "/", partition, "/", r.Offset)
}

// write writes what follows from a record on a side.
func (w *chat) write(s side.Side, topic, key, value, source string) {
	w.t.Helper()
	r := &kgo.Record{
		Topic: side.NamesOf("messaging")[s].Writes(topic), Partition: int32(len(key) % partitions), //nolint:gosec // G115: it is small
		Key: []byte(key), Value: []byte(value), Headers: []kgo.RecordHeader{{Key: topics.SourceHeader, Value: []byte(source)}},
	}
	require.NoError(w.t, w.client.ProduceSync(w.t.Context(), r).FirstErr())
}

func (w *chat) commit(s side.Side, partition int32, next int64) {
	w.t.Helper()
	var o kadm.Offsets
	o.Add(kadm.Offset{Topic: topics.Messages, Partition: partition, At: next})
	require.NoError(w.t, w.admin.CommitAllOffsets(w.t.Context(), side.NamesOf("messaging")[s].Group, o))
}

// run is a comparer at work.
type run struct {
	*Comparer
	store *memory
	end   func()
}

// start has a comparer go on from what the store has, or begin.
func (w *chat) start(store *memory) *run {
	w.t.Helper()
	c := newComparer(w.t, compare.Rules{})
	saved, err := store.load(w.t.Context())
	require.NoError(w.t, err)
	begin, ok, err := c.resume(saved)
	require.NoError(w.t, err)
	if !ok {
		begin = w.begin
	}
	ctx, stop := context.WithCancel(w.t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- c.compare(ctx, Trial{Kafka: w.access, Begun: func(context.Context) {}}, begin, newSaver(c, store, 0))
	}()
	end := sync.OnceFunc(func() {
		stop()
		require.NoError(w.t, <-ended)
	})
	w.t.Cleanup(end)
	return &run{c, store, end}
}

// until waits until so many results are counted.
func (r *run) until(t *testing.T, samples int64) {
	t.Helper()
	r.eventually(t, func(snapshot) bool { return r.Evidence().Verdict.Samples >= samples })
	require.Equal(t, samples, r.Evidence().Verdict.Samples)
}

// eventually waits until the last snapshot is as it is to be. One is taken whenever results were given.
func (r *run) eventually(t *testing.T, is func(snapshot) bool) {
	t.Helper()
	limit := time.After(time.Minute)
	for {
		saved, err := r.store.load(t.Context())
		require.NoError(t, err)
		var s snapshot
		if saved != nil {
			require.NoError(t, json.Unmarshal(saved, &s))
			if is(s) {
				return
			}
		}
		select {
		case <-r.store.saved:
		case <-limit:
			t.Fatalf("the last snapshot is %s", saved)
		}
	}
}

// evidence gives all that the results led to. The order in which shapes of different partitions were seen is left out.
func (r *run) evidence(t *testing.T) string {
	t.Helper()
	r.sawFacts(records.Facts{}) // how far the sides had come when somebody looked last is left out
	e := r.Evidence()
	e.At = time.Time{}
	slices.SortFunc(e.Differing.Shapes, func(a, b *compare.ShapeCount) int { return strings.Compare(a.Shape, b.Shape) })
	b, err := json.MarshalIndent(e, "", " ")
	require.NoError(t, err)
	return string(b)
}

// However often a comparer is stopped or killed, and whatever the sides do meanwhile: each record counts once, and the
// evidence is that of a comparer that never was.
func TestRestartsOfTheComparerChangeNothing(t *testing.T) {
	for seed := range scope.Of(uint64(2), 20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			w, random := newChat(t), rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // G404: a test
			steady := w.start(newMemory())
			tried := w.start(newMemory())
			type said struct {
				source    string
				partition int32
				offset    int64
			}
			var waits [side.Count][]said // what a side has not handled yet
			total := int64(0)
			const steps = 12
			for step := range steps {
				for range random.IntN(20) {
					partition := random.Int32N(partitions)
					s := said{partition: partition}
					// Kinds of their own, since the order of results in different partitions says nothing.
					s.source = w.say(partition, fmt.Sprint([]string{"send", "edit"}[random.IntN(2)], partition))
					_, _, s.offset, _ = topics.ParseSource(s.source)
					for i := range waits {
						waits[i] = append(waits[i], s)
					}
					total++
				}
				if step == 2 { // the copies come later
					w.create(append(w.outputsOf(side.Candidate), w.outputsOf(side.Baseline)...)...)
				}
				for _, s := range side.All() {
					if s != side.Live && step < 2 {
						continue
					}
					n := random.IntN(len(waits[s]) + 1)
					if step == steps-1 {
						n = len(waits[s])
					}
					handled := waits[s][:n]
					waits[s] = waits[s][n:]
					type output struct{ topic, key, value, source string }
					var outputs []output
					commits := map[int32]int64{}
					for _, h := range handled {
						key, value := strings.Repeat("c", 1+int(h.offset%3)), fmt.Sprintf(`{"seq": %d}`, h.offset)
						switch faulty := s == side.Candidate; {
						case faulty && random.IntN(10) == 0:
							value = `{"seq": -1}`
						case faulty && random.IntN(10) == 0: // nothing follows
							value = ""
						case random.IntN(10) == 0:
							outputs = append(outputs, output{topics.Dead, key, value, h.source})
						case random.IntN(10) == 0: // twice
							outputs = append(outputs, output{topics.Users, key, value, h.source})
						}
						if value != "" {
							outputs = append(outputs, output{topics.Users, key, value, h.source})
						}
						commits[h.partition] = h.offset + 1
					}
					if random.IntN(4) == 0 {
						random.Shuffle(len(outputs), func(i, j int) { outputs[i], outputs[j] = outputs[j], outputs[i] })
					}
					for _, o := range outputs {
						w.write(s, o.topic, o.key, o.value, o.source)
					}
					for partition, next := range commits {
						w.commit(s, partition, next)
					}
				}
				switch random.IntN(3) {
				case 0: // a pod is replaced
					tried.end()
					tried = w.start(tried.store)
				case 1: // one is killed
					tried.end()
					tried.store.lose(random.IntN(6))
					tried = w.start(tried.store)
				}
			}
			steady.until(t, total)
			tried.until(t, total)
			require.Equal(t, steady.evidence(t), tried.evidence(t))
			require.NotEmpty(t, tried.Evidence().Differing.Shapes)
		})
	}
}

// What a side writes again after its result was complete is no part of it, before a restart and after it.
func TestRepetitionsStayRepetitions(t *testing.T) {
	w := newChat(t)
	w.create(append(w.outputsOf(side.Candidate), w.outputsOf(side.Baseline)...)...)
	first := w.start(newMemory())
	source := w.say(0, "send")
	handle := func(s side.Side, source string, next int64) {
		t.Helper()
		w.write(s, topics.Users, "c", fmt.Sprintf(`{"seq": %d}`, next), source)
		w.commit(s, 0, next)
	}
	handle(side.Candidate, source, 1)
	repeated := func(n int64) func(snapshot) bool {
		return func(s snapshot) bool {
			return s.Position.Complete[side.Candidate][0] == 1 && s.Position.Repeated[side.Candidate] == n
		}
	}
	first.eventually(t, repeated(0))
	w.write(side.Candidate, topics.Users, "c", `{"seq": 1}`, source)
	first.eventually(t, repeated(1))
	first.end()
	w.write(side.Candidate, topics.Users, "c", `{"seq": 1}`, source)
	second := w.start(first.store)
	second.eventually(t, repeated(2))
	second.end()
	third := w.start(first.store)
	handle(side.Live, source, 1)
	handle(side.Baseline, source, 1)
	third.until(t, 1)
	require.Empty(t, third.Evidence().Differing.Shapes)
	third.eventually(t, repeated(2))
}
