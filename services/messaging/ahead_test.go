package messaging

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/labctl/labctl/services/internal/bus"
	"github.com/labctl/labctl/services/internal/store"
	"github.com/labctl/labctl/services/internal/wire"
)

const (
	ann  = "00000000-0000-7000-8000-00000000000a"
	bob  = "00000000-0000-7000-8000-00000000000b"
	room = "dm:" + ann + ":" + bob
)

// newTestWorker gives one with a database of its own.
func newTestWorker(t *testing.T) (p *worker, marked map[int32]int64) {
	t.Helper()
	b, marked, _ := newTestBehind(t)
	m := &messaging{Config: Config{Now: time.Now}, archive: b.archive, behind: b}
	for _, c := range []*prometheus.Counter{&m.stored, &m.repeated, &m.refused, &m.dead} {
		*c = prometheus.NewCounter(prometheus.CounterOpts{Name: "test"})
	}
	m.ahead = newAhead(b.archive, b, time.Hour, func(context.Context, []*kgo.Record) error { return nil })
	return &worker{messaging: m, conversations: map[string]*conversation{}, seen: map[int32]*seen{}, high: map[int32]int64{}}, marked
}

// sending makes the record of a text at an offset.
func sending(t *testing.T, offset int64, clientID string, change ...func(*wire.Record)) *kgo.Record {
	t.Helper()
	r := wire.Record{Type: wire.RecordSend, Conversation: room, Sender: ann, ClientID: clientID, Body: "said as " + clientID, At: wire.At(time.Now())}
	for _, f := range change {
		f(&r)
	}
	require.NoError(t, r.Check(room))
	return &kgo.Record{Topic: bus.Messages, Key: []byte(room), Value: wire.Encode(r), Offset: offset}
}

func again(r *wire.Record) { r.Again = true }

// direct runs what is given once, as a retry does that has nothing to retry.
func direct(ctx context.Context, f func(context.Context) error) error { return f(ctx) }

// inStore gives what the archive has of the room, in order.
func (p *worker) inStore(t *testing.T) (ids []string) {
	t.Helper()
	for seq := int64(1); ; seq++ {
		m, ok, err := store.Get[message](t.Context(), p.archive.messages, messageID(room, seq))
		require.NoError(t, err)
		if !ok {
			return ids
		}
		ids = append(ids, m.ClientID)
	}
}

// What is told ahead is stored as it was told, and committed when it is both.
func TestAhead(t *testing.T) {
	p, marked := newTestWorker(t)
	ctx, cancel := context.WithCancel(t.Context())
	var told []*batch
	for i := range int64(3) {
		records := []*kgo.Record{sending(t, 2*i, fmt.Sprint("a", i)), sending(t, 2*i+1, fmt.Sprint("b", i))}
		p.see(records, map[int32]int64{})
		b := p.swift(ctx, records)
		require.NotNil(t, b)
		require.Len(t, b.told.records, 2)
		require.True(t, bus.IsAhead(b.told.records[0]))
		p.remember(b.told.items)
		ok, err := p.ahead.add(ctx, b)
		require.NoError(t, err)
		require.True(t, ok)
		told = append(told, b)
	}
	require.Empty(t, p.inStore(t), "nothing stores yet")
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.ahead.run(ctx, direct)
	}()
	close(told[0].telling)
	told[1].err = errors.New("the service ends")
	close(told[1].telling)
	require.NoError(t, p.ahead.until(ctx, true, func() bool { return p.ahead.stored == 2 }))
	require.Equal(t, []string{"a0", "b0", "a1", "b1", "a2", "b2"}, p.inStore(t))
	require.NoError(t, p.behind.write(ctx))
	require.Equal(t, map[int32]int64{0: 1}, marked, "what is not told is not committed")
	inbox, err := p.archive.inbox(ctx, bob)
	require.NoError(t, err)
	require.Equal(t, []string{room}, inbox)

	waits := make(chan error)
	go func() { waits <- p.ahead.wait(ctx) }()
	close(told[2].telling)
	require.NoError(t, <-waits)
	cancel()
	<-ended
}

// Whoever stores may have to do it again, and another may do the same beside it.
func TestAheadTwice(t *testing.T) {
	p, _ := newTestWorker(t)
	ctx := t.Context()
	records := []*kgo.Record{sending(t, 0, "a"), sending(t, 1, "b")}
	p.see(records, nil)
	b := p.swift(ctx, records)
	require.NotNil(t, b)
	require.NoError(t, p.archive.ensure(ctx, b.messages[:1]), "all that the first attempt came to")
	for range 2 {
		require.NoError(t, p.ahead.store(ctx, []*batch{b}))
	}
	require.Equal(t, []string{"a", "b"}, p.inStore(t))

	// Who comes later and handles the records by the database comes to the same.
	other := &worker{messaging: p.messaging, conversations: map[string]*conversation{}, seen: map[int32]*seen{}, high: map[int32]int64{}}
	told, err := other.handle(ctx, records)
	require.NoError(t, err)
	require.Equal(t, []string{"a", "b"}, p.inStore(t))
	for i, r := range told.records {
		require.Equal(t, string(b.told.records[i].Value), string(r.Value))
		require.False(t, bus.IsAhead(r))
	}
}

