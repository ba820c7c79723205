package verdict

import "math"

const (
	// A mixture has this many bets of Beta(Prior, 1), and this many that are a factor of the square root of two apart.
	priorBets = 32
	scaleBets = 33
	allBets   = priorBets + scaleBets
	// scaleShare is the share of the capital that the latter have.
	scaleShare = 0.1
)

// bets is a mixture of bets, fixed before the first result.
type bets struct {
	size      [allBets]float64 // between 0 and 1, both excluded
	logWeight [allBets]float64 // the weights' sum is 1
}

// newBets gives the mixture for a prior of Beta(prior, 1).
func newBets(prior float64) *bets {
	b := &bets{}
	for i := range priorBets {
		// The quantiles in the middles of as many equal parts of the distribution.
		b.size[i] = math.Pow((float64(i)+0.5)/priorBets, 1/prior)
		b.logWeight[i] = math.Log((1 - scaleShare) / priorBets)
	}
	for i := range scaleBets {
		b.size[priorBets+i] = math.Exp2(-(float64(i) + 0.5) / 2)
		b.logWeight[priorBets+i] = math.Log(scaleShare / scaleBets)
	}
	return b
}

// claim is "the mean of X is at least limit", prepared for betting against it. X is 1, 0 or -1.
type claim struct {
	up, zero, down [allBets]float64 // logarithms of what a bet is multiplied by when X is 1, 0 and -1
	logWeight      *[allBets]float64
}

// atLeast prepares a claim. The limit is between -1 and 1, both excluded.
func (b *bets) atLeast(limit float64) *claim {
	c := &claim{logWeight: &b.logWeight}
	for i, g := range b.size {
		c.up[i] = math.Log1p(-g)
		c.zero[i] = math.Log1p(g * limit / (1 - limit))
		c.down[i] = math.Log1p(g * (1 + limit) / (1 - limit))
	}
	return c
}

// logCapital is the logarithm of the capital after that many results with an X of 1, 0 and -1. Numbers need not be
// whole: a forecast has parts of results.
func (c *claim) logCapital(ups, zeros, downs float64) float64 {
	var logs [allBets]float64
	highest := math.Inf(-1)
	for i := range logs {
		logs[i] = c.logWeight[i] + ups*c.up[i] + zeros*c.zero[i] + downs*c.down[i]
		highest = max(highest, logs[i])
	}
	sum := 0.0
	for _, l := range logs {
		sum += math.Exp(l - highest)
	}
	return highest + math.Log(sum)
}

// refuted says whether the claim is refuted at the level alpha.
func (c *claim) refuted(ups, zeros, downs, alpha float64) bool {
	return c.logCapital(ups, zeros, downs) >= -math.Log(alpha)
}

// upper gives an upper bound of the mean of X at the level alpha: the lowest limit that is refuted, from above, or 1.
// The capital grows with the limit, so bisection finds it.
func (b *bets) upper(ups, zeros, downs, alpha float64) float64 {
	low, high := -1.0, 1.0
	for range 44 { // to about 1e-13
		middle := (low + high) / 2
		if b.atLeast(middle).refuted(ups, zeros, downs, alpha) {
			high = middle
		} else {
			low = middle
		}
	}
	return high
}

// lower gives a lower bound of the mean of X at the level alpha.
func (b *bets) lower(ups, zeros, downs, alpha float64) float64 {
	return -b.upper(downs, zeros, ups, alpha)
}
