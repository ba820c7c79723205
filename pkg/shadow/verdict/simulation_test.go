package verdict

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/shadow/side"
	"github.com/labctl/labctl/test/scope"
)

// service simulates three copies. Each alone differs in a share noise of the results, and the candidate in a share
// fault more.
type service struct {
	rng          *rand.Rand
	noise, fault float64
	kinds        int
}

func newService(seed int, noise, fault float64) *service {
	return &service{rng: rand.New(rand.NewPCG(uint64(seed), 2)), noise: noise, fault: fault, kinds: 1}
}

func (s *service) next() Pair {
	live, candidate, baseline := s.happens(s.noise), s.happens(s.noise), s.happens(s.noise)
	return Pair{
		Kind:             fmt.Sprint("kind ", s.rng.IntN(s.kinds)),
		CandidateDiffers: live || candidate || s.happens(s.fault),
		BaselineDiffers:  live || baseline,
	}
}

func (s *service) happens(share float64) bool { return s.rng.Float64() < share }

// onlyDifferences is a policy for results of which nothing else is known.
func onlyDifferences() Policy {
	p := Default()
	p.Latency, p.Lag, p.Restarts, p.MemoryRatio = nil, -1, -1, 0
	return p
}

func newMonitor(t *testing.T, p Policy) *Monitor {
	t.Helper()
	m, err := New(p)
	require.NoError(t, err)
	return m
}

// failsWithin watches a run, and gives the number of results at which it fails, or 0. It looks after the results after
// which alone a fail is possible: TestFailsWhenTheCandidateAloneDiffers.
func failsWithin(t *testing.T, s *service, results int) int {
	t.Helper()
	m := newMonitor(t, onlyDifferences())
	for i := range results {
		p := s.next()
		m.Observe(p)
		if p.CandidateDiffers && !p.BaselineDiffers && m.State() == Fail {
			return i + 1
		}
	}
	return 0
}

func TestFailsWhenTheCandidateAloneDiffers(t *testing.T) {
	for _, s := range []*service{newService(1, 0, 0.01), newService(2, 0.05, 0.05), newService(3, 0.3, 0.2)} {
		m := newMonitor(t, onlyDifferences())
		state, failed := m.State(), false
		for range 3000 {
			p := s.next()
			m.Observe(p)
			now := m.State()
			if now == Fail && state != Fail {
				require.True(t, p.CandidateDiffers && !p.BaselineDiffers)
				failed = true
			}
			state = now
		}
		require.True(t, failed)
	}
}

// A fault in 1 of 1000 results is found within 10,000 results in at least 95 % of the runs, at a tolerance of 1 in
// 1000.
func TestFindsAFaultInOneOfAThousand(t *testing.T) {
	runs := scope.Of(100, 2000)
	found := 0
	for seed := range runs {
		if failsWithin(t, newService(seed, 0, 0.001), 10_000) > 0 {
			found++
		}
	}
	t.Logf("found in %d of %d runs", found, runs)
	require.GreaterOrEqual(t, found, runs*95/100)
}

// A candidate at the tolerance seldom passes, at whatever moment one looks.
func TestAFaultAtTheToleranceSeldomPasses(t *testing.T) {
	runs := scope.Of(100, 1000)
	passed := 0
	for seed := range runs {
		m, s := newMonitor(t, onlyDifferences()), newService(seed, 0, 0.001)
		for i := range 10_000 {
			p := s.next()
			// Results that agree only bring a pass nearer, so it is there before one that differs, or at the end.
			if (p.CandidateDiffers || i == 9999) && m.State() == Pass {
				passed++
				break
			}
			m.Observe(p)
		}
	}
	t.Logf("passed in %d of %d runs", passed, runs)
	require.LessOrEqual(t, passed, runs*5/100)
}

// Identical versions seldom fail, though somebody looks after every one of 20,000 results.
func TestIdenticalVersionsSeldomFail(t *testing.T) {
	runs := scope.Of(100, 1000)
	for _, noise := range []float64{0, 0.01, 0.3} {
		failed := 0
		for seed := range runs {
			s := newService(seed, noise, 0)
			s.kinds = 5
			if failsWithin(t, s, 20_000) > 0 {
				failed++
			}
		}
		t.Logf("with noise %g, %d of %d runs failed", noise, failed, runs)
		require.LessOrEqual(t, failed, runs*5/100, "noise %g", noise)
	}
}

// With everything that a comparer reports, a candidate without fault passes after some 3400 results.
func TestCleanCandidatePasses(t *testing.T) {
	m, s := newMonitor(t, Default()), newService(1, 0, 0)
	s.kinds = 20
	for _, side := range []side.Side{side.Candidate, side.Baseline} {
		m.SetLag(side, 3)
		m.SetRestarts(side, 0)
		m.SetMemory(side, 50<<20)
	}
	latency := func() time.Duration { return time.Duration((2 + 3*s.rng.ExpFloat64()) * float64(time.Millisecond)) }
	n := 0
	for ; n < 4000 && m.State() != Pass; n++ {
		p := s.next()
		p.CandidateLatency, p.BaselineLatency = latency(), latency()
		m.Observe(p)
	}
	require.GreaterOrEqual(t, n, 2995)
	v := m.Verdict()
	require.Equal(t, Pass, v.State, v.Why)
	require.Equal(t, fmt.Sprintf("All %d conditions pass after %d results.", len(v.Conditions), n), v.Why)
	require.Zero(t, v.Remaining)
	for _, c := range v.Conditions {
		require.Equal(t, Pass, c.State, c.Name)
	}
}

// An estimate of what noise will take is right in the median, and within a factor of three for most runs: luck decides
// the rest.
func TestRemainingWithNoise(t *testing.T) {
	const runs = 15
	for _, noise := range []float64{0.001, 0.01} {
		var ratios []float64
		for seed := range runs {
			m, s := newMonitor(t, onlyDifferences()), newService(seed, noise, 0)
			for range 5000 {
				m.Observe(s.next())
			}
			estimate, n := m.Verdict().Remaining, 5000
			for m.State() == Inconclusive {
				for range n / 50 {
					m.Observe(s.next())
				}
				n += n / 50
			}
			ratios = append(ratios, float64(n)/float64(5000+estimate))
		}
		slices.Sort(ratios)
		t.Logf("noise %g: %.2f", noise, ratios)
		require.InDelta(t, 1, ratios[runs/2], 0.5)
		require.Greater(t, ratios[runs/5], 1.0/3)
		require.Less(t, ratios[runs*4/5], 3.0)
	}
}

// A fault of one kind in fifty is found although the other kinds are noisy, and the verdict names the kind.
func TestFindsAFaultOfOneKind(t *testing.T) {
	p := onlyDifferences()
	p.Kinds = 64
	m, s := newMonitor(t, p), newService(1, 0.05, 0)
	s.kinds = 50
	for range 10_000 {
		p := s.next()
		if p.Kind == "kind 7" {
			p.CandidateDiffers, p.BaselineDiffers = s.happens(0.5), false
		}
		m.Observe(p)
	}
	v := m.Verdict()
	require.Equal(t, Fail, v.State)
	for _, c := range v.Conditions {
		if c.Kind != "" {
			require.Equal(t, c.Kind == "kind 7", c.State == Fail, c.Why)
		}
	}
}
