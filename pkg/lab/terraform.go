package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/stack"
)

// target is what a stack's Terraform is to be brought to.
type target struct {
	work    stack.RunRequest
	digests digests // of all that the result depends on
}

// target evaluates the inputs of s.
func (r *run) target(ctx context.Context, s *stack.Stack, report event.Report) (target, error) {
	inputs, err := r.lab.graph.Inputs(s, r.snapshot())
	if err != nil {
		return target{}, err
	}
	w, err := r.work(s, inputs)
	if err != nil {
		return target{}, err
	}
	wanted, err := r.backend(s)
	if err != nil {
		return target{}, err
	}
	version, err := r.lab.deps.Terraform.Version(ctx, s, report)
	if err != nil {
		return target{}, err
	}
	if err := r.lab.graph.CheckEngine(version); err != nil {
		return target{}, err
	}
	hashed, err := terraformDigests(w, wanted, version)
	if err != nil {
		return target{}, err
	}
	w.Digest, err = filesDigest(w)
	return target{w, hashed}, err
}

// terraformStep is the Terraform of a stack.
type terraformStep struct{ *stack.Stack }

func terraformSteps(s *stack.Stack) []step {
	if !s.HasTerraform() && !s.Orphan {
		return nil
	}
	return []step{terraformStep{s}}
}

func (t terraformStep) id() string { return t.ID }

func (t terraformStep) sources(*stack.Graph) []string { return append([]string{t.Real}, t.Modules...) }

func (t terraformStep) up(ctx context.Context, r *run) error {
	err := r.reach(ctx, t.Stack, t.ID, func(ctx context.Context, report event.Report) (goal, error) {
		wanted, err := r.target(ctx, t.Stack, report)
		if err != nil {
			return nil, err
		}
		return &terraformGoal{run: r, stack: t.Stack, target: wanted}, r.lockPlace(ctx, t.Stack, wanted.work.Backend, false)
	})
	if err != nil {
		return err
	}
	return r.moveState(ctx, t.Stack)
}

func (t terraformStep) recall(ctx context.Context, r *run, which trust) error {
	st, err := r.state(ctx, t.Stack, nil)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	e, ran := r.journal.get(t.ID)
	if st.IsEmpty() && e.State != Done {
		return nil
	}
	if which == vouched && ran && e.State != Done {
		for _, v := range st.Outputs { // they are secret all the same
			r.secrets.Add(stack.Secrets(v)...)
		}
		r.distrustOutputs(t.Name, map[State]string{Begun: "its last run was interrupted", Failed: "its last run failed"}[e.State])
		return nil
	}
	r.learn(t.Name, withNulls(st.Outputs, e.Outputs))
	return nil
}

