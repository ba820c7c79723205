package verdict

import "fmt"

// fact is a condition that results do not change.
type fact struct {
	Condition
	// transient says that it blocks a pass for the moment only, such as a lag.
	transient bool
}

func (f *fact) state(factor float64) State {
	if f.transient && factor > 1 {
		return Pass
	}
	return f.State
}

func (f *fact) describe() Condition { return f.Condition }

// newFact makes a fact of a number that must not exceed a limit.
func newFact(name string, state State, value, limit float64, why string, args ...any) *fact {
	return &fact{Condition: Condition{Name: name, State: state, Value: value, Lower: value, Upper: value, Limit: limit, Why: fmt.Sprintf(why, args...)}}
}

func droppedCondition(t *tally) *fact {
	f := newFact("dropped", passIf(t.Dropped == 0), float64(t.Dropped), 0, "No result was lost before it was compared.")
	if t.Dropped > 0 {
		f.Why = fmt.Sprintf("Results that were lost before they could be compared: %d. Nobody knows what they were: start a new shadow, with less load or more room.", t.Dropped)
	}
	f.Samples = t.Differences.Samples
	return f
}

func missingCondition(t *tally) *fact {
	missing := t.CandidateMissing + t.BaselineMissing
	f := newFact("missing", passIf(missing == 0), float64(missing), 0, "No result is missing.")
	if missing > 0 {
		f.Why = fmt.Sprintf("Results that are missing: %d of the candidate and %d of the baseline; %d came late. None may be missing: find out why, and start a new shadow.",
			t.CandidateMissing, t.BaselineMissing, t.Late)
	}
	f.Samples = t.Differences.Samples
	return f
}

// operational gives the conditions on the last facts that were set. These are of the moment: they may fail and recover.
func (m *Monitor) operational() []condition {
	var all []condition
	p, candidate, baseline := m.policy, m.tally.Candidate, m.tally.Baseline
	if p.Lag >= 0 {
		all = append(all, lagCondition(p.Lag, candidate.Lag, baseline.Lag))
	}
	if p.Restarts >= 0 {
		all = append(all, restartsCondition(p.Restarts, candidate.Restarts, baseline.Restarts))
	}
	if p.MemoryRatio > 0 {
		all = append(all, memoryCondition(p, candidate.Memory, baseline.Memory))
	}
	return all
}

// unreported is the condition as long as a fact of a copy is unknown.
func unreported(name string, limit float64) *fact {
	f := newFact(name, Inconclusive, 0, limit, "The %s of both copies must be known, and is not yet.", name)
	f.transient = true
	return f
}

// lagCondition never fails: a copy that starts is behind, whatever its version. One that stays behind never passes.
func lagCondition(limit, candidate, baseline int64) *fact {
	if min(candidate, baseline) < 0 {
		return unreported("lag", float64(limit))
	}
	worst := max(candidate, baseline)
	f := newFact("lag", passIf(worst <= limit), float64(worst), float64(limit),
		"The candidate is %d records behind live and the baseline %d; %d are allowed.", candidate, baseline, limit)
	f.transient = true
	return f
}

// restartsCondition fails when the candidate restarted more often than the baseline. If both did, the reason may be the
// machine's, and what differs after a restart may be no fault: then a pass is not to be had.
func restartsCondition(limit, candidate, baseline int64) *fact {
	if min(candidate, baseline) < 0 {
		return unreported("restarts", float64(limit))
	}
	state := passIf(max(candidate, baseline) <= limit)
	if candidate-baseline > limit {
		state = Fail
	}
	return newFact("restarts", state, float64(candidate), float64(limit),
		"The candidate's restarts are %d and the baseline's %d; %d are allowed.", candidate, baseline, limit)
}

func memoryCondition(p Policy, candidate, baseline int64) *fact {
	if min(candidate, baseline) < 0 {
		return unreported("memory", p.MemoryRatio)
	}
	state := Pass
	if float64(candidate) > max(float64(baseline)*p.MemoryRatio, float64(baseline)+float64(p.MemoryFloor)) {
		state = Fail
	}
	return newFact("memory", state, ratio(candidate, baseline), p.MemoryRatio,
		"The candidate uses %d MiB of memory and the baseline %d MiB; %s times as much is allowed, or %d MiB more.",
		candidate>>20, baseline>>20, number(p.MemoryRatio), p.MemoryFloor>>20)
}
