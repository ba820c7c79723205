package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/stack"
)

// releaseStep is a release, of a Helm chart or of what labctl installs without one.
type releaseStep struct {
	stack *stack.Stack
	*stack.Release
}

func releaseSteps(s *stack.Stack) []step {
	var steps []step
	for _, rel := range s.Releases {
		steps = append(steps, releaseStep{s, rel})
	}
	return steps
}

func (rel releaseStep) id() string { return releaseID(rel.stack.ID, rel.Name) }

func releaseID(stack, name string) string { return stack + "/release " + name }

func (rel releaseStep) sources(*stack.Graph) []string {
	if !filepath.IsAbs(rel.Chart) { // a remote one: its version and digest are in the stack's directory
		return rel.ValuesFiles
	}
	return append([]string{rel.Chart}, rel.ValuesFiles...)
}

func (rel releaseStep) recall(context.Context, *run, trust) error { return nil }

// releaseSpec evaluates a release.
func (r *run) releaseSpec(ctx context.Context, s *stack.Stack, rel *stack.Release, report event.Report) (ReleaseSpec, error) {
	g, known := r.lab.graph, r.snapshot()
	kubeconfig, err := g.Kubeconfig(s, rel, known)
	if err != nil {
		return ReleaseSpec{}, err
	}
	v, err := g.Values(s, rel, known)
	if err != nil {
		return ReleaseSpec{}, err
	}
	r.secrets.Add(kubeconfig)
	r.secrets.Add(stack.Secrets(v)...)
	values, err := plainValues(v)
	if err != nil {
		return ReleaseSpec{}, fmt.Errorf("values of release %q: %w", rel.Name, err)
	}
	path, err := r.lab.deps.Releases.Locate(ctx, rel, report)
	if err != nil {
		return ReleaseSpec{}, err
	}
	spec := ReleaseSpec{
		Name: rel.Name, Namespace: rel.Namespace, Builtin: rel.Builtin, Chart: path, Kubeconfig: kubeconfig, Values: values, Secrets: r.secrets.Values(),
		Lab: g.Lab.Name, Environment: g.Env.Name, Stack: s.ID,
		ValuesFiles: rel.ValuesFiles, UpgradeCRDs: rel.UpgradeCRDs, Adopt: rel.Adopt,
		Command: r.options.Command, Insist: r.insist, Overwrite: r.options.Overwrite,
	}
	if !r.options.Direct {
		spec.Applications = rel.Applications
	}
	for _, name := range rel.Images {
		spec.Images = append(spec.Images, known.Images[name])
	}
	return spec, nil
}

func (rel releaseStep) up(ctx context.Context, r *run) error {
	return r.reach(ctx, rel.stack, rel.id(), func(ctx context.Context, report event.Report) (goal, error) {
		spec, err := r.releaseSpec(ctx, rel.stack, rel.Release, report)
		if err != nil {
			return nil, err
		}
		p, err := releaseDigests(spec)
		return &releaseGoal{run: r, stack: rel.stack, spec: spec, digests: p}, err
	})
}

// releaseGoal is a release that is deployed and healthy.
type releaseGoal struct {
	*run
	stack   *stack.Stack
	spec    ReleaseSpec
	digests digests
	changed bool
}

func (g *releaseGoal) dependsOn() digests { return g.digests }

func (g *releaseGoal) check(ctx context.Context, _ entry, why string) (string, error) {
	if why != "" || g.options.Affected {
		return why, nil
	}
	reason, err := g.lab.deps.Releases.Deployed(ctx, g.spec)
	if err != nil {
		return "", fmt.Errorf("look at release %q: %w", g.spec.Name, err)
	}
	if reason == "" {
		return "", nil
	}
	return "repairing: " + reason, nil
}

func (g *releaseGoal) apply(ctx context.Context, e *entry, report event.Report) error {
	done, err := g.lab.deps.Releases.Ensure(ctx, g.spec, report)
	g.changed = g.changed || done
	if err != nil {
		return fmt.Errorf("deploy release %q into namespace %q: %w", g.spec.Name, g.spec.Namespace, err)
	}
	e.Detail = "ready in namespace " + g.spec.Namespace
	return nil
}

func (g *releaseGoal) outcome() outcome {
	if !g.changed {
		return outcome{skipped: true, message: "nothing changed"}
	}
	g.tally.note(g.stack.ID, func(res *Result) { res.Charts++ })
	return outcome{message: "ready"}
}

func releaseDigests(spec ReleaseSpec) (digests, error) {
	p := digests{}
	p.add("the kubeconfig", []byte(spec.Kubeconfig))
	p.add("the namespace", []byte(spec.Namespace))
	for name, value := range spec.Values {
		data, err := canonical(value)
		if err != nil {
			return nil, fmt.Errorf("hash the values of release %q: %w", spec.Name, err)
		}
		p.add("value "+name, data)
	}
	for _, file := range spec.ValuesFiles {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("hash the values of release %q: %w", spec.Name, err)
		}
		p.add("values file "+filepath.Base(file), data)
	}
	p.add("how CRDs and objects that exist are treated", []byte(fmt.Sprint(spec.UpgradeCRDs, spec.Adopt)))
	way := "Helm"
	if spec.Applications != nil {
		way = fmt.Sprint("Argo CD", spec.Applications)
	}
	p.add("the way to install it", []byte(way))
	if spec.Chart == "" {
		return p, nil
	}
	if err := p.tree(spec.Chart, "chart/", ""); err != nil {
		return nil, fmt.Errorf("hash the chart of release %q: %w", spec.Name, err)
	}
	return p, nil
}

