package verdict_test

import (
	"fmt"

	"github.com/labctl/labctl/pkg/shadow/verdict"
)

// A candidate does what live does, except with one kind of request.
func Example() {
	policy := verdict.Default()
	// Of copies in one process nothing else is known.
	policy.Latency, policy.Lag, policy.Restarts, policy.MemoryRatio = nil, -1, -1, 0
	monitor, err := verdict.New(policy)
	if err != nil {
		fmt.Println(err)
		return
	}
	for range 2000 {
		monitor.Observe(verdict.Pair{Kind: "message"})
	}
	v := monitor.Verdict()
	fmt.Println(v.State, v.Why)
	for range 5 {
		monitor.Observe(verdict.Pair{Kind: "receipt", CandidateDiffers: true})
	}
	v = monitor.Verdict()
	fmt.Println(v.State, v.Why)
	// Output:
	// inconclusive The candidate alone differed from live in 0 of 2000 results, the baseline alone in 0; the excess may be up to 0.00168, and must be below 0.001.
	// fail The candidate alone differed from live in 5 of 2005 results, the baseline alone in 0; that is no noise: the excess is above 2.97e-05.
}
