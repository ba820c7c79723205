package chaos

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/devlab"
	"github.com/labctl/labctl/pkg/shadow/side"
	"github.com/labctl/labctl/pkg/shadow/verdict"
	"github.com/labctl/labctl/test/scope"
)

// tried lets faults strike a chat that has a shadow of the version that is live. The promise is kept, each record is compared, nothing is missing or
// lost, and what differs is no more than chance.
func tried(t *testing.T, o Options) Compared {
	t.Helper()
	o.Settle, o.Rate, o.Key = 3*time.Minute, 40, key
	res, err := Run(t.Context(), o)
	require.NoError(t, err, "%v", res.Verdict.Examples)
	require.Empty(t, res.Crashes)
	require.Greater(t, res.Verdict.Acked, int64(150))
	for _, f := range res.Faults {
		t.Logf("%.1f to %.1f s: %s %s %s", f.Begin, f.End, f.Fault, f.Met, f.Error)
	}
	c := *res.Shadow
	t.Logf("%d records; %+v; %s", c.Records, c.Evidence.Sides, c.Evidence.Verdict.Why)
	require.Empty(t, c.Evidence.Error)
	require.Equal(t, c.Records, c.Count(), "all is compared")
	differing, err := json.Marshal(c.Evidence.Differing)
	require.NoError(t, err)
	t.Logf("%+v %s", c.Evidence.Verdict.Agreement, differing)
	for _, s := range c.Evidence.Sides {
		require.Zero(t, s.Lost)
	}
	for _, name := range []string{"missing", "dropped"} {
		require.Equal(t, verdict.Pass, c.condition(name).State, c.condition(name).Why)
	}
	require.NotEqual(t, verdict.Fail, c.condition("differences").State, c.condition("differences").Why)
	return c
}

func (c *Compared) condition(name string) verdict.Condition {
	all := c.Evidence.Verdict.Conditions
	return all[slices.IndexFunc(all, func(c verdict.Condition) bool { return c.Name == name })]
}

func (c *Compared) of(s side.Side) (restarts int, repeated int64) {
	is := c.Evidence.Sides[s.String()]
	return is.Restarts, is.Repeated
}

// writesAgain has a part write what it cannot store, and then has another process write it once more.
func writesAgain(part string) []Fault {
	return []Fault{
		{At: 1500 * time.Millisecond, Kind: Cut, Part: part, To: devlab.Database, Time: 2500 * time.Millisecond},
		{At: 3500 * time.Millisecond, Kind: Kill, Part: part, Time: 100 * time.Millisecond},
	}
}

// A shadow of the version that is live does not fail because of faults of others.
func TestShadowBesideFaults(t *testing.T) {
	t.Parallel()
	p := start(t, ProcessesOptions{Instances: One(), Shadow: true})
	c := tried(t, Options{Lab: p, Seed: 1, Duration: 8 * time.Second, Faults: append(writesAgain("messaging/0"), []Fault{
		{At: 1500 * time.Millisecond, Kind: Storm},
		{At: 3800 * time.Millisecond, Kind: Retry},
		{At: 4 * time.Second, Kind: Kill, Part: devlab.Broker, Time: 300 * time.Millisecond},
		{At: 5 * time.Second, Kind: Kill, Part: devlab.Database, Time: 300 * time.Millisecond},
		{At: 6 * time.Second, Kind: Step, Part: "messaging/0", To: devlab.Broker, After: 2, Done: true, Time: 100 * time.Millisecond},
	}...)})
	require.NoError(t, c.Check())
	_, repeated := c.of(side.Live)
	require.Positive(t, repeated, "live has written again what it could not store")
	for _, s := range []side.Side{side.Candidate, side.Baseline} {
		restarts, _ := c.of(s)
		require.Zero(t, restarts, s)
	}
}

// A side that is killed writes again what the one before it could not store. That is no difference; that it was killed, the verdict says.
func TestStruckSides(t *testing.T) {
	for part, struck := range map[string]side.Side{CandidatePart(): side.Candidate, BaselinePart(): side.Baseline} {
		t.Run(struck.String(), func(t *testing.T) {
			t.Parallel()
			p := start(t, ProcessesOptions{Instances: One(), Shadow: true})
			c := tried(t, Options{Lab: p, Seed: 1, Duration: 6 * time.Second, Faults: writesAgain(part)})
			restarts, repeated := c.of(struck)
			require.Equal(t, 1, restarts)
			require.Positive(t, repeated)
			require.Equal(t, verdict.Agreement{Candidate: 1, Baseline: 1}, c.Evidence.Verdict.Agreement)
			want := verdict.Inconclusive
			if struck == side.Candidate {
				want = verdict.Fail
			} else {
				require.NotEqual(t, verdict.Fail, c.Evidence.Verdict.State, c.Evidence.Verdict.Why)
			}
			require.Equal(t, want, c.condition("restarts").State, c.condition("restarts").Why)
		})
	}
}

// As the two before, by seeds.
func TestShadowsBySeeds(t *testing.T) {
	scope.SkipUnlessFull(t, "each seed takes half a minute")
	few := map[string]int{"auth": 1, "messaging": 2, "groups": 1, "presence": 1, "gateway": 2}
	for seed := uint64(1); seed <= 5; seed++ {
		for _, sides := range []bool{false, true} {
			t.Run(fmt.Sprintf("seed %d, sides %t", seed, sides), func(t *testing.T) {
				p := start(t, ProcessesOptions{Instances: few, Shadow: true, StrikeShadow: sides})
				c := tried(t, Options{Lab: p, Seed: seed, Duration: 15 * time.Second, Every: 800 * time.Millisecond})
				if !sides {
					require.NoError(t, c.Check())
				}
			})
		}
	}
}

// The faults of a seed are the same with a shadow, unless its sides are struck, too.
func TestShadowChangesNoSchedule(t *testing.T) {
	p := &Processes{parts: map[string]*process{devlab.Broker: {}, "messaging/0": {}}}
	alone := p.Parts()
	p.companion = &companion{}
	require.Equal(t, alone, p.Parts())
	p.o.StrikeShadow = true
	require.Equal(t, append(alone, CandidatePart(), BaselinePart()), p.Parts())
}
