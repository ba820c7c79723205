package verdict

import (
	"fmt"
	"maps"
	"slices"
)

// State is what follows from the evidence.
type State string

// The states of a verdict and of its conditions.
const (
	Pass         State = "pass"
	Fail         State = "fail"
	Inconclusive State = "inconclusive"
)

// Never is the Remaining of a verdict that more results alone won't bring.
const Never = -1

// Verdict is what follows from all results so far, and the evidence.
type Verdict struct {
	// State is pass if all conditions pass, fail if one fails, else inconclusive.
	State State `json:"state"`
	// Why is the sentence of the condition that decided.
	Why string `json:"why"`
	// Samples is the number of results.
	Samples   int64     `json:"samples"`
	Agreement Agreement `json:"agreement"`
	// Remaining estimates how many more results bring a verdict, if shares stay what they are and what is within the
	// noise is noise. It is 0 when there is a verdict, and Never if results alone won't do.
	Remaining  int64       `json:"remaining"`
	Conditions []Condition `json:"conditions"`
	Policy     Policy      `json:"policy"`
}

// Sentence says what the verdict is, and what it takes to get one.
func (v Verdict) Sentence() string {
	if v.State != Inconclusive || v.Remaining == Never {
		return fmt.Sprintf("%s: %s", v.State, v.Why)
	}
	return fmt.Sprintf("%s: about %d more results are needed. %s", v.State, v.Remaining, v.Why)
}

// Agreement has the shares of results in which a copy did what live did, 0 without results.
type Agreement struct {
	Candidate float64 `json:"candidate"`
	Baseline  float64 `json:"baseline"`
}

// Condition is one part of a verdict.
type Condition struct {
	Name string `json:"name"`
	// Kind is set if the condition is about the results of one kind alone.
	Kind  string `json:"kind,omitempty"`
	State State  `json:"state"`
	// Why is a sentence with the numbers.
	Why string `json:"why"`
	// Value is what was measured. Lower and Upper are its confidence sequence, or the value again where there is no
	// chance in it. Lower holds at the condition's share of alpha, and Upper at alpha. Limit is what the policy allows.
	Value float64 `json:"value"`
	Lower float64 `json:"lower"`
	Upper float64 `json:"upper"`
	Limit float64 `json:"limit"`
	// Samples is the number of results that the condition is about.
	Samples int64 `json:"samples"`
}

// claims are all that a policy has refuted, prepared once.
type claims struct {
	bets                             *bets
	noExcess                         *claim
	tolerance, kindTolerance, errors *claim
	noise, liveErrors                *claim
	latency                          []quantileClaims
}

func newClaims(p Policy) claims {
	b := newBets(p.Prior)
	c := claims{
		bets: b, noExcess: b.atLeast(0),
		tolerance: b.atLeast(p.Tolerance), kindTolerance: b.atLeast(p.KindTolerance), errors: b.atLeast(p.ErrorTolerance),
		noise: b.atLeast(p.Noise), liveErrors: b.atLeast(p.LiveErrors),
	}
	for _, q := range p.Latency {
		c.latency = append(c.latency, b.quantile(q.Quantile))
	}
	return c
}

// condition is a Condition that can also look ahead.
type condition interface {
	// state is the condition's when there are factor times as many results. 1 is now.
	state(factor float64) State
	describe() Condition
}

