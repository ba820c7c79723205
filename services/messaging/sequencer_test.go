package messaging

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
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"golang.org/x/sync/errgroup"

	"github.com/labctl/labctl/services/internal/store"
	"github.com/labctl/labctl/services/internal/wire"
	"github.com/labctl/labctl/test/scope"
)

// crowd says things at random, seeded: what people do, what they may not do, and what comes again.
type crowd struct {
	rand   *rand.Rand
	users  []string
	said   []wire.Record
	dm, g  string
	events int64
}

const partitionOfAll = 3

func newCrowd(seed uint64) *crowd {
	c := &crowd{rand: rand.New(rand.NewPCG(seed, seed))} //nolint:gosec // to be repeated
	for i := range 5 {
		c.users = append(c.users, fmt.Sprintf("00000000-0000-7000-8000-%012d", i))
	}
	c.dm, c.g = wire.DirectID(c.users[0], c.users[1]), "g:00000000-0000-4000-8000-000000000001"
	return c
}

func (c *crowd) some(list []string) string { return list[c.rand.IntN(len(list))] }

// next is the next record.
func (c *crowd) next(i int) (r wire.Record) {
	defer func() { c.said = append(c.said, r) }()
	if len(c.said) > 0 && c.rand.IntN(6) == 0 {
		r = c.said[c.rand.IntN(len(c.said))]
		r.Again = c.rand.IntN(2) == 0
		return r
	}
	r = wire.Record{Conversation: c.some([]string{c.dm, c.g, c.g}), Sender: c.some(c.users), ClientID: fmt.Sprint("c", i), At: wire.At(time.Unix(int64(i), 0))}
	r.Target = 1 + c.rand.Int64N(int64(i+4)/3+1)
	switch n := c.rand.IntN(20); {
	case n < 8:
		r.Type, r.Body, r.Target = wire.RecordSend, fmt.Sprint("text ", i), 0
		if c.rand.IntN(4) == 0 {
			r.ReplyTo = 1 + c.rand.Int64N(int64(i+1))
		}
		r.Mentions = []string{c.some(c.users)}
	case n < 11:
		r.Type, r.Emoji, r.On = wire.RecordReact, c.some([]string{"👍", "🎉"}), c.rand.IntN(3) > 0
	case n < 13:
		r.Type, r.Body = wire.RecordEdit, fmt.Sprint("edit ", i)
	case n < 14:
		r.Type = []string{wire.RecordDelete, wire.RecordErase}[i%2]
	case n < 16:
		r.Type, r.ClientID = wire.RecordRead, ""
	case n < 17:
		r.Type, r.Conversation, r.Sender, r.Target = wire.RecordBlock, c.dm, c.some(c.users[:2]), 0
		r.ClientID, r.Event = wire.BlockID(1+c.rand.Int64N(6)), &wire.GroupEvent{Type: c.some([]string{wire.Blocked, wire.Unblocked})}
	default:
		c.events++
		r.Type, r.Conversation, r.Sender, r.Target, r.ClientID = wire.RecordGroup, c.g, c.users[0], 0, fmt.Sprint(c.events)
		kind := c.some([]string{wire.MemberAdded, wire.MemberAdded, wire.MemberRemoved, wire.MemberLeft, wire.Renamed, wire.RoleChanged})
		if c.events == 1 {
			kind = wire.Created
		}
		r.Event = &wire.GroupEvent{Type: kind, Title: fmt.Sprint("title ", i), Users: []string{c.some(c.users[1:])}, Role: wire.Admin}
		if kind == wire.Created {
			r.Event.Users = c.users[:3]
		}
	}
	return r
}

// records gives the first n records of a partition.
func (c *crowd) records(t *testing.T, n int) (all []*kgo.Record) {
	t.Helper()
	for i := range n {
		r := c.next(i)
		require.NoError(t, r.Check(r.Conversation), r.Type)
		all = append(all, &kgo.Record{Topic: "messages", Partition: partitionOfAll, Offset: int64(i), Key: []byte(r.Conversation), Value: wire.Encode(r)})
	}
	return all
}

