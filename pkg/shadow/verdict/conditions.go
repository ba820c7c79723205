package verdict

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

// leastSamples asks for enough results in which live did its work.
type leastSamples struct{ good, all, least int64 }

func (c *leastSamples) state(factor float64) State {
	return passIf(float64(c.good)*factor >= float64(c.least))
}

func (c *leastSamples) describe() Condition {
	why := fmt.Sprintf("There are %d results without an error in live, and a pass needs %d.", c.good, c.least)
	if c.all == 0 {
		why = fmt.Sprintf("There is no result yet, and a pass needs %d.", c.least)
	}
	n := float64(c.good)
	return Condition{Name: "samples", State: c.state(1), Why: why, Value: n, Lower: n, Upper: n, Limit: float64(c.least), Samples: c.all}
}

// share asks for the proof that something happens in less than a share of the results. It cannot fail: it is a
// condition for the others to mean something.
type share struct {
	m        *Monitor
	name     string
	n        int64
	claim    *claim
	limit    float64
	what, so string
}

func (c *share) state(factor float64) State {
	all := c.m.tally.Differences.Samples
	return passIf(c.claim.refuted(float64(c.n)*factor, float64(all-c.n)*factor, 0, c.m.policy.Alpha))
}

func (c *share) describe() Condition {
	all := c.m.tally.Differences.Samples
	alpha := c.m.policy.Alpha
	d := Condition{Name: c.name, State: c.state(1), Value: ratio(c.n, all), Limit: c.limit, Samples: all}
	d.Upper = c.m.claims.bets.upper(float64(c.n), float64(all-c.n), 0, alpha)
	// The share of the other results has an upper bound, too.
	d.Lower = 1 - c.m.claims.bets.upper(float64(all-c.n), float64(c.n), 0, alpha)
	so := ""
	if d.State != Pass && c.n > 0 {
		so = ": " + c.so
	}
	d.Why = fmt.Sprintf("In %d of %d results %s; the share is below %s, and must be below %s%s.", c.n, all, c.what, number(d.Upper), number(c.limit), so)
	return d
}

// excess compares how often the candidate alone and the baseline alone differ, or fail.
type excess struct {
	m          *Monitor
	name, kind string
	counts     counts
	// An excess that is proved to be below tolerated does not fail, one below passing passes.
	tolerated, passing *claim
	limit, failAlpha   float64
	verb               string
	// rare says that the kind has no excess, and too small a share of the results to hold up a pass for the proof.
	rare bool
}

// outcomes are the numbers of results in which X is 1, 0 and -1. A forecast takes an excess of more than its standard
// deviation to go on. A smaller one it takes for noise: in the results to come both sides are alike.
func (c *excess) outcomes(factor float64) (ups, zeros, downs float64) {
	ups, downs = float64(c.counts.Candidate), float64(c.counts.Baseline)
	samples := float64(c.counts.Samples)
	moreUps, moreDowns := ups*(factor-1), downs*(factor-1)
	if ups-downs < math.Sqrt(ups+downs) {
		moreUps = (moreUps + moreDowns) / 2
		moreDowns = moreUps
	}
	ups, downs = ups+moreUps, downs+moreDowns
	return ups, samples*factor - ups - downs, downs
}

func (c *excess) state(factor float64) State {
	ups, zeros, downs := c.outcomes(factor)
	alpha := c.m.policy.Alpha
	// "The mean is at most 0" is "the mean of -X is at least 0". With as many ups as downs no bet has won anything.
	if ups > downs && c.m.claims.noExcess.refuted(downs, zeros, ups, c.failAlpha) && !c.tolerated.refuted(ups, zeros, downs, alpha) {
		return Fail
	}
	return passIf(c.rare || c.isProved(factor))
}

// isProved says that the excess is below the limit.
func (c *excess) isProved(factor float64) bool {
	ups, zeros, downs := c.outcomes(factor)
	return c.passing.refuted(ups, zeros, downs, c.m.policy.Alpha)
}

