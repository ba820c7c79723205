package verdict

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPolicyCheck(t *testing.T) {
	require.NoError(t, Default().Check())
	for want, change := range map[string]func(*Policy){
		"alpha is 0: choose a number above 0 and below 0.5": func(p *Policy) { p.Alpha = 0 },
		"alpha is 0.5": func(p *Policy) { p.Alpha = 0.5 },
		"alpha is NaN": func(p *Policy) { p.Alpha = math.NaN() },
		"prior is 0.5: choose a number from 1 to 1000": func(p *Policy) { p.Prior = 0.5 },
		"tolerance is 0": func(p *Policy) { p.Tolerance = 0 },
		"tolerance is 1": func(p *Policy) { p.Tolerance = 1 },
		"kindTolerance is 0.0001: choose a number not below": func(p *Policy) { p.KindTolerance = 0.0001 },
		"errorTolerance is -1":                               func(p *Policy) { p.ErrorTolerance = -1 },
		"least is 0: a pass needs at least 1 result":         func(p *Policy) { p.Least = 0 },
		"kinds is 0":                 func(p *Policy) { p.Kinds = 0 },
		"kinds is 257":               func(p *Policy) { p.Kinds = 257 },
		"noise is 1":                 func(p *Policy) { p.Noise = 1 },
		"liveErrors is +Inf":         func(p *Policy) { p.LiveErrors = math.Inf(1) },
		"latency has 9 quantiles":    func(p *Policy) { p.Latency = make([]Quantile, 9) },
		"a latency's quantile is 99": func(p *Policy) { p.Latency[1].Quantile = 99 },
		"the ratio of the latency's quantile 0.5 is 1":                   func(p *Policy) { p.Latency[0].Ratio = 1 },
		"the floor of the latency's quantile 0.5 is -1ns":                func(p *Policy) { p.Latency[0].Floor = -time.Nanosecond },
		"latency has the quantile 0.5 twice":                             func(p *Policy) { p.Latency[1].Quantile = 0.5 },
		"memoryRatio is 1: choose a number above 1 and up to 1000, or 0": func(p *Policy) { p.MemoryRatio = 1 },
		"memoryFloorBytes is -1":                                         func(p *Policy) { p.MemoryFloor = -1 },
	} {
		t.Run(want, func(t *testing.T) {
			p := Default()
			change(&p)
			require.ErrorContains(t, p.Check(), want)
			_, err := New(p)
			require.ErrorContains(t, err, "policy of the verdict")
		})
	}
	require.NoError(t, onlyDifferences().Check())
}
