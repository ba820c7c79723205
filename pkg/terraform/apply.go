package terraform

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-exec/tfexec"
	tfjson "github.com/hashicorp/terraform-json"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/stack"
)

// planFile is a plan in the stack's directory, there for as long as it is made.
const planFile = "labctl.tfplan"

// lockTimeout is how long a command waits for the state's lock in a backend, which somebody elsewhere may hold. On this
// machine the lab's own lock comes first.
const lockTimeout = "60s"

// ready opens a session whose directory is initialised.
func (r *Runner) ready(ctx context.Context, w stack.RunRequest, report event.Report) (*session, error) {
	version, err := r.Version(ctx, report)
	if err != nil {
		return nil, err
	}
	s, err := r.open(ctx, w, report)
	if err != nil {
		return nil, err
	}
	r.forget(w.Stack.ID)
	if err := s.init(ctx, version); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// Apply brings the stack to what its files and inputs say: init where needed, and one apply.
func (r *Runner) Apply(ctx context.Context, w stack.RunRequest, report event.Report) (stack.Changes, error) {
	s, err := r.ready(ctx, w, report)
	if err != nil {
		return stack.Changes{}, err
	}
	defer s.close()
	return s.apply(ctx)
}

// ApplyPlan does what a plan that Plan kept says, and nothing else. Terraform refuses one that the state has moved on from.
func (r *Runner) ApplyPlan(ctx context.Context, w stack.RunRequest, plan string, report event.Report) (stack.Changes, error) {
	s, err := r.ready(ctx, w, report)
	if err != nil {
		return stack.Changes{}, err
	}
	defer s.close()
	abs, err := filepath.Abs(plan)
	if err != nil {
		return stack.Changes{}, fmt.Errorf("apply the plan %s: %w", plan, err)
	}
	return s.apply(ctx, abs)
}

func (s *session) apply(ctx context.Context, plan ...string) (stack.Changes, error) {
	s.report.Doing("terraform apply")
	out, err := s.run(ctx, "apply", func(w io.Writer, _ tfexec.ReattachInfo) error {
		args := []string{"apply", "-no-color", "-auto-approve", "-input=false", "-json"}
		if remote(s.dir) {
			args = append(args, "-lock-timeout="+lockTimeout)
		}
		err := s.start(ctx, w, append(args, plan...)...)
		if err == nil { // terraform can end well although it was interrupted before it did anything
			err = ctx.Err()
		}
		return err
	})
	if out == nil {
		return stack.Changes{}, err
	}
	return out.changes, err
}

// Plan says what an apply would do, and changes nothing but, where it has to, the place of the state. With keep it keeps
// the plan in that file, for ApplyPlan: it holds the inputs in clear and is 0600.
func (r *Runner) Plan(ctx context.Context, w stack.RunRequest, keep string, report event.Report) (*stack.Plan, error) {
	s, err := r.ready(ctx, w, report)
	if err != nil {
		return nil, err
	}
	defer s.close()
	path := filepath.Join(s.dir, planFile)
	defer func() { _ = os.Remove(path) }() // it holds the inputs in clear
	out, err := s.plan(ctx)
	if err != nil {
		return nil, err
	}
	plan := &stack.Plan{Actions: ordered(out.planned), Changes: out.changes}
	shown, err := s.show(ctx)
	if err != nil {
		return nil, err
	}
	if plan.Outputs, err = planned(shown, w.Stack.ID); err != nil {
		return nil, err
	}
	if keep == "" {
		return plan, nil
	}
	data, err := os.ReadFile(path)
	if err == nil {
		err = writeFile(keep, data)
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
	defer func() { _ = os.Remove(filepath.Join(s.dir, planFile)) }()
	out, err := s.plan(ctx, tfexec.RefreshOnly(true))
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

func (s *session) plan(ctx context.Context, opts ...tfexec.PlanOption) (*output, error) {
	s.report.Doing("terraform plan")
	return s.run(ctx, "plan", func(w io.Writer, info tfexec.ReattachInfo) error {
		opts = append(opts, tfexec.Out(planFile))
		if remote(s.dir) {
			opts = append(opts, tfexec.LockTimeout(lockTimeout))
		}
		if info != nil {
			opts = append(opts, tfexec.Reattach(info))
		}
		_, err := s.tf.PlanJSON(ctx, w, opts...)
		if err == nil { // terraform can end a plan well although it was interrupted
			err = ctx.Err()
		}
		return err
	})
}

// show reads the plan that was just made.
func (s *session) show(ctx context.Context) (plan *tfjson.Plan, err error) {
	_, err = s.run(ctx, "show", func(_ io.Writer, info tfexec.ReattachInfo) (err error) {
		opts := []tfexec.ShowOption{}
		if info != nil {
			opts = append(opts, tfexec.Reattach(info))
		}
		s.tf.SetStdout(io.Discard) // values are no log
		plan, err = s.tf.ShowPlanFile(ctx, planFile, opts...)
		return err
	})
	return plan, err
}

// planned is what a plan says of the outputs of the stack with that id.
func planned(plan *tfjson.Plan, id string) (map[string]cty.Value, error) {
	values := map[string]cty.Value{}
	for name, change := range plan.OutputChanges {
		v := cty.DynamicVal
		if unknown, is := change.AfterUnknown.(bool); is && !unknown && plan.PlannedValues != nil {
			if o, has := plan.PlannedValues.Outputs[name]; has && o.Type != cty.NilType {
				known, err := ofJSON(o.Value, o.Type)
				if err != nil {
					return nil, fmt.Errorf("read output %q from the plan of stack %q: %w", name, id, err)
				}
				v = known
			}
		}
		if sensitive, is := change.AfterSensitive.(bool); !is || sensitive {
			v = v.Mark(stack.Sensitive)
		}
		values[name] = v
	}
	return values, nil
}

// ofJSON makes a value of type t from what encoding/json made of it.
func ofJSON(v any, t cty.Type) (cty.Value, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return cty.NilVal, err
	}
	return ctyjson.Unmarshal(data, t)
}

// Destroy destroys everything in the stack's state. With Inputs nil it uses those of the last run.
func (r *Runner) Destroy(ctx context.Context, w stack.RunRequest, report event.Report) (stack.Changes, error) {
	s, err := r.ready(ctx, w, report)
	if err != nil {
		return stack.Changes{}, err
	}
	defer s.close()
	report.Doing("terraform destroy")
	out, err := s.run(ctx, "destroy", func(w io.Writer, info tfexec.ReattachInfo) error {
		opts := []tfexec.DestroyOption{}
		if remote(s.dir) {
			opts = append(opts, tfexec.LockTimeout(lockTimeout))
		}
		if info != nil {
			opts = append(opts, tfexec.Reattach(info))
		}
		return s.tf.DestroyJSON(ctx, w, opts...)
	})
	if out == nil {
		return stack.Changes{}, err
	}
	return out.changes, err
}
