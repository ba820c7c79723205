package chart

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	helmchart "helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/release"
	"helm.sh/helm/v3/pkg/releaseutil"
	"helm.sh/helm/v3/pkg/storage/driver"

	"github.com/labctl/labctl/pkg/kube"
	"github.com/labctl/labctl/pkg/secret"
)

// DefaultTimeout bounds an operation on a release that names no timeout of its own.
const DefaultTimeout = 5 * time.Minute

// hashLabel, on the record of a release, holds the hash of the chart and the values that it was made of.
const hashLabel = "labctl/hash"

// Release is what should stand.
type Release struct {
	Name      string
	Namespace string // made where it is missing
	ChartDir  string // a directory or an archive
	// ValuesFiles are merged in their order, then Values over them. A null deletes a default of the chart.
	ValuesFiles []string
	Values      map[string]any
	Sensitive   []string      // values that no report and no error may show
	Timeout     time.Duration // for the whole operation; 0: DefaultTimeout
	NoWait      bool          // return once the objects are applied, ready or not
	UpgradeCRDs bool          // apply the definitions in the chart's crds/ on an upgrade too; Helm installs them once
	Owner       kube.Owner
	Adopt       bool // take over objects that stand already, as `helm install --take-ownership` does
}

func (r Release) timeout() time.Duration {
	if r.Timeout <= 0 {
		return DefaultTimeout
	}
	return r.Timeout
}

// State is what a cluster says of a release.
type State struct {
	Found    bool
	Status   string // Helm's word: deployed, failed, pending-install …
	Hash     string // of chart and values; empty where labctl did not make it
	Revision int
	Updated  time.Time
}

// loaded is a release whose chart was read and whose values were found right.
type loaded struct {
	Release
	chart  *helmchart.Chart
	values map[string]any
	hash   string
}

// load reads the chart, checks the values and hashes both. The chart belongs to one Helm action only, which changes it.
func load(r Release, secrets *secret.Set) (*loaded, error) {
	if err := chartutil.ValidateReleaseName(r.Name); err != nil {
		return nil, fmt.Errorf("%q cannot be a release's name: %w", r.Name, err)
	}
	ch, err := loader.Load(r.ChartDir)
	if err != nil {
		return nil, fmt.Errorf("load chart %s: %w", r.ChartDir, err)
	}
	if err := ch.Validate(); err != nil {
		return nil, fmt.Errorf("chart %s: %w", r.ChartDir, err)
	}
	values, err := r.allValues()
	if err != nil {
		return nil, err
	}
	if err := validate(ch, values, secrets); err != nil {
		return nil, err
	}
	hash, err := hashOf(ch, values)
	if err != nil {
		return nil, err
	}
	return &loaded{Release: r, chart: ch, values: values, hash: hash}, nil
}

// Hash gives the hash by which Ensure knows whether a release has changed. It covers every file of the chart that
// .helmignore does not name, and the values.
func Hash(r Release) (string, error) {
	secrets := sensitive(r)
	l, err := load(r, secrets)
	if err != nil {
		return "", secrets.Error(err)
	}
	return l.hash, nil
}

func hashOf(ch *helmchart.Chart, values map[string]any) (string, error) {
	files := slices.Clone(ch.Raw)
	slices.SortFunc(files, func(a, b *helmchart.File) int { return strings.Compare(a.Name, b.Name) })
	h := sha256.New()
	for _, f := range files {
		fmt.Fprintf(h, "%d %s %d\n", len(f.Name), f.Name, len(f.Data))
		h.Write(f.Data)
	}
	data, err := json.Marshal(values) // keys come sorted
	if err != nil {
		return "", err
	}
	h.Write(data)
	return hex.EncodeToString(h.Sum(nil)[:20]), nil // a label holds at most 63 characters
}

func sensitive(r Release) *secret.Set {
	s := &secret.Set{}
	s.Add(r.Sensitive...)
	return s
}

// history gives the revisions of a release, the oldest first; none is no error.
func (s *session) history(name string) ([]*release.Release, error) {
	revisions, err := s.cfg.Releases.History(name)
	if err != nil && !errors.Is(err, driver.ErrReleaseNotFound) {
		return nil, fmt.Errorf("read the history of the release: %w", err)
	}
	releaseutil.SortByRevision(revisions)
	return revisions, nil
}

// Deployed says what stands of a release.
func (c *Client) Deployed(ctx context.Context, namespace, name string) (State, error) {
	s, err := c.open(ctx, namespace, func(string) {})
	if err != nil {
		return State{}, fmt.Errorf("release %q in namespace %q: %w", name, namespace, err)
	}
	revisions, err := s.history(name)
	if err != nil {
		return State{}, fmt.Errorf("release %q in namespace %q: %w", name, namespace, err)
	}
	if len(revisions) == 0 {
		return State{}, nil
	}
	last := revisions[len(revisions)-1]
	return State{
		Found: true, Status: last.Info.Status.String(), Hash: last.Labels[hashLabel],
		Revision: last.Version, Updated: last.Info.LastDeployed.Time,
	}, nil
}
