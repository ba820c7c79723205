package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/zclconf/go-cty/cty"

	"github.com/labctl/labctl/pkg/atomicfile"
	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/stack"
)

// StackPlan is what an `up` would do to one stack, as far as it can be known before.
type StackPlan struct {
	Stack     string         `json:"stack"`
	Why       string         `json:"why,omitempty"`       // the stack is worked on
	Waits     []string       `json:"waits,omitempty"`     // outputs that only an apply makes known: "1-cluster: kubeconfig"
	Partial   bool           `json:"partial,omitempty"`   // Actions and Changes are as far as they are known before that
	Unplanned string         `json:"unplanned,omitempty"` // why nothing can be said of them before that
	Actions   []stack.Action `json:"actions,omitempty"`
	Changes   stack.Changes  `json:"changes"`
	Images    []string       `json:"images,omitempty"` // built where their sources changed, which building tells
	Releases  []ReleasePlan  `json:"releases,omitempty"`
	Orphan    string         `json:"orphan,omitempty"` // what there is to say of a state without a stack; up leaves it alone
}

// ReleasePlan is what an `up` would do to one release.
type ReleasePlan struct {
	Name   string   `json:"name"`
	Why    string   `json:"why,omitempty"`    // it is installed, upgraded or removed; "" where it stands as described
	Remove bool     `json:"remove,omitempty"` // it is removed
	Waits  []string `json:"waits,omitempty"`
}

// Any says whether the plan does, or may do, anything.
func (p *StackPlan) Any() bool {
	return len(p.Waits) > 0 || p.Changes.Any() || len(p.Actions) > 0 ||
		slices.ContainsFunc(p.Releases, func(r ReleasePlan) bool { return r.Why != "" || len(r.Waits) > 0 })
}

// planBook is the file that says what plans were made of.
const planBook = "plans.json"

type savedPlans struct {
	Version int                  `json:"version"`
	Lab     string               `json:"lab"`
	Env     string               `json:"environment"`
	Made    time.Time            `json:"made"`
	Stacks  map[string]savedPlan `json:"stacks"`
}

type savedPlan struct {
	Digests digests `json:"digests"`           // of the stack's files, inputs and engine
	Lineage string  `json:"lineage,omitempty"` // of the state that it was made for; "" where there was none
	Serial  uint64  `json:"serial,omitempty"`
}

const savedVersion = 1

// Plan says what an `up` of the chosen stacks would do. A stack whose inputs are known gets a real plan; outputs that a
// plan makes known count as known for later stacks, because terraform holds itself to them. The rest is planned as far as
// it is known, and says what it waits for. With keep the plans of the former are kept in that directory, with what they
// were made of, for Options.Plans; those of the latter never are.
func (l *Lab) Plan(ctx context.Context, o Options, keep string) (_ []*StackPlan, err error) {
	stacks, err := o.Selection.choose(l.graph, needs)
	if err != nil {
		return nil, err
	}
	ctx, r, err := l.begin(ctx, o)
	if err != nil {
		return nil, err
	}
	defer r.end()
	if err := r.engine(ctx); err != nil {
		return nil, r.failed(ctx, err)
	}
	if err := r.inspect(); err != nil {
		return nil, r.failed(ctx, err)
	}
	if err := r.recall(ctx, vouched); err != nil {
		return nil, r.failed(ctx, err)
	}
	saved := savedPlans{Version: savedVersion, Lab: l.graph.Lab.Name, Env: l.graph.Env.Name, Made: time.Now().UTC(), Stacks: map[string]savedPlan{}}
	if keep != "" {
		if err := emptyDir(keep); err != nil {
			return nil, err
		}
	}
	made := make([]*StackPlan, len(stacks))
	var mu sync.Mutex // of saved
	var failed error
	order := schedule{stacks: stacks, after: dependencies(l.graph), parallel: o.Parallel, failFast: true}
	order.run(ctx, func(ctx context.Context, s *stack.Stack) error {
		err := r.step(ctx, s.ID, func(ctx context.Context, report event.Report) (outcome, error) {
			p, kept, err := r.plan(ctx, s, keep, report)
			if err != nil {
				return outcome{}, fmt.Errorf("plan stack %q: %w", s.ID, err)
			}
			mu.Lock()
			defer mu.Unlock()
			made[slices.Index(stacks, s)] = p
			if kept != nil {
				saved.Stacks[s.ID] = *kept
			}
			return outcome{skipped: !p.Any(), message: p.summary()}, nil
		})
		mu.Lock()
		defer mu.Unlock()
		if failed == nil {
			failed = err
		}
		return err
	}, func(_, _ *stack.Stack) {})
	var plans []*StackPlan
	for _, p := range made {
		if p != nil && (!o.Affected || p.Any() || p.Why != "") {
			plans = append(plans, p)
		}
	}
	if failed != nil || ctx.Err() != nil {
		return plans, r.failed(ctx, failed)
	}
	plans = planStrays(plans, stacks, r.lookForStrays(ctx), o.Selection.Whole())
	if o.Selection.Whole() {
		orphans, err := l.Orphans()
		if err != nil {
			return plans, err
		}
		for _, orphan := range orphans {
			plans = append(plans, &StackPlan{Stack: orphan.ID, Orphan: orphan.String()})
		}
	}
	if keep == "" {
		return plans, nil
	}
	data, err := json.MarshalIndent(saved, "", "  ")
	if err == nil {
		err = atomicfile.Write(filepath.Join(keep, planBook), append(data, '\n'))
	}
	if err != nil {
		return plans, fmt.Errorf("keep the plans: %w", err)
	}
	return plans, nil
}

