package shadow

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/shadow/compare"
	"github.com/labctl/labctl/pkg/shadow/records"
)

func TestLifetime(t *testing.T) {
	begin := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	a := About{At: begin, Lifetime: 24 * time.Hour}
	require.Equal(t, begin.Add(24*time.Hour), a.Ends())
	require.False(t, a.IsOver(a.Ends().Add(-1)))
	require.True(t, a.IsOver(a.Ends()))
	a.Lifetime = 0
	require.Zero(t, a.Ends())
	require.False(t, a.IsOver(begin.AddDate(100, 0, 0)), "in labctl dev there is no limit")
	for text, d := range map[string]time.Duration{
		"24h": 24 * time.Hour, "3h12m": 192 * time.Minute, "12m": 12 * time.Minute, "1m30s": 90 * time.Second, "10s": 10 * time.Second, "0s": 0,
		"1h0m5s": time.Hour + 5*time.Second,
	} {
		require.Equal(t, text, Brief(d))
	}
}

// When the lifetime is over the verdict stays as it was, also for a comparer that starts after that.
func TestTheLifetimeEndsTheComparison(t *testing.T) {
	w, store := newChat(t), newMemory()
	about := func(now time.Time) *Comparer {
		c := newComparer(t, compare.Rules{})
		c.o.At, c.o.Lifetime, c.o.Now = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC), time.Hour, func() time.Time { return now }
		return c
	}
	end := about(time.Time{}).o.Ends()
	begun := Trial{Kafka: w.access, Begun: func(context.Context) {}}

	_, err := about(end).begin(t.Context(), begun, w.admin, store)
	require.ErrorIs(t, err, errOver, "one that never began does not begin any more")

	first := about(end)
	give(t, first, 1, `{"a": 1}`, `{"a": 1}`, `{"a": 1}`)
	require.NoError(t, first.compare(t.Context(), begun, w.begin, newSaver(first, store, 0)), "it ends by itself")
	e := first.Evidence()
	require.Equal(t, "the longest lifetime, 1h, is over", e.Ended)
	require.Equal(t, end, e.Ends)
	require.Empty(t, e.Error)

	second := about(end.Add(time.Hour))
	_, err = second.begin(t.Context(), begun, w.admin, store)
	require.NoError(t, second.ended(err))
	require.EqualValues(t, 1, second.Evidence().Verdict.Samples)
	require.Equal(t, e.Verdict, second.Evidence().Verdict)

	early := about(end.Add(-1))
	p, err := early.begin(t.Context(), begun, w.admin, store)
	require.NoError(t, err)
	require.Equal(t, records.Position{Counted: w.begin.Counted, First: w.begin.First}.First, p.First)
	require.Empty(t, early.Evidence().Ended)
}
