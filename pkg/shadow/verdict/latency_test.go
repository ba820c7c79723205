package verdict

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/test/scope"
)

func TestBuckets(t *testing.T) {
	last := -time.Microsecond
	for i := range allBuckets {
		first, end := bucketEnds(i)
		require.Equal(t, last+time.Microsecond, first, "bucket %d", i)
		if i > 0 {
			require.Equal(t, i, bucket(first))
			require.Equal(t, i, bucket(end))
			require.LessOrEqual(t, (end - first).Microseconds(), max(first.Microseconds()/subBuckets, 0))
		}
		last = end
	}
	require.Equal(t, 1, bucket(1), "less than a microsecond")
	require.Equal(t, allBuckets-1, bucket(math.MaxInt64))
}

// The bands hold at every moment of a run, in all but a share of alpha of the runs.
func TestBandsContainTheQuantile(t *testing.T) {
	const alpha = 0.05
	runs, length := scope.Of(100, 400), scope.Of(2000, 5000)
	bets := newBets(10)
	for _, q := range []float64{0.5, 0.99} {
		claims := bets.quantile(q)
		truth := time.Duration(-math.Log(1-q) * float64(10*time.Millisecond))
		wrong := 0
		for seed := range runs {
			rng, seen := rand.New(rand.NewPCG(uint64(seed), 5)), latencies{}
			for i := range length {
				seen.add(time.Duration(rng.ExpFloat64() * float64(10*time.Millisecond)))
				if i%20 != 0 {
					continue
				}
				b := claims.band(seen.cumulative(), alpha/2, 1)
				require.LessOrEqual(t, b.lower, b.value)
				require.LessOrEqual(t, b.value, b.upper)
				if truth < b.lower || truth > b.upper {
					wrong++
					break
				}
			}
		}
		require.LessOrEqual(t, wrong, most(alpha, runs), "quantile %g", q)
	}
}

// latencyOf gives a Monitor that judges latencies, after results of two sides.
func latencyOf(t *testing.T, n int, candidate, baseline func(*rand.Rand) time.Duration) *Monitor {
	t.Helper()
	p := onlyDifferences()
	p.Latency = Default().Latency
	m, rng := newMonitor(t, p), rand.New(rand.NewPCG(1, 6))
	for range n {
		m.Observe(Pair{CandidateLatency: candidate(rng), BaselineLatency: baseline(rng)})
	}
	return m
}

func exponential(mean time.Duration) func(*rand.Rand) time.Duration {
	return func(rng *rand.Rand) time.Duration { return time.Duration(rng.ExpFloat64() * float64(mean)) }
}

func TestLatency(t *testing.T) {
	usual := exponential(50 * time.Millisecond)
	sometimesSlow := func(rng *rand.Rand) time.Duration {
		if rng.Float64() < 0.03 {
			return time.Second
		}
		return usual(rng)
	}
	for name, c := range map[string]struct {
		candidate, baseline func(*rand.Rand) time.Duration
		p50, p99            State
	}{
		"the same":                      {usual, usual, Pass, Pass},
		"three times slower":            {exponential(150 * time.Millisecond), usual, Fail, Fail},
		"slower in a few results":       {sometimesSlow, usual, Pass, Fail},
		"faster":                        {exponential(10 * time.Millisecond), usual, Pass, Pass},
		"slower by less than the floor": {exponential(4 * time.Millisecond), exponential(time.Millisecond), Pass, Pass},
		"at the limit":                  {exponential(75 * time.Millisecond), usual, Inconclusive, Pass},
	} {
		t.Run(name, func(t *testing.T) {
			v := latencyOf(t, 20_000, c.candidate, c.baseline).Verdict()
			p50, p99 := find(t, v, "latency-p50", ""), find(t, v, "latency-p99", "")
			require.Equal(t, c.p50, p50.State, p50.Why)
			require.Equal(t, c.p99, p99.State, p99.Why)
			for _, c := range []Condition{p50, p99} {
				require.LessOrEqual(t, c.Lower, c.Value)
				require.LessOrEqual(t, c.Value, c.Upper)
				require.EqualValues(t, 20_000, c.Samples)
			}
		})
	}
}

// A candidate whose quantiles are at the limit is neither proved to be within it nor beyond, in all but a share of
// alpha of the runs that are watched.
func TestLatencyAtTheLimitSeldomDecides(t *testing.T) {
	runs, length := scope.Of(40, 500), scope.Of(1500, 5000)
	p := onlyDifferences()
	p.Latency = []Quantile{{Quantile: 0.9, Ratio: 2}}
	candidate, baseline := exponential(20*time.Millisecond), exponential(10*time.Millisecond)
	passed, failed := 0, 0
	for seed := range runs {
		m, rng := newMonitor(t, p), rand.New(rand.NewPCG(uint64(seed), 7))
		var pass, fail bool
		for i := range length {
			m.Observe(Pair{CandidateLatency: candidate(rng), BaselineLatency: baseline(rng)})
			if i%20 == 0 {
				state := latencyState(m)
				pass, fail = pass || state == Pass, fail || state == Fail
			}
		}
		if pass {
			passed++
		}
		if fail {
			failed++
		}
	}
	require.LessOrEqual(t, passed, most(p.Alpha, runs))
	require.LessOrEqual(t, failed, most(p.Alpha, runs))
}

// latencyState is the state of the condition on latencies alone.
func latencyState(m *Monitor) State {
	for _, c := range m.conditions() {
		if c, ok := c.(*slower); ok {
			return c.state(1)
		}
	}
	return Inconclusive
}

func TestLatencyThatIsUnknown(t *testing.T) {
	m := latencyOf(t, 5000, exponential(time.Millisecond), func(*rand.Rand) time.Duration { return 0 })
	v := m.Verdict()
	require.Equal(t, Inconclusive, v.State)
	require.Equal(t, "No result had a latency on both sides; a policy without quantiles does not judge latencies.", v.Why)
	require.EqualValues(t, Never, v.Remaining)
}
