package verdict

import (
	"encoding/json"
	"fmt"
)

// stateVersion is of the form of a Monitor's JSON. A change of the form, or of what the counts mean, is a new version.
const stateVersion = 1

type state struct {
	Version int    `json:"version"`
	Policy  Policy `json:"policy"`
	Tally   *tally `json:"tally"`
}

// MarshalJSON gives all that the Monitor knows, so that another process goes on where this one stopped.
func (m *Monitor) MarshalJSON() ([]byte, error) {
	return json.Marshal(state{Version: stateVersion, Policy: m.policy, Tally: &m.tally})
}

// UnmarshalJSON replaces the Monitor by one that MarshalJSON wrote. What is not consistent is refused.
func (m *Monitor) UnmarshalJSON(data []byte) error {
	var version struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(data, &version); err != nil {
		return fmt.Errorf("state of the verdict: %w", err)
	}
	if version.Version != stateVersion {
		return fmt.Errorf("state of the verdict: its version is %d and this program knows %d: start a new shadow", version.Version, stateVersion)
	}
	var s state
	if err := json.Unmarshal(data, &s); err != nil {
		return fmt.Errorf("state of the verdict: %w", err)
	}
	read, err := New(s.Policy)
	if err != nil {
		return fmt.Errorf("state of the verdict: %w", err)
	}
	if s.Tally == nil {
		return fmt.Errorf("state of the verdict: it has no tally: start a new shadow")
	}
	if err := s.Tally.check(s.Policy); err != nil {
		return fmt.Errorf("state of the verdict: %w: start a new shadow", err)
	}
	read.tally = *s.Tally
	*m = *read
	return nil
}

// check refuses counts that no Monitor has. It also makes the maps that are lacking.
func (t *tally) check(p Policy) error {
	all := t.Differences.Samples
	for name, n := range map[string]int64{
		"candidateDiffers": t.CandidateDiffers, "baselineDiffers": t.BaselineDiffers, "liveErrors": t.LiveErrors,
		"candidateMissing": t.CandidateMissing, "baselineMissing": t.BaselineMissing,
	} {
		if n < 0 || n > all {
			return fmt.Errorf("%s is %d of %d results", name, n, all)
		}
	}
	if t.Late < 0 || t.Dropped < 0 {
		return fmt.Errorf("late is %d and dropped %d", t.Late, t.Dropped)
	}
	if err := t.Differences.check("differences", all); err != nil {
		return err
	}
	if err := t.Errors.check("errors", all); err != nil {
		return err
	}
	if t.Kinds == nil {
		t.Kinds = map[string]counts{}
	}
	if len(t.Kinds) > p.Kinds {
		return fmt.Errorf("there are %d kinds, and the policy has places for %d", len(t.Kinds), p.Kinds)
	}
	var sum counts
	for kind, c := range t.Kinds {
		if err := c.check(fmt.Sprintf("kind %q", kind), c.Samples); err != nil {
			return err
		}
		sum = counts{Samples: sum.Samples + c.Samples, Candidate: sum.Candidate + c.Candidate, Baseline: sum.Baseline + c.Baseline}
	}
	if sum != t.Differences {
		return fmt.Errorf("the kinds sum to %+v and the differences are %+v", sum, t.Differences)
	}
	candidate, err := t.CandidateLatency.check()
	if err != nil {
		return err
	}
	baseline, err := t.BaselineLatency.check()
	if err != nil {
		return err
	}
	if candidate != baseline || candidate > all {
		return fmt.Errorf("there are %d latencies of the candidate and %d of the baseline, of %d results", candidate, baseline, all)
	}
	return nil
}

func (c counts) check(name string, samples int64) error {
	if c.Samples != samples || min(c.Samples, c.Candidate, c.Baseline) < 0 || c.Candidate+c.Baseline > c.Samples {
		return fmt.Errorf("%s are %+v, of %d results", name, c, samples)
	}
	return nil
}

// check gives the number of latencies.
func (l *latencies) check() (int64, error) {
	if *l == nil {
		*l = latencies{}
	}
	sum := int64(0)
	for i, n := range *l {
		if i < 1 || i >= allBuckets || n < 1 {
			return 0, fmt.Errorf("bucket %d of the latencies has %d", i, n)
		}
		sum += n
	}
	return sum, nil
}