func (t terraformStep) plan(ctx context.Context, r *run, p *planning, report event.Report) error {
	var refs []stack.Ref
	for _, in := range t.Inputs {
		refs = append(refs, in.Refs...)
	}
	if t.Backend != nil && !t.Backend.Own {
		refs = append(refs, t.Backend.Refs...)
	}
	if p.Waits = r.waits(refs); len(p.Waits) > 0 {
		return r.planPartly(ctx, t.Stack, p.StackPlan, report)
	}
	wanted, err := r.target(ctx, t.Stack, report)
	if err != nil {
		return err
	}
	e, ok := r.journal.get(t.ID)
	if p.Why = e.changedInputs(ok, wanted.digests); p.Why == "" && r.options.Affected {
		return nil
	}
	file := ""
	if p.keep != "" {
		file = filepath.Join(p.keep, t.ID+planSuffix)
	}
	plan, err := r.lab.deps.Terraform.Plan(ctx, wanted.work, file, report)
	if err != nil {
		return err
	}
	p.Actions, p.Changes = plan.Actions, plan.Changes
	r.learn(t.Name, r.plannedOutputs(t.Stack, plan, r.snapshot().Outputs[t.Name]))
	if p.keep == "" {
		return nil
	}
	p.kept = &savedPlan{Digests: wanted.digests}
	st, err := r.lab.deps.Terraform.State(ctx, wanted.work, report)
	switch {
	case err == nil:
		p.kept.Lineage, p.kept.Serial = st.Lineage, st.Serial
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return nil
}

func (t terraformStep) drift(ctx context.Context, r *run, d *StackDrift, report event.Report) error {
	st, err := r.state(ctx, t.Stack, report)
	switch {
	case errors.Is(err, fs.ErrNotExist) || err == nil && st.IsEmpty():
		d.Absent = true
		return nil
	case err != nil:
		return err
	}
	var inputs map[string]ctyValue // those of the last run: those of the next are no drift
	if _, ran := r.journal.get(t.ID); !ran {
		if inputs, err = r.lab.graph.Inputs(t.Stack, r.snapshot()); err != nil && !errors.Is(err, stack.ErrNotKnown) {
			return err
		}
	}
	w, err := r.work(t.Stack, inputs)
	if err != nil {
		return err
	}
	d.Resources, err = r.lab.deps.Terraform.Drift(ctx, w, report)
	return err
}

func (t terraformStep) down(ctx context.Context, r *run) error {
	s := t.Stack
	if err := r.bringStateBack(ctx, s); err != nil {
		return err
	}
	err := r.step(ctx, s.ID, func(ctx context.Context, report event.Report) (outcome, error) {
		st, err := r.state(ctx, s, report)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return outcome{skipped: true, message: "it was not up"}, r.journal.remove(s.ID)
		case err == nil && st.IsEmpty():
			return outcome{skipped: true, message: "it is down"}, r.journal.remove(s.ID)
		case s.Orphan && !s.HasTerraform():
			record := stack.Record{ID: s.ID, Resources: -1}
			if err == nil {
				record.Resources = len(st.Resources)
			}
			return outcome{}, unplaced(record)
		}
		w, err := r.destruction(s, report)
		if err != nil {
			return outcome{}, err
		}
		if err := r.touch(ctx, s, "down"); err != nil {
			return outcome{}, err
		}
		var changes stack.Changes
		err = r.unrecord(s.ID, func() error {
			return r.retry.try(ctx, report, func() error {
				done, err := r.lab.deps.Terraform.Destroy(ctx, w, report)
				changes.Destroyed += done.Destroyed
				return err
			})
		})
		r.tally.note(s.ID, func(res *Result) { res.Changes = changes })
		if err != nil {
			return outcome{}, fmt.Errorf("destroy stack %q: %w", s.ID, err)
		}
		return outcome{message: changes.String()}, nil
	})
	if err != nil {
		return err
	}
	r.unlockRemote(s) // the stacks that come now may destroy its place
	r.empty.Store(s.ID, true)
	if s.Orphan {
		return r.lab.deps.Terraform.Discard(s.ID)
	}
	return nil
}

// destruction says by what a stack is destroyed: its files and inputs as they are now, else, where those cannot be had, the files and the
// inputs that it was last applied with.
func (r *run) destruction(s *stack.Stack, report event.Report) (stack.RunRequest, error) {
	inputs, err := r.lab.graph.Inputs(s, r.snapshot())
	if err == nil && !s.Orphan {
		return r.work(s, inputs)
	}
	var config *stack.ConfigError
	if err != nil && !errors.Is(err, stack.ErrNotKnown) && !errors.As(err, &config) {
		return stack.RunRequest{}, err
	}
	applied := s
	if !s.Orphan {
		report.Doing("by the files and inputs of its last run: %s", firstLine(r.secrets.Redact(err.Error())))
		kept, copied := r.lab.deps.Terraform.Applied(s.ID)
		switch {
		case copied == nil:
			applied = kept
		case !errors.Is(copied, fs.ErrNotExist):
			return stack.RunRequest{}, copied
		case config != nil: // nothing was kept, and what there is cannot be used
			return stack.RunRequest{}, err
		}
	}
	w := r.request(applied)
	w.Backend = r.stay(nil)
	return w, nil
}