// decided is what became of a record, as far as anybody but its decider can tell.
type decided struct {
	Outcome outcome
	Code    string
	Message string
	Frames  []string
}

func tell(t *testing.T, e effects) decided {
	t.Helper()
	d := decided{Outcome: e.outcome, Code: e.code}
	if e.message != nil {
		b, err := json.Marshal(e.message.said())
		require.NoError(t, err)
		d.Message = string(b)
	}
	if e.outcome != invalid {
		for _, f := range frames(e) {
			d.Frames = append(d.Frames, string(f.Key)+" "+string(f.Headers[0].Value)+" "+string(f.Value))
		}
	}
	return d
}

// instance is messaging without Kafka: it decides records and stores what follows.
type instance struct {
	*decider
	projector *projector
	committed int64
	end       int64 // the records before may have been decided before

	batches   int64     // so far
	decided   []effects // by the records that were handled last
	published []*batch  // which are not stored yet
}

func newInstance(t *testing.T, d *database, committed, end int64) *instance {
	t.Helper()
	i := &instance{committed: committed, end: end}
	i.decider = &decider{
		restorer: &restorer{d, newState()}, quarantine: newQuarantine(d, func() time.Time { return time.Unix(0, 0) }, func(hold, error) {}),
		retry: again, out: i, follow: func([]input) func(error) { return func(error) {} },
	}
	i.projector = newProjector(d, again, func(upTo []source) {
		for _, s := range upTo {
			i.committed = max(i.committed, s.Offset+1)
		}
	}, func(string, int64) {}, func(string, error) {})
	return i
}

// again is retry without its pauses.
func again(ctx context.Context, f func(context.Context) error) error {
	for {
		if err := f(ctx); err == nil || ctx.Err() != nil || !isOwn(err) {
			return err
		}
	}
}

// add takes a batch as the pipeline does, which publishes it and may store it later.
func (i *instance) add(decide func(number int64) *batch) {
	i.batches++
	b := decide(i.batches)
	i.quarantine.divert([]*batch{b})
	i.decided, i.published = append(i.decided, b.effects...), append(i.published, b)
}

func (i *instance) drain(ctx context.Context) error {
	batches := i.published
	tries := attempts{}
	if err := again(ctx, func(ctx context.Context) error { return i.quarantine.store(ctx, batches, tries) }); err != nil {
		return err
	}
	for _, b := range batches {
		i.projector.add(b)
	}
	i.published = nil
	return nil
}

// decide decides records, those before the commit for the window alone.
func (i *instance) decide(ctx context.Context, records []*kgo.Record) ([]effects, error) {
	var inputs []input
	for _, r := range records {
		in := parse(r, "log")
		i.state.recognize(&in)
		if r.Offset >= i.committed {
			inputs = append(inputs, in)
		}
	}
	i.decided = nil
	err := i.handle(ctx, inputs, func(s source) bool { return s.Offset < i.end })
	return i.decided, err
}

func chunks(r *rand.Rand, records []*kgo.Record) (all [][]*kgo.Record) {
	for len(records) > 0 {
		n := min(len(records), 1+r.IntN(12))
		all, records = append(all, records[:n]), records[n:]
	}
	return all
}

// reference decides all records one by one, and stores each at once.
func reference(t *testing.T, records []*kgo.Record) (all []decided, end string) {
	t.Helper()
	d := newTestDatabase(t)
	i := newInstance(t, d, 0, 0)
	for _, r := range records {
		decided, err := i.decide(t.Context(), []*kgo.Record{r})
		require.NoError(t, err)
		all = append(all, tell(t, decided[len(decided)-1])) // before it may be what restore has found
		require.NoError(t, i.drain(t.Context()))
	}
	require.NoError(t, i.projector.write(t.Context()))
	return all, dump(t, d)
}

