package app

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/labctl/labctl/pkg/argocd"
	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/gobuild"
	"github.com/labctl/labctl/pkg/kube"
	"github.com/labctl/labctl/pkg/lab"
	"github.com/labctl/labctl/pkg/stack"
)

// argoCD installs Argo CD as a release without a chart.
type argoCD struct{ source string } // the lab's, which has images/argocd

// Locate gives the directory of Argo CD's manifests, which is in the module that its image is built of.
func (a argoCD) Locate(ctx context.Context, _ *stack.Release, report event.Report) (string, error) {
	dir, err := gobuild.ModuleDir(ctx, "Argo CD's manifests", filepath.Join(a.source, "images/argocd"), "github.com/argoproj/argo-cd/v2", report)
	if err != nil {
		return "", judge(err)
	}
	return filepath.Join(dir, "manifests"), nil
}

// open gives the cluster's client and the manifests of a release.
func (a argoCD) open(s lab.ReleaseSpec) (*kube.Client, []byte, error) {
	official, err := os.ReadFile(filepath.Join(s.Chart, "install.yaml"))
	if err != nil {
		return nil, nil, err
	}
	images, _ := s.Values["images"].(map[string]any)
	var text [3]string
	for i, name := range []string{"argocd", "redis", "git"} {
		text[i], _ = images[name].(string)
		if text[i] == "" {
			return nil, nil, fmt.Errorf("values: images.%s is empty", name)
		}
	}
	manifests, err := argocd.Manifests(official, argocd.Images{ArgoCD: text[0], Redis: text[1], Git: text[2]})
	if err != nil {
		return nil, nil, err
	}
	client, err := kube.New([]byte(s.Kubeconfig))
	return client, manifests, err
}

func (a argoCD) Ensure(ctx context.Context, s lab.ReleaseSpec, report event.Report) (bool, error) {
	client, manifests, err := a.open(s)
	if err != nil {
		return false, err
	}
	why, err := argocd.Deployed(ctx, client, manifests)
	if err != nil {
		return false, judge(err)
	}
	err = argocd.Install(ctx, client, manifests, kube.Owner{Lab: s.Lab, Environment: s.Environment, Stack: s.Stack}, report)
	return why != "", judge(err)
}

func (a argoCD) Deployed(ctx context.Context, s lab.ReleaseSpec) (string, error) {
	client, manifests, err := a.open(s)
	if err != nil {
		return "", err
	}
	return argocd.Deployed(ctx, client, manifests)
}

func (a argoCD) Owned(ctx context.Context, kubeconfig, of, environment string) ([]lab.OwnedRelease, error) {
	client, err := kube.New([]byte(kubeconfig))
	if err != nil {
		return nil, err
	}
	owner, ok, err := argocd.Owned(ctx, client)
	if err != nil || !ok || owner.Lab != of || owner.Environment != environment {
		return nil, err
	}
	return []lab.OwnedRelease{{Namespace: argocd.Namespace, Name: argocd.Namespace, Stack: owner.Stack}}, nil
}

func (a argoCD) Remove(ctx context.Context, s lab.ReleaseSpec, report event.Report) error {
	client, err := kube.New([]byte(s.Kubeconfig))
	if err != nil {
		return err
	}
	return judge(argocd.Uninstall(ctx, client, report))
}

// installers are all ways of installing a release.
type installers struct {
	charts *releases
	argoCD argoCD
}

func (i installers) of(builtin string) lab.Releaser {
	if builtin != "" {
		return i.argoCD
	}
	return i.charts
}

func (i installers) Locate(ctx context.Context, rel *stack.Release, report event.Report) (string, error) {
	return i.of(rel.Builtin).Locate(ctx, rel, report)
}

func (i installers) Ensure(ctx context.Context, s lab.ReleaseSpec, report event.Report) (bool, error) {
	return i.of(s.Builtin).Ensure(ctx, s, report)
}

func (i installers) Deployed(ctx context.Context, s lab.ReleaseSpec) (string, error) {
	return i.of(s.Builtin).Deployed(ctx, s)
}

func (i installers) Owned(ctx context.Context, kubeconfig, of, environment string) ([]lab.OwnedRelease, error) {
	charts, err := i.charts.Owned(ctx, kubeconfig, of, environment)
	if err != nil {
		return nil, err
	}
	own, err := i.argoCD.Owned(ctx, kubeconfig, of, environment)
	return append(charts, own...), err
}

// Remove goes by what stands in the cluster: of a release that no file names any more nobody else knows what it was.
func (i installers) Remove(ctx context.Context, s lab.ReleaseSpec, report event.Report) error {
	if s.Namespace == argocd.Namespace && s.Name == argocd.Namespace {
		client, err := kube.New([]byte(s.Kubeconfig))
		if err != nil {
			return err
		}
		if _, ok, err := argocd.Owned(ctx, client); err != nil || ok {
			if err != nil {
				return judge(err)
			}
			return i.argoCD.Remove(ctx, s, report)
		}
	}
	return i.charts.Remove(ctx, s, report)
}
