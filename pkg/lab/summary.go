package lab

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/labctl/labctl/pkg/stack"
)

// Ending is how a run ended for one stack.
type Ending string

// The endings.
const (
	EndChanged   Ending = "changed"
	EndUnchanged Ending = "unchanged"
	EndFailed    Ending = "failed"
	EndBlocked   Ending = "blocked"     // a stack that it needs failed
	NotStarted   Ending = "not started" // the run ended before
)

// Result is what a run did to one stack.
type Result struct {
	Stack   string
	Ending  Ending
	Changes stack.Changes // by Terraform
	Images  int           // built and pushed
	Charts  int           // releases installed, upgraded or removed
	Elapsed time.Duration
	Err     error  // masked; nil unless Ending is EndFailed
	Detail  string // why it is blocked, or why it was worked on
	Log     string // the file with all that its tools said; "" where nothing was
}

// Summary is what a run did.
type Summary struct {
	Command string
	Results []Result // in the order of the stacks
	Elapsed time.Duration
}

// Changed says whether the run changed anything.
func (s *Summary) Changed() bool {
	return slices.ContainsFunc(s.Results, func(r Result) bool { return r.Ending == EndChanged || r.Changes.Any() || r.Images+r.Charts > 0 })
}

// FailedError is a run that failed. Its text begins with the first failure's own.
type FailedError struct{ Failures []Failure }

// Failure is one stack's.
type Failure struct {
	Stack string
	Err   error
}

func (e *FailedError) Error() string {
	var b strings.Builder
	b.WriteString(e.Failures[0].Err.Error())
	for _, f := range e.Failures[1:] {
		fmt.Fprintf(&b, "\n\nand %s failed, too: %s", f.Stack, f.Err)
	}
	return b.String()
}

// Unwrap gives all failures.
func (e *FailedError) Unwrap() []error {
	var errs []error
	for _, f := range e.Failures {
		errs = append(errs, f.Err)
	}
	return errs
}

// tally gathers a run's results from stacks that run at once.
type tally struct {
	mu       sync.Mutex
	results  map[string]*Result
	failures []Failure // in the order in which they happened
}

func newTally(stacks []*stack.Stack) *tally {
	t := &tally{results: map[string]*Result{}}
	for _, s := range stacks {
		t.results[s.ID] = &Result{Stack: s.ID, Ending: NotStarted}
	}
	return t
}

// note changes the result of a stack. One that is not of this run has none.
func (t *tally) note(id string, change func(*Result)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r := t.results[id]; r != nil {
		change(r)
	}
}

func (t *tally) fail(id string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failures = append(t.failures, Failure{id, err})
}

// err is the run's error.
func (t *tally) err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.failures) == 0 {
		return nil
	}
	return &FailedError{t.failures}
}

func (t *tally) in(stacks []*stack.Stack) []Result {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []Result
	for _, s := range stacks {
		out = append(out, *t.results[s.ID])
	}
	return out
}
