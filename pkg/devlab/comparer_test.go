package devlab

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/labctl/labctl/services/topics"
)

// The comparer's rights are enough for the whole life of a shadow: it sets the candidate's group to the live commits,
// copies the database, reads what both write, and leaves no trace.
func TestComparerCanDoWhatAShadowNeeds(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	w.talk("before-")
	w.handled("messaging")
	user, shadow, names := topics.Comparer("messaging"), topics.Copy("messaging", topics.Candidate), topics.NamesOf("messaging", topics.Candidate)

	k, err := kgo.NewClient(kgo.SeedBrokers(w.lab.brokerAddr), login(user, w.lab.passwords[user]), kgo.ConsumeTopics(topics.Users, names.Writes(topics.Users)))
	require.NoError(t, err)
	t.Cleanup(k.Close)
	broker := kadm.NewClient(k)
	live, err := broker.FetchOffsets(ctx, "messaging")
	require.NoError(t, err)
	require.NoError(t, broker.CommitAllOffsets(ctx, shadow, live.Offsets()))
	c, err := mongo.Connect(options.Client().ApplyURI(w.lab.databaseURI(w.lab.dbAddr, user)))
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Disconnect(context.Background()) })
	copyDatabase(t, c.Database("messaging"), c.Database(shadow))

	w.shadowOf("messaging", nil)
	w.ready()
	w.talk("meanwhile-")
	w.handled("messaging")
	w.handled(shadow)
	require.Equal(t, w.documents("messaging", differing...), w.documents(shadow, differing...))
	within, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for read := map[string]bool{}; len(read) < 2; {
		k.PollFetches(within).EachRecord(func(r *kgo.Record) { read[r.Topic] = true })
		require.NoError(t, within.Err())
	}

	w.parts[shadow].stop()
	for _, topic := range topics.Made("messaging", names) {
		r, err := broker.DeleteTopic(ctx, topic.Name)
		require.NoError(t, errors.Join(err, r.Err), topic.Name)
	}
	r, err := broker.DeleteGroup(ctx, shadow)
	require.NoError(t, errors.Join(err, r.Err))
	require.NoError(t, c.Database(shadow).Drop(ctx))
	for what := range w.noticeable() {
		require.NotContains(t, what, "shadow")
	}
}

// copyDatabase copies all documents.
func copyDatabase(t *testing.T, from, to *mongo.Database) {
	t.Helper()
	names, err := from.ListCollectionNames(t.Context(), bson.D{})
	require.NoError(t, err)
	for _, name := range names {
		cursor, err := from.Collection(name).Find(t.Context(), bson.D{})
		require.NoError(t, err)
		var all []bson.D
		require.NoError(t, cursor.All(t.Context(), &all))
		if len(all) > 0 {
			_, err = to.Collection(name).InsertMany(t.Context(), all)
			require.NoError(t, err)
		}
	}
}