// Where another instance has stored something else, what was told ahead is handled by what is in the database.
func TestAheadOfAnother(t *testing.T) {
	p, marked := newTestWorker(t)
	ctx := t.Context()
	first, second := []*kgo.Record{sending(t, 0, "a")}, []*kgo.Record{sending(t, 1, "b")}
	for _, records := range [][]*kgo.Record{first, second} {
		p.see(records, nil)
		b := p.swift(ctx, records)
		require.NotNil(t, b)
		close(b.telling)
		ok, err := p.ahead.add(ctx, b)
		require.NoError(t, err)
		require.True(t, ok)
	}
	require.NoError(t, p.archive.add(ctx, []message{newMessage(wire.Record{Type: wire.RecordSend, Conversation: room, Sender: bob, ClientID: "x", Body: "first"}, 1)}))
	running, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.ahead.run(running, direct)
	}()
	woken := make(chan struct{})
	p.ahead.watch(func() { close(woken) })
	<-woken
	b := p.swift(ctx, second)
	require.Nil(t, b, "nothing is told ahead now")
	ok, err := p.ahead.add(ctx, &batch{})
	require.NoError(t, err)
	require.False(t, ok)
	redo, err := p.ahead.drain(ctx)
	stop()
	<-ended
	require.NoError(t, err)
	require.Equal(t, []*kgo.Record{first[0], second[0]}, redo)
	require.Empty(t, marked)
	p.moved.Store(true)
	_, err = p.handle(ctx, redo)
	require.NoError(t, err)
	require.Equal(t, []string{"x", "a", "b"}, p.inStore(t))
}

// Not everything may be told ahead.
func TestSwift(t *testing.T) {
	p, _ := newTestWorker(t)
	ctx := t.Context()
	swift := func(rs ...*kgo.Record) *batch {
		p.see(rs, map[int32]int64{0: 2})
		b := p.swift(ctx, rs)
		if b != nil {
			p.remember(b.told.items)
		}
		return b
	}
	require.Nil(t, swift(sending(t, 1, "a")), "it was there when the partition came: another may have handled it")
	require.Nil(t, swift(sending(t, 5, "a", again)), "it says that it came before")
	require.Nil(t, swift(sending(t, 5, "a"), sending(t, 6, "a")), "it comes twice at once")
	require.Nil(t, swift(&kgo.Record{Key: []byte(room), Value: []byte("{"), Offset: 5}), "it is a dead letter")
	require.Nil(t, swift(sending(t, 5, "a", func(r *wire.Record) { r.ReplyTo = 3 })), "it is refused")
	require.Nil(t, swift(sending(t, 5, "a", func(r *wire.Record) { r.Type, r.Target = wire.RecordDelete, 1 })), "it is a change")
	delete(p.seen, 0)
	require.Nil(t, swift(sending(t, 5, "a")), "what came shortly before it is not known")
	p.seen[0].from = 0
	b := swift(sending(t, 5, "a"))
	require.NotNil(t, b)
	require.Nil(t, swift(sending(t, 6, "b", func(r *wire.Record) { r.ReplyTo = 1 })), "it answers what is not stored yet")
	require.Nil(t, swift(sending(t, 6, "a")), "it came before")
	require.Nil(t, swift(sending(t, 5+window-1, "a")), "it came before")
	require.NotNil(t, swift(sending(t, 5+window-1, "c")))
	require.NotNil(t, swift(sending(t, 5+window, "a")), "too long ago, and it does not say so")
	require.NoError(t, p.ahead.store(ctx, []*batch{b}))
	p.moved.Store(true)
	require.Nil(t, swift(sending(t, 2*window, "d")), "partitions have come or gone")
}

// A client id that comes again is the same message if it says so or comes soon, and if its record itself is read again. Else it is
// another, for whoever decides it by the database as for whoever has told it ahead.
func TestClientIDsThatComeAgain(t *testing.T) {
	p, _ := newTestWorker(t)
	ctx := t.Context()
	handle := func(r *kgo.Record) {
		_, err := p.handle(ctx, []*kgo.Record{r})
		require.NoError(t, err)
	}
	handle(sending(t, 0, "a"))
	handle(sending(t, 0, "a"))
	handle(sending(t, window-1, "a"))
	handle(sending(t, 10*window, "a", again))
	require.Equal(t, []string{"a"}, p.inStore(t))
	late := sending(t, window, "a")
	handle(late)
	handle(late)
	handle(sending(t, window+1, "a"))
	require.Equal(t, []string{"a", "a"}, p.inStore(t))

	// The same in the other order of things: told ahead first.
	p.see([]*kgo.Record{late}, nil)
	p.seen[0].from = 0
	b := p.swift(ctx, []*kgo.Record{sending(t, 3*window, "a")})
	require.NotNil(t, b)
	require.NoError(t, p.ahead.store(ctx, []*batch{b}))
	clear(p.conversations)
	handle(sending(t, 3*window, "a"))
	require.Equal(t, []string{"a", "a", "a"}, p.inStore(t))
}

// Who is overtaken by too much waits for it to be stored.
func TestAheadHasRoom(t *testing.T) {
	p, _ := newTestWorker(t)
	full := &batch{messages: make([]message, maxAhead), telling: make(chan struct{})}
	_, err := p.ahead.add(t.Context(), full)
	require.NoError(t, err)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = p.ahead.add(over, &batch{})
	require.ErrorIs(t, err, context.Canceled)
	require.Len(t, p.ahead.queue, 1)
}

// What took long to be stored is told once more.
func TestAheadIsLate(t *testing.T) {
	p, _ := newTestWorker(t)
	ctx, cancel := context.WithCancel(t.Context())
	var told []*kgo.Record
	p.ahead.late, p.ahead.again = 0, func(_ context.Context, rs []*kgo.Record) error {
		told = append(told, rs...)
		return nil
	}
	records := []*kgo.Record{sending(t, 0, "a")}
	p.see(records, nil)
	b := p.swift(ctx, records)
	require.NotNil(t, b)
	close(b.telling)
	_, err := p.ahead.add(ctx, b)
	require.NoError(t, err)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.ahead.run(ctx, direct)
	}()
	require.NoError(t, p.ahead.wait(ctx))
	cancel()
	<-ended
	require.Equal(t, b.told.records, told)
}