// plan looks at a release where everything that it needs is known.
func (rel releaseStep) plan(ctx context.Context, r *run, p *planning, _ event.Report) error {
	planned := ReleasePlan{Name: rel.Name, Waits: r.waits(rel.Refs)}
	var err error
	if len(planned.Waits)+len(p.Waits) == 0 {
		planned.Why, err = rel.whyUp(ctx, r, p.Changes.Any())
	}
	p.Releases = append(p.Releases, planned)
	return err
}

// whyUp says why up would work on the release, or "". Changes says that its own stack changes before.
func (rel releaseStep) whyUp(ctx context.Context, r *run, changes bool) (string, error) {
	spec, err := r.releaseSpec(ctx, rel.stack, rel.Release, event.For(r.sink, rel.id()))
	if errors.Is(err, stack.ErrNotKnown) { // an image that was never built
		return "it is not there yet", nil
	}
	if err != nil {
		return "", err
	}
	hashed, err := releaseDigests(spec)
	if err != nil {
		return "", err
	}
	e, ok := r.journal.get(rel.id())
	if why := e.changedInputs(ok, hashed); why != "" || changes || r.options.Affected {
		return why, nil
	}
	return r.lab.deps.Releases.Deployed(ctx, spec)
}

func (rel releaseStep) drift(ctx context.Context, r *run, d *StackDrift, _ event.Report) error {
	if d.Absent && rel.stack.HasTerraform() {
		return nil
	}
	if _, was := r.journal.get(rel.id()); !was {
		d.Absent = d.Absent || !rel.stack.HasTerraform()
		return nil
	}
	why, err := rel.whyDrifted(ctx, r)
	if why != "" {
		d.Releases = append(d.Releases, ReleaseDrift{Name: rel.Name, Why: why})
	}
	return err
}

func (rel releaseStep) whyDrifted(ctx context.Context, r *run) (string, error) {
	for _, ref := range rel.Cluster {
		if reason, err := r.gone(ctx, ref.Stack); err != nil || reason != "" {
			return reason, err
		}
	}
	report := event.For(r.sink, rel.id())
	spec, err := r.releaseSpec(ctx, rel.stack, rel.Release, report)
	if errors.Is(err, stack.ErrNotKnown) {
		return err.Error(), nil
	}
	if err != nil {
		return "", err
	}
	report.Doing("looking at release %s", rel.Name)
	return r.lab.deps.Releases.Deployed(ctx, spec)
}

func (rel releaseStep) down(ctx context.Context, r *run) error {
	s, name := rel.stack, rel.id()
	return r.step(ctx, name, func(ctx context.Context, report event.Report) (outcome, error) {
		for _, ref := range rel.Cluster {
			reason, err := r.gone(ctx, ref.Stack)
			if err != nil {
				return outcome{}, err
			}
			if reason != "" {
				return outcome{skipped: true, message: "it went with its cluster (" + reason + ")"}, r.journal.remove(name)
			}
		}
		kubeconfig, err := r.lab.graph.Kubeconfig(s, rel.Release, r.snapshot())
		if errors.Is(err, stack.ErrNotKnown) {
			return outcome{skipped: true, message: "there is no cluster"}, r.journal.remove(name)
		}
		if err != nil {
			return outcome{}, err
		}
		r.secrets.Add(kubeconfig)
		if err := r.touch(ctx, s, "down"); err != nil {
			return outcome{}, err
		}
		return outcome{message: "removed"}, r.removeRelease(ctx, OwnedRelease{Namespace: rel.Namespace, Name: rel.Name, Stack: s.ID}, kubeconfig, report)
	})
}

// removeRelease removes a release from a cluster, and from the journal.
func (r *run) removeRelease(ctx context.Context, rel OwnedRelease, kubeconfig string, report event.Report) error {
	err := r.unrecord(releaseID(rel.Stack, rel.Name), func() error {
		return r.retry.try(ctx, report, func() error {
			return r.lab.deps.Releases.Remove(ctx, ReleaseSpec{
				Name: rel.Name, Namespace: rel.Namespace, Kubeconfig: kubeconfig, Secrets: r.secrets.Values(),
			}, report)
		})
	})
	if err != nil {
		return fmt.Errorf("remove release %q from namespace %q: %w", rel.Name, rel.Namespace, err)
	}
	r.tally.note(rel.Stack, func(res *Result) { res.Charts++ })
	return nil
}

// gone says why the stack called name does not stand any more, or "".
func (r *run) gone(ctx context.Context, name string) (string, error) {
	s, err := r.lab.graph.Stack(name)
	if err != nil {
		return "", err
	}
	st, err := r.state(ctx, s, nil)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Sprintf("stack %q was never applied", s.ID), nil
	}
	if err != nil {
		return "", err
	}
	reason, _, err := r.lab.deps.Resources.CheckHealth(ctx, st)
	if reason != "" {
		reason = s.ID + ": " + reason
	}
	return reason, err
}
