package lab

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/zclconf/go-cty/cty"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/stack"
)

// OwnedRelease is a release that an environment of a lab has made, as the record in its cluster says.
type OwnedRelease struct{ Namespace, Name, Stack string }

// Stray is a release that this environment made and that no stack names any more: its block was removed, or its stack. Like a resource
// that is taken out of a *.tf file, up removes it where its stack is still there. Else it is named, and down removes it.
type Stray struct {
	OwnedRelease
	Orphan bool // its stack is gone, too

	kubeconfig string
}

// String says what it is, and what to do about it.
func (s Stray) String() string {
	what := fmt.Sprintf("release %s in namespace %s, made by stack %s, is in no stack's file any more", s.Name, s.Namespace, s.Stack)
	if s.Orphan {
		return fmt.Sprintf("%s, and the stack is gone: remove it with `%s`, or put it back", what, s.Next())
	}
	return fmt.Sprintf("%s: `%s` removes it", what, s.Next())
}

// Next is the command that removes it.
func (s Stray) Next() string {
	if s.Orphan {
		return "labctl down " + s.Stack
	}
	return "labctl up " + s.Stack
}

// Strays gives the releases that no stack names any more, in the clusters that the lab's outputs lead to.
func (l *Lab) Strays(ctx context.Context) ([]Stray, error) {
	r, err := l.reader()
	if err != nil {
		return nil, err
	}
	if err := r.recall(ctx, recorded); err != nil {
		return nil, err
	}
	return r.strays(ctx)
}

func (r *run) strays(ctx context.Context) ([]Stray, error) {
	g := r.lab.graph
	clusters, err := r.clusters(ctx)
	if err != nil {
		return nil, err
	}
	var out []Stray
	for _, kubeconfig := range clusters {
		owned, err := r.lab.deps.Releases.Owned(ctx, kubeconfig, g.Lab.Name, g.Env.Name)
		if err != nil {
			return nil, r.secrets.Error(err)
		}
		for _, o := range owned {
			if slices.ContainsFunc(g.Stacks, func(s *stack.Stack) bool {
				return slices.ContainsFunc(s.Releases, func(rel *stack.Release) bool { return rel.Name == o.Name && rel.Namespace == o.Namespace })
			}) {
				continue
			}
			stray := Stray{OwnedRelease: o, Orphan: true, kubeconfig: kubeconfig}
			for _, s := range g.Stacks {
				if !s.Orphan && (s.ID == o.Stack || slices.Contains(s.MovedFrom, o.Stack)) {
					stray.Stack, stray.Orphan = s.ID, false
				}
			}
			out = append(out, stray)
		}
	}
	return out, nil
}

// lookForStrays is strays for a run that does not depend on them: a cluster that does not answer is a warning.
func (r *run) lookForStrays(ctx context.Context) []Stray {
	strays, err := r.strays(ctx)
	if err != nil && ctx.Err() == nil {
		event.For(r.sink, "").Warn("not looked for releases that no stack names any more: %s", r.secrets.Redact(err.Error()))
	}
	return strays
}

// clusters gives the kubeconfigs of the clusters that stand: those of the releases, and what is known of outputs called kubeconfig. Each is
// there once.
func (r *run) clusters(ctx context.Context) ([]string, error) {
	known, found := r.snapshot(), []string(nil)
	add := func(kubeconfig string, from ...string) error {
		if kubeconfig == "" || slices.Contains(found, kubeconfig) {
			return nil
		}
		for _, name := range from {
			if reason, err := r.gone(ctx, name); err != nil || reason != "" {
				return err
			}
		}
		r.secrets.Add(kubeconfig)
		found = append(found, kubeconfig)
		return nil
	}
	for _, s := range r.lab.graph.Stacks {
		for _, rel := range s.Releases {
			kubeconfig, err := r.lab.graph.Kubeconfig(s, rel, known)
			if errors.Is(err, stack.ErrNotKnown) {
				continue
			}
			var from []string
			for _, ref := range rel.Cluster {
				from = append(from, ref.Stack)
			}
			if err == nil {
				err = add(kubeconfig, from...)
			}
			if err != nil {
				return nil, err
			}
		}
		v, has := known.Outputs[s.Name]["kubeconfig"]
		if !has {
			continue
		}
		if v, _ = v.Unmark(); v.IsKnown() && !v.IsNull() && v.Type() == cty.String {
			if err := add(v.AsString(), s.Name); err != nil {
				return nil, err
			}
		}
	}
	return found, nil
}

// removeStrays removes those that pick chooses.
func (r *run) removeStrays(ctx context.Context, strays []Stray, verb string, pick func(Stray) bool) error {
	for _, stray := range strays {
		if !pick(stray) {
			continue
		}
		err := r.step(ctx, releaseID(stray.Stack, stray.Name), func(ctx context.Context, report event.Report) (outcome, error) {
			if s, err := r.lab.graph.Stack(stray.Stack); err == nil && !s.Orphan {
				if err := r.touch(ctx, s, verb); err != nil {
					return outcome{}, err
				}
			}
			report.Doing("no stack's file names it any more")
			return outcome{message: "removed, because no stack's file names it any more"}, r.removeRelease(ctx, stray.OwnedRelease, stray.kubeconfig, report)
		})
		if err != nil {
			if ctx.Err() == nil {
				r.tally.fail(stray.Stack, r.secrets.Error(err))
			}
			return err
		}
	}
	return nil
}
