package messaging

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/labctl/labctl/pkg/mongodb" //nolint:depguard // the embedded database, for tests alone
	"github.com/labctl/labctl/services/internal/store"
	"github.com/labctl/labctl/services/internal/wire"
)

// newTestBehind gives one with a database of its own, and what it has marked so far: partition to offset.
func newTestBehind(t *testing.T) (b *behind, marked map[int32]int64, full *[]int64) {
	t.Helper()
	srv, err := mongodb.Start(mongodb.Options{DataDir: t.TempDir(), Listen: "127.0.0.1:0"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, srv.Close()) })
	db, err := store.Open(srv.URI(), "messaging", "test")
	require.NoError(t, err)
	t.Cleanup(db.Close)
	require.NoError(t, db.Migrate(t.Context(), migrations()))
	marked, full = map[int32]int64{}, new([]int64)
	mark := func(rs ...*kgo.Record) {
		for _, r := range rs {
			marked[r.Partition] = r.Offset
		}
	}
	return newBehind(newArchive(db), mark, func(_ string, n int64) { *full = append(*full, n) }), marked, full
}

func text(seq int64, body string) message {
	return message{ID: messageID("room", seq), Conversation: "room", Seq: seq, Kind: wire.Text, Sender: "ann", Body: body, Texts: seq}
}

func TestBehind(t *testing.T) {
	b, marked, full := newTestBehind(t)
	ctx := t.Context()
	for seq := int64(1); seq <= bucketSize+1; seq++ {
		b.add("room", false, []message{text(seq, "said")}, map[string]mark{"ann": {Seq: seq, Texts: seq}, "bob": {Seq: 3, Texts: 3}})
	}
	b.add("large", true, nil, map[string]mark{"cleo": {Seq: 7, Texts: 7}})
	b.done([]*kgo.Record{{Partition: 1, Offset: 4}, {Partition: 2, Offset: 9}, {Partition: 1, Offset: 5}}, b.now())
	require.Empty(t, marked, "not before it is written")

	// An error keeps all, and what came since is not lost to what was there before.
	over, cancel := context.WithCancel(ctx)
	cancel()
	require.Error(t, b.write(over))
	require.Empty(t, marked)
	c := &conversation{id: "room", reads: map[string]mark{"bob": {Seq: 2}}}
	b.known(c)
	require.Equal(t, map[string]mark{"ann": {Seq: bucketSize + 1, Texts: bucketSize + 1}, "bob": {Seq: 3, Texts: 3}}, c.reads)
	b.add("room", false, nil, map[string]mark{"bob": {Seq: 4, Texts: 4}})
	b.replace(map[string]map[int64]message{"room": {2: text(2, "edited"), 99: text(99, "is not here")}, "other": {1: text(1, "x")}})
	b.done([]*kgo.Record{{Partition: 2, Offset: 10}, {Partition: 3, Offset: 1}}, b.now())
	b.gone([]int32{3})

	require.NoError(t, b.write(ctx))
	require.Equal(t, map[int32]int64{1: 5, 2: 10}, marked, "3 is no longer this instance's")
	require.Equal(t, []int64{0}, *full)
	h, ok, err := store.Get[head](ctx, b.archive.heads, "room")
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, head{Seq: bucketSize + 1, Texts: bucketSize + 1, Shown: bucketSize + 1, Reads: map[string]mark{"ann": {Seq: bucketSize + 1, Texts: bucketSize + 1}, "bob": {Seq: 4, Texts: 4}}}, h)
	first, _, err := store.Get[bucket](ctx, b.archive.buckets, bucketID("room", 0))
	require.NoError(t, err)
	require.Len(t, first.Messages, bucketSize)
	require.Equal(t, "edited", first.Messages["2"].Body)
	second, _, err := store.Get[bucket](ctx, b.archive.buckets, bucketID("room", 1))
	require.NoError(t, err)
	require.Len(t, second.Messages, 1)
	read, _, err := store.Get[mark](ctx, b.archive.reads, readID("large", "cleo"))
	require.NoError(t, err)
	require.Equal(t, mark{Seq: 7, Texts: 7}, read)

	// Nothing is written twice.
	require.Empty(t, b.waiting)
	require.Empty(t, b.handled)
	require.Zero(t, b.size)
}

// A partition that goes while its records are being written is not committed: it may be another instance's by then.
func TestBehindOfAPartitionThatGoesMeanwhile(t *testing.T) {
	b, marked, _ := newTestBehind(t)
	b.add("room", false, []message{text(1, "said")}, nil)
	b.done([]*kgo.Record{{Partition: 1, Offset: 4}}, b.now())
	b.add("room", false, []message{text(bucketSize, "the last of its bucket")}, nil)
	b.full = func(string, int64) { b.gone([]int32{1}) } // within write
	require.NoError(t, b.write(t.Context()))
	require.Empty(t, marked)
}

// Who waits for the pause after a round still ends with the service.
func TestBehindRuns(t *testing.T) {
	b, marked, _ := newTestBehind(t)
	ctx, cancel := context.WithCancel(t.Context())
	wrote, ended := make(chan struct{}, 10), make(chan struct{})
	go func() {
		defer close(ended)
		b.run(ctx, func(ctx context.Context, write func(context.Context) error) error {
			err := write(ctx)
			wrote <- struct{}{}
			return err
		})
	}()
	b.add("room", false, []message{text(1, "said")}, nil)
	b.done([]*kgo.Record{{Offset: 1}}, b.now())
	<-wrote
	cancel()
	<-ended
	require.Equal(t, map[int32]int64{0: 1}, marked)
}
