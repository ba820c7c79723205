package app

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/labctl/labctl/pkg/argocd"
	"github.com/labctl/labctl/pkg/chart"
	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/gitops"
	"github.com/labctl/labctl/pkg/kube"
	"github.com/labctl/labctl/pkg/lab"
	"github.com/labctl/labctl/pkg/stack"
)

// deliveries has Argo CD make releases of what is in Git.
type deliveries struct {
	charts *releases
	git    gitSide
}

func (d *deliveries) Locate(ctx context.Context, rel *stack.Release, report event.Report) (string, error) {
	return d.charts.Locate(ctx, rel, report)
}

// open gives what a release is in Git, and what Argo CD is to make of it.
func (d *deliveries) open(s lab.ReleaseSpec) (gitops.Release, argocd.Delivery, *chart.Contents, error) {
	contents, err := chart.Open(release(s))
	if err != nil {
		return gitops.Release{}, argocd.Delivery{}, nil, err
	}
	delivery := argocd.Delivery{
		Release: s.Name, Namespace: s.Namespace, Owner: kube.Owner{Lab: s.Lab, Environment: s.Environment, Stack: s.Stack}, Parts: s.Applications,
		Repo: d.git.clusterURL(), Revision: d.git.settings.Revision,
		AppsDir: d.git.environment().AppsDir(s.Name), ChartDir: d.git.environment().ChartDir(s.Name),
	}
	apps, err := delivery.Apps()
	if err != nil {
		return gitops.Release{}, delivery, nil, err
	}
	values, images := splitImages(contents.Values, s.Images)
	return gitops.Release{Name: s.Name, Chart: contents.Files, Values: values, Images: images, Apps: apps}, delivery, contents, nil
}

// splitImages parts values into those that are references of images and the others.
func splitImages(values map[string]any, references []string) (rest, images map[string]any) {
	rest, images = map[string]any{}, map[string]any{}
	for key, value := range values {
		switch v := value.(type) {
		case map[string]any:
			r, i := splitImages(v, references)
			if len(r) > 0 || len(i) == 0 {
				rest[key] = r
			}
			if len(i) > 0 {
				images[key] = i
			}
		case string:
			if slices.Contains(references, v) {
				images[key] = v
				continue
			}
			rest[key] = v
		default:
			rest[key] = v
		}
	}
	return rest, images
}

func (d *deliveries) Ensure(ctx context.Context, s lab.ReleaseSpec, report event.Report) (bool, error) {
	release, delivery, contents, err := d.open(s)
	if err != nil {
		return false, err
	}
	client, err := kube.New([]byte(s.Kubeconfig))
	if err != nil {
		return false, err
	}
	if err := kube.EnsureNamespace(ctx, client.Core, s.Namespace, contents.PodSecurity); err != nil {
		return false, judge(err)
	}
	report.Doing("writing to Git")
	remote, stop, err := d.git.remote(ctx, client)
	if err != nil {
		return false, judge(err)
	}
	defer stop()
	repo, committed, err := gitops.Update(ctx, remote, d.git.author, func(r *gitops.Repository) (gitops.Files, string, error) {
		files, err := d.git.environment().Merge(r, release, s.Overwrite)
		var pinned *gitops.PinnedError
		if errors.As(err, &pinned) && !s.Insist {
			report.Warn("%v: what is new is not delivered until `%s`", err, pinned.Hint())
			return nil, "", nil
		}
		return files, d.message(s, files), err
	})
	if err != nil {
		return false, judge(err)
	}
	if err := d.git.connect(ctx, client); err != nil {
		return committed, judge(err)
	}
	why, err := argocd.Delivered(ctx, client, delivery)
	if err != nil {
		return committed, judge(err)
	}
	return committed || why != "", judge(argocd.Deliver(ctx, client, delivery, repo.Head(), report))
}

