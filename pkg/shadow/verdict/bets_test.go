package verdict

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/test/scope"
)

// No bet may win on average as long as the claim is true: all of the package's promises follow from this.
func TestBetsDoNotWinAgainstATrueClaim(t *testing.T) {
	b := newBets(10)
	total := 0.0
	for _, w := range b.logWeight {
		total += math.Exp(w)
	}
	require.InDelta(t, 1, total, 1e-12)
	for _, limit := range []float64{-0.9, -0.01, 0, 0.001, 0.05, 0.5, 0.99} {
		c := b.atLeast(limit)
		for up := 0.0; up <= 1; up += 0.05 {
			for down := 0.0; down <= 1-up; down += 0.05 {
				if up-down < limit {
					continue
				}
				for i := range allBets {
					mean := up*math.Exp(c.up[i]) + (1-up-down)*math.Exp(c.zero[i]) + down*math.Exp(c.down[i])
					require.LessOrEqual(t, mean, 1+1e-9, "bet %g against at least %g, with %g up and %g down", b.size[i], limit, up, down)
				}
			}
		}
	}
}

// The bounds hold at every moment of a run, in all but a share of alpha of the runs.
func TestBoundsContainTheTruth(t *testing.T) {
	const alpha = 0.05
	runs, length := scope.Of(200, 1000), scope.Of(2000, 2500)
	b := newBets(10)
	for _, rates := range [][2]float64{{0.001, 0}, {0.01, 0}, {0.05, 0.04}, {0.2, 0.3}, {0, 0.02}} {
		truth := rates[0] - rates[1]
		above, below := b.atLeast(truth), b.atLeast(-truth)
		var wrongUpper, wrongLower int
		for seed := range runs {
			rng := rand.New(rand.NewPCG(uint64(seed), 1))
			var ups, zeros, downs float64
			var upper, lower bool
			for range length {
				switch u := rng.Float64(); {
				case u < rates[0]:
					ups++
				case u < rates[0]+rates[1]:
					downs++
				default:
					zeros++
				}
				upper = upper || above.refuted(ups, zeros, downs, alpha)
				lower = lower || below.refuted(downs, zeros, ups, alpha)
			}
			if upper {
				wrongUpper++
			}
			if lower {
				wrongLower++
			}
		}
		require.LessOrEqual(t, wrongUpper, most(alpha, runs), "upper bounds at %v", rates)
		require.LessOrEqual(t, wrongLower, most(alpha, runs), "lower bounds at %v", rates)
	}
}

// most is how often what has the probability alpha at most may happen in some runs: two standard deviations more than
// expected.
func most(alpha float64, runs int) int {
	n := float64(runs)
	return int(alpha*n + 2*math.Sqrt(alpha*(1-alpha)*n))
}

func TestBoundsAreWhereTheClaimsAreRefuted(t *testing.T) {
	b := newBets(10)
	rng := rand.New(rand.NewPCG(1, 1))
	for range 50 {
		ups, zeros, downs := float64(rng.IntN(20)), float64(rng.IntN(5000)), float64(rng.IntN(20))
		upper, lower := b.upper(ups, zeros, downs, 0.05), b.lower(ups, zeros, downs, 0.05)
		require.Less(t, lower, upper)
		value := (ups - downs) / max(ups+zeros+downs, 1)
		require.LessOrEqual(t, lower, value)
		require.GreaterOrEqual(t, upper, value)
		if upper < 1 {
			require.True(t, b.atLeast(upper).refuted(ups, zeros, downs, 0.05))
		}
		require.False(t, b.atLeast(upper-1e-9).refuted(ups, zeros, downs, 0.05))
		require.LessOrEqual(t, b.upper(ups, zeros+1, downs, 0.05), max(upper, 0), "a result that agrees never raises a bound above 0")
	}
	require.InDelta(t, 1, b.upper(0, 0, 0, 0.05), 0)
	require.InDelta(t, -1, b.lower(0, 0, 0, 0.05), 0)
	require.InDelta(t, 1, b.upper(100, 0, 0, 0.05), 0)
}

// What looking at every moment costs: 2995 results without a difference prove a rate below 0.001 if one looks once, and
// the pure beta-binomial mixture with Beta(1, 10/0.001) needs 3280.
func TestResultsThatACleanPassNeeds(t *testing.T) {
	const tolerance, alpha = 0.001, 0.05
	require.Equal(t, 2995, until(func(n float64) bool { return math.Pow(1-tolerance, n) <= alpha }))
	betaBinomial := until(func(n float64) bool {
		const a, b = 1, 10 / tolerance
		return logBeta(a, b+n)-logBeta(a, b)-n*math.Log1p(-tolerance) >= -math.Log(alpha)
	})
	require.InDelta(t, 3280, betaBinomial, 5)
	bets := newBets(10)
	require.Equal(t, 3361, until(func(n float64) bool { return bets.atLeast(tolerance).refuted(0, n, 0, alpha) }))
}

// Five results in which the candidate alone differs are a fail, and no policy is so lax that four are at this alpha.
func TestResultsThatAFailNeeds(t *testing.T) {
	p := Default()
	claim := newBets(p.Prior).atLeast(0)
	require.False(t, claim.refuted(0, 1e6, 4, p.Alpha*shares.differences))
	require.True(t, claim.refuted(0, 1e6, 5, p.Alpha*shares.differences))
	require.Equal(t, 15, until(func(n float64) bool { return claim.refuted(0, 0, n, p.Alpha*shares.kinds/float64(p.Kinds)) }))
	require.InDelta(t, 1, shares.differences+shares.kinds+shares.errors+shares.latency, 1e-12)
}

func until(f func(n float64) bool) int {
	n := 1
	for !f(float64(n)) {
		n++
	}
	return n
}

func logBeta(a, b float64) float64 {
	x, _ := math.Lgamma(a)
	y, _ := math.Lgamma(b)
	z, _ := math.Lgamma(a + b)
	return x + y - z
}
