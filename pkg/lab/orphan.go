package lab

import (
	"context"
	"encoding/json"
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

// An orphan is a state that records something and has no stack: its directory was removed, renamed or left out, or lab.hcl lost its
// environment. Every command that claims something about the lab names it, and down destroys it.

// Orphan is a state without a stack.
type Orphan struct {
	stack.Record
	// Environment is the one that it belongs to, where that is not this one: lab.hcl does not name it any more.
	Environment string `json:"environment,omitempty"`
}

// String says what it is, and what to do about it.
func (o Orphan) String() string {
	if o.Environment != "" {
		return fmt.Sprintf("%s of environment %q, which lab.hcl does not name: destroy it with `%s`, or put the environment back", o.Record, o.Environment, o.Down())
	}
	return fmt.Sprintf("%s has a state and no stack: destroy it with `%s`, put its directory back, or say moved_from = %q in the stack that it is now",
		o.Record, o.Down(), o.ID)
}

// Down is the command that destroys it.
func (o Orphan) Down() string {
	if o.Environment != "" {
		return "labctl down -e " + o.Environment
	}
	return "labctl down " + o.ID
}

// Orphans gives the states without a stack, in this environment and in those that lab.hcl does not name. Nothing is started for it.
func (l *Lab) Orphans() ([]Orphan, error) {
	records, err := l.deps.Terraform.Records("")
	if err != nil {
		return nil, err
	}
	var out []Orphan
	for _, record := range records {
		if !l.owns(record.ID) {
			out = append(out, Orphan{Record: record})
		}
	}
	root := filepath.Dir(l.graph.Dir)
	entries, err := os.ReadDir(root)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("look for states: %w", err)
	}
	for _, e := range entries {
		if _, named := l.graph.Lab.Environments[e.Name()]; named || !e.IsDir() || strings.HasPrefix(e.Name(), ".") || e.Name() == l.graph.Env.Name {
			continue
		}
		records, err := l.deps.Terraform.Records(filepath.Join(root, e.Name()))
		if err != nil {
			return nil, err
		}
		for _, record := range records {
			out = append(out, Orphan{Record: record, Environment: e.Name()})
		}
	}
	return out, nil
}

// owns says whether a stack with Terraform has, or had, that id.
func (l *Lab) owns(id string) bool {
	return slices.ContainsFunc(l.graph.Stacks, func(s *stack.Stack) bool {
		return s.ID == id && (s.HasTerraform() || s.Orphan) || slices.Contains(s.MovedFrom, id)
	})
}

// inspect warns of states without a stack, and refuses to go on where a terraform that was run by hand has made what labctl would
// make again.
func (r *run) inspect() error {
	report := event.For(r.sink, "")
	orphans, err := r.lab.Orphans()
	if err != nil {
		return err
	}
	for _, o := range orphans {
		report.Warn("%s", o)
	}
	for _, w := range r.lab.graph.Overridden() {
		report.Warn("%s", w)
	}
	for _, s := range r.lab.graph.Stacks {
		path := filepath.Join(s.Dir, "terraform.tfstate")
		st, err := stack.ReadState(path)
		if err != nil || len(st.Resources) == 0 || s.Orphan {
			continue //nolint:nilerr // none, or none that terraform by hand could use
		}
		records, err := r.lab.deps.Terraform.Records("")
		if err != nil {
			return err
		}
		if slices.ContainsFunc(records, func(k stack.Record) bool { return k.ID == s.ID }) {
			report.Warn("%s records %d resources that a terraform run by hand has made, beside those of labctl: destroy them there (terraform destroy)", r.lab.graph.Path(path), len(st.Resources))
			continue
		}
		return &BesideError{Stack: s.ID, Path: path, Shown: r.lab.graph.Path(path), Resources: len(st.Resources)}
	}
	return nil
}

// BesideError says that a terraform which was run by hand in a stack's directory left a state there that labctl does not know.
type BesideError struct {
	Stack, Path, Shown string
	Resources          int
}

func (e *BesideError) Error() string {
	return fmt.Sprintf("%s records %d resources that a terraform run by hand has made, and labctl would make them again", e.Shown, e.Resources)
}

// Hint is the next command to type.
func (e *BesideError) Hint() string {
	return fmt.Sprintf("labctl exec %s -- state push '%s' && rm '%s'   (labctl takes them over; or: terraform destroy, in that directory)", e.Stack, e.Path, e.Path)
}

