package verdict

import (
	"slices"
	"strings"
	"time"

	"github.com/labctl/labctl/pkg/shadow/side"
)

// Pair is what the copies made of one record or request, each compared with what live made of it.
type Pair struct {
	// Kind of record or request. Faults of rare kinds are looked for, so give few kinds, and no identifiers.
	Kind string
	// Differs: the side's result is not live's. Missing: the side is past the record and lacks a part of the result.
	CandidateDiffers, BaselineDiffers bool
	CandidateMissing, BaselineMissing bool
	// Error: a status of 500 or more, a dead letter, or a refusal where none is due.
	LiveError, CandidateError, BaselineError bool
	// From the record or request to its result. 0 is unknown; then neither side's counts.
	CandidateLatency, BaselineLatency time.Duration
}

const (
	// otherKind has the results of no kind, and of kinds that came after the policy's places were taken.
	otherKind = "(other)"
	// longestKind is in bytes.
	longestKind = 100
)

// counts are the results of one comparison of candidate and baseline. What is in neither count is the same on both
// sides.
type counts struct {
	Samples   int64 `json:"samples"`
	Candidate int64 `json:"candidate"` // the candidate alone
	Baseline  int64 `json:"baseline"`  // the baseline alone
}

func (c *counts) add(candidate, baseline bool) {
	c.Samples++
	switch {
	case candidate && !baseline:
		c.Candidate++
	case baseline && !candidate:
		c.Baseline++
	}
}

// operations are the last facts that were set of a copy. -1 is unknown.
type operations struct {
	Lag      int64 `json:"lag"`
	Restarts int64 `json:"restarts"`
	Memory   int64 `json:"memoryBytes"`
}

var unknown = operations{Lag: -1, Restarts: -1, Memory: -1}

// tally is all that a Monitor knows. Its size is bounded: by the policy's kinds, and by the buckets of the latencies.
type tally struct {
	Differences counts            `json:"differences"`
	Errors      counts            `json:"errors"`
	Kinds       map[string]counts `json:"kinds"`
	// How many results differ from live, whatever the other copy did.
	CandidateDiffers int64 `json:"candidateDiffers"`
	BaselineDiffers  int64 `json:"baselineDiffers"`
	LiveErrors       int64 `json:"liveErrors"`
	CandidateMissing int64 `json:"candidateMissing"`
	BaselineMissing  int64 `json:"baselineMissing"`
	Late             int64 `json:"late"`
	Dropped          int64 `json:"dropped"`
	// Of the results whose latencies are known on both sides.
	CandidateLatency latencies  `json:"candidateLatency"`
	BaselineLatency  latencies  `json:"baselineLatency"`
	Candidate        operations `json:"candidate"`
	Baseline         operations `json:"baseline"`
}

// Monitor counts pairs and says at any moment what follows from them. It is not safe for concurrent use.
type Monitor struct {
	tally  tally
	policy Policy
	claims claims
}

// New gives a Monitor that has seen nothing. The error is the policy's.
func New(p Policy) (*Monitor, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	p.Latency = slices.Clone(p.Latency)
	return &Monitor{policy: p, claims: newClaims(p), tally: tally{
		Kinds: map[string]counts{}, CandidateLatency: latencies{}, BaselineLatency: latencies{}, Candidate: unknown, Baseline: unknown,
	}}, nil
}

// Observe counts one result. Give each once, and none that only follows from another's difference.
func (m *Monitor) Observe(p Pair) {
	t := &m.tally
	candidate := p.CandidateDiffers || p.CandidateMissing || p.CandidateError != p.LiveError
	baseline := p.BaselineDiffers || p.BaselineMissing || p.BaselineError != p.LiveError
	t.Differences.add(candidate, baseline)
	t.Errors.add(p.CandidateError, p.BaselineError)
	kind := m.kind(p.Kind)
	c := t.Kinds[kind]
	c.add(candidate, baseline)
	t.Kinds[kind] = c
	increment(&t.CandidateDiffers, candidate)
	increment(&t.BaselineDiffers, baseline)
	increment(&t.LiveErrors, p.LiveError)
	increment(&t.CandidateMissing, p.CandidateMissing)
	increment(&t.BaselineMissing, p.BaselineMissing)
	if p.CandidateLatency > 0 && p.BaselineLatency > 0 {
		t.CandidateLatency.add(p.CandidateLatency)
		t.BaselineLatency.add(p.BaselineLatency)
	}
}

func increment(n *int64, when bool) {
	if when {
		*n++
	}
}

// kind is the name under which a kind is counted.
func (m *Monitor) kind(name string) string {
	// JSON keeps nothing else, and a restarted comparer must find its kinds again.
	name = strings.ToValidUTF8(name, "?")
	if len(name) > longestKind {
		name = strings.ToValidUTF8(name[:longestKind], "")
	}
	if name == "" {
		return otherKind
	}
	_, known := m.tally.Kinds[name]
	_, other := m.tally.Kinds[otherKind]
	places := m.policy.Kinds - len(m.tally.Kinds)
	if !other {
		places--
	}
	if known || places > 0 {
		return name
	}
	return otherKind
}

// Dropped counts results that were lost before they could be compared. They block a pass.
func (m *Monitor) Dropped(n int64) { m.tally.Dropped += max(n, 0) }

// Late counts results that came after they were observed as missing. They stay missing, but the verdict tells of them.
func (m *Monitor) Late(n int64) { m.tally.Late += max(n, 0) }

// SetLag sets how many records a copy is behind now.
func (m *Monitor) SetLag(s side.Side, records int64) { m.operations(s).Lag = max(records, 0) }

// SetRestarts sets how often a copy has restarted so far.
func (m *Monitor) SetRestarts(s side.Side, n int64) { m.operations(s).Restarts = max(n, 0) }

// SetMemory sets how many bytes of memory a copy uses now.
func (m *Monitor) SetMemory(s side.Side, bytes int64) { m.operations(s).Memory = max(bytes, 0) }

// operations gives where the facts of a side are kept. Those of live are dropped: it runs under other conditions.
func (m *Monitor) operations(s side.Side) *operations {
	switch s {
	case side.Candidate:
		return &m.tally.Candidate
	case side.Baseline:
		return &m.tally.Baseline
	}
	return &operations{}
}