// message says what a commit is about: which files it changes, and by which command.
func (d *deliveries) message(s lab.ReleaseSpec, files gitops.Files) string {
	environment := d.git.environment()
	var what []string
	for name := range maps.Keys(files) {
		rest := strings.TrimPrefix(name, path.Join(environment.Dir, s.Name)+"/")
		first, _, _ := strings.Cut(rest, "/")
		if kind := map[string]string{"chart": "chart", "apps": "applications", "values.yaml": "values", "images.yaml": "images"}[first]; kind != "" && !slices.Contains(what, kind) {
			what = append(what, kind)
		}
	}
	slices.Sort(what)
	return fmt.Sprintf("%s: %s of %s\n\n%s", environment.Name, strings.Join(what, ", "), s.Name, s.Command)
}

func (d *deliveries) Deployed(ctx context.Context, s lab.ReleaseSpec) (string, error) {
	client, err := kube.New([]byte(s.Kubeconfig))
	if err != nil {
		return "", err
	}
	if _, ok, err := argocd.IsDelivered(ctx, client, s.Namespace, s.Name); err != nil || !ok {
		return "Argo CD does not have it yet", err
	}
	release, delivery, _, err := d.open(s)
	if err != nil {
		return "", err
	}
	remote, stop, err := d.git.remote(ctx, client)
	if err != nil {
		return err.Error(), nil //nolint:nilerr // a Git server that is away is what is wrong with the release
	}
	defer stop()
	repo, err := gitops.Open(ctx, remote)
	if err != nil {
		return err.Error(), nil //nolint:nilerr // likewise
	}
	files, err := d.git.environment().Merge(repo, release, false)
	var (
		pinned   *gitops.PinnedError
		conflict *gitops.ConflictError
	)
	switch {
	case errors.As(err, &pinned): // what is new waits
	case errors.As(err, &conflict):
		return err.Error(), nil
	case err != nil:
		return "", err
	case len(files) > 0:
		return "not in Git yet: " + strings.Join(slices.Sorted(maps.Keys(files)), ", "), nil
	}
	return argocd.Delivered(ctx, client, delivery)
}

func (d *deliveries) Owned(ctx context.Context, kubeconfig, of, environment string) ([]lab.OwnedRelease, error) {
	client, err := kube.New([]byte(kubeconfig))
	if err != nil {
		return nil, err
	}
	all, err := argocd.Deliveries(ctx, client, kube.Owner{Lab: of, Environment: environment})
	var out []lab.OwnedRelease
	for _, one := range all {
		out = append(out, lab.OwnedRelease{Namespace: one.Namespace, Name: one.Release, Stack: one.Owner.Stack})
	}
	return out, err
}

// Remove has Argo CD delete what it made, and takes the release out of Git, where that answers.
func (d *deliveries) Remove(ctx context.Context, s lab.ReleaseSpec, report event.Report) error {
	client, err := kube.New([]byte(s.Kubeconfig))
	if err != nil {
		return err
	}
	_, ok, err := argocd.IsDelivered(ctx, client, s.Namespace, s.Name)
	if err != nil || !ok {
		return judge(err)
	}
	if err := argocd.Withdraw(ctx, client, s.Namespace, s.Name, report); err != nil {
		return judge(err)
	}
	if err := d.erase(ctx, client, s); err != nil {
		report.Warn("release %s stays in Git: %v", s.Name, err)
	}
	return judge(kube.ForgetNamespace(ctx, client.Core, s.Namespace))
}

func (d *deliveries) erase(ctx context.Context, client *kube.Client, s lab.ReleaseSpec) error {
	if d.git.settings == nil {
		return errors.New("the environment has no gitops block any more, so nobody knows where")
	}
	remote, stop, err := d.git.remote(ctx, client)
	if err != nil {
		return err
	}
	defer stop()
	_, _, err = gitops.Update(ctx, remote, d.git.author, func(r *gitops.Repository) (gitops.Files, string, error) {
		files, err := d.git.environment().Remove(r, s.Name)
		return files, d.git.environment().Name + ": without " + s.Name, err
	})
	return err
}
