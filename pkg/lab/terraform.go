package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/zclconf/go-cty/cty"

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

// terraform brings the Terraform of s to what its files and inputs say.
func (r *run) terraform(ctx context.Context, s *stack.Stack) error {
	if !s.HasTerraform() {
		r.learn(s.Name, map[string]ctyValue{})
		return nil
	}
	err := r.step(ctx, s.ID, func(ctx context.Context, report event.Report) (outcome, error) {
		t, err := r.target(ctx, s, report)
		if err != nil {
			return outcome{}, err
		}
		if err := r.lockPlace(ctx, s, t.work.Backend, false); err != nil {
			return outcome{}, err
		}
		st, why, err := r.unchanged(ctx, s, t)
		if err != nil {
			return outcome{}, err
		}
		if st != nil {
			e, _ := r.journal.get(s.ID)
			r.learn(s.Name, withNulls(st.Outputs, e.Outputs))
			return outcome{skipped: true, message: "nothing changed"}, nil
		}
		if err := r.options.Plans.ensureFresh(s, t); err != nil {
			return outcome{}, err
		}
		r.tally.note(s.ID, func(res *Result) { res.Detail = why })
		report.Doing("%s", why)
		if err := r.touch(ctx, s, "up"); err != nil {
			return outcome{}, err
		}
		return r.apply(ctx, s, t, why, report)
	})
	if err != nil {
		return err
	}
	return r.moveState(ctx, s)
}

func (r *run) apply(ctx context.Context, s *stack.Stack, t target, why string, report event.Report) (outcome, error) {
	var changes stack.Changes
	err := r.record(s.ID, entry{Digests: t.digests}, func(e *entry) error {
		err := r.retry.try(ctx, report, func() error {
			var done stack.Changes
			var err error
			if plan := r.options.Plans.file(s); plan != "" {
				done, err = r.lab.deps.Terraform.ApplyPlan(ctx, t.work, plan, report)
			} else {
				done, err = r.lab.deps.Terraform.Apply(ctx, t.work, report)
			}
			changes.Added, changes.Changed, changes.Destroyed = changes.Added+done.Added, changes.Changed+done.Changed, changes.Destroyed+done.Destroyed
			return err
		})
		r.tally.note(s.ID, func(res *Result) { res.Changes = changes })
		if err != nil {
			return fmt.Errorf("apply stack %q: %w", s.ID, err)
		}
		st, err := r.lab.deps.Terraform.State(ctx, t.work, report)
		if err != nil {
			return fmt.Errorf("apply stack %q: %w", s.ID, err)
		}
		e.Outputs = slices.Sorted(maps.Keys(s.Outputs))
		r.learn(s.Name, withNulls(st.Outputs, e.Outputs))
		e.Lineage, e.Serial, e.Detail = st.Lineage, st.Serial, changes.String()
		return nil
	})
	if err != nil {
		return outcome{}, err
	}
	if !changes.Any() {
		return outcome{skipped: true, message: because(r.options.Why, "nothing to change", why)}, nil
	}
	return outcome{message: because(r.options.Why, changes.String(), why)}, nil
}

func because(say bool, what, why string) string {
	if !say || why == "" {
		return what
	}
	return what + " (" + why + ")"
}

