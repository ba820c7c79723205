package devlab

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/labctl/labctl/pkg/shadow"
	"github.com/labctl/labctl/pkg/shadow/side"
	"github.com/labctl/labctl/pkg/shadow/verdict"
	"github.com/labctl/labctl/services/topics"
)

// The comparer's rights are enough for the whole life of a shadow: it sets the candidate's group to the live commits,
// copies the database, reads what both write, and leaves no trace.
func TestComparerCanDoWhatAShadowNeeds(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	w.talk("before-")
	w.handled("messaging")
	user, candidate, names := topics.Comparer("messaging"), topics.Copy("messaging", topics.Candidate), topics.NamesOf("messaging", topics.Candidate)

	k, err := kgo.NewClient(kgo.SeedBrokers(w.lab.brokerAddr), login(user, w.lab.users.Password(user)), kgo.ConsumeTopics(topics.Users, names.Writes(topics.Users)))
	require.NoError(t, err)
	t.Cleanup(k.Close)
	broker := kadm.NewClient(k)
	live, err := broker.FetchOffsets(ctx, "messaging")
	require.NoError(t, err)
	require.NoError(t, broker.CommitAllOffsets(ctx, candidate, live.Offsets()))
	c, err := mongo.Connect(options.Client().ApplyURI(w.lab.users.DatabaseURI(w.lab.dbAddr, user)))
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Disconnect(context.Background()) })
	copyDatabase(t, c.Database("messaging"), c.Database(candidate))

	w.shadowOf("messaging", nil)
	w.ready()
	w.talk("meanwhile-")
	w.handled("messaging")
	w.handled(candidate)
	require.Equal(t, w.documents("messaging", differing...), w.documents(candidate, differing...))
	within, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for read := map[string]bool{}; len(read) < 2; {
		k.PollFetches(within).EachRecord(func(r *kgo.Record) { read[r.Topic] = true })
		require.NoError(t, within.Err())
	}

	w.parts[candidate].stop()
	for _, topic := range topics.Made("messaging", names) {
		r, err := broker.DeleteTopic(ctx, topic.Name)
		require.NoError(t, errors.Join(err, r.Err), topic.Name)
	}
	r, err := broker.DeleteGroup(ctx, candidate)
	require.NoError(t, errors.Join(err, r.Err))
	require.NoError(t, c.Database(candidate).Drop(ctx))
	for what := range w.noticeable() {
		require.NotContains(t, what, "shadow")
	}
}

// compared is a comparer that is at work.
type compared struct {
	*shadow.Comparer
	stop func()
}

// compare starts a comparer of messaging, and waits until it compares.
func (w *world) compare(about shadow.About, trial shadow.Trial) compared {
	w.t.Helper()
	c, err := shadow.New(shadow.Options{Service: "messaging", About: about, Dir: w.t.TempDir(), Now: time.Now})
	require.NoError(w.t, err)
	begun, ended := make(chan struct{}), make(chan error, 1)
	trial.Begun = func(context.Context) { close(begun) }
	ctx, cancel := context.WithCancel(w.t.Context())
	go func() { ended <- c.Run(ctx, trial) }()
	stop := sync.OnceFunc(func() {
		cancel()
		require.NoError(w.t, errors.Join(<-ended, c.Close()))
	})
	w.t.Cleanup(stop)
	select {
	case <-begun:
	case err := <-ended:
		ended <- err
		w.t.Fatal(err)
	}
	return compared{c, stop}
}

// until waits until so many results are counted.
func (c compared) until(t *testing.T, samples int64) shadow.Evidence {
	t.Helper()
	for limit := time.After(time.Minute); ; {
		e := c.Evidence()
		require.Empty(t, e.Error)
		if e.Verdict.Samples >= samples {
			return e
		}
		select {
		case <-limit:
			t.Fatalf("%d results are counted of %d", e.Verdict.Samples, samples)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// A comparer that takes the place of another goes on where that one stopped: each record counts once, also those that
// came while there was none. In the end there is nothing left of the evidence.
func TestAComparerGoesOnWhereAnotherStopped(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	w.talk("before-")
	w.handled("messaging")
	before := w.left()
	user := topics.Comparer("messaging")
	db, err := mongo.Connect(options.Client().ApplyURI(w.lab.users.DatabaseURI(w.lab.dbAddr, user)))
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Disconnect(context.Background()) })
	trial := shadow.Trial{Kafka: []kgo.Opt{kgo.SeedBrokers(w.lab.brokerAddr), login(user, w.lab.users.Password(user))}, DB: db}
	about := shadow.About{Version: "a version", By: "a test", At: time.Now(), Policy: verdict.Default()}
	led := func() int64 { // records from which something follows
		w.handled("messaging")
		sources := map[string]bool{}
		for _, topic := range []string{topics.Users, topics.Dead} {
			for _, r := range w.records(topic) {
				if source := header(r, "source"); strings.HasPrefix(source, topics.Messages+"/") {
					sources[source] = true
				}
			}
		}
		return int64(len(sources))
	}
	counted := led()

	first := w.compare(about, trial)
	for _, s := range []side.Side{side.Candidate, side.Baseline} {
		w.sideOf("messaging", s, nil)
	}
	w.ready()
	w.talk("first-")
	first.until(t, 1)
	first.stop()
	w.talk("meanwhile-")
	second := w.compare(about, trial)
	w.talk("after-")
	second.until(t, led()-counted)
	second.stop()
	third := w.compare(about, trial)
	e := third.until(t, led()-counted)
	require.Equal(t, led()-counted, e.Verdict.Samples)
	require.Empty(t, e.Differing.Shapes)
	require.Empty(t, e.Unsaved)
	require.Contains(t, w.left(), user)
	third.stop()

	for _, of := range topics.Sides() {
		w.parts[topics.Copy("messaging", of)].stop()
	}
	require.NoError(t, trial.Clean(ctx, "messaging"))
	require.ElementsMatch(t, before, w.left())
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
