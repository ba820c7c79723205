package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/labctl/labctl/pkg/chart"
	"github.com/labctl/labctl/pkg/cli/charts"
	"github.com/labctl/labctl/pkg/cluster"
	"github.com/labctl/labctl/pkg/cluster/datadir"
	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/hook"
	"github.com/labctl/labctl/pkg/image"
	"github.com/labctl/labctl/pkg/kube"
	"github.com/labctl/labctl/pkg/lab"
	"github.com/labctl/labctl/pkg/provider"
	"github.com/labctl/labctl/pkg/stack"
)

// clusters makes a cluster.Manager what the Terraform provider calls.
type clusters struct{ manager *cluster.Manager }

func (c *clusters) Ensure(ctx context.Context, s provider.ClusterSpec, report event.Report) (provider.ClusterInfo, error) {
	info, err := c.manager.Ensure(ctx, clusterSpec(s), report)
	return clusterInfo(info), translateForeign(err)
}

func (c *clusters) Read(ctx context.Context, s provider.ClusterSpec) (provider.ClusterInfo, error) {
	info, err := c.manager.Read(ctx, clusterSpec(s))
	if errors.Is(err, cluster.ErrGone) {
		err = provider.ErrClusterGone
	}
	return clusterInfo(info), err
}

func (c *clusters) Destroy(ctx context.Context, s provider.ClusterSpec, report event.Report) error {
	return translateForeign(c.manager.Destroy(ctx, clusterSpec(s), report))
}

func translateForeign(err error) error {
	if errors.Is(err, datadir.ErrForeign) {
		return fmt.Errorf("%w: %w", provider.ErrForeignDir, err)
	}
	return err
}

func clusterSpec(s provider.ClusterSpec) cluster.Spec {
	return cluster.Spec{
		Kind: s.Kind, Name: s.Name, Dir: s.Dir, APIPort: s.APIPort, HTTPPort: s.HTTPPort, RegistryPort: s.RegistryPort,
		Nodes:  max(s.Nodes, 1), // records of older versions have none
		Egress: s.Egress, NodeImage: s.NodeImage, KubeconfigPath: s.KubeconfigPath, RegistryPush: s.RegistryPush, RegistryPull: s.RegistryPull,
	}
}

func clusterInfo(i cluster.Info) provider.ClusterInfo {
	return provider.ClusterInfo{
		Kubeconfig: i.Kubeconfig, RegistryPush: i.RegistryPush, RegistryPull: i.RegistryPull, URL: i.URL,
		IngressClass: i.IngressClass, StorageClass: i.StorageClass, KubernetesVersion: i.KubernetesVersion,
		Healthy: i.Healthy, Reason: i.Reason,
	}
}

// clusterImages gives the cluster the images of its own parts, images/<name>.
type clusterImages struct {
	builder *image.Builder
	mu      sync.Mutex
	built   map[string]image.Image
}

