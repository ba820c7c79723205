package messaging

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Writing again what is there changes nothing. What the log knows nothing of is found, and not written over.
func TestStoreKnowsItsOwn(t *testing.T) {
	d := newTestDatabase(t)
	ctx := t.Context()
	of := func(seq, offset int64, body string) message {
		m := text(seq, body)
		m.Source = source{Log: "log", Partition: 1, Offset: offset}
		return m
	}
	two := []message{of(1, 10, "one"), of(2, 11, "two")}
	require.NoError(t, d.putMessages(ctx, two[:1]))
	require.NoError(t, d.putMessages(ctx, two), "a killed instance had stored the first")
	require.NoError(t, d.putMessages(ctx, two))
	require.ErrorIs(t, d.putMessages(ctx, []message{of(2, 12, "another")}), errConflict)
	kept, err := d.readMessages(ctx, "room", 1, 2)
	require.NoError(t, err)
	require.Equal(t, []string{"one", "two"}, []string{kept[0].Body, kept[1].Body})
}

// A position is that of one log: another has offsets of its own.
func TestPositions(t *testing.T) {
	d := newTestDatabase(t)
	ctx := t.Context()
	at := func(l log, offset int64) source { return source{Log: l, Partition: 3, Offset: offset} }
	for _, offset := range []int64{7, 5} { // the second by an instance that was paused
		p := positions{}
		p.add(at("old", offset))
		require.NoError(t, d.putPositions(ctx, p))
	}
	p, err := d.readPositions(ctx)
	require.NoError(t, err)
	require.True(t, p.reached(at("old", 7)))
	require.False(t, p.reached(at("old", 8)))
	require.False(t, p.reached(at("new", 0)))
	require.True(t, at("old", 9).before(at("new", 0)))
	require.False(t, at("old", 9).before(at("old", 9)))
}
