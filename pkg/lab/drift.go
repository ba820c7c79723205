package lab

import (
	"context"
	"fmt"
	"time"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/stack"
)

// StackDrift is what differs between what a stack left and what there is.
type StackDrift struct {
	Stack     string         `json:"stack"`
	Resources []stack.Action `json:"resources,omitempty"`
	Releases  []ReleaseDrift `json:"releases,omitempty"`
	// Absent says that the stack was never applied, so that nothing can differ.
	Absent bool `json:"absent,omitempty"`
	// Orphan says what there is to say of a state without a stack.
	Orphan string `json:"orphan,omitempty"`
}

// ReleaseDrift says why a release does not stand as it was installed.
type ReleaseDrift struct {
	Name string `json:"name"`
	Why  string `json:"why"`
}

// Any says whether anything differs.
func (d *StackDrift) Any() bool { return len(d.Resources)+len(d.Releases) > 0 || d.Orphan != "" }

// Drift compares the chosen stacks' states with reality, several at once if wanted. It changes neither. The stacks that
// were looked at are returned also beside an error.
func (l *Lab) Drift(ctx context.Context, o Options) ([]*StackDrift, error) {
	stacks, err := o.Selection.choose(l.graph, needs)
	if err != nil {
		return nil, err
	}
	ctx, r, err := l.begin(ctx, o)
	if err != nil {
		return nil, err
	}
	defer r.end()
	if err := r.inspect(); err != nil {
		return nil, r.failed(ctx, err)
	}
	if err := r.recall(ctx, recorded); err != nil {
		return nil, r.failed(ctx, err)
	}
	found := make([]*StackDrift, len(stacks))
	at := map[*stack.Stack]int{}
	for i, s := range stacks {
		at[s] = i
	}
	// One stack's drift says nothing about another's, so they need not wait for each other.
	_, err = r.over(ctx, time.Now(), course{stacks: stacks, do: func(ctx context.Context, s *stack.Stack) error {
		return r.step(ctx, s.ID, func(ctx context.Context, report event.Report) (outcome, error) {
			d, err := r.drift(ctx, s, report)
			if err != nil {
				return outcome{}, fmt.Errorf("look for drift of stack %q: %w", s.ID, err)
			}
			found[at[s]] = d
			switch {
			case d.Absent:
				return outcome{skipped: true, message: "it was not applied"}, nil
			case d.Any():
				return outcome{message: fmt.Sprintf("%d differ", len(d.Resources)+len(d.Releases))}, nil
			}
			return outcome{skipped: true, message: "no drift"}, nil
		})
	}})
	var out []*StackDrift
	for _, d := range found {
		if d != nil {
			out = append(out, d)
		}
	}
	if o.Selection.Whole() && err == nil {
		var orphans []Orphan
		orphans, err = l.Orphans()
		for _, orphan := range orphans {
			out = append(out, &StackDrift{Stack: orphan.ID, Orphan: orphan.String()})
		}
		for _, stray := range r.lookForStrays(ctx) {
			out = append(out, &StackDrift{Stack: stray.Stack, Orphan: stray.String()})
		}
	}
	return out, err
}

func (r *run) drift(ctx context.Context, s *stack.Stack, report event.Report) (*StackDrift, error) {
	d := &StackDrift{Stack: s.ID}
	for _, st := range stepsOf(s) {
		if err := st.drift(ctx, r, d, report); err != nil {
			return nil, err
		}
	}
	return d, nil
}