// planStrays adds what up would do to releases that no stack names any more, and in a whole plan those that it would leave alone.
func planStrays(plans []*StackPlan, chosen []*stack.Stack, strays []Stray, whole bool) []*StackPlan {
	for _, stray := range strays {
		switch {
		case stray.Orphan && whole:
			plans = append(plans, &StackPlan{Stack: stray.Stack, Orphan: stray.String()})
		case !stray.Orphan && among(chosen, stray.Stack):
			at := slices.IndexFunc(plans, func(p *StackPlan) bool { return p.Stack == stray.Stack })
			if at < 0 { // left out, because nothing else changes
				at, plans = len(plans), append(plans, &StackPlan{Stack: stray.Stack})
			}
			plans[at].Releases = append(plans[at].Releases, ReleasePlan{Name: stray.Name, Why: "no stack's file names it any more", Remove: true})
		}
	}
	return plans
}

func (p *StackPlan) summary() string {
	switch {
	case p.Partial:
		return fmt.Sprintf("%d to add, %d to change, %d to destroy, as far as it is known before %s", p.Changes.Added, p.Changes.Changed, p.Changes.Destroyed, strings.Join(p.Waits, "; "))
	case len(p.Waits) > 0:
		return "known after " + strings.Join(p.Waits, "; ")
	case p.Any():
		return fmt.Sprintf("%d to add, %d to change, %d to destroy", p.Changes.Added, p.Changes.Changed, p.Changes.Destroyed)
	}
	return "nothing to change"
}

// emptyDir makes a directory for plans, or refuses one that holds anything else.
func emptyDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the directory for plans: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("make the directory for plans: %w", err)
	}
	for _, e := range entries {
		if e.Name() != planBook && filepath.Ext(e.Name()) != planSuffix {
			return fmt.Errorf("keep the plans in %s: it holds other files (%s); name a directory that is empty or not there", dir, e.Name())
		}
	}
	for _, e := range entries { // of earlier plans
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("remove an earlier plan: %w", err)
		}
	}
	return nil
}

const planSuffix = ".tfplan"

// planning is the plan of a stack in the making.
type planning struct {
	*StackPlan
	keep string     // the directory that plans are kept in; "" where they are not
	kept *savedPlan // what the one that was kept was made for
}

// plan plans one stack. With keep the plan is kept in that directory, and kept says what it was made for.
func (r *run) plan(ctx context.Context, s *stack.Stack, keep string, report event.Report) (_ *StackPlan, kept *savedPlan, err error) {
	p := &planning{StackPlan: &StackPlan{Stack: s.ID}, keep: keep}
	for _, st := range stepsOf(s) {
		if err := st.plan(ctx, r, p, report); err != nil {
			return nil, nil, err
		}
	}
	return p.StackPlan, p.kept, nil
}

// plannedOutputs gives the outputs of a stack as they are after a plan. Those that do not change are not in every engine's plan; what is
// declared and in neither is null.
func (r *run) plannedOutputs(s *stack.Stack, plan *stack.Plan, before map[string]ctyValue) map[string]ctyValue {
	outputs := maps.Clone(plan.Outputs)
	if outputs == nil {
		outputs = map[string]ctyValue{}
	}
	for name := range s.Outputs {
		if _, planned := outputs[name]; planned {
			continue
		}
		v, had := before[name]
		if !had {
			v = cty.NullVal(cty.DynamicPseudoType)
		}
		outputs[name] = v
	}
	return outputs
}

// waits says which of refs are not known, by stack: "1-cluster: kubeconfig, url".
func (r *run) waits(refs []stack.Ref) []string {
	known := r.snapshot()
	missing := map[string][]string{}
	for _, ref := range refs {
		outputs, there := known.Outputs[ref.Stack]
		v, has := outputs[ref.Output]
		if there && has && v.IsWhollyKnown() {
			continue
		}
		s, err := r.lab.graph.Stack(ref.Stack)
		if err == nil && !slices.Contains(missing[s.ID], ref.Output) { // a checked graph refers to nothing else
			missing[s.ID] = append(missing[s.ID], ref.Output)
		}
	}
	var out []string
	for id, names := range missing {
		sort.Strings(names)
		out = append(out, id+": "+strings.Join(names, ", "))
	}
	sort.Strings(out)
	return out
}

// MovedError says what moved on since plans were made.
type MovedError struct {
	Dir   string
	Moved []string // "1-cluster: main.tf changed"
}