func (c *clusterImages) Build(ctx context.Context, name string, report event.Report) (string, error) {
	img, err := c.builder.Build(ctx, image.Spec{Name: name, Source: "images/" + name}, report)
	if err != nil {
		return "", err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.built == nil {
		c.built = map[string]image.Image{}
	}
	c.built[name] = img
	return img.Digest, nil
}

func (c *clusterImages) image(name string) (image.Image, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	img, ok := c.built[name]
	if !ok {
		return img, fmt.Errorf("image %q was not built", name)
	}
	return img, nil
}

func (c *clusterImages) Push(ctx context.Context, name, repository string, report event.Report) error {
	img, err := c.image(name)
	if err != nil {
		return err
	}
	_, err = c.builder.Push(ctx, img, repository, report)
	return err
}

func (c *clusterImages) Archive(ctx context.Context, name, reference string, w io.Writer) error {
	img, err := c.image(name)
	if err != nil {
		return err
	}
	return c.builder.Archive(ctx, img, reference, w)
}

// engineImages builds and pushes the images that a stack names.
type engineImages struct{ builder *image.Builder }

func (e *engineImages) Build(ctx context.Context, s lab.ImageSpec, report event.Report) (string, error) {
	img, err := e.builder.Build(ctx, image.Spec{Name: s.Name, Root: s.Root, Source: s.Source, Tags: s.Tags}, report)
	if err != nil {
		return "", judge(err)
	}
	digest, err := e.builder.Push(ctx, img, s.Repository, report)
	return digest, judge(err)
}

// hooks runs the commands that stacks want beside them.
type hooks struct{}

func (hooks) Run(ctx context.Context, s lab.HookSpec, report event.Report) error {
	return hook.Run(ctx, s.Dir, s.Command, s.Env, report)
}

// glance is how long a look at a release that should be ready may take before it counts as not ready.
const glance = 5 * time.Second

// releases installs charts. One client serves all releases of a cluster.
type releases struct {
	store   *chart.Store
	mu      sync.Mutex
	clients map[string]*chart.Client
}

func (r *releases) client(kubeconfig string) (*chart.Client, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c, ok := r.clients[kubeconfig]; ok {
		return c, nil
	}
	c, err := chart.New(kubeconfig)
	if err != nil {
		return nil, err
	}
	if r.clients == nil {
		r.clients = map[string]*chart.Client{}
	}
	r.clients[kubeconfig] = c
	return c, nil
}

// Locate finds the chart of a release.
func (r *releases) Locate(ctx context.Context, rel *stack.Release, report event.Report) (string, error) {
	return r.store.Locate(ctx, charts.Source(rel), report)
}

func (r *releases) Ensure(ctx context.Context, s lab.ReleaseSpec, report event.Report) (bool, error) {
	c, err := r.client(s.Kubeconfig)
	if err != nil {
		return false, err
	}
	changed, err := c.Ensure(ctx, release(s), report)
	return changed, judge(err)
}

// Deployed says why a release does not stand as described, or nothing.
func (r *releases) Deployed(ctx context.Context, s lab.ReleaseSpec) (string, error) {
	c, err := r.client(s.Kubeconfig)
	if err != nil {
		return "", err
	}
	plan, err := c.Plan(ctx, release(s))
	if err != nil {
		return "", err
	}
	if plan.Action != chart.Nothing {
		return plan.Why, nil
	}
	short, cancel := context.WithTimeout(ctx, glance)
	defer cancel()
	err = c.WaitReady(short, s.Namespace, s.Name, nil)
	var notReady *kube.NotReadyError
	switch {
	case err == nil:
		return "", nil
	case ctx.Err() != nil:
		return "", ctx.Err()
	case errors.As(err, &notReady):
		return notReady.Workload + " is not ready: " + notReady.Reason, nil
	}
	return err.Error(), nil
}

func (r *releases) Owned(ctx context.Context, kubeconfig, of, environment string) ([]lab.OwnedRelease, error) {
	c, err := r.client(kubeconfig)
	if err != nil {
		return nil, err
	}
	owned, err := c.Owned(ctx, of, environment)
	var out []lab.OwnedRelease
	for _, o := range owned {
		out = append(out, lab.OwnedRelease(o))
	}
	return out, err
}

func (r *releases) Remove(ctx context.Context, s lab.ReleaseSpec, report event.Report) error {
	c, err := r.client(s.Kubeconfig)
	if err != nil {
		return err
	}
	return judge(c.Remove(ctx, s.Namespace, s.Name, 0, report))
}

// has says whether there is a record of the release.
func (r *releases) has(ctx context.Context, s lab.ReleaseSpec) (bool, error) {
	c, err := r.client(s.Kubeconfig)
	if err != nil {
		return false, err
	}
	return c.Has(ctx, s.Namespace, s.Name)
}

// abandon leaves what the release is made of to another owner.
func (r *releases) abandon(ctx context.Context, s lab.ReleaseSpec) error {
	c, err := r.client(s.Kubeconfig)
	if err != nil {
		return err
	}
	return judge(c.Abandon(ctx, s.Namespace, s.Name))
}

func release(s lab.ReleaseSpec) chart.Release {
	return chart.Release{
		Name: s.Name, Namespace: s.Namespace, ChartDir: s.Chart, ValuesFiles: s.ValuesFiles, Values: s.Values, Sensitive: s.Secrets,
		UpgradeCRDs: s.UpgradeCRDs, Adopt: s.Adopt,
		Owner: kube.Owner{Lab: s.Lab, Environment: s.Environment, Stack: s.Stack},
	}
}
