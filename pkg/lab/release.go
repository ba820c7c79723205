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
	return ReleaseSpec{
		Name: rel.Name, Namespace: rel.Namespace, Chart: path, Kubeconfig: kubeconfig, Values: values, Secrets: r.secrets.Values(),
		ValuesFiles: rel.ValuesFiles, UpgradeCRDs: rel.UpgradeCRDs, Adopt: rel.Adopt,
	}, nil
}

func (r *run) release(ctx context.Context, s *stack.Stack, rel *stack.Release) error {
	name := releaseStep(s, rel)
	return r.step(ctx, name, func(ctx context.Context, report event.Report) (outcome, error) {
		spec, err := r.releaseSpec(ctx, s, rel, report)
		if err != nil {
			return outcome{}, err
		}
		p, err := releaseDigests(spec)
		if err != nil {
			return outcome{}, err
		}
		e, ok := r.journal.get(name)
		why := e.changedInputs(ok, p)
		if why == "" {
			if r.options.Affected {
				return outcome{skipped: true, message: "nothing changed"}, nil
			}
			reason, err := r.lab.deps.Releases.Deployed(ctx, spec)
			if err != nil {
				return outcome{}, fmt.Errorf("look at release %q: %w", rel.Name, err)
			}
			if reason == "" {
				return outcome{skipped: true, message: "nothing changed"}, nil
			}
			why = "repairing: " + reason
		}
		report.Doing("%s", why)
		if err := r.touch(ctx, s, "up"); err != nil {
			return outcome{}, err
		}
		var changed bool
		err = r.record(name, entry{Digests: p}, func(e *entry) error {
			err := r.retry.try(ctx, report, func() error {
				done, err := r.lab.deps.Releases.Ensure(ctx, spec, report)
				changed = changed || done
				return err
			})
			if err != nil {
				return fmt.Errorf("deploy release %q into namespace %q: %w", rel.Name, rel.Namespace, err)
			}
			e.Detail = "ready in namespace " + rel.Namespace
			return nil
		})
		if err != nil {
			return outcome{}, err
		}
		if !changed {
			return outcome{skipped: true, message: because(r.options.Why, "nothing changed", why)}, nil
		}
		r.tally.note(s.ID, func(res *Result) { res.Charts++ })
		return outcome{message: because(r.options.Why, "ready", why)}, nil
	})
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
	if err := p.tree(spec.Chart, "chart/", ""); err != nil {
		return nil, fmt.Errorf("hash the chart of release %q: %w", spec.Name, err)
	}
	return p, nil
}

func (r *run) removeRelease(ctx context.Context, s *stack.Stack, rel *stack.Release) error {
	name := releaseStep(s, rel)
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
		kubeconfig, err := r.lab.graph.Kubeconfig(s, rel, r.snapshot())
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
		err = r.unrecord(name, func() error {
			return r.retry.try(ctx, report, func() error {
				return r.lab.deps.Releases.Remove(ctx, ReleaseSpec{
					Name: rel.Name, Namespace: rel.Namespace, Kubeconfig: kubeconfig, Secrets: r.secrets.Values(),
				}, report)
			})
		})
		if err != nil {
			return outcome{}, fmt.Errorf("remove release %q from namespace %q: %w", rel.Name, rel.Namespace, err)
		}
		r.tally.note(s.ID, func(res *Result) { res.Charts++ })
		return outcome{message: "removed"}, nil
	})
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
