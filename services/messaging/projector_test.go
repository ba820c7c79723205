package messaging

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/services/internal/store"
	"github.com/labctl/labctl/services/internal/wire"
)

// said is a batch with one text.
func said(number, seq int64, offset int64) *batch {
	m := text(seq, "said")
	return &batch{number: number, effects: []effects{{
		input: input{source: source{Log: "log", Partition: 1, Offset: offset}, record: wire.Record{Conversation: "room"}}, outcome: accepted, message: &m,
		consequences: consequences{cursors: map[string]readCursor{"ann": {Seq: seq, Texts: seq}}}, members: &roster{},
	}}}
}

// What could not be written waits, and so does its commit.
func TestProjectorKeepsWhatItCouldNotWrite(t *testing.T) {
	d := newTestDatabase(t)
	ctx := t.Context()
	var committed []source
	var full []int64
	p := newProjector(d, nil, func(upTo []source) { committed = append(committed, upTo...) }, func(_ string, n int64) { full = append(full, n) }, nil)
	for seq := int64(1); seq <= bucketSize; seq++ {
		p.add(said(seq, seq, seq+10))
	}
	over, cancel := context.WithCancel(ctx)
	cancel()
	require.Error(t, p.write(over))
	require.Empty(t, committed)
	require.Zero(t, p.last())
	edited := text(2, "edited")
	edited.Changed = bucketSize + 1
	b := said(bucketSize+1, bucketSize+1, 99)
	b.effects[0].changed = []message{edited}
	p.add(b)
	require.NoError(t, p.write(ctx))
	require.Equal(t, []source{{Log: "log", Partition: 1, Offset: 99}}, committed)
	require.EqualValues(t, bucketSize+1, p.last())
	require.Equal(t, []int64{0}, full)
	page, err := d.page(ctx, "room", 1, 3)
	require.NoError(t, err)
	require.Equal(t, []string{"said", "edited", "said"}, []string{page[0].Body, page[1].Body, page[2].Body}, "the newest of what waited")
	h, ok, err := store.Get[head](ctx, d.heads, "room")
	require.NoError(t, err)
	require.True(t, ok)
	require.EqualValues(t, bucketSize+1, h.Seq)
	require.EqualValues(t, bucketSize+1, h.Reads["ann"].Seq)
	require.NoError(t, p.write(ctx))
	require.Len(t, committed, 1, "nothing is new")
}

// Who adds too much waits until it is written.
func TestProjectorIsBounded(t *testing.T) {
	d := newTestDatabase(t)
	wrote := 0
	p := newProjector(d, func(ctx context.Context, f func(context.Context) error) error { wrote++; return f(ctx) }, func([]source) {}, func(string, int64) {}, nil)
	b := &batch{number: 1}
	for seq := int64(1); seq <= maxProjections; seq++ {
		b.effects = append(b.effects, said(1, seq, seq).effects...)
	}
	require.NoError(t, p.take(t.Context(), b))
	require.Zero(t, wrote)
	require.NoError(t, p.take(t.Context(), said(2, maxProjections+1, maxProjections+1)))
	require.Equal(t, 1, wrote)
	require.False(t, p.overfull())
	require.EqualValues(t, 2, p.last())
}