// dump is what the database has.
func dump(t *testing.T, d *database) (all string) {
	t.Helper()
	for _, c := range []*mongo.Collection{d.messages, d.sends, d.rosters, d.heads, d.reads, d.buckets, d.inboxes, d.positions} {
		cursor, err := c.Find(t.Context(), bson.D{})
		require.NoError(t, err)
		var docs []bson.M
		require.NoError(t, cursor.All(t.Context(), &docs))
		var lines []string
		for _, doc := range docs {
			b, err := json.Marshal(doc)
			require.NoError(t, err)
			lines = append(lines, c.Name()+" "+string(b)+"\n")
		}
		slices.Sort(lines)
		for _, l := range lines {
			all += l
		}
	}
	return all
}

// Whatever the batches, and also where they are decided long before they are stored, the effects are the same.
func TestBatchesDoNotMatter(t *testing.T) {
	for seed := range scope.Of[uint64](2, 6) {
		records := newCrowd(seed).records(t, 300)
		want, end := reference(t, records)
		random := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // to be repeated
		d := newTestDatabase(t)
		i := newInstance(t, d, 0, 0)
		var got []decided
		for _, chunk := range chunks(random, records) {
			decided, err := i.decide(t.Context(), chunk)
			require.NoError(t, err)
			for _, e := range decided {
				got = append(got, tell(t, e))
			}
			if random.IntN(3) == 0 {
				require.NoError(t, i.drain(t.Context()))
			}
		}
		require.NoError(t, i.drain(t.Context()))
		require.NoError(t, i.projector.write(t.Context()))
		require.Equal(t, want, got, "seed %d", seed)
		require.Equal(t, end, dump(t, d), "seed %d", seed)
	}
}

// An instance is killed at any write of the database, again and again. Whoever goes on from the last commit comes to the same.
func TestCrashesDoNotMatter(t *testing.T) {
	for seed := range scope.Of[uint64](2, 6) {
		records := newCrowd(100+seed).records(t, 150)
		want, end := reference(t, records)
		random := rand.New(rand.NewPCG(seed, 2)) //nolint:gosec // to be repeated
		d, die := newMortalDatabase(t)
		told := map[int64]decided{}
		committed, crashes := int64(0), 0
		for alive := false; !alive; {
			ctx, cancel := context.WithCancel(t.Context())
			i := newInstance(t, d, committed, int64(len(records)))
			if crashes < 40 {
				die(int64(1+random.IntN(25)), cancel)
			}
			err := i.live(ctx, random, records, func(e effects) {
				n, now := e.input.source.Offset, tell(t, e)
				if before, ok := told[n]; ok {
					require.Equal(t, before.Code, now.Code, "seed %d, record %d", seed, n)
					require.Equal(t, before.Message, now.Message, "seed %d, record %d", seed, n)
				}
				told[n] = now
			})
			committed = i.committed
			if alive = err == nil; !alive {
				require.ErrorIs(t, ctx.Err(), context.Canceled, "%v", err)
				crashes++
			}
			cancel()
		}
		require.Greater(t, crashes, 2)
		for n, w := range want {
			require.Equal(t, w.Message, told[int64(n)].Message, "seed %d, record %d", seed, n)
			require.Equal(t, w.Code, told[int64(n)].Code, "seed %d, record %d", seed, n)
		}
		require.Equal(t, end, dump(t, d), "seed %d", seed)
	}
}

