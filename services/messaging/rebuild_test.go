package messaging

import (
	"context"
	"encoding/json"
	"log/slog"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"
	"golang.org/x/sync/errgroup"

	"github.com/labctl/labctl/services/internal/store"
)

// wordsOf is what the search words of a conversation say.
func wordsOf(t *testing.T, d *database, id string) string {
	t.Helper()
	f, _, err := store.Get[filters](t.Context(), d.words, filtersID(id, 0))
	require.NoError(t, err)
	b, err := json.Marshal(f.Filters)
	require.NoError(t, err)
	return string(b)
}

// Projections that are damaged, or gone, are what they were after a rebuild.
func TestRebuild(t *testing.T) {
	c := newCrowd(400)
	records := c.records(t, 400)
	d := newTestDatabase(t)
	i := newInstance(t, d, 0, 0)
	ctx := t.Context()
	require.NoError(t, i.live(ctx, rand.New(rand.NewPCG(1, 1)), records, func(effects) {})) //nolint:gosec // to be repeated
	require.NoError(t, d.indexWords(ctx, full{c.g, 0, 0}))
	want, words := incidental.ReplaceAllString(dump(t, d), ""), wordsOf(t, d, c.g)
	log := slog.New(slog.DiscardHandler)
	again := func(name string) {
		ids, err := d.allConversations(ctx)
		require.NoError(t, err)
		require.ElementsMatch(t, []string{c.dm, c.g}, ids)
		for _, id := range ids {
			require.NoError(t, d.rebuild(ctx, log, id), name)
		}
		require.Equal(t, want, incidental.ReplaceAllString(dump(t, d), ""), name)
		require.Equal(t, words, wordsOf(t, d, c.g), name)
	}
	again("nothing is damaged")
	set := func(doc bson.D) bson.D { return bson.D{{Key: "$set", Value: doc}} }
	require.NoError(t, store.Upsert(ctx, d.buckets, c.g+"/0", set(bson.D{{Key: "messages.3.body", Value: "damaged"}, {Key: "messages.4", Value: bson.D{}}})))
	require.NoError(t, store.Upsert(ctx, d.heads, c.g, set(bson.D{{Key: "seq", Value: 1000}, {Key: "texts", Value: 7}})))
	require.NoError(t, store.Upsert(ctx, d.heads, c.dm, set(bson.D{{Key: "seq", Value: 1}, {Key: "texts", Value: 70}})))
	require.NoError(t, store.Upsert(ctx, d.words, filtersID(c.g, 0), set(bson.D{{Key: "filters.0", Value: []byte{0}}})))
	again("values are wrong")
	require.NoError(t, store.Upsert(ctx, d.buckets, c.g+"/0", set(bson.D{{Key: "changed", Value: "x"}})))
	require.NoError(t, store.Upsert(ctx, d.heads, c.g, set(bson.D{{Key: "seq", Value: "x"}})))
	require.NoError(t, store.Upsert(ctx, d.words, filtersID(c.g, 0), set(bson.D{{Key: "filters", Value: 1}})))
	again("nothing can be read")
	require.NoError(t, d.buckets.Drop(ctx))
	require.NoError(t, d.heads.Drop(ctx))
	require.NoError(t, d.words.Drop(ctx))
	again("nothing is there")
}

// An instance works while rebuilds run, and all is as it would be without them.
func TestRebuildBesideAnInstance(t *testing.T) {
	c := newCrowd(401)
	records := c.records(t, 250)
	_, want := reference(t, records)
	d := newTestDatabase(t)
	ctx, cancel := context.WithCancel(t.Context())
	var beside errgroup.Group
	beside.Go(func() error {
		for ctx.Err() == nil {
			ids, err := d.allConversations(ctx)
			for _, id := range ids {
				if err == nil {
					err = d.rebuild(ctx, slog.New(slog.DiscardHandler), id)
				}
			}
			if err != nil && ctx.Err() == nil {
				return err
			}
		}
		return nil
	})
	i := newInstance(t, d, 0, 0)
	require.NoError(t, i.live(t.Context(), rand.New(rand.NewPCG(1, 1)), records, func(effects) {})) //nolint:gosec // to be repeated
	cancel()
	require.NoError(t, beside.Wait())
	require.Equal(t, incidental.ReplaceAllString(want, ""), incidental.ReplaceAllString(dump(t, d), ""))
}
