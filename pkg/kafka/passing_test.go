package kafka

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func produce(acks int16, topics ...string) kmsg.Request {
	r := kmsg.NewPtrProduceRequest()
	r.SetVersion(named)
	r.Acks = acks
	for _, name := range topics {
		t := kmsg.NewProduceRequestTopic()
		t.Topic = name
		p := kmsg.NewProduceRequestTopicPartition()
		p.Records = make([]byte, 3000)
		t.Partitions = append(t.Partitions, p)
		r.Topics = append(r.Topics, t)
	}
	return r
}

func fetch(epoch int32, topics ...string) kmsg.Request {
	r := kmsg.NewPtrFetchRequest()
	r.SetVersion(named)
	r.SessionID, r.SessionEpoch = 7, epoch
	for _, name := range topics {
		t := kmsg.NewFetchRequestTopic()
		t.Topic = name
		t.Partitions = append(t.Partitions, kmsg.NewFetchRequestTopicPartition())
		r.Topics = append(r.Topics, t)
	}
	return r
}

// However the bytes of requests come, it is seen which answers pass, and what may have changed before the others.
func TestRequests(t *testing.T) {
	old := kmsg.NewPtrProduceRequest() // of a version that is written otherwise
	old.SetVersion(3)
	old.Acks = 1
	old.Topics = produce(1, "users").(*kmsg.ProduceRequest).Topics
	passes, writes := answer{passes: true}, answer{changes: []string{"/data/partitions/messages-0"}}
	all := []struct {
		kmsg.Request
		answer
	}{
		{fetch(1), answer{}}, // of a session that was begun on another connection
		{produce(-1, "users"), passes}, {produce(-1, "users", "messages"), writes}, {produce(-1, "messages"), writes}, {produce(1), answer{}}, {old, passes},
		{fetch(0, "users"), passes}, {kmsg.NewPtrMetadataRequest(), answer{changes: []string{whole}}}, {fetch(1), passes}, {fetch(2, "users"), passes},
		{fetch(3, "sessions"), answer{}}, {fetch(4), answer{}}, {fetch(-1, "users"), passes}, {fetch(-1, "users", "sessions"), answer{}},
		{fetch(0, "users"), passes},
	}
	format := kmsg.NewRequestFormatter(kmsg.FormatterClientID("a client"))
	bytes := format.AppendRequest(nil, produce(0, "users"), 99) // has no answer
	for i, r := range all {
		bytes = append(bytes, format.AppendRequest(nil, r.Request, int32(i))...) //nolint:gosec // a small number
	}
	rng := rand.New(rand.NewPCG(1, 1))
	for range 300 {
		r := requests{sync: newSyncer("/data", "users")}
		most := 1 + rng.IntN(2*len(bytes))
		for rest := bytes; len(rest) > 0; {
			n := min(1+rng.IntN(most), len(rest))
			r.take(rest[:n])
			rest = rest[n:]
		}
		for i, want := range all {
			require.Equal(t, want.answer, r.answers[0], i)
			require.Equal(t, want.passes, r.answer(), i)
		}
		require.Empty(t, r.answers)
		require.False(t, r.answer(), "what nobody asked for")
		require.Empty(t, r.sync.under)
		require.Equal(t, map[string]struct{}{whole: {}, "/data/partitions/messages-0": {}}, r.sync.left)
	}
}

// What comes from a client may be anything.
func FuzzRequests(f *testing.F) {
	format := kmsg.NewRequestFormatter()
	f.Add(format.AppendRequest(nil, produce(-1, "users"), 1), 3)
	f.Add(format.AppendRequest(nil, fetch(0, "users"), 1), 100)
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1}, 1)
	f.Fuzz(func(t *testing.T, bytes []byte, piece int) {
		at, pieces := requests{sync: newSyncer("/data", "users")}, requests{sync: newSyncer("/data", "users")}
		at.take(bytes)
		for piece = max(piece, 1); len(bytes) > 0; {
			n := min(piece, len(bytes))
			pieces.take(bytes[:n])
			bytes = bytes[n:]
		}
		require.Equal(t, at.answers, pieces.answers)
		require.Equal(t, at.sync.under, pieces.sync.under)
		at.close()
		require.Empty(t, at.sync.under, "none of that is there")
	})
}

// Where nothing can be synced any more, what passes is acknowledged and read, and nothing else is.
func TestWhatPassesWaitsForNoSync(t *testing.T) {
	b, err := Start(Options{DataDir: t.TempDir(), Listen: "127.0.0.1:0", Passing: []string{"users"}})
	require.NoError(t, err)
	t.Cleanup(b.Close)
	// Not idempotent: that one never gives up a record that may have been written.
	c, err := kgo.NewClient(kgo.SeedBrokers(b.Addr()), kgo.DisableIdempotentWrite(), kgo.RecordDeliveryTimeout(2*time.Second))
	require.NoError(t, err)
	t.Cleanup(c.Close)
	_, err = kadm.NewClient(c).CreateTopics(t.Context(), 1, 1, nil, "users", "messages")
	require.NoError(t, err)
	reader := func(topic string) *kgo.Client {
		r, err := kgo.NewClient(kgo.SeedBrokers(b.Addr()), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
		require.NoError(t, err)
		t.Cleanup(r.Close)
		return r
	}
	say := func(topic, text string) error {
		return c.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: []byte(text)}).FirstErr()
	}
	hear := func(r *kgo.Client, within time.Duration) (texts []string) {
		ctx, cancel := context.WithTimeout(t.Context(), within)
		defer cancel()
		r.PollFetches(ctx).EachRecord(func(r *kgo.Record) { texts = append(texts, string(r.Value)) })
		return texts
	}
	users, messages := reader("users"), reader("messages")
	for topic, r := range map[string]*kgo.Client{"users": users, "messages": messages} {
		require.NoError(t, say(topic, "one"))
		require.Equal(t, []string{"one"}, hear(r, time.Minute))
	}

	b.sync.mu.Lock()
	b.sync.broken = errors.New("the disk is full")
	b.sync.mu.Unlock()
	require.NoError(t, say("users", "two"))
	require.Equal(t, []string{"two"}, hear(users, time.Minute))
	require.Error(t, say("messages", "two"))
	require.Empty(t, hear(messages, time.Second))
}
