package lab

import (
	"context"
	"errors"
	"maps"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/stack"
)

// planPartly plans a stack whose inputs are not all known, as far as they are. Its outputs do not count as known from then
// on, because it may change them: what this plan says of them serves plans of the same kind alone.
func (r *run) planPartly(ctx context.Context, s *stack.Stack, p *StackPlan, report event.Report) error {
	before := r.forgetOutputs(s)
	w, err := r.partialWork(s)
	if err != nil {
		return err
	}
	plan, err := r.lab.deps.Terraform.PlanPartly(ctx, w, report)
	if refused := (*stack.UnplannableError)(nil); errors.As(err, &refused) && ctx.Err() == nil {
		p.Unplanned = r.secrets.Redact(refused.Why)
		return nil
	}
	if err != nil {
		return err
	}
	p.Partial, p.Actions, p.Changes = true, plan.Actions, plan.Changes
	outputs := r.plannedOutputs(s, plan, before)
	for _, v := range outputs {
		r.secrets.Add(stack.Secrets(v)...)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.maybe == nil {
		r.maybe = map[string]map[string]ctyValue{}
	}
	r.maybe[s.Name] = outputs
	return nil
}

// partialWork is the work of s with the inputs that are known.
func (r *run) partialWork(s *stack.Stack) (stack.RunRequest, error) {
	known := r.snapshot()
	r.mu.Lock()
	maps.Copy(known.Outputs, r.maybe)
	r.mu.Unlock()
	inputs, open, err := r.lab.graph.PartialInputs(s, known)
	if err != nil {
		return stack.RunRequest{}, err
	}
	w := r.request(s)
	w.Inputs, w.Waits = inputs, map[string][]string{}
	for _, v := range inputs {
		r.secrets.Add(stack.Secrets(v)...)
	}
	for name, refs := range open {
		w.Waits[name] = r.waits(refs)
	}
	wanted, err := r.backend(s)
	if errors.Is(err, stack.ErrNotKnown) { // what state there is lies where it was
		err = nil
	}
	w.Backend = r.stay(wanted)
	return w, err
}

// forgetOutputs takes the outputs of a stack for not known, and gives what they were.
func (r *run) forgetOutputs(s *stack.Stack) map[string]ctyValue {
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.known.Outputs[s.Name]
	delete(r.known.Outputs, s.Name)
	return was
}
