package app

import (
	"context"
	"slices"

	"github.com/labctl/labctl/pkg/argocd"
	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/kube"
	"github.com/labctl/labctl/pkg/lab"
	"github.com/labctl/labctl/pkg/stack"
)

// installers are all ways of installing a release. A release has one owner: who installs it takes it over from the one before.
type installers struct {
	charts     *releases
	deliveries *deliveries
	argoCD     argoCD
	secrets    secrets
}

func (i installers) builtin(name string) lab.Releaser {
	switch name {
	case "argocd":
		return i.argoCD
	case "secrets":
		return i.secrets
	}
	return nil
}

func (i installers) Locate(ctx context.Context, rel *stack.Release, report event.Report) (string, error) {
	if b := i.builtin(rel.Builtin); b != nil {
		return b.Locate(ctx, rel, report)
	}
	return i.charts.Locate(ctx, rel, report)
}

func (i installers) Ensure(ctx context.Context, s lab.ReleaseSpec, report event.Report) (bool, error) {
	if b := i.builtin(s.Builtin); b != nil {
		return b.Ensure(ctx, s, report)
	}
	client, err := kube.New([]byte(s.Kubeconfig))
	if err != nil {
		return false, err
	}
	if s.Applications != nil {
		changed, err := i.deliveries.Ensure(ctx, s, report)
		if err != nil {
			return changed, err
		}
		return changed, i.charts.abandon(ctx, s) // what Argo CD has is no release of Helm's any more
	}
	_, was, err := argocd.IsDelivered(ctx, client, s.Namespace, s.Name)
	if err != nil {
		return false, judge(err)
	}
	if was {
		report.Doing("taking over what Argo CD made")
		if err := argocd.LetGo(ctx, client, s.Namespace, s.Name, report); err != nil {
			return false, judge(err)
		}
		s.Adopt = true
	}
	changed, err := i.charts.Ensure(ctx, s, report)
	if err != nil || !was {
		return changed, err
	}
	return true, judge(argocd.Forget(ctx, client, s.Namespace, s.Name, report))
}

func (i installers) Deployed(ctx context.Context, s lab.ReleaseSpec) (string, error) {
	if b := i.builtin(s.Builtin); b != nil {
		return b.Deployed(ctx, s)
	}
	client, err := kube.New([]byte(s.Kubeconfig))
	if err != nil {
		return "", err
	}
	if s.Applications != nil {
		why, err := i.deliveries.Deployed(ctx, s)
		if why != "" || err != nil {
			return why, err
		}
		if has, err := i.charts.has(ctx, s); has || err != nil {
			return "Helm has it, and Argo CD shall", err
		}
		return "", nil
	}
	if _, was, err := argocd.IsDelivered(ctx, client, s.Namespace, s.Name); was || err != nil {
		return "Argo CD has it, and Helm shall", err
	}
	return i.charts.Deployed(ctx, s)
}

func (i installers) Owned(ctx context.Context, kubeconfig, of, environment string) ([]lab.OwnedRelease, error) {
	var out []lab.OwnedRelease
	for _, r := range []lab.Releaser{i.charts, i.deliveries, i.argoCD, i.secrets} {
		owned, err := r.Owned(ctx, kubeconfig, of, environment)
		if err != nil {
			return nil, err
		}
		for _, o := range owned {
			if !slices.Contains(out, o) { // while a release is handed over, both have it
				out = append(out, o)
			}
		}
	}
	return out, nil
}

// Remove goes by what stands in the cluster: of a release that no file names any more nobody else knows what it was.
func (i installers) Remove(ctx context.Context, s lab.ReleaseSpec, report event.Report) error {
	client, err := kube.New([]byte(s.Kubeconfig))
	if err != nil {
		return err
	}
	if s.Namespace == argocd.Namespace && s.Name == argocd.Namespace {
		_, ok, err := argocd.Owned(ctx, client)
		if err != nil {
			return judge(err)
		}
		if ok {
			return i.argoCD.Remove(ctx, s, report)
		}
	}
	if _, ok, err := client.Owner(ctx, i.secrets.set(s).Name); err != nil {
		return judge(err)
	} else if ok {
		return i.secrets.Remove(ctx, s, report)
	}
	if err := i.deliveries.Remove(ctx, s, report); err != nil {
		return err
	}
	return i.charts.Remove(ctx, s, report)
}