// conditions gives all that the policy asks for, in the order in which a reader wants to know of them.
func (m *Monitor) conditions() []condition {
	p, t, c := m.policy, &m.tally, &m.claims
	all := []condition{
		droppedCondition(t),
		missingCondition(t),
		&leastSamples{good: t.Differences.Samples - t.LiveErrors, all: t.Differences.Samples, least: p.Least},
		&share{m: m, name: "live-errors", n: t.LiveErrors, claim: c.liveErrors, limit: p.LiveErrors,
			what: "live itself failed", so: "what live cannot do, no copy can be tried at"},
		&share{m: m, name: "noise", n: t.BaselineDiffers, claim: c.noise, limit: p.Noise,
			what: "the baseline differed from live", so: "a fault does not show there"},
		&excess{m: m, name: "differences", counts: t.Differences, tolerated: c.tolerance, passing: c.tolerance,
			limit: p.Tolerance, failAlpha: p.Alpha * shares.differences, verb: "differed from live"},
	}
	for _, kind := range slices.Sorted(maps.Keys(t.Kinds)) {
		counts := t.Kinds[kind]
		rare := float64(counts.Samples) < p.KindShare*float64(t.Differences.Samples) && counts.Candidate <= counts.Baseline
		all = append(all, &excess{m: m, name: "differences", kind: kind, counts: counts, rare: rare, tolerated: c.tolerance, passing: c.kindTolerance,
			limit: p.KindTolerance, failAlpha: p.Alpha * shares.kinds / float64(p.Kinds), verb: "differed from live"})
	}
	all = append(all, &excess{m: m, name: "errors", counts: t.Errors, tolerated: c.errors, passing: c.errors,
		limit: p.ErrorTolerance, failAlpha: p.Alpha * shares.errors, verb: "failed"})
	if len(p.Latency) > 0 {
		candidate, baseline := t.CandidateLatency.cumulative(), t.BaselineLatency.cumulative()
		for i, q := range p.Latency {
			all = append(all, &slower{claims: c.latency[i], policy: q, candidate: candidate, baseline: baseline,
				failAlpha: p.Alpha * shares.latency / float64(len(p.Latency)), passAlpha: p.Alpha})
		}
	}
	return append(all, m.operational()...)
}

// State is the State of Verdict, at a small part of its cost: for a caller that looks after every result.
func (m *Monitor) State() State { return stateOf(m.conditions(), 1) }

func stateOf(all []condition, factor float64) State {
	state := Pass
	for _, c := range all {
		switch c.state(factor) {
		case Fail:
			return Fail
		case Inconclusive:
			state = Inconclusive
		}
	}
	return state
}

// Verdict says what follows from all results so far.
func (m *Monitor) Verdict() Verdict {
	all := m.conditions()
	v := Verdict{State: stateOf(all, 1), Samples: m.tally.Differences.Samples, Policy: m.policy}
	v.Policy.Latency = slices.Clone(v.Policy.Latency)
	if v.Samples > 0 {
		v.Agreement.Candidate = ratio(v.Samples-m.tally.CandidateDiffers, v.Samples)
		v.Agreement.Baseline = ratio(v.Samples-m.tally.BaselineDiffers, v.Samples)
	}
	for _, c := range all {
		v.Conditions = append(v.Conditions, c.describe())
	}
	decided := slices.IndexFunc(v.Conditions, func(c Condition) bool { return c.State == v.State })
	v.Why = v.Conditions[decided].Why
	if v.State == Pass {
		v.Why = fmt.Sprintf("All %d conditions pass after %d results.", len(all), v.Samples)
	}
	v.Remaining = m.remaining(all, v.State)
	return v
}

// mostSamples is where a forecast ends.
const mostSamples = 1e9

// remaining looks for the number of results at which there is a verdict, if all shares stay what they are.
func (m *Monitor) remaining(all []condition, now State) int64 {
	if now != Inconclusive {
		return 0
	}
	samples := m.tally.Differences.Samples
	if samples == 0 {
		return m.remainingOfNone()
	}
	decided := func(total int64) bool {
		return stateOf(all, float64(total)/float64(samples)) != Inconclusive
	}
	low, high := samples, samples+1
	for !decided(high) {
		if high >= mostSamples {
			return Never
		}
		low, high = high, 2*high
	}
	for high-low > max(high/200, 1) {
		middle := low + (high-low)/2
		if decided(middle) {
			high = middle
		} else {
			low = middle
		}
	}
	return high - samples
}

// remainingOfNone is the estimate when nothing is known: as after a first result that agrees. Nothing can be said of
// latencies.
func (m *Monitor) remainingOfNone() int64 {
	guess := &Monitor{policy: m.policy, claims: m.claims, tally: m.tally}
	guess.policy.Latency, guess.tally.Kinds = nil, map[string]counts{}
	guess.Observe(Pair{})
	more := guess.remaining(guess.conditions(), guess.State())
	if more == Never {
		return Never
	}
	return 1 + more
}

func ratio(n, of int64) float64 { return float64(n) / float64(max(of, 1)) }
