package verdict

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/shadow/side"
)

// find gives a condition of a verdict.
func find(t *testing.T, v Verdict, name, kind string) Condition {
	t.Helper()
	for _, c := range v.Conditions {
		if c.Name == name && c.Kind == kind {
			return c
		}
	}
	require.Failf(t, "no condition", "%s of kind %q", name, kind)
	return Condition{}
}

func observe(m *Monitor, n int, p Pair) {
	for range n {
		m.Observe(p)
	}
}

// A kind that comes up once in a thousand results holds up no pass, and says so.
func TestRareKind(t *testing.T) {
	m := newMonitor(t, onlyDifferences())
	observe(m, 10_000, Pair{Kind: "message"})
	m.Observe(Pair{Kind: "ban"})
	v := m.Verdict()
	require.Equal(t, Pass, v.State)
	require.Contains(t, find(t, v, "differences", "ban").Why, "too rare to hold up a pass")
}

// What blocks a pass is told by the condition, and never hidden by thousands of good results.
func TestWhatBlocksAPass(t *testing.T) {
	good := Pair{Kind: "message"}
	for name, c := range map[string]struct {
		results   func(*Monitor)
		condition string
		kind      string
		why       string
		remaining int64 // 0: some
	}{
		"no results":        {func(*Monitor) {}, "samples", "", "There is no result yet", 0},
		"too few results":   {func(m *Monitor) { observe(m, 900, good) }, "samples", "", "There are 900 results without an error in live, and a pass needs 1000.", 0},
		"not yet proved":    {func(m *Monitor) { observe(m, 3000, good) }, "differences", "", "the excess may be up to 0.0011", 0},
		"errors everywhere": {func(m *Monitor) { observe(m, 5000, Pair{LiveError: true, CandidateError: true, BaselineError: true}) }, "samples", "", "There are 0 results without an error in live", Never},
		"errors nearly everywhere": {func(m *Monitor) {
			observe(m, 50_000, Pair{LiveError: true, CandidateError: true, BaselineError: true})
			observe(m, 5000, good)
		}, "live-errors", "", "what live cannot do, no copy can be tried at", Never},
		"both copies broken": {func(m *Monitor) { observe(m, 5000, Pair{CandidateDiffers: true, BaselineDiffers: true}) }, "noise", "", "a fault does not show there", Never},
		"dropped":            {func(m *Monitor) { observe(m, 5000, good); m.Dropped(1) }, "dropped", "", "Results that were lost before they could be compared: 1.", Never},
		"missing on both sides": {func(m *Monitor) {
			observe(m, 5000, good)
			m.Observe(Pair{CandidateMissing: true, BaselineMissing: true})
			m.Late(1)
		}, "missing", "", "Results that are missing: 1 of the candidate and 1 of the baseline; 1 came late.", Never},
		"missing in the baseline": {func(m *Monitor) { observe(m, 5000, good); m.Observe(Pair{BaselineMissing: true}) }, "missing", "", "0 of the candidate and 1 of the baseline", Never},
		"a rare kind": {func(m *Monitor) {
			observe(m, 10_000, good)
			observe(m, 6, Pair{Kind: "ban"})
			observe(m, 3, Pair{Kind: "ban", CandidateDiffers: true})
		}, "differences", "ban", `The candidate alone differed from live in 3 of 9 results of the kind "ban"`, 0},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMonitor(t, onlyDifferences())
			c.results(m)
			v := m.Verdict()
			require.Equal(t, Inconclusive, v.State)
			blocked := find(t, v, c.condition, c.kind)
			require.Equal(t, Inconclusive, blocked.State)
			require.Contains(t, blocked.Why, c.why)
			if c.remaining != 0 {
				require.Equal(t, c.remaining, v.Remaining)
			} else {
				require.Positive(t, v.Remaining)
			}
		})
	}
}