// terraformGoal is a state that records what a stack's files and inputs say.
type terraformGoal struct {
	*run
	stack   *stack.Stack
	target  target
	changes stack.Changes
	applied bool
}

func (g *terraformGoal) dependsOn() digests { return g.target.digests }

func (g *terraformGoal) check(ctx context.Context, e entry, why string) (string, error) {
	if why == "" {
		var st *stack.State
		var err error
		if st, why, err = g.unchanged(ctx, g.stack, g.target, e); err != nil {
			return "", err
		}
		if st != nil {
			g.learn(g.stack.Name, withNulls(st.Outputs, e.Outputs))
			return "", nil
		}
	}
	if err := g.options.Plans.ensureFresh(g.stack, g.target); err != nil {
		return "", err
	}
	g.tally.note(g.stack.ID, func(res *Result) { res.Detail = why })
	return why, nil
}

func (g *terraformGoal) apply(ctx context.Context, e *entry, report event.Report) error {
	if !g.applied { // else only reading the state failed
		done, err := g.applyOnce(ctx, report)
		g.changes.Added, g.changes.Changed, g.changes.Destroyed = g.changes.Added+done.Added, g.changes.Changed+done.Changed, g.changes.Destroyed+done.Destroyed
		g.tally.note(g.stack.ID, func(res *Result) { res.Changes = g.changes })
		if err != nil {
			return fmt.Errorf("apply stack %q: %w", g.stack.ID, err)
		}
		g.applied = true
	}
	st, err := g.lab.deps.Terraform.State(ctx, g.target.work, report)
	if err != nil {
		return fmt.Errorf("apply stack %q: %w", g.stack.ID, err)
	}
	e.Outputs = slices.Sorted(maps.Keys(g.stack.Outputs))
	g.learn(g.stack.Name, withNulls(st.Outputs, e.Outputs))
	e.Lineage, e.Serial, e.Detail = st.Lineage, st.Serial, g.changes.String()
	return nil
}

func (g *terraformGoal) applyOnce(ctx context.Context, report event.Report) (stack.Changes, error) {
	if plan := g.options.Plans.file(g.stack); plan != "" {
		return g.lab.deps.Terraform.ApplyPlan(ctx, g.target.work, plan, report)
	}
	return g.lab.deps.Terraform.Apply(ctx, g.target.work, report)
}

func (g *terraformGoal) outcome() outcome {
	if !g.changes.Any() {
		return outcome{skipped: true, message: "nothing to change"}
	}
	return outcome{message: g.changes.String()}
}

// unchanged gives the state of a stack whose files and inputs are those of its last run, where nobody touched the state since,
// and what it records is there and well. Else it gives nil, and why.
func (r *run) unchanged(ctx context.Context, s *stack.Stack, t target, e entry) (*stack.State, string, error) {
	st, err := r.lab.deps.Terraform.State(ctx, t.work, nil)
	switch {
	case err != nil:
		return nil, "its state cannot be read", nil //nolint:nilerr // that is for the apply to deal with
	case st.Lineage != e.Lineage || st.Serial != e.Serial:
		return nil, fmt.Sprintf("its state was changed by somebody else (serial %d, labctl left %d)", st.Serial, e.Serial), nil
	case r.options.Affected: // only what changed is wanted, not a look at the world
		return st, "", nil
	}
	reason, known, err := r.lab.deps.Resources.CheckHealth(ctx, st)
	if err != nil {
		return nil, "", err
	}
	if reason != "" {
		return nil, "repairing: " + reason, nil
	}
	if !known {
		return nil, "only terraform can tell whether anything changed", nil
	}
	if s.Impure != "" {
		return nil, s.Impure, nil
	}
	return st, "", nil
}