// Instances are killed again and again, while users leave a group and come back. What a device hears is in order, but for what it has heard before.
func TestCrashesKeepTheOrder(t *testing.T) {
	again := 0
	for seed := range scope.Of[uint64](2, 6) {
		c := newCrowd(500 + seed)
		records := c.records(t, 200)
		random := rand.New(rand.NewPCG(seed, 5)) //nolint:gosec // to be repeated
		d, die := newMortalDatabase(t)
		heard := map[string]map[int64]bool{} // by user and conversation
		last := map[string]int64{}
		committed, crashes := int64(0), 0
		for alive := false; !alive; {
			ctx, cancel := context.WithCancel(t.Context())
			i := newInstance(t, d, committed, int64(len(records)))
			if crashes < 30 {
				die(int64(1+random.IntN(25)), cancel)
			}
			err := i.live(ctx, random, records, func(e effects) {
				if e.outcome != accepted {
					return // a repetition is for its sender alone, who has asked for it
				}
				for _, f := range frames(e) {
					for _, u := range strings.Split(string(f.Headers[0].Value), ",") {
						device := u + " " + e.message.Conversation
						if heard[device] == nil {
							heard[device] = map[int64]bool{}
						}
						if heard[device][e.message.Seq] {
							again++
							continue
						}
						require.Greater(t, e.message.Seq, last[device], "seed %d: %s", seed, device)
						heard[device][e.message.Seq], last[device] = true, e.message.Seq
					}
				}
			})
			committed = i.committed
			if alive = err == nil; !alive {
				crashes++
			}
			cancel()
		}
	}
	require.Positive(t, again, "nothing was published twice")
}

// An instance that takes a partition over reads of each conversation where it stands, and nothing of the records whose messages are stored.
func TestStoredRecordsAreReplayedWithoutReads(t *testing.T) {
	d, reads := openCountedDatabase(t)
	ann, ben := wire.NewID(), wire.NewID()
	room := wire.DirectID(ann, ben)
	var records []*kgo.Record
	add := func(r wire.Record) {
		r.Conversation, r.Sender, r.ClientID, r.At = room, ann, fmt.Sprint("c-", len(records)), wire.At(time.Now())
		records = append(records, &kgo.Record{Key: []byte(room), Value: wire.Encode(r), Offset: int64(len(records))})
	}
	for range 50 {
		add(wire.Record{Type: wire.RecordSend, Body: "hello"})
		add(wire.Record{Type: wire.RecordEdit, Target: 1, Body: "hello again"})
	}
	first := newInstance(t, d, 0, 0)
	_, err := first.decide(t.Context(), records)
	require.NoError(t, err)
	require.NoError(t, first.drain(t.Context()))
	require.NoError(t, first.projector.write(t.Context()))

	reads.Store(0)
	next := newInstance(t, d, 0, int64(len(records)))
	all, err := next.decide(t.Context(), records)
	require.NoError(t, err)
	for _, e := range all {
		require.Equal(t, done, e.outcome)
	}
	require.EqualValues(t, 4, reads.Load(), "the head, whether there is a message after it, the roster, the last message")
}

// Who was killed has refused a text of somebody who was let in later, and has stored both. The text stays refused.
func TestARefusalIsFinal(t *testing.T) {
	d := newTestDatabase(t)
	ctx := t.Context()
	c := newCrowd(0)
	var records []*kgo.Record
	add := func(r wire.Record) {
		r.At = wire.At(time.Unix(1, 0))
		require.NoError(t, r.Check(r.Conversation))
		records = append(records, &kgo.Record{Topic: "messages", Partition: partitionOfAll, Offset: int64(len(records)), Key: []byte(r.Conversation), Value: wire.Encode(r)})
	}
	block := func(version int64, what string) {
		add(wire.Record{Type: wire.RecordBlock, Conversation: c.dm, Sender: c.users[1], ClientID: wire.BlockID(version), Event: &wire.GroupEvent{Type: what}})
	}
	say := func(id string, again bool) {
		add(wire.Record{Type: wire.RecordSend, Conversation: c.dm, Sender: c.users[0], ClientID: id, Body: "let me", Again: again})
	}
	block(1, wire.Blocked)
	say("no", false)
	block(2, wire.Unblocked)
	first, err := newInstance(t, d, 0, 0).decide(ctx, records)
	require.NoError(t, err)
	require.NoError(t, d.store(ctx, first))

	say("no", true)
	say("yes", false)
	successor := newInstance(t, d, 0, 3)
	second, err := successor.decide(ctx, records[:3])
	require.NoError(t, err)
	require.Equal(t, tell(t, first[1]), tell(t, second[1]))
	require.Equal(t, refused, second[1].outcome)
	third, err := successor.decide(ctx, records[3:])
	require.NoError(t, err)
	require.Equal(t, repeated, third[0].outcome)
	require.Equal(t, wire.CodeBlocked, third[0].code)
	require.Equal(t, accepted, third[1].outcome)
}