// Every way in which the candidate alone can be different counts as a difference.
func TestWhatFails(t *testing.T) {
	for name, pair := range map[string]Pair{
		"it differs":                     {CandidateDiffers: true},
		"its result is missing":          {CandidateMissing: true},
		"it fails and live does not":     {CandidateError: true},
		"live fails and it does not":     {LiveError: true, BaselineError: true},
		"missing, with noise everywhere": {LiveError: true, BaselineError: true, CandidateMissing: true, CandidateError: true},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMonitor(t, onlyDifferences())
			observe(m, 4, pair)
			require.Equal(t, Inconclusive, m.State())
			m.Observe(pair)
			v := m.Verdict()
			require.Equal(t, Fail, v.State)
			require.Contains(t, v.Why, "The candidate alone differed from live in 5 of 5 results, the baseline alone in 0; that is no noise")
			require.Zero(t, v.Remaining)
			require.Zero(t, v.Agreement.Candidate)
		})
	}
}

// What the baseline does as well, or alone, is no fault of the candidate.
func TestWhatDoesNotFail(t *testing.T) {
	for name, pair := range map[string]Pair{
		"both differ":            {CandidateDiffers: true, BaselineDiffers: true},
		"the baseline differs":   {BaselineDiffers: true},
		"the baseline fails":     {BaselineError: true},
		"all fail":               {LiveError: true, CandidateError: true, BaselineError: true},
		"live alone fails":       {LiveError: true},
		"both lack their result": {CandidateMissing: true, BaselineMissing: true},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMonitor(t, onlyDifferences())
			observe(m, 10_000, pair)
			require.Equal(t, Inconclusive, m.State())
		})
	}
}

// Five results in a million are no noise, but the policy tolerates them.
func TestToleratedExcessPasses(t *testing.T) {
	m := newMonitor(t, onlyDifferences())
	observe(m, 5, Pair{CandidateDiffers: true})
	require.Equal(t, Fail, m.State())
	observe(m, 1_000_000, Pair{})
	v := m.Verdict()
	require.Equal(t, Pass, v.State)
	c := find(t, v, "differences", "")
	require.Positive(t, c.Lower)
	require.Less(t, c.Upper, c.Limit)
}

func TestErrorsFailThoughDifferencesAreTolerated(t *testing.T) {
	p := onlyDifferences()
	p.Tolerance, p.KindTolerance = 0.2, 0.2
	m := newMonitor(t, p)
	for range 1000 {
		observe(m, 99, Pair{})
		m.Observe(Pair{CandidateError: true})
	}
	v := m.Verdict()
	require.Equal(t, Fail, v.State)
	require.Contains(t, v.Why, "The candidate alone failed in 1000 of 100000 results")
	require.Equal(t, Pass, find(t, v, "differences", "").State)
}

// In a pass, more results that agree never weaken a bound.
func TestAgreementStrengthensAPass(t *testing.T) {
	m, s := newMonitor(t, onlyDifferences()), newService(4, 0.0002, 0)
	for m.State() != Pass {
		m.Observe(s.next())
	}
	before := m.Verdict()
	for range 20 {
		observe(m, 500, Pair{Kind: "kind 0"})
		after := m.Verdict()
		require.Equal(t, Pass, after.State)
		for i, c := range after.Conditions {
			if c.Name != "samples" {
				require.LessOrEqual(t, c.Upper, before.Conditions[i].Upper, c.Name)
			}
		}
		before = after
	}
}

// The order of the results does not matter, and a Monitor that goes on from its JSON says what one says that never
// stopped.
func TestOrderAndJSON(t *testing.T) {
	for seed := range 10 {
		rng := rand.New(rand.NewPCG(uint64(seed), 3))
		s := newService(seed, 0.02, 0.002)
		s.kinds = 6
		var pairs []Pair
		for range 3000 {
			p := s.next()
			p.LiveError, p.CandidateError, p.BaselineError = s.happens(0.01), s.happens(0.01), s.happens(0.01)
			p.CandidateMissing, p.BaselineMissing = s.happens(0.01), s.happens(0.02)
			p.CandidateLatency, p.BaselineLatency = time.Duration(rng.IntN(1e9)), time.Duration(rng.IntN(1e9))
			pairs = append(pairs, p)
		}
		one, other := newMonitor(t, Default()), newMonitor(t, Default())
		for _, m := range []*Monitor{one, other} {
			m.SetLag(side.Candidate, 5)
			m.SetRestarts(side.Baseline, 2)
			m.SetMemory(side.Baseline, 1<<20)
			m.Dropped(3)
			m.Late(2)
		}
		for _, p := range pairs {
			one.Observe(p)
		}
		rng.Shuffle(len(pairs), func(i, j int) { pairs[i], pairs[j] = pairs[j], pairs[i] })
		for i, p := range pairs {
			other.Observe(p)
			if i%700 == 0 {
				data, err := json.Marshal(other)
				require.NoError(t, err)
				other = &Monitor{}
				require.NoError(t, json.Unmarshal(data, other))
			}
		}
		require.Equal(t, one.Verdict(), other.Verdict())
		require.Equal(t, one, other)
		require.Equal(t, one.State(), one.Verdict().State)
	}
}

