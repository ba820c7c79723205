package devlab

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/labctl/labctl/pkg/shadow"
	"github.com/labctl/labctl/pkg/shadow/verdict"
	"github.com/labctl/labctl/services/gateway"
	"github.com/labctl/labctl/test/scope"
)

// visit is what the gateway g says of a user who was there some time ago and again half a minute ago, then left, and then
// went: soon they are away, and then offline.
func visit(now time.Time, user string) (records []*kgo.Record) {
	for _, said := range []struct {
		at            time.Duration
		devices, away int
	}{{-95 * time.Second, 1, 0}, {-30 * time.Second, 1, 0}, {-28 * time.Second, 1, 0}, {-26 * time.Second, 1, 1}, {-25500 * time.Millisecond, 0, 0}} {
		value, err := json.Marshal(map[string]any{"user": user, "gateway": "g", "devices": said.devices, "away": said.away, "at": now.Add(said.at).UTC().Truncate(time.Millisecond)})
		if err != nil {
			panic(err)
		}
		records = append(records, &kgo.Record{Topic: "presence", Key: []byte(user), Value: value})
	}
	return records
}

// A version that does not tell who leaves fails, and the evidence says so. The baseline, which is the live version once
// more, makes of each lease what live makes of it, though each looks at other moments. So does a candidate that is the same.
func TestShadowsOfPresence(t *testing.T) {
	const visitors, compared = 20, 4 // of the leases of a visit one changes nothing
	same := version(t, "presence", "")
	w := newWorld(t, "gateway")
	w.parts["gateway"].unit.run = func(ctx context.Context, getenv func(string) string, on listeners, log *slog.Logger) error {
		o, err := gateway.ConfigFromEnv(getenv)
		if err != nil {
			return err
		}
		o.Listener, o.HealthListener, o.Log, o.Lease = on.service, on.health, log, time.Second
		return gateway.Run(ctx, o)
	}
	w.start("gateway")
	w.ready()
	alice, bob := w.user("alice"), w.user("bob")
	a := w.device(alice)
	w.acquainted(a, bob)
	var ids []string
	for i := range visitors {
		s := w.user(fmt.Sprint("visitor", i))
		w.acquainted(a, s)
		ids = append(ids, s.User.ID)
	}
	w.handled("messaging")
	kafka := w.kafka()
	before := w.left()
	come := func(ctx context.Context, c *shadow.Comparer) {
		d := w.device(bob)
		var said []*kgo.Record
		for _, id := range ids {
			said = append(said, visit(time.Now(), id)...)
		}
		require.NoError(t, kafka.ProduceSync(ctx, said...).FirstErr())
		want := int64(visitors*compared + 1)
		if scope.Full() { // bob is offline after half a minute
			d.Close()
			want++
		}
		eventually(t, "all that follows to be compared", func() bool { return c.Evidence().Verdict.Samples >= want })
	}

	t.Run("faulty_offline", func(t *testing.T) {
		e := w.try("presence", version(t, "presence", "faulty_offline"), same, come)
		require.Equal(t, verdict.Fail, e.Verdict.State, e.Verdict.Why)
		require.Len(t, e.Differing.Shapes, 1, e.Verdict.Why)
		require.Equal(t, "presence: outputs[*] missing", e.Differing.Shapes[0].Shape)
		// Each visitor leaves at the first lease, and is away and offline in the end. A copy that has not read the topic to its end when the visits come
		// tells nobody of the first, nor does the baseline then: that is noise.
		more := scope.Of[int64](0, 1) // bob is offline, too
		require.Contains(t, []int64{2*visitors + more, 3*visitors + more}, e.Differing.Shapes[0].Count)
		require.InDelta(t, 1, e.Verdict.Agreement.Baseline, 0)
		require.ElementsMatch(t, before, w.left())
	})
	t.Run("the same", func(t *testing.T) {
		scope.SkipUnlessFull(t, "the baseline is the same, too")
		e := w.try("presence", same, same, come)
		require.NotEqual(t, verdict.Fail, e.Verdict.State, e.Verdict.Why)
		require.Empty(t, e.Differing.Shapes)
		require.InDelta(t, 1, e.Verdict.Agreement.Candidate, 0)
		require.InDelta(t, 1, e.Verdict.Agreement.Baseline, 0)
		for _, condition := range e.Verdict.Conditions {
			if condition.Name == "missing" || condition.Name == "dropped" || condition.Name == "lag" {
				require.Equal(t, verdict.Pass, condition.State, condition.Why)
			}
		}
		require.ElementsMatch(t, before, w.left())
	})
}