// What a killed instance has left undone is found when a conversation is loaded. It is not forgotten where something else can't be loaded then.
func TestWhatIsUnfinishedOutlivesAnError(t *testing.T) {
	var fail func()
	d := openTestDatabase(t, &event.CommandMonitor{Started: func(_ context.Context, e *event.CommandStartedEvent) {
		if name, _ := e.Command.Lookup("find").StringValueOK(); name == "sends" && fail != nil {
			fail()
		}
	}})
	c := newCrowd(0)
	var inputs []input
	for i, r := range []wire.Record{
		{Type: wire.RecordSend, ClientID: "a", Body: "first"},
		{Type: wire.RecordEdit, ClientID: "b", Target: 1, Body: "edited"},
		{Type: wire.RecordSend, ClientID: "c", Body: "not stored, so its key is asked for"},
	} {
		r.Conversation, r.Sender, r.At = c.dm, c.users[0], wire.At(time.Unix(1, 0))
		inputs = append(inputs, parse(&kgo.Record{Topic: "messages", Partition: partitionOfAll, Offset: int64(i), Key: []byte(r.Conversation), Value: wire.Encode(r)}, "log"))
		require.NoError(t, inputs[i].invalid)
	}
	killed := newInstance(t, d, 0, 0)
	_, err := killed.load(t.Context(), inputs, func(source) bool { return false })
	require.NoError(t, err)
	said, edited := killed.state.apply(inputs[0]), killed.state.apply(inputs[1])
	require.NoError(t, d.putMessages(t.Context(), []message{*said.message, *edited.message}))

	successor := newInstance(t, d, 0, 0)
	over, cancel := context.WithCancel(t.Context())
	fail = cancel
	unfinished, err := successor.load(over, inputs, func(source) bool { return true })
	require.Error(t, err)
	fail = nil
	more, err := successor.load(t.Context(), inputs, func(source) bool { return true })
	require.NoError(t, err)
	require.NoError(t, d.store(t.Context(), append(unfinished, more...)))
	m, ok, err := store.Get[message](t.Context(), d.messages, said.message.ID)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "edited", m.now().Body)
}

// An instance finds a text as another one has left it that has decided further: so it goes on from there.
func TestAnotherInstanceIsAhead(t *testing.T) {
	d := newTestDatabase(t)
	ctx := t.Context()
	c := newCrowd(0)
	var records []*kgo.Record
	for i, r := range []wire.Record{
		{Type: wire.RecordSend, ClientID: "a", Body: "first"},
		{Type: wire.RecordSend, ClientID: "b", Body: "second"},
		{Type: wire.RecordDelete, ClientID: "c", Target: 1},
		{Type: wire.RecordReact, ClientID: "d", Target: 1, Emoji: "x", On: true},
		{Type: wire.RecordSend, ClientID: "e", Body: "third"},
	} {
		r.Conversation, r.Sender, r.At = c.dm, c.users[0], wire.At(time.Unix(1, 0))
		require.NoError(t, r.Check(r.Conversation))
		records = append(records, &kgo.Record{Topic: "messages", Partition: partitionOfAll, Offset: int64(i), Key: []byte(r.Conversation), Value: wire.Encode(r)})
	}
	one, other := newInstance(t, d, 0, 0), newInstance(t, d, 0, 0)
	b, err := one.decide(ctx, records[:2])
	require.NoError(t, err)
	require.NoError(t, d.store(ctx, b))
	b, err = other.decide(ctx, records[:3])
	require.NoError(t, err)
	require.NoError(t, d.store(ctx, b))

	clear(one.state.conversations[c.dm].messages) // it has made room
	b, err = one.decide(ctx, records[2:])
	require.NoError(t, err)
	var got []outcome
	for _, e := range b {
		if e.input.source.Log != "" {
			got = append(got, e.outcome)
		}
	}
	require.Equal(t, []outcome{done, refused, accepted}, got)
	require.EqualValues(t, 4, b[len(b)-1].message.Seq)
}

