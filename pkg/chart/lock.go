package chart

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2/gohcl"
	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"
)

// lock is a lock file: which charts the releases of a stack were resolved to.
type lock struct {
	Releases []lockedRelease `hcl:"release,block"`
}

type lockedRelease struct {
	Name         string        `hcl:"name,label"`
	Chart        string        `hcl:"chart,optional"` // empty where it is in the lab's source
	Repository   string        `hcl:"repository,optional"`
	Version      string        `hcl:"version,optional"`
	Digest       string        `hcl:"digest,optional"` // of the archive
	Dependencies []lockedChart `hcl:"dependency,block"`
}

type lockedChart struct {
	Name       string `hcl:"name,label"`
	Repository string `hcl:"repository"`
	Version    string `hcl:"version"`
	Digest     string `hcl:"digest"`
}

func readLock(path string) (*lock, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || path == "" {
		return &lock{}, nil
	}
	if err != nil {
		return nil, err
	}
	f, diags := hclparse.NewParser().ParseHCL(data, path)
	if diags.HasErrors() {
		return nil, fmt.Errorf("read %s: %w", path, diags)
	}
	var l lock
	if diags := gohcl.DecodeBody(f.Body, nil, &l); diags.HasErrors() {
		return nil, fmt.Errorf("read %s: %w", path, diags)
	}
	return &l, nil
}

func (l *lock) release(name string) lockedRelease {
	for _, r := range l.Releases {
		if r.Name == name {
			return r
		}
	}
	return lockedRelease{}
}

// set replaces what is pinned for a release, and says whether that changed anything.
func (l *lock) set(r lockedRelease) bool {
	i := slices.IndexFunc(l.Releases, func(o lockedRelease) bool { return o.Name == r.Name })
	empty := r.Chart == "" && len(r.Dependencies) == 0
	switch {
	case i < 0 && empty:
		return false
	case i < 0:
		l.Releases = append(l.Releases, r)
	case empty:
		l.Releases = slices.Delete(l.Releases, i, i+1)
	case same(l.Releases[i], r):
		return false
	default:
		l.Releases[i] = r
	}
	slices.SortFunc(l.Releases, func(a, b lockedRelease) int { return strings.Compare(a.Name, b.Name) })
	return true
}

func same(a, b lockedRelease) bool {
	return a.Chart == b.Chart && a.Repository == b.Repository && a.Version == b.Version && a.Digest == b.Digest &&
		slices.Equal(a.Dependencies, b.Dependencies)
}

// write writes the file for everybody to read: it belongs into version control.
func (l *lock) write(path string) error {
	f := hclwrite.NewEmptyFile()
	for i, r := range l.Releases {
		if i > 0 {
			f.Body().AppendNewline()
		}
		b := f.Body().AppendNewBlock("release", []string{r.Name}).Body()
		attributes(b, [][2]string{{"chart", r.Chart}, {"repository", r.Repository}, {"version", r.Version}, {"digest", r.Digest}})
		for _, d := range r.Dependencies {
			attributes(b.AppendNewBlock("dependency", []string{d.Name}).Body(), [][2]string{{"repository", d.Repository}, {"version", d.Version}, {"digest", d.Digest}})
		}
	}
	const head = "# labctl pins here the charts that stack.hcl takes from repositories and registries. Keep it in version control.\n" +
		"# To pin a chart anew, remove its block.\n\n"
	if err := writeWhole(path, append([]byte(head), hclwrite.Format(f.Bytes())...)); err != nil {
		return fmt.Errorf("pin charts in %s: %w", path, err)
	}
	return nil
}

func attributes(b *hclwrite.Body, pairs [][2]string) {
	for _, p := range pairs {
		if name, value := p[0], p[1]; value != "" {
			b.SetAttributeValue(name, cty.StringVal(value))
		}
	}
}