func TestVerdictJSON(t *testing.T) {
	m := newMonitor(t, onlyDifferences())
	observe(m, 5, Pair{Kind: "message", CandidateDiffers: true})
	data, err := json.Marshal(m.Verdict())
	require.NoError(t, err)
	var v map[string]any
	require.NoError(t, json.Unmarshal(data, &v))
	require.ElementsMatch(t, []string{"state", "why", "samples", "agreement", "remaining", "conditions", "policy"}, keys(v))
	condition := v["conditions"].([]any)[6].(map[string]any)
	require.ElementsMatch(t, []string{"name", "kind", "state", "why", "value", "lower", "upper", "limit", "samples"}, keys(condition))
	require.Equal(t, "message", condition["kind"])
}

func keys(m map[string]any) (all []string) {
	for k := range m {
		all = append(all, k)
	}
	return all
}

// What is kept does not grow with what is observed.
func TestSizeIsBounded(t *testing.T) {
	m := newMonitor(t, Default())
	rng := rand.New(rand.NewPCG(1, 4))
	for i := range 100_000 {
		kind := strings.Repeat("é", 1+i%200) + string(rune('a'+i%26))
		m.Observe(Pair{Kind: kind, CandidateLatency: time.Duration(rng.Uint64() >> 1 >> rng.IntN(60)), BaselineLatency: time.Duration(1 + rng.IntN(1e9))})
	}
	require.Len(t, m.tally.Kinds, Default().Kinds)
	require.Positive(t, m.tally.Kinds[otherKind].Samples)
	data, err := json.Marshal(m)
	require.NoError(t, err)
	require.Less(t, len(data), 50_000)
	read := &Monitor{}
	require.NoError(t, json.Unmarshal(data, read))
	require.Equal(t, m, read)
}

func TestUnmarshalRefusesWhatNoMonitorWrote(t *testing.T) {
	m := newMonitor(t, Default())
	observe(m, 3, Pair{Kind: "message", CandidateDiffers: true, CandidateLatency: 1, BaselineLatency: 1})
	data, err := json.Marshal(m)
	require.NoError(t, err)
	for name, c := range map[string]struct{ old, new, err string }{
		"another version":   {`"version":1`, `"version":2`, "its version is 2 and this program knows 1: start a new shadow"},
		"no version":        {`"version":1,`, ``, "its version is 0"},
		"no policy":         {`"alpha":0.05`, `"alpha":5`, "alpha is 5"},
		"no tally":          {`"tally"`, `"other"`, "it has no tally"},
		"negative counts":   {`"candidate":3,"baseline":0},"errors"`, `"candidate":3,"baseline":-1},"errors"`, "differences are"},
		"kinds do not sum":  {`"message":{"samples":3`, `"message":{"samples":4`, "the kinds sum to"},
		"too many differ":   {`"candidateDiffers":3`, `"candidateDiffers":4`, "candidateDiffers is 4 of 3 results"},
		"no such bucket":    {`"candidateLatency":{"1":3}`, `"candidateLatency":{"9999":3}`, "bucket 9999"},
		"unequal latencies": {`"candidateLatency":{"1":3}`, `"candidateLatency":{"1":2}`, "there are 2 latencies of the candidate and 3 of the baseline"},
		"what is no JSON":   {`{`, `[`, "state of the verdict"},
		"what is lost":      {`"dropped":0`, `"dropped":-1`, "dropped -1"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, string(data), c.old)
			read := &Monitor{}
			require.ErrorContains(t, read.UnmarshalJSON([]byte(strings.Replace(string(data), c.old, c.new, 1))), c.err)
			require.Equal(t, &Monitor{}, read, "a Monitor that was refused is as it was")
		})
	}
}