// Two instances decide the same records at once, as where one was paused and goes on after the other has taken over. Both come to the same.
func TestTwoInstancesDoNotMatter(t *testing.T) {
	for seed := range scope.Of[uint64](1, 4) {
		records := newCrowd(200+seed).records(t, 250)
		want, _ := reference(t, records)
		d := newTestDatabase(t)
		var both errgroup.Group
		var told [2]map[int64]decided
		for n := range told {
			told[n] = map[int64]decided{}
			both.Go(func() error {
				i := newInstance(t, d, 0, int64(len(records)))
				return i.live(t.Context(), rand.New(rand.NewPCG(seed, uint64(n))), records, func(e effects) { //nolint:gosec // to be repeated
					told[n][e.input.source.Offset] = tell(t, e)
				})
			})
		}
		require.NoError(t, both.Wait())
		for n, w := range want {
			found := false
			for _, by := range told {
				if got, ok := by[int64(n)]; ok { // else the other has stored it, and told it before that
					found = true
					require.Equal(t, w.Code, got.Code, "seed %d, record %d", seed, n)
					require.Equal(t, w.Message, got.Message, "seed %d, record %d", seed, n)
				}
			}
			require.True(t, found, "seed %d: nobody told of record %d", seed, n)
		}
		for _, w := range want {
			if w.Outcome != accepted {
				continue
			}
			var m wire.Message
			require.NoError(t, json.Unmarshal([]byte(w.Message), &m))
			page, err := d.page(t.Context(), m.Conversation, m.Seq, m.Seq)
			require.NoError(t, err)
			require.Equal(t, m.ClientID, page[0].ClientID)
		}
	}
}

// live decides, tells, stores and projects all records, as the pipeline does: what is stored was told.
func (i *instance) live(ctx context.Context, random *rand.Rand, records []*kgo.Record, tell func(effects)) error {
	for _, chunk := range chunks(random, records) {
		decided, err := i.decide(ctx, chunk)
		if err != nil {
			return err
		}
		for _, e := range decided {
			if e.outcome != done {
				tell(e)
			}
		}
		if random.IntN(3) == 0 {
			if err := i.drain(ctx); err != nil {
				return err
			}
		}
		if random.IntN(6) == 0 {
			if err := i.projector.write(ctx); err != nil {
				return err
			}
		}
	}
	if err := i.drain(ctx); err != nil {
		return err
	}
	return i.projector.write(ctx)
}

// newMortalDatabase gives a database, and what has something called at the n-th write from then on.
func newMortalDatabase(t *testing.T) (d *database, die func(n int64, call func())) {
	t.Helper()
	var mu sync.Mutex
	var left int64
	var then func()
	d = openTestDatabase(t, &event.CommandMonitor{Started: func(_ context.Context, e *event.CommandStartedEvent) {
		if e.CommandName != "insert" && e.CommandName != "update" {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if left--; left == 0 {
			then()
		}
	}})
	return d, func(n int64, call func()) {
		mu.Lock()
		defer mu.Unlock()
		left, then = n, call
	}
}