// environmentFile holds what an environment was when it was last worked on.
const environmentFile = "environment.json"

type environment struct {
	Target    string `json:"target"`
	Protected bool   `json:"protected,omitempty"`
}

// rememberEnvironment notes what lab.hcl says of the environment, for the time when it does not any more. A state that was made for
// another target is refused: the stacks of the new one would destroy it.
func (l *Lab) rememberEnvironment() error {
	path := filepath.Join(l.graph.Dir, environmentFile)
	now := environment{Target: l.graph.Env.Target, Protected: l.graph.Env.Protected}
	if now.Target == "" { // lab.hcl does not name it
		return nil
	}
	var was environment
	if data, err := os.ReadFile(path); err == nil && json.Unmarshal(data, &was) == nil {
		if was == now {
			return nil
		}
		if was.Target != now.Target {
			records, err := l.deps.Terraform.Records("")
			if err != nil {
				return err
			}
			if len(records) > 0 {
				return fmt.Errorf("environment %q stands on target %q, and lab.hcl says %q: its stacks would replace what stands. "+
					"Set the target back and take it down (labctl down -e %s), or give the new target an environment of its own",
					l.graph.Env.Name, was.Target, now.Target, l.graph.Env.Name)
			}
		}
	}
	data, err := json.Marshal(now)
	if err != nil {
		return err
	}
	if err := atomicfile.Write(path, append(data, '\n')); err != nil {
		return fmt.Errorf("note what the environment is: %w", err)
	}
	return nil
}

// Protected says whether the environment wants a confirmation, also where lab.hcl does not name it any more.
func (l *Lab) Protected() bool {
	if l.graph.Env.Target != "" {
		return l.graph.Env.Protected
	}
	var was environment
	data, err := os.ReadFile(filepath.Join(l.graph.Dir, environmentFile))
	return err == nil && json.Unmarshal(data, &was) == nil && was.Protected
}

// withOrphans gives the lab with its orphans as stacks, so that a run can destroy them. Of a stack that is gone there may be releases alone.
func (l *Lab) withOrphans(ctx context.Context, strays []Stray) (*Lab, error) {
	records, err := l.deps.Terraform.Records("")
	if err != nil {
		return nil, err
	}
	var orphans []*stack.Stack
	for _, record := range records {
		if l.owns(record.ID) {
			continue
		}
		s, err := l.deps.Terraform.Applied(record.ID)
		if errors.Is(err, fs.ErrNotExist) {
			number, name, _ := stack.IDParts(record.ID)
			s, err = &stack.Stack{ID: record.ID, Number: number, Name: name, Orphan: true}, nil
		}
		if err != nil {
			return nil, err
		}
		orphans = append(orphans, s)
	}
	for _, stray := range strays {
		if stray.Orphan && !among(orphans, stray.Stack) {
			number, name, _ := stack.IDParts(stray.Stack)
			orphans = append(orphans, &stack.Stack{ID: stray.Stack, Number: number, Name: name, Orphan: true})
		}
	}
	if len(orphans) == 0 {
		return l, ctx.Err()
	}
	// A stack that lost its Terraform is an orphan and a stack at once: the orphan takes its id.
	g := l.graph.WithOrphans(orphans)
	return &Lab{graph: g, deps: l.deps}, nil
}

// unplaced is the error for a state that there is nothing to destroy by.
func unplaced(record stack.Record) error {
	return fmt.Errorf("the state of %s is kept: nothing is known of the files that it was applied with. Put its directory back and run `labctl down` again, "+
		"or destroy what it records by other means and remove the state", record)
}

// waitsForOrphans adds to the order of a destruction: nothing is known of what an orphan was made of, so it goes before all stacks of lower
// numbers, and after the orphans of higher ones.
func waitsForOrphans(g *stack.Graph, after map[*stack.Stack][]*stack.Stack) map[*stack.Stack][]*stack.Stack {
	for _, o := range g.Stacks {
		if !o.Orphan {
			continue
		}
		for _, s := range g.Stacks {
			if s != o && (s.Number < o.Number || s.Number == o.Number && !s.Orphan) {
				after[s] = append(after[s], o)
			}
		}
	}
	return after
}