// The estimate is what it takes when results go on as they were.
func TestRemaining(t *testing.T) {
	m := newMonitor(t, onlyDifferences())
	require.InDelta(t, 3361, m.Verdict().Remaining, 20)
	observe(m, 1000, Pair{})
	require.InDelta(t, 2361, m.Verdict().Remaining, 20)
	m.Observe(Pair{CandidateDiffers: true})
	// At 1 of 1001 this candidate won't pass: it fails at the fifth.
	require.InDelta(t, 4000, m.Verdict().Remaining, 200)
	observe(m, 4, Pair{CandidateDiffers: true})
	require.Zero(t, m.Verdict().Remaining)

	// A kind that is a hundredth of the results needs a hundred times as many of them.
	m = newMonitor(t, onlyDifferences())
	observe(m, 990, Pair{Kind: "often"})
	observe(m, 10, Pair{Kind: "seldom"})
	require.InDelta(t, 6600-1000, m.Verdict().Remaining, 200)
}

// A lag is of the moment, so it does not make the wait endless. Restarts stay.
func TestRemainingWithALag(t *testing.T) {
	p := onlyDifferences()
	p.Lag, p.Restarts = 10, 0
	m := newMonitor(t, p)
	observe(m, 1000, Pair{})
	for _, side := range []side.Side{side.Candidate, side.Baseline} {
		m.SetLag(side, 100)
		m.SetRestarts(side, 0)
	}
	require.InDelta(t, 2361, m.Verdict().Remaining, 20)
	m.SetRestarts(side.Baseline, 1)
	require.EqualValues(t, Never, m.Verdict().Remaining)
}

func TestOperations(t *testing.T) {
	for name, c := range map[string]struct {
		set       func(*Monitor)
		condition string
		state     State
		why       string
	}{
		"no lag known":          {func(*Monitor) {}, "lag", Inconclusive, "The lag of both copies must be known, and is not yet."},
		"one lag known":         {func(m *Monitor) { m.SetLag(side.Candidate, 0) }, "lag", Inconclusive, "must be known"},
		"no lag":                {func(m *Monitor) { m.SetLag(side.Candidate, 0); m.SetLag(side.Baseline, 1000) }, "lag", Pass, "The candidate is 0 records behind live and the baseline 1000; 1000 are allowed."},
		"the candidate lags":    {func(m *Monitor) { m.SetLag(side.Candidate, 1001); m.SetLag(side.Baseline, 0) }, "lag", Inconclusive, "The candidate is 1001 records behind"},
		"the baseline lags":     {func(m *Monitor) { m.SetLag(side.Candidate, 0); m.SetLag(side.Baseline, 1001) }, "lag", Inconclusive, "the baseline 1001"},
		"no restarts":           {func(m *Monitor) { m.SetRestarts(side.Candidate, 0); m.SetRestarts(side.Baseline, 0) }, "restarts", Pass, "0 are allowed"},
		"the candidate crashes": {func(m *Monitor) { m.SetRestarts(side.Candidate, 1); m.SetRestarts(side.Baseline, 0) }, "restarts", Fail, "The candidate's restarts are 1 and the baseline's 0"},
		"both crash":            {func(m *Monitor) { m.SetRestarts(side.Candidate, 2); m.SetRestarts(side.Baseline, 2) }, "restarts", Inconclusive, "the baseline's 2"},
		"a little memory":       {func(m *Monitor) { m.SetMemory(side.Candidate, 70<<20); m.SetMemory(side.Baseline, 10<<20) }, "memory", Pass, "The candidate uses 70 MiB of memory and the baseline 10 MiB; 2 times as much is allowed, or 64 MiB more."},
		"too much memory":       {func(m *Monitor) { m.SetMemory(side.Candidate, 201<<20); m.SetMemory(side.Baseline, 100<<20) }, "memory", Fail, "201 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMonitor(t, Default())
			c.set(m)
			got := find(t, m.Verdict(), c.condition, "")
			require.Equal(t, c.state, got.State)
			require.Contains(t, got.Why, c.why)
		})
	}
	m := newMonitor(t, onlyDifferences())
	for _, c := range m.Verdict().Conditions {
		require.NotContains(t, []string{"lag", "restarts", "memory", "latency-p50"}, c.Name, "not judged")
	}
}