func (c *excess) describe() Condition {
	ups, zeros, downs := c.outcomes(1)
	bets := c.m.claims.bets
	d := Condition{Name: c.name, Kind: c.kind, State: c.state(1), Limit: c.limit, Samples: c.counts.Samples}
	d.Value = (ups - downs) / max(float64(c.counts.Samples), 1)
	d.Lower = bets.lower(ups, zeros, downs, c.failAlpha)
	d.Upper = bets.upper(ups, zeros, downs, c.m.policy.Alpha)
	of := "results"
	if c.kind != "" {
		of = fmt.Sprintf("results of the kind %q", c.kind)
	}
	d.Why = fmt.Sprintf("The candidate alone %s in %d of %d %s, the baseline alone in %d; ", c.verb, c.counts.Candidate, c.counts.Samples, of, c.counts.Baseline)
	switch {
	case d.State == Fail:
		d.Why += fmt.Sprintf("that is no noise: the excess is above %s.", number(max(d.Lower, 0)))
	case c.isProved(1):
		d.Why += fmt.Sprintf("the excess is below %s, and must be below %s.", number(d.Upper), number(c.limit))
	case c.rare:
		d.Why += "the kind is too rare to hold up a pass."
	default:
		d.Why += fmt.Sprintf("the excess may be up to %s, and must be below %s.", number(d.Upper), number(c.limit))
	}
	return d
}

// slower compares a quantile of the candidate's latencies with the baseline's.
type slower struct {
	claims               quantileClaims
	policy               Quantile
	candidate, baseline  *[allBuckets]int64
	failAlpha, passAlpha float64
}

// bands bounds both sides' quantiles. Each side's bound has half of alpha, since both must hold.
func (c *slower) bands(alpha, factor float64) (candidate, baseline band) {
	return c.claims.band(c.candidate, alpha/2, factor), c.claims.band(c.baseline, alpha/2, factor)
}

// allowed is the candidate's limit for a quantile of the baseline.
func (c *slower) allowed(baseline time.Duration) time.Duration {
	return max(time.Duration(float64(baseline)*c.policy.Ratio), baseline+c.policy.Floor)
}

func (c *slower) state(factor float64) State {
	candidate, baseline := c.bands(c.failAlpha, factor)
	if candidate.lower > c.allowed(baseline.upper) {
		return Fail
	}
	candidate, baseline = c.bands(c.passAlpha, factor)
	return passIf(candidate.upper <= c.allowed(baseline.lower))
}

func (c *slower) describe() Condition {
	n := c.candidate[allBuckets-1]
	percent := strconv.FormatFloat(c.policy.Quantile*100, 'g', 6, 64)
	d := Condition{Name: "latency-p" + percent, State: c.state(1), Limit: c.policy.Ratio, Samples: n}
	// The ratio of the quantiles, at the levels of a fail and of a pass.
	candidate, baseline := c.bands(c.failAlpha, 1)
	d.Lower = float64(candidate.lower) / float64(baseline.upper)
	candidate, baseline = c.bands(c.passAlpha, 1)
	d.Upper = float64(candidate.upper) / float64(baseline.lower)
	if n == 0 {
		d.Why = "No result had a latency on both sides; a policy without quantiles does not judge latencies."
		return d
	}
	d.Value = float64(candidate.value) / float64(baseline.value)
	d.Why = fmt.Sprintf("The candidate's %s %% quantile is about %v and the baseline's %v, in %d results; their ratio is between %s and %s, and may be %s, or the difference %v.",
		percent, candidate.value, baseline.value, n, number(d.Lower), number(d.Upper), number(c.policy.Ratio), c.policy.Floor)
	return d
}

func passIf(proved bool) State {
	if proved {
		return Pass
	}
	return Inconclusive
}

// number writes a value with three digits.
func number(v float64) string { return strconv.FormatFloat(v, 'g', 3, 64) }
