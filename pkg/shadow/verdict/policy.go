package verdict

import (
	"errors"
	"fmt"
	"time"
)

// shares are how alpha is split among the conditions that can fail. They sum to 1. The differences have most of it, so
// that five results are enough there.
var shares = struct{ differences, kinds, errors, latency float64 }{0.9, 0.04, 0.03, 0.03}

// Policy says what passes. All of it is part of the evidence.
type Policy struct {
	// Alpha is the probability that identical versions ever fail, and that a candidate at a limit ever passes.
	Alpha float64 `json:"alpha"`
	// Prior is the first parameter of the beta distribution of bets, whose second one is 1: see the package's comment.
	// The expected excess of a good candidate is about Tolerance/Prior.
	Prior float64 `json:"prior"`
	// Tolerance is the excess that a candidate must be below: the share of results that differ from live, less the
	// baseline's.
	Tolerance float64 `json:"tolerance"`
	// KindTolerance is the same for the results of each kind that was seen. It is at least Tolerance. At 0.05 a kind
	// without a difference needs 66 results.
	KindTolerance float64 `json:"kindTolerance"`
	// KindShare is the share of all results from which on a kind must be proved to be below KindTolerance. A rarer one in
	// which the candidate differs no more often than the baseline holds up no pass: some come up once in a thousand results.
	KindShare float64 `json:"kindShare"`
	// ErrorTolerance is the same for the share of results that are errors.
	ErrorTolerance float64 `json:"errorTolerance"`
	// Least is how many results without an error in live a pass needs at least.
	Least int64 `json:"least"`
	// Kinds is how many kinds have counts of their own. Later ones share one.
	Kinds int `json:"kinds"`
	// Noise is the share of results in which the baseline may differ from live: a fault of the candidate does not show
	// there.
	Noise float64 `json:"noise"`
	// LiveErrors is the share of results in which live itself may fail.
	LiveErrors float64 `json:"liveErrors"`
	// Latency has the quantiles to compare with the baseline's. Without any, latencies are not judged.
	Latency []Quantile `json:"latency"`
	// Lag is how many records a copy may be behind live. Below 0: not judged.
	Lag int64 `json:"lag"`
	// Restarts is how many restarts a copy may have. The candidate fails with more than that many beyond the
	// baseline's. Below 0: not judged.
	Restarts int64 `json:"restarts"`
	// MemoryRatio is how many times the baseline's memory the candidate may use, and MemoryFloor how many bytes more in
	// any case. Ratio 0: not judged.
	MemoryRatio float64 `json:"memoryRatio"`
	MemoryFloor int64   `json:"memoryFloorBytes"`
}

// Quantile is a quantile of latencies, and how far the candidate's may be above the baseline's.
type Quantile struct {
	// Quantile is between 0 and 1: 0.99 is the latency that 99 % of results do not exceed.
	Quantile float64 `json:"quantile"`
	// Ratio is the largest that passes. It is above 1.
	Ratio float64 `json:"ratio"`
	// Floor is a difference that passes in any case, in nanoseconds.
	Floor time.Duration `json:"floorNanoseconds"`
}

// Default gives the policy for those who name no other. A candidate without a difference passes it after 3361 results.
func Default() Policy {
	return Policy{
		Alpha: 0.05, Prior: 10,
		Tolerance: 0.001, KindTolerance: 0.05, KindShare: 0.01, ErrorTolerance: 0.001,
		Least: 1000, Kinds: 32,
		Noise: 0.1, LiveErrors: 0.1,
		Latency: []Quantile{
			{Quantile: 0.5, Ratio: 1.5, Floor: 5 * time.Millisecond},
			{Quantile: 0.99, Ratio: 2, Floor: 20 * time.Millisecond},
		},
		Lag: 1000, Restarts: 0, MemoryRatio: 2, MemoryFloor: 64 << 20,
	}
}

// Check gives all that makes no sense in a policy, and what would.
func (p Policy) Check() error {
	var errs []error
	within := func(name string, value, low, high float64) {
		// Written so that it refuses what is no number, too.
		if !(value > low && value < high) {
			errs = append(errs, fmt.Errorf("%s is %g: choose a number above %g and below %g", name, value, low, high))
		}
	}
	within("alpha", p.Alpha, 0, 0.5)
	if !(p.Prior >= 1 && p.Prior <= 1000) {
		errs = append(errs, fmt.Errorf("prior is %g: choose a number from 1 to 1000", p.Prior))
	}
	within("tolerance", p.Tolerance, 0, 1)
	within("kindTolerance", p.KindTolerance, 0, 1)
	if !(p.KindShare >= 0 && p.KindShare < 1) {
		errs = append(errs, fmt.Errorf("kindShare is %g: choose a number from 0 and below 1", p.KindShare))
	}
	within("errorTolerance", p.ErrorTolerance, 0, 1)
	if p.KindTolerance < p.Tolerance {
		errs = append(errs, fmt.Errorf("kindTolerance is %g: choose a number not below the tolerance, which is %g", p.KindTolerance, p.Tolerance))
	}
	if p.Least < 1 {
		errs = append(errs, fmt.Errorf("least is %d: a pass needs at least 1 result", p.Least))
	}
	if p.Kinds < 1 || p.Kinds > 256 {
		errs = append(errs, fmt.Errorf("kinds is %d: choose a number from 1 to 256", p.Kinds))
	}
	within("noise", p.Noise, 0, 1)
	within("liveErrors", p.LiveErrors, 0, 1)
	if len(p.Latency) > 8 {
		errs = append(errs, fmt.Errorf("latency has %d quantiles: choose 8 or fewer", len(p.Latency)))
	}
	seen := map[float64]bool{}
	for _, q := range p.Latency {
		within("a latency's quantile", q.Quantile, 0, 1)
		if !(q.Ratio > 1 && q.Ratio <= 1000) {
			errs = append(errs, fmt.Errorf("the ratio of the latency's quantile %g is %g: choose a number above 1 and up to 1000", q.Quantile, q.Ratio))
		}
		if q.Floor < 0 || q.Floor > time.Hour {
			errs = append(errs, fmt.Errorf("the floor of the latency's quantile %g is %v: choose a duration from 0 to 1h", q.Quantile, q.Floor))
		}
		if seen[q.Quantile] {
			errs = append(errs, fmt.Errorf("latency has the quantile %g twice: leave one out", q.Quantile))
		}
		seen[q.Quantile] = true
	}
	if p.MemoryRatio != 0 && !(p.MemoryRatio > 1 && p.MemoryRatio <= 1000) {
		errs = append(errs, fmt.Errorf("memoryRatio is %g: choose a number above 1 and up to 1000, or 0 to not judge memory", p.MemoryRatio))
	}
	if p.MemoryFloor < 0 {
		errs = append(errs, fmt.Errorf("memoryFloorBytes is %d: choose 0 or more", p.MemoryFloor))
	}
	if len(errs) > 0 {
		return fmt.Errorf("policy of the verdict: %w", errors.Join(errs...))
	}
	return nil
}
