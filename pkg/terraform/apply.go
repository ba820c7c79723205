package terraform

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/labctl/labctl/pkg/atomicfile"
	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/stack"
)

// lockTimeout is how long a command waits for the state's lock in a backend, which somebody elsewhere may hold. On this
// machine the lab's own lock comes first.
const lockTimeout = "60s"

// ready opens a session whose directory is initialised.
func (r *Runner) ready(ctx context.Context, w stack.RunRequest, report event.Report) (*session, error) {
	s, err := r.open(ctx, w, report)
	if err != nil {
		return nil, err
	}
	r.forget(w.Stack.ID)
	if err := s.init(ctx); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// Apply brings the stack to what its files and inputs say: init where needed, and one apply.
func (r *Runner) Apply(ctx context.Context, w stack.RunRequest, report event.Report) (stack.Changes, error) {
	return r.apply(ctx, w, report, (*session).varFile)
}

// ApplyPlan does what a plan that Plan kept says, and nothing else. Terraform refuses one that the state has moved on from.
func (r *Runner) ApplyPlan(ctx context.Context, w stack.RunRequest, plan string, report event.Report) (stack.Changes, error) {
	abs, err := filepath.Abs(plan)
	if err != nil {
		return stack.Changes{}, fmt.Errorf("apply the plan %s: %w", plan, err)
	}
	return r.apply(ctx, w, report, func(s *session) []string {
		if w.Stack.HasEphemeral() { // a plan holds every input but these
			return append(s.varFile(), abs)
		}
		return []string{abs}
	})
}

func (r *Runner) apply(ctx context.Context, w stack.RunRequest, report event.Report, args func(*session) []string) (stack.Changes, error) {
	s, err := r.ready(ctx, w, report)
	if err != nil {
		return stack.Changes{}, err
	}
	defer s.close()
	if err := r.keepApplied(w); err != nil {
		return stack.Changes{}, err
	}
	return s.change(ctx, "apply", args(s)...)
}

// change runs a command that changes the world.
func (s *session) change(ctx context.Context, command string, args ...string) (stack.Changes, error) {
	s.report.Doing("terraform %s", command)
	all := []string{command, "-no-color", "-auto-approve", "-input=false", "-json"}
	if remote(s.dir) {
		all = append(all, "-lock-timeout="+lockTimeout)
	}
	out, err := s.terraform(ctx, append(all, args...)...)
	if out == nil {
		return stack.Changes{}, err
	}
	return out.changes, err
}

// Destroy destroys everything in the stack's state. With Inputs nil it uses those of the last run.
func (r *Runner) Destroy(ctx context.Context, w stack.RunRequest, report event.Report) (stack.Changes, error) {
	s, err := r.ready(ctx, w, report)
	if err != nil {
		return stack.Changes{}, err
	}
	defer s.close()
	return s.change(ctx, "destroy", s.varFile()...)
}

// Plan says what an apply would do, and changes nothing. With keep it keeps the plan in that file, for ApplyPlan: it holds the
// inputs in clear and is 0600.
func (r *Runner) Plan(ctx context.Context, w stack.RunRequest, keep string, report event.Report) (*stack.Plan, error) {
	s, err := r.ready(ctx, w, report)
	if err != nil {
		return nil, err
	}
	defer s.close()
	path := filepath.Join(s.notes, planNote)
	defer func() { _ = os.Remove(path) }() // it holds the inputs in clear
	out, err := s.plan(ctx, s.varFile()...)
	if err != nil {
		return nil, err
	}
	planned, err := s.readPlan(ctx, path)
	if err != nil {
		return nil, err
	}
	plan := &stack.Plan{Actions: ordered(out.planned), Changes: out.changes, Outputs: planned.outputs}
	if keep == "" {
		return plan, nil
	}
	data, err := os.ReadFile(path)
	if err == nil {
		err = atomicfile.Write(keep, data)
	}
	if err != nil {
		return nil, fmt.Errorf("keep the plan of stack %q: %w", w.Stack.ID, err)
	}
	return plan, nil
}

// Drift says what differs between the state and the world, and changes neither.
func (r *Runner) Drift(ctx context.Context, w stack.RunRequest, report event.Report) ([]stack.Action, error) {
	s, err := r.ready(ctx, w, report)
	if err != nil {
		return nil, err
	}
	defer s.close()
	defer func() { _ = os.Remove(filepath.Join(s.notes, planNote)) }()
	out, err := s.plan(ctx, append(s.varFile(), "-refresh-only")...)
	if err != nil {
		return nil, err
	}
	return ordered(out.drift), nil
}

// ordered puts actions in the order of their addresses, resources first. Terraform's own is that in which its workers were
// done, another one each time.
func ordered(actions []stack.Action) []stack.Action {
	slices.SortStableFunc(actions, func(a, b stack.Action) int {
		outputs := func(a stack.Action) int {
			if strings.HasPrefix(a.Address, "output.") {
				return 1
			}
			return 0
		}
		return cmp.Or(outputs(a)-outputs(b), strings.Compare(a.Address, b.Address))
	})
	return actions
}

// plan plans into the notes.
func (s *session) plan(ctx context.Context, args ...string) (*output, error) {
	s.report.Doing("terraform plan")
	path := filepath.Join(s.notes, planNote)
	if err := removeFile(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if rel, err := filepath.Rel(s.dir, path); err == nil {
		path = rel
	}
	all := []string{"plan", "-no-color", "-input=false", "-json", "-out=" + path}
	if remote(s.dir) {
		all = append(all, "-lock-timeout="+lockTimeout)
	}
	return s.terraform(ctx, append(all, args...)...)
}
