package chart

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	helmchart "helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/registry"

	"github.com/labctl/labctl/pkg/event"
)

// LockedError says that a chart's Chart.lock does not belong to its Chart.yaml.
type LockedError struct{ Dir string }

func (e *LockedError) Error() string {
	return fmt.Sprintf("Chart.lock of %s does not fit the dependencies in its Chart.yaml: type `helm dependency update %s`, or remove Chart.lock", e.Dir, e.Dir)
}

// complete gives the path of a chart in the lab's source with all charts that it depends on: the chart itself where
// charts/ has them all, else a copy in the cache. The versions are those of Chart.lock, as `helm dependency build`
// takes them; without a Chart.lock they are those of the lab's lock file. The source is not written to.
func (s *Store) complete(ctx context.Context, src Source, pinned []lockedChart, report event.Report) (string, []lockedChart, error) {
	if info, err := os.Stat(src.Chart); err != nil || !info.IsDir() {
		return src.Chart, nil, err // an archive is complete
	}
	ch, err := loader.LoadDir(src.Chart)
	if err != nil {
		return "", nil, fmt.Errorf("load chart %s: %w", src.Chart, err)
	}
	missing, err := missingDependencies(src.Chart, ch)
	if err != nil || len(missing) == 0 {
		return src.Chart, nil, err
	}
	var pins []lockedChart
	add := map[string][]byte{} // by the name of the file in charts/
	trees := map[string]string{}
	for _, d := range missing {
		name := d.Name + "-" + d.Version
		if dir, isFile := strings.CutPrefix(d.Repository, "file://"); isFile {
			if !filepath.IsAbs(dir) {
				dir = filepath.Join(src.Chart, dir)
			}
			trees[d.Name] = dir
			continue
		}
		if d.Repository == "" || strings.HasPrefix(d.Repository, "@") || strings.HasPrefix(d.Repository, "alias:") {
			return "", nil, fmt.Errorf("dependency %q of %s is not in its charts/, and its repository %q is no URL", d.Name, src.Chart, d.Repository)
		}
		want := origin{chart: d.Name, repository: strings.TrimSuffix(d.Repository, "/"), constraint: d.Version}
		if registry.IsOCI(d.Repository) {
			want.chart, want.repository = want.repository+"/"+d.Name, ""
		}
		var have pin
		for _, p := range pinned {
			if p.Name == d.Name && p.Repository == d.Repository && allows(d.Version, p.Version) {
				have = pin{Chart: want.chart, Repository: want.repository, Version: p.Version, Digest: p.Digest}
			}
		}
		got, path, err := s.obtain(ctx, want, have, src.LockFile, fmt.Sprintf("dependency %q", d.Name), report)
		if err != nil {
			return "", nil, fmt.Errorf("dependency %q of %s: %w", d.Name, src.Chart, err)
		}
		if add[name+".tgz"], err = os.ReadFile(path); err != nil {
			return "", nil, err
		}
		pins = append(pins, lockedChart{Name: d.Name, Repository: d.Repository, Version: got.Version, Digest: got.Digest})
	}
	path, err := s.assemble(src.Chart, ch.Name(), add, trees)
	return path, pins, err
}

// missingDependencies lists those that Chart.yaml names and charts/ lacks, with the versions of Chart.lock.
func missingDependencies(dir string, ch *helmchart.Chart) ([]*helmchart.Dependency, error) {
	have, lacks := map[string]bool{}, map[string]bool{}
	for _, d := range ch.Dependencies() {
		have[d.Name()] = true
	}
	var missing []*helmchart.Dependency
	for _, d := range ch.Metadata.Dependencies {
		if !have[d.Name] {
			missing, lacks[d.Name] = append(missing, d), true
		}
	}
	if len(missing) == 0 || ch.Lock == nil {
		return missing, nil
	}
	// As Helm does: https://github.com/helm/helm/blob/v3.18.6/internal/resolver/resolver.go (HashReq)
	data, err := json.Marshal([2][]*helmchart.Dependency{ch.Metadata.Dependencies, ch.Lock.Dependencies})
	if err != nil {
		return nil, err
	}
	if ch.Lock.Digest != "" && ch.Lock.Digest != digest(data) {
		return nil, &LockedError{Dir: dir}
	}
	var out []*helmchart.Dependency
	for _, d := range ch.Lock.Dependencies {
		if lacks[d.Name] {
			out = append(out, d)
		}
	}
	return out, nil
}

// assemble makes a copy of the chart in dir, with more in its charts/, in the cache. A copy of the same content is used
// again.
func (s *Store) assemble(dir, name string, archives map[string][]byte, trees map[string]string) (string, error) {
	if s.Dir == "" {
		return "", ErrNotFetched
	}
	built := filepath.Join(s.Dir, "built")
	if err := os.MkdirAll(built, 0o755); err != nil { //nolint:gosec // charts are public
		return "", err
	}
	next, err := os.MkdirTemp(built, ".new-*")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(next) }() // gone where all went well
	root := filepath.Join(next, name)
	if err := os.CopyFS(root, os.DirFS(dir)); err != nil {
		return "", fmt.Errorf("copy chart %s: %w", dir, err)
	}
	for file, data := range archives {
		if err := writeWhole(filepath.Join(root, "charts", file), data); err != nil {
			return "", err
		}
	}
	for sub, from := range trees {
		if err := os.CopyFS(filepath.Join(root, "charts", sub), os.DirFS(from)); err != nil {
			return "", fmt.Errorf("copy chart %s: %w", from, err)
		}
	}
	h := sha256.New()
	err = filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		fmt.Fprintf(h, "%d %s %d\n", len(rel), rel, len(data))
		h.Write(data)
		return nil
	})
	if err != nil {
		return "", err
	}
	target := filepath.Join(built, hex.EncodeToString(h.Sum(nil)[:20]))
	if err := os.Rename(next, target); err != nil && !errors.Is(err, fs.ErrExist) {
		if _, there := os.Stat(filepath.Join(target, name, "Chart.yaml")); there != nil {
			return "", err
		}
	}
	return filepath.Join(target, name), nil
}
