package app

import (
	"context"
	"errors"
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
type argoCD struct {
	source    string // the lab's, which has images/argocd
	passwords argocd.Passwords
}

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
	class, _ := s.Values["ingress_class"].(string)
	namespace, _ := s.Values["ingress_namespace"].(string)
	manifests, err := argocd.Manifests(official, argocd.Settings{
		ArgoCD: text[0], Redis: text[1], Git: text[2], IngressClass: class, IngressNamespace: namespace,
	})
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
	if err := argocd.Install(ctx, client, manifests, kube.Owner{Lab: s.Lab, Environment: s.Environment, Stack: s.Stack}, report); err != nil {
		return false, judge(err)
	}
	report.Doing("logging in to Argo CD")
	api, err := a.passwords.Open(ctx, client)
	if err != nil {
		return false, judge(err)
	}
	api.Close()
	return why != "", nil
}

func (a argoCD) Deployed(ctx context.Context, s lab.ReleaseSpec) (string, error) {
	client, manifests, err := a.open(s)
	if err != nil {
		return "", err
	}
	why, err := argocd.Deployed(ctx, client, manifests)
	if why != "" || err != nil {
		return why, err
	}
	if _, err := a.passwords.Read(); errors.Is(err, argocd.ErrNoPassword) {
		return err.Error(), nil
	} else if err != nil {
		return "", err
	}
	return "", nil
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
	if err := argocd.Uninstall(ctx, client, report); err != nil {
		return judge(err)
	}
	return a.passwords.Forget()
}
