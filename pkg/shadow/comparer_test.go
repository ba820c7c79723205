package shadow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/shadow/compare"
	"github.com/labctl/labctl/pkg/shadow/join"
	"github.com/labctl/labctl/pkg/shadow/records"
	"github.com/labctl/labctl/pkg/shadow/side"
	"github.com/labctl/labctl/pkg/shadow/verdict"
)

func newComparer(t *testing.T, rules compare.Rules) *Comparer {
	t.Helper()
	c, err := New(Options{
		Service: "messaging", About: About{Version: "a version", By: "ann", Policy: verdict.Default(), Rules: rules}, Dir: t.TempDir(), Now: time.Now,
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

// give gives a comparer what the sides made of one record: bodies of live, candidate and baseline, or none.
func give(t *testing.T, c *Comparer, offset int64, bodies ...string) {
	t.Helper()
	for i, s := range side.All() {
		if bodies[i] != "" {
			require.NoError(t, c.Add(s, records.Result{Offset: offset, Kind: "send", Body: []byte(bodies[i]), Latency: time.Millisecond}))
		}
		require.NoError(t, c.Advance(s, 0, offset))
	}
}

// What the baseline does as well is noise, what is meant to differ is told apart, and the rest is the candidate's.
func TestComparison(t *testing.T) {
	c := newComparer(t, compare.Rules{Intended: []string{"new"}})
	give(t, c, 1, `{"a": 1}`, `{"a":1}`, `{"a": 1}`)
	give(t, c, 2, `{"at": 1}`, `{"at": 2}`, `{"at": 3}`)
	give(t, c, 3, `{}`, `{"new": true}`, `{}`)
	give(t, c, 4, `{"a": 1}`, `{"a": 2}`, `{"a": 1}`)
	give(t, c, 5, `{"a": 1}`, ``, `{"a": 1}`)
	e := c.Evidence()
	require.EqualValues(t, 5, e.Verdict.Samples)
	require.EqualValues(t, 1, e.Intended)
	var shapes []string
	for _, s := range e.Differing.Shapes {
		shapes = append(shapes, fmt.Sprint(s.First, " ", s.Shape))
	}
	require.Equal(t, []string{"messages/0/4 send: a changed", "messages/0/5 send: $ missing"}, shapes)
	require.InDelta(t, 1, e.Verdict.Agreement.Baseline, 1e-9, "noise is left out on both sides")
	require.NotEqual(t, verdict.Pass, e.Verdict.State)
}

// That nothing follows from a record on any side is no evidence, and what follows on one side alone is.
func TestRecordsFromWhichNothingFollows(t *testing.T) {
	c := newComparer(t, compare.Rules{})
	for offset, kinds := range [][]string{{"", "", ""}, {"presence", "", "presence"}, {"", "presence", ""}} {
		for i, s := range side.All() {
			require.NoError(t, c.Add(s, records.Result{Offset: int64(offset), Kind: kinds[i], Body: []byte(`{"outputs": [` + map[bool]string{true: "1"}[kinds[i] != ""] + `]}`)}))
			require.NoError(t, c.Advance(s, 0, int64(offset)))
		}
	}
	e := c.Evidence()
	require.EqualValues(t, 2, e.Verdict.Samples)
	require.EqualValues(t, 1, e.Nothing)
	var shapes []string
	for _, s := range e.Differing.Shapes {
		shapes = append(shapes, s.Shape)
	}
	require.Equal(t, []string{"presence: outputs[*] missing", "presence: outputs[*] extra"}, shapes)
}

// A copy need not be ahead of live, which waits with some records, too.
func TestLag(t *testing.T) {
	c := newComparer(t, compare.Rules{})
	c.sawFacts(records.Facts{Lag: [side.Count]int64{5000, 5003, 4000}})
	e := c.Evidence()
	require.EqualValues(t, 5003, e.Sides["candidate"].Lag)
	i := slices.IndexFunc(e.Verdict.Conditions, func(c verdict.Condition) bool { return c.Name == "lag" })
	require.InDelta(t, 3, e.Verdict.Conditions[i].Value, 1e-9)
	require.Equal(t, verdict.Pass, e.Verdict.Conditions[i].State)
}

// Evidence is a copy: what is compared meanwhile does not change it.
func TestEvidenceStays(t *testing.T) {
	c := newComparer(t, compare.Rules{})
	give(t, c, 1, `{"a": 1}`, `{"a": 2}`, `{"a": 1}`)
	e := c.Evidence()
	give(t, c, 2, `{"a": 1}`, `{"a": 2}`, `{"a": 1}`)
	require.EqualValues(t, 1, e.Differing.Shapes[0].Count)
	require.EqualValues(t, 2, c.Evidence().Differing.Shapes[0].Count)
}

// A process that started again has ended, whether anybody says so or not, and each end counts once.
func TestRestarts(t *testing.T) {
	c := newComparer(t, compare.Rules{})
	restarts := func() int { return c.Evidence().Sides["candidate"].Restarts }
	saw := func(started float64) { c.sawProcess(side.Candidate, c.restarts(side.Candidate), started, 1<<20) }
	saw(100)
	saw(100)
	require.Zero(t, restarts())
	saw(200)
	require.Equal(t, 1, restarts())
	asked := c.restarts(side.Candidate)
	c.Ended(side.Candidate, errors.New("exit status 2"))
	require.Equal(t, 2, restarts())
	c.sawProcess(side.Candidate, asked, 200, 1<<20) // what it said before its end comes late
	saw(300)
	require.Equal(t, 2, restarts())
	require.Equal(t, "exit status 2", c.Evidence().Sides["candidate"].Ended)
	require.Equal(t, verdict.Fail, c.Evidence().Verdict.State)
}

// What was deleted before it was read blocks a pass.
func TestLostRecords(t *testing.T) {
	c := newComparer(t, compare.Rules{})
	c.sawFacts(records.Facts{Lost: [side.Count]int64{0, 2, 0}})
	c.sawFacts(records.Facts{Lost: [side.Count]int64{0, 2, 0}})
	for _, condition := range c.Evidence().Verdict.Conditions {
		if condition.Name == "dropped" {
			require.Equal(t, verdict.Inconclusive, condition.State)
			require.InDelta(t, 2, condition.Value, 1e-9, "counted once")
			return
		}
	}
	t.Fatal("no condition on what was dropped")
}

// Where there is room for no result of a record, on no side, that blocks a pass, too.
func TestNoRoom(t *testing.T) {
	c := newComparer(t, compare.Rules{})
	var err error
	c.join, err = join.New(join.Options{Dir: t.TempDir(), OpenLimit: 2, Emit: c.joined})
	require.NoError(t, err)
	for offset := range int64(3) {
		for _, s := range side.All() {
			require.NoError(t, c.Add(s, records.Result{Offset: offset, Kind: "send", Body: []byte(`{}`)}))
		}
	}
	saved, err := c.snapshot(records.Position{First: map[int32]int64{}})
	require.NoError(t, err)
	for range 2 {
		require.InDelta(t, 6, condition(t, c.Evidence(), "dropped").Value, 1e-9, "counted once")
	}
	next := newComparer(t, compare.Rules{})
	_, known, err := next.resume(saved)
	require.NoError(t, err)
	require.True(t, known)
	require.InDelta(t, 6, condition(t, next.Evidence(), "dropped").Value, 1e-9, "the next comparer knows it, too")
}

// Metrics are read from where the sides serve them, until the end.
func TestWatch(t *testing.T) {
	c := newComparer(t, compare.Rules{})
	metrics := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		require.Equal(t, "/metrics", r.URL.Path)
		_, _ = fmt.Fprint(w, "# TYPE x counter\nx{a=\"b\"} 1\n# TYPE process_resident_memory_bytes gauge\nprocess_resident_memory_bytes 3.3554432e+07\n")
	}))
	t.Cleanup(metrics.Close)
	ctx, stop := context.WithCancel(t.Context())
	var looked atomic.Int32
	require.NoError(t, c.watch(ctx, map[side.Side]string{side.Candidate: metrics.URL, side.Baseline: "http://127.0.0.1:1"}, func() {
		looked.Add(1)
		c.sawFacts(records.Facts{Lag: [side.Count]int64{0, 7, 8}})
		stop()
	}))
	require.EqualValues(t, 1, looked.Load())
	e := c.Evidence()
	require.EqualValues(t, 7, e.Sides["candidate"].Lag)
	require.EqualValues(t, 32<<20, e.Sides["candidate"].Memory)
	require.Zero(t, e.Sides["baseline"].Memory, "one that does not answer has none")
}

// Evidence is for who has the token.
func TestHandler(t *testing.T) {
	c := newComparer(t, compare.Rules{})
	give(t, c, 1, `{"a": 1}`, `{"a": 2}`, `{"a": 1}`)
	srv := httptest.NewServer(c.Handler("secret"))
	t.Cleanup(srv.Close)
	a := Address{Service: "messaging", URL: srv.URL, Token: "secret"}
	e, err := a.Evidence(t.Context())
	require.NoError(t, err)
	want, err := json.Marshal(c.Evidence().Differing)
	require.NoError(t, err)
	got, err := json.Marshal(e.Differing)
	require.NoError(t, err)
	require.JSONEq(t, string(want), string(got))
	a.Token = "guess"
	_, err = a.Evidence(t.Context())
	require.ErrorContains(t, err, "401")
	srv.Close()
	_, err = a.Evidence(t.Context())
	require.ErrorIs(t, err, ErrAway)
}
