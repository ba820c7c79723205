package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/labctl/labctl/pkg/shadow/verdict"
)

const (
	verdictRuns = 100
	// The looks of a run are after every result, up to this many.
	faultResults     = 10_000
	identicalResults = 20_000
)

// benchVerdict measures how often the verdict is right, and how many results it needs. All runs have seeds, so they are
// the same everywhere.
func benchVerdict(ctx context.Context) ([]result, error) {
	policy := verdict.Default()
	// Nothing else is simulated.
	policy.Latency, policy.Lag, policy.Restarts, policy.MemoryRatio = nil, -1, -1, 0

	found, passedFirst := 0, 0
	for seed := range verdictRuns {
		first, fails, err := watchVerdict(ctx, policy, uint64(seed), 0, 0.001, faultResults)
		if err != nil {
			return nil, err
		}
		if fails {
			found++
		}
		if first == verdict.Pass {
			passedFirst++
		}
	}
	results := []result{
		atLeast("shadow.fault_of_1_in_1000_found_in_100_runs", float64(found), "", 95),
		against("shadow.fault_of_1_in_1000_passes_first_in_100_runs", float64(passedFirst), "", 5),
	}
	for _, noise := range []float64{0, 0.01, 0.3} {
		failed := 0
		for seed := range verdictRuns {
			_, fails, err := watchVerdict(ctx, policy, uint64(seed), noise, 0, identicalResults)
			if err != nil {
				return results, err
			}
			if fails {
				failed++
			}
		}
		results = append(results, against(fmt.Sprintf("shadow.identical_fail_in_100_runs_noise_%g", noise), float64(failed), "", 5))
	}
	more, err := verdictCost(policy)
	return append(results, more...), err
}

// watchVerdict looks after each result of three copies. Each copy alone differs in a share noise of the results, and
// the candidate in a share fault more. It gives the first verdict, and whether any is a fail.
func watchVerdict(ctx context.Context, policy verdict.Policy, seed uint64, noise, fault float64, results int) (first verdict.State, fails bool, err error) {
	m, err := verdict.New(policy)
	if err != nil {
		return "", false, err
	}
	rng := rand.New(rand.NewPCG(seed, 2))
	happens := func(share float64) bool { return rng.Float64() < share }
	first = verdict.Inconclusive
	for range results {
		live, candidate, baseline := happens(noise), happens(noise), happens(noise)
		m.Observe(verdict.Pair{Kind: "message", CandidateDiffers: live || candidate || happens(fault), BaselineDiffers: live || baseline})
		state := m.State()
		if first == verdict.Inconclusive {
			first = state
		}
		if state == verdict.Fail {
			return first, true, ctx.Err()
		}
	}
	return first, false, ctx.Err()
}

// verdictCost measures how many results a candidate without a difference needs, and how long a verdict of many kinds
// takes.
func verdictCost(policy verdict.Policy) ([]result, error) {
	m, err := verdict.New(policy)
	if err != nil {
		return nil, err
	}
	n := 0
	for ; m.State() != verdict.Pass; n++ {
		m.Observe(verdict.Pair{Kind: "message"})
	}
	many, err := verdict.New(verdict.Default())
	if err != nil {
		return nil, err
	}
	for i := range identicalResults {
		latency := time.Duration(1+i%1000) * time.Millisecond
		many.Observe(verdict.Pair{Kind: fmt.Sprint("kind ", i%policy.Kinds), CandidateLatency: latency, BaselineLatency: latency})
	}
	var times []float64
	for range 11 {
		start := time.Now()
		many.Verdict()
		times = append(times, float64(time.Since(start).Microseconds())/1000)
	}
	return []result{
		beside("shadow.clean_pass_results", float64(n), "", 3500, "one look at the end", 2995),
		against(fmt.Sprintf("shadow.verdict_of_%d_kinds_ms", policy.Kinds), median(times), "ms", 100),
	}, nil
}
