package stack

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/Masterminds/semver/v3"
	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
)

// chartLock is the file beside stack.hcl that pins the stack's remote charts. pkg/chart reads and writes it.
const chartLock = "charts.lock.hcl"

// chart reads the attributes that say which chart a release is of, and how it is installed.
func (g *Graph) chart(s *Stack, rel *Release, attrs hcl.Attributes) {
	l := g.loader
	rel.LockFile = filepath.Join(s.Dir, chartLock)
	rel.Repository = g.repository(s, attrs["repository"])
	if attr := attrs["version"]; attr != nil {
		if v, ok := g.word(s, attr); ok {
			rel.Version = v
			if _, err := semver.NewConstraint(v); err != nil {
				l.add(problem("bad-version", attr.Expr.Range(), `Write a version or a constraint, such as "1.2.3", "^1.2" or ">= 1.2, < 3".`, "%q is no version: %v", v, err))
			}
		}
	}
	if attr := attrs["chart"]; attr != nil {
		if v, ok := g.word(s, attr); ok {
			g.chartSource(s, rel, attr, v, attrs)
		}
	}
	if attr := attrs["values_files"]; attr != nil {
		rel.ValuesFiles = g.valuesFiles(s, attr)
	}
	if attr := attrs["crds"]; attr != nil {
		if v, ok := g.word(s, attr); ok {
			rel.UpgradeCRDs = v == "upgrade"
			if v != "upgrade" && v != "install" {
				l.add(problem("wrong-value", attr.Expr.Range(), `"install", which is the default, leaves definitions that stand as they are, as Helm does. "upgrade" brings them up to date.`, "crds must be \"install\" or \"upgrade\", not %q", v))
			}
		}
	}
	if attr := attrs["adopt"]; attr != nil && g.isStatic(s, attr) {
		if v, ok := l.static(attr, cty.Bool, g.staticContext()); ok {
			rel.Adopt = v.True()
		}
	}
}

// isStatic says whether an attribute can be evaluated before anything is applied, and complains where it cannot.
func (g *Graph) isStatic(s *Stack, attr *hcl.Attribute) bool {
	before := len(g.loader.diags)
	g.check(s, attr.Expr, scope{static: true})
	return len(g.loader.diags) == before
}

// word evaluates an attribute that is a string and known from the start.
func (g *Graph) word(s *Stack, attr *hcl.Attribute) (string, bool) {
	if !g.isStatic(s, attr) {
		return "", false
	}
	v, ok := g.loader.static(attr, cty.String, g.staticContext())
	if !ok {
		return "", false
	}
	return v.AsString(), true
}

func (g *Graph) repository(s *Stack, attr *hcl.Attribute) string {
	if attr == nil {
		return ""
	}
	v, ok := g.word(s, attr)
	if !ok {
		return ""
	}
	u, err := url.Parse(v)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" && u.Scheme != "oci" {
		g.loader.add(problem("bad-repository", attr.Expr.Range(), `Write the URL of a chart repository, such as "https://charts.example.org".`, "%q is no chart repository", v))
		return ""
	}
	return strings.TrimSuffix(v, "/")
}

// chartSource tells the kinds of charts apart: labctl's own, in a registry, in a repository, in the lab's source.
func (g *Graph) chartSource(s *Stack, rel *Release, attr *hcl.Attribute, name string, attrs hcl.Attributes) {
	l := g.loader
	_, inRepository := attrs["repository"]
	switch {
	case strings.HasPrefix(name, builtin):
		g.builtin(rel, attr, strings.TrimPrefix(name, builtin), attrs)
	case strings.HasPrefix(name, "oci://") && inRepository:
		l.add(problem("two-sources", attrs["repository"].Range, "Remove repository: chart names a registry already.", "chart %q takes no repository", name))
	case strings.HasPrefix(name, "oci://"):
		if u, err := url.Parse(name); err != nil || u.Host == "" || strings.Trim(u.Path, "/") == "" || strings.Contains(u.Path, ":") {
			l.add(problem("bad-chart", attr.Expr.Range(), `Write "oci://registry.example.org/charts/name", and its version as version = "^1.2".`, "%q names no chart in a registry", name))
		}
		rel.Chart = strings.TrimSuffix(name, "/")
	case inRepository:
		if !nameRule.MatchString(name) {
			l.add(problem("bad-chart", attr.Expr.Range(), `With a repository, chart is the name of a chart in it, such as "redis".`, "%q is no name of a chart", name))
		}
		rel.Chart = name
		if strings.HasPrefix(rel.Repository, "oci://") {
			rel.Chart, rel.Repository = rel.Repository+"/"+name, ""
		}
	default:
		if version, has := attrs["version"]; has {
			l.add(problem("two-sources", version.Range, "Its version is in its Chart.yaml. Remove version, or say where the chart comes from with repository.", "a chart in the lab's source takes no version"))
		}
		rel.Chart = g.localChart(attr, name)
	}
}

func (g *Graph) localChart(attr *hcl.Attribute, name string) string {
	l := g.loader
	path := filepath.Clean(name)
	if !filepath.IsLocal(path) {
		l.add(problem("outside-of-the-lab", attr.Expr.Range(), "Name it from the lab's source, such as charts/chat.", "chart %q lies outside of the lab", name))
		return ""
	}
	full := filepath.Join(g.Lab.Source, path)
	info, err := os.Stat(full)
	switch {
	case err != nil:
		l.add(problem("no-such-directory", attr.Expr.Range(), "Name a directory from the lab's source, such as charts/chat.", "chart %q: there is no such directory", name))
		return ""
	case !info.IsDir() && !strings.HasSuffix(path, ".tgz"):
		l.add(problem("not-a-chart", attr.Expr.Range(), "Name the directory of a chart, such as charts/chat, or an archive that ends in .tgz.", "%s is not a Helm chart", path))
	case info.IsDir():
		if _, err := os.Stat(filepath.Join(full, "Chart.yaml")); err != nil {
			l.add(problem("not-a-chart", attr.Expr.Range(), "Name the directory of a chart, such as charts/chat.", "%s is not a Helm chart: it has no Chart.yaml", path))
		}
	}
	return full
}

// valuesFiles finds files of values: beside stack.hcl, or from the lab's source.
func (g *Graph) valuesFiles(s *Stack, attr *hcl.Attribute) []string {
	l := g.loader
	if !g.isStatic(s, attr) {
		return nil
	}
	v, ok := l.static(attr, cty.List(cty.String), g.staticContext())
	if !ok {
		return nil
	}
	var out []string
	for _, element := range v.AsValueSlice() {
		if element.IsNull() {
			continue
		}
		name := filepath.Clean(element.AsString())
		found := ""
		for _, dir := range []string{s.Dir, g.Lab.Source} {
			if info, err := os.Stat(filepath.Join(dir, name)); err == nil && info.Mode().IsRegular() && filepath.IsLocal(name) {
				found = filepath.Join(dir, name)
				break
			}
		}
		if found == "" {
			l.add(problem("no-such-file", attr.Expr.Range(), "Name it from the directory of stack.hcl, or from the lab's source.", "values_files: there is no file %q", element.AsString()))
			continue
		}
		out = append(out, found)
	}
	return out
}