// unchanged gives the stack's state where it was applied from the same files and inputs, nobody touched the state since,
// and what it records is there and well. Else it gives nil, and why.
func (r *run) unchanged(ctx context.Context, s *stack.Stack, t target) (*stack.State, string, error) {
	e, ok := r.journal.get(s.ID)
	why := e.changedInputs(ok, t.digests)
	if why != "" {
		return nil, why, nil
	}
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

// changedInputs says why a step that ended with e has to be done again now, or "" where nothing changed.
func (e entry) changedInputs(there bool, now digests) string {
	switch {
	case !there:
		return "it was not there yet"
	case e.State == Begun:
		return "it was interrupted"
	case e.State == Failed:
		return "it failed"
	case e.State != Done:
		return "it is not done"
	}
	var changed []string
	for _, name := range slices.Sorted(maps.Keys(now)) {
		if was, had := e.Digests[name]; !had {
			changed = append(changed, name+" is new")
		} else if was != now[name] {
			changed = append(changed, name+" changed")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(e.Digests)) {
		if _, has := now[name]; !has {
			changed = append(changed, name+" is gone")
		}
	}
	const most = 4
	if len(changed) > most {
		changed = append(changed[:most], fmt.Sprintf("and %d more", len(changed)-most))
	}
	return strings.Join(changed, ", ")
}

// files adds the files of a stack: those in its directory, and those of its modules.
func (d digests) files(w stack.RunRequest) error {
	if err := d.tree(w.Stack.Dir, "", "stack.hcl"); err != nil {
		return fmt.Errorf("hash stack %q: %w", w.Stack.ID, err)
	}
	for _, dir := range w.Stack.Modules {
		if err := d.tree(dir, w.Path(dir)+"/", ""); err != nil {
			return fmt.Errorf("hash a module of stack %q: %w", w.Stack.ID, err)
		}
	}
	return nil
}

// filesDigest is one hash of all files of a stack.
func filesDigest(w stack.RunRequest) (string, error) {
	files := digests{}
	if err := files.files(w); err != nil {
		return "", err
	}
	data, err := canonical(files)
	if err != nil {
		return "", err
	}
	one := digests{}
	one.add("", data)
	return one[""], nil
}

// terraformDigests are the hashes of everything that a stack's Terraform depends on, by names that people understand. Wanted is where its
// state belongs.
func terraformDigests(w stack.RunRequest, wanted *stack.StateBackend, version string) (digests, error) {
	p := digests{}
	p.add("the engine", []byte(version))
	if err := p.files(w); err != nil {
		return nil, err
	}
	for name, v := range w.Inputs {
		data, err := stack.JSON(v)
		if err != nil {
			return nil, fmt.Errorf("hash input %q of stack %q: %w", name, w.Stack.ID, err)
		}
		p.add("input "+name, data)
	}
	if b := wanted; b != nil && !b.Keep {
		data, err := stack.JSON(cty.ObjectVal(b.Config))
		if err != nil {
			return nil, fmt.Errorf("hash the backend of stack %q: %w", w.Stack.ID, err)
		}
		p.add("the backend", append([]byte(b.Type), data...))
	}
	return p, nil
}

// moveState moves a state into the backend that the stack itself made, once it stands.
func (r *run) moveState(ctx context.Context, s *stack.Stack) error {
	if s.Backend == nil || !s.Backend.Own {
		return nil
	}
	config, err := r.lab.graph.BackendConfig(s, r.snapshot())
	if err != nil {
		return err
	}
	for _, v := range config {
		r.secrets.Add(stack.Secrets(v)...)
	}
	return r.step(ctx, s.ID+"/state", func(ctx context.Context, report event.Report) (outcome, error) {
		place := &stack.StateBackend{Type: s.Backend.Type, Config: config}
		moved, err := r.move(ctx, s, place, report)
		if err == nil {
			err = r.retry.try(ctx, report, func() error { return r.lockPlace(ctx, s, place, true) })
		}
		switch {
		case err != nil:
			return outcome{}, fmt.Errorf("move the state of stack %q to %s: %w", s.ID, s.Backend.Type, err)
		case !moved:
			return outcome{skipped: true, message: "it is in " + s.Backend.Type}, nil
		}
		r.tellWhere(s, config, report)
		// Terraform may have given it another lineage and serial.
		err = r.journal.follow(s.ID, func() (*stack.State, error) { return r.state(ctx, s, report) })
		return outcome{message: "moved to " + s.Backend.Type}, err
	})
}

// tellWhere says what other machines have to be told to find the state that has just moved.
func (r *run) tellWhere(s *stack.Stack, config map[string]ctyValue, report event.Report) {
	find := s.Backend.Find
	if find == nil {
		return
	}
	var missing []string
	for _, name := range find.Missing() {
		v, err := stack.Text(config[name])
		if err != nil || len(stack.Secrets(config[name])) > 0 {
			v = "(sensitive)"
		}
		missing = append(missing, name+" = "+v)
	}
	if len(missing) > 0 {
		report.Warn("only this machine knows where the state of %s is: find in %s lacks %s", s.ID, r.lab.graph.Path(find.Range.Filename), strings.Join(missing, ", "))
	}
}

// bringStateBack undoes moveState, so that a stack can be destroyed together with the place of its state.
func (r *run) bringStateBack(ctx context.Context, s *stack.Stack) error {
	if s.Backend == nil || !s.Backend.Own {
		return nil
	}
	return r.step(ctx, s.ID+"/state", func(ctx context.Context, report event.Report) (outcome, error) {
		if _, err := r.state(ctx, s, report); errors.Is(err, fs.ErrNotExist) {
			return outcome{skipped: true, message: "there is none"}, nil
		}
		if err := r.adoptState(ctx, s, report); err != nil {
			return outcome{}, fmt.Errorf("bring the state of stack %q back from %s: %w", s.ID, s.Backend.Type, err)
		}
		moved, err := r.move(ctx, s, nil, report)
		switch {
		case err != nil:
			return outcome{}, fmt.Errorf("bring the state of stack %q back from %s: %w", s.ID, s.Backend.Type, err)
		case !moved:
			return outcome{skipped: true, message: "it is here"}, nil
		}
		r.unlockRemote(s) // other machines find no state there any more, and its place is destroyed next
		return outcome{message: "moved back"}, nil
	})
}

// adoptState makes this machine know a state that another one has put into its backend: only then can it be moved.
func (r *run) adoptState(ctx context.Context, s *stack.Stack, report event.Report) error {
	if place, err := r.lab.deps.Terraform.Place(s.ID); err != nil || place != nil {
		return err
	}
	place, err := r.backend(s)
	if err != nil || place.Type == "" {
		return err
	}
	_, err = r.move(ctx, s, place, report)
	return err
}

func (r *run) move(ctx context.Context, s *stack.Stack, to *stack.StateBackend, report event.Report) (moved bool, err error) {
	w := r.request(s)
	w.Backend = to
	err = r.retry.try(ctx, report, func() error {
		done, err := r.lab.deps.Terraform.Move(ctx, w, report)
		moved = moved || done
		return err
	})
	return moved, err
}
