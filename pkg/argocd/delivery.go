package argocd

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"text/template"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/kube"
)

// Delivery is a release that Argo CD makes of what is in Git: a root application, which makes one Application for each part of the chart.
type Delivery struct {
	Release   string
	Namespace string
	Owner     kube.Owner
	Repo      string // as the cluster reaches it
	Revision  string
	AppsDir   string // in the repository: what the root application makes
	ChartDir  string
	Parts     []string // of the chart, by its value `part`; none: one Application of the whole chart
}

// Root is the name of the root application, and of the project.
func (d Delivery) Root() string { return d.Owner.Environment + "-" + d.Release }

const (
	deliveredLabel = "labctl/delivered"
	delivered      = "true"
	// RootLabel names the root application of a release, on that and on those that it makes.
	RootLabel = "labctl/root"
)

// labels are on the root application and on those that it makes.
func (d Delivery) labels() labels.Set {
	return labels.Set{deliveredLabel: delivered, RootLabel: d.Root()}
}

// deliverySet is the kind of the sets that hold a project and a root application.
const deliverySet = "labctl-application"

func (d Delivery) set() kube.Set {
	return kube.Set{Name: kube.ReleaseSet(deliverySet, d.Namespace, d.Release), Namespace: Namespace, Owner: d.Owner}
}

//go:embed application.yaml
var applicationYAML string

//go:embed root.yaml
var rootYAML string

var (
	applicationTemplate = template.Must(template.New("application").Parse(applicationYAML))
	rootTemplate        = template.Must(template.New("root").Parse(rootYAML))
)

// size is how many applications there are, at least two where it is not known into which parts the release is split.
func (d Delivery) size() int { return max(len(d.Parts), 1) + 1 }

// Apps gives the Applications of the parts: name of a file → content.
func (d Delivery) Apps() (map[string][]byte, error) {
	out := map[string][]byte{}
	parts := d.Parts
	if len(parts) == 0 {
		parts = []string{whole}
	}
	for _, part := range parts {
		var b bytes.Buffer
		if err := applicationTemplate.Execute(&b, map[string]any{"D": d, "Part": part, "Whole": len(d.Parts) == 0, "Labels": d.labels()}); err != nil {
			return nil, err
		}
		out[part+".yaml"] = b.Bytes()
	}
	return out, nil
}

// whole names the Application of a chart without parts.
const whole = "whole"

// manifests are the project and the root application.
func (d Delivery) manifests() ([]byte, error) {
	var b bytes.Buffer
	err := rootTemplate.Execute(&b, map[string]any{"D": d, "Labels": d.labels()})
	return b.Bytes(), err
}

// Deliver makes Argo CD follow Git, and waits until all that is in Git at commit stands and is ready. It may be called again at any time.
func Deliver(ctx context.Context, client *kube.Client, d Delivery, commit string, report event.Report) error {
	manifests, err := d.manifests()
	if err != nil {
		return err
	}
	if err := client.Apply(ctx, d.set(), manifests, report); err != nil {
		return fmt.Errorf("make the root application %s: %w", d.Root(), err)
	}
	return d.Wait(ctx, client, commit, report)
}

// Delivered says why a release is not delivered, or "" where all that is in Git stands and is ready.
func Delivered(ctx context.Context, client *kube.Client, d Delivery) (why string, err error) {
	manifests, err := d.manifests()
	if err != nil {
		return "", err
	}
	if why, err = client.Compare(ctx, d.set(), manifests); why != "" || err != nil {
		return why, err
	}
	apps, err := d.applications(ctx, client)
	if err != nil {
		return "", err
	}
	for _, app := range apps {
		if why := app.whyNot(""); why != "" {
			return fmt.Sprintf("application %s %s", app.Name, why), nil
		}
	}
	if want := d.size(); len(apps) != want {
		return fmt.Sprintf("of %d applications there are %d", want, len(apps)), nil
	}
	return "", nil
}

// IsDelivered says whether Argo CD has a release, whole or half, and whose it is.
func IsDelivered(ctx context.Context, client *kube.Client, namespace, release string) (kube.Owner, bool, error) {
	return client.Owner(ctx, Delivery{Namespace: namespace, Release: release}.set().Name)
}

// Deliveries gives the releases that an owner has Argo CD deliver.
func Deliveries(ctx context.Context, client *kube.Client, owner kube.Owner) ([]Delivery, error) {
	releases, err := client.OwnedReleases(ctx, owner, deliverySet)
	var out []Delivery
	for _, r := range releases {
		out = append(out, Delivery{Namespace: r.Namespace, Release: r.Name, Owner: r.Owner})
	}
	return out, err
}

// Withdraw deletes what Argo CD made of a release, and its applications.
func Withdraw(ctx context.Context, client *kube.Client, namespace, release string, report event.Report) error {
	d, ok, err := find(ctx, client, namespace, release)
	if err != nil || !ok {
		return err
	}
	if err := deleteAll(ctx, client, applicationKind, d.labels(), report); err != nil {
		return fmt.Errorf("delete the applications of release %q: %w", release, err)
	}
	return client.Delete(ctx, d.set(), report)
}

// LetGo takes a release from Argo CD and leaves all that it made, for who comes next. That Argo CD had it is known until Forget.
func LetGo(ctx context.Context, client *kube.Client, namespace, release string, report event.Report) error {
	d, ok, err := find(ctx, client, namespace, release)
	if err != nil || !ok {
		return err
	}
	return letGo(ctx, client, d.labels(), report)
}

// Forget ends what LetGo began, when somebody else has the release.
func Forget(ctx context.Context, client *kube.Client, namespace, release string, report event.Report) error {
	return client.Delete(ctx, Delivery{Namespace: namespace, Release: release}.set(), report)
}

func find(ctx context.Context, client *kube.Client, namespace, release string) (Delivery, bool, error) {
	owner, ok, err := IsDelivered(ctx, client, namespace, release)
	return Delivery{Namespace: namespace, Release: release, Owner: owner}, ok, err
}

// letGo deletes applications and leaves what they made. Roots go first, since they would make the others again, and give them back the
// finalizer by which Argo CD deletes.
func letGo(ctx context.Context, client *kube.Client, with labels.Set, report event.Report) error {
	for _, role := range []string{rootRole, partRole} {
		these := labels.Merge(with, labels.Set{roleLabel: role})
		if err := client.DropFinalizers(ctx, applicationKind, Namespace, these); err != nil {
			return fmt.Errorf("take the applications from Argo CD: %w", err)
		}
		if err := client.DeleteAll(ctx, applicationKind, Namespace, these, report); err != nil {
			return fmt.Errorf("take the applications from Argo CD: %w", err)
		}
	}
	return nil
}

const (
	roleLabel = "labctl/role"
	rootRole  = "root"
	partRole  = "part"
)