func (e *MovedError) Error() string {
	return fmt.Sprintf("the plans in %s are out of date:\n  %s", e.Dir, strings.Join(e.Moved, "\n  "))
}

// Plans are what Plan kept, for an `up` that does exactly that.
type Plans struct {
	Stacks []string // the ids of those that have one, for a Selection

	dir   string
	saved map[string]savedPlan
}

// file is the plan of a stack, or "".
func (p *Plans) file(s *stack.Stack) string {
	if p == nil {
		return ""
	}
	return filepath.Join(p.dir, s.ID+planSuffix)
}

// Plans reads what Plan kept in dir. The error is a *MovedError where the stacks' files, inputs or states are not those
// that the plans were made for.
func (l *Lab) Plans(ctx context.Context, dir string) (*Plans, error) {
	data, err := os.ReadFile(filepath.Join(dir, planBook))
	if err != nil {
		return nil, fmt.Errorf("read the plans: %w; make them with `labctl plan --out %s`", err, dir)
	}
	var saved savedPlans
	if err := json.Unmarshal(data, &saved); err != nil || saved.Version != savedVersion {
		return nil, fmt.Errorf("read the plans: %s was not written by this version of labctl; make them again with `labctl plan --out %s`", filepath.Join(dir, planBook), dir)
	}
	if saved.Lab != l.graph.Lab.Name || saved.Env != l.graph.Env.Name {
		return nil, fmt.Errorf("the plans in %s are for environment %q of lab %q, not for %q of %q", dir, saved.Env, saved.Lab, l.graph.Env.Name, l.graph.Lab.Name)
	}
	r, err := l.reader()
	if err != nil {
		return nil, err
	}
	if err := r.recall(ctx, vouched); err != nil {
		return nil, err
	}
	plans, moved := &Plans{dir: dir, saved: saved.Stacks}, &MovedError{Dir: dir}
	for _, s := range l.graph.Stacks {
		kept, planned := saved.Stacks[s.ID]
		if !planned {
			continue
		}
		plans.Stacks = append(plans.Stacks, s.ID)
		why, err := r.whyStale(ctx, s, kept)
		if err != nil {
			return nil, err
		}
		if why != "" {
			moved.Moved = append(moved.Moved, s.ID+": "+why)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(saved.Stacks)) {
		if !slices.Contains(plans.Stacks, id) {
			moved.Moved = append(moved.Moved, id+": there is no such stack any more")
		}
	}
	if len(moved.Moved) > 0 {
		return nil, moved
	}
	return plans, nil
}

// whyStale says why a plan is not for what there is now. Inputs that an earlier plan will make known are compared when that
// one has been applied, by ensureFresh.
func (r *run) whyStale(ctx context.Context, s *stack.Stack, kept savedPlan) (string, error) {
	var now digests
	t, err := r.target(ctx, s, nil)
	switch {
	case err == nil:
		now = t.digests
	case errors.Is(err, stack.ErrNotKnown):
		version, err := r.lab.deps.Terraform.Version(ctx, s, nil)
		if err != nil {
			return "", err
		}
		if now, err = terraformDigests(r.request(s), nil, version); err != nil {
			return "", err
		}
		for name, hash := range kept.Digests {
			if strings.HasPrefix(name, "input ") || name == "the backend" {
				now[name] = hash
			}
		}
	default:
		return "", err
	}
	if why := (entry{State: Done, Digests: kept.Digests}).changedInputs(true, now); why != "" && !r.differsByWiring(s, kept, now) {
		return why, nil
	}
	st, err := r.state(ctx, s, nil)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		st = &stack.State{}
	case err != nil:
		return "", err
	}
	if st.Lineage != kept.Lineage || st.Serial != kept.Serial {
		return fmt.Sprintf("its state moved on (serial %d, the plan is for %d)", st.Serial, kept.Serial), nil
	}
	return "", nil
}

// differsByWiring says whether what differs are only inputs from stacks, which their own plans may still change.
func (r *run) differsByWiring(s *stack.Stack, kept savedPlan, now digests) bool {
	wired := map[string]bool{}
	for _, in := range s.Inputs {
		wired["input "+in.Name] = len(in.Refs) > 0
	}
	wired["the backend"] = s.Backend != nil && len(s.Backend.Refs) > 0
	for name, hash := range now {
		if kept.Digests[name] != hash && !wired[name] {
			return false
		}
	}
	for name := range kept.Digests {
		if _, has := now[name]; !has && !wired[name] {
			return false
		}
	}
	return true
}

// ensureFresh refuses a plan that was not made for what there is now.
func (p *Plans) ensureFresh(s *stack.Stack, t target) error {
	if p == nil {
		return nil
	}
	if why := (entry{State: Done, Digests: p.saved[s.ID].Digests}).changedInputs(true, t.digests); why != "" {
		return &MovedError{Dir: p.dir, Moved: []string{s.ID + ": " + why}}
	}
	return nil
}
