package chart

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
)

// offline is the version of Kubernetes for which charts are rendered and checked where no cluster is asked: what the
// Helm SDK assumes of itself depends on how it was linked.
const offline = "v1.34.0"

// Render gives the objects that a release would be made of, hooks last, as a YAML stream. It needs no cluster; what it
// gives holds the release's secrets.
func Render(r Release) (string, error) {
	secrets := sensitive(r)
	text, err := func() (string, error) {
		l, err := load(r, secrets)
		if err != nil {
			return "", err
		}
		version, err := chartutil.ParseKubeVersion(offline)
		if err != nil {
			return "", err
		}
		a := action.NewInstall(&action.Configuration{Log: func(string, ...any) {}})
		a.ClientOnly, a.DryRun, a.Replace = true, true, true
		a.ReleaseName, a.Namespace, a.KubeVersion = r.Name, r.Namespace, version
		rel, err := a.Run(l.chart, l.values)
		if err != nil {
			return "", err
		}
		var b strings.Builder
		b.WriteString(strings.TrimSpace(rel.Manifest) + "\n")
		for _, h := range rel.Hooks {
			fmt.Fprintf(&b, "---\n# Source: %s\n%s\n", h.Path, strings.TrimSpace(h.Manifest))
		}
		return b.String(), nil
	}()
	if err != nil {
		return "", secrets.Error(fmt.Errorf("render release %q of chart %s: %w", r.Name, r.ChartDir, err))
	}
	return text, nil
}

// Problem is a finding of Lint that should be mended.
type Problem struct {
	Severity string // "warning" or "error"
	Values   string // the file of values with which it shows; empty: the chart's defaults
	Path     string // in the chart
	Message  string
}

func (p Problem) String() string {
	where := p.Path
	if p.Values != "" {
		where += " (with " + p.Values + ")"
	}
	return fmt.Sprintf("%s: %s: %s", p.Severity, where, p.Message)
}

// Lint checks the chart in dir: with every file of values ci/*-values.yaml, as the chart-testing tool does, or with the
// chart's defaults where there is none.
func Lint(dir string) ([]Problem, error) {
	files, err := filepath.Glob(filepath.Join(dir, "ci", "*-values.yaml"))
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return lintWith(dir, chartutil.Values{}, "", false)
	}
	var out []Problem
	for _, file := range files {
		values, err := chartutil.ReadValuesFile(file)
		if err != nil {
			return nil, fmt.Errorf("lint chart %s: read %s: %w", dir, file, err)
		}
		found, err := lintWith(dir, values, "ci/"+filepath.Base(file), false)
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	return out, nil
}

// Check finds what is wrong with a release's chart before anything is applied: templates that do not render, values that
// its schema refuses. Own says that the chart is the lab's own, so that warnings count and its ci/*-values.yaml are
// tried. Complete says that Values are all the values; without it they are those that are known so far, and only what
// no other value can mend is a problem.
func Check(r Release, own, complete bool) ([]Problem, error) {
	secrets := sensitive(r)
	out, err := check(r, own, complete)
	if err != nil {
		return nil, secrets.Error(err)
	}
	for i := range out {
		out[i].Message = secrets.Redact(out[i].Message)
	}
	return out, nil
}

func check(r Release, own, complete bool) ([]Problem, error) {
	ch, err := loader.Load(r.ChartDir)
	if err != nil {
		return nil, fmt.Errorf("load chart %s: %w", r.ChartDir, err)
	}
	values, err := r.allValues()
	if err != nil {
		return nil, err
	}
	var out []Problem
	var refused *ValuesError
	if err := validate(ch, values, sensitive(r)); errors.As(err, &refused) {
		for _, p := range refused.Problems {
			if complete || p.unknown {
				out = append(out, Problem{Severity: "error", Path: "values.schema.json", Message: fmt.Sprintf("release %q: %s: %s", r.Name, p.Path, p.Message)})
			}
		}
	} else if err != nil {
		return nil, err
	}
	if own {
		if files, err := filepath.Glob(filepath.Join(r.ChartDir, "ci", "*-values.yaml")); err != nil || len(files) > 0 {
			found, lintErr := Lint(r.ChartDir)
			return append(out, found...), errors.Join(err, lintErr)
		}
	}
	if len(out) > 0 {
		return out, nil // what the templates make of refused values says nothing new
	}
	dir, remove, err := unpacked(r.ChartDir, ch.Name())
	if err != nil {
		return nil, err
	}
	defer remove()
	found, err := lintWith(dir, values, "", !complete)
	return slices.DeleteFunc(found, func(p Problem) bool {
		switch {
		case complete:
			return !own && p.Severity != "error"
		case p.Severity != "error":
			return !own
		}
		// With values missing only what cannot even be read is wrong for certain.
		return p.Path != "Chart.yaml" && !strings.Contains(p.Message, "parse error")
	}), err
}

// unpacked gives the directory of a chart, and what removes it again where it was an archive.
func unpacked(path, name string) (dir string, remove func(), err error) {
	if info, err := os.Stat(path); err != nil || info.IsDir() {
		return path, func() {}, err
	}
	parent, err := os.MkdirTemp("", "labctl-chart-")
	if err != nil {
		return "", nil, err
	}
	remove = func() { _ = os.RemoveAll(parent) } // a temporary directory
	if err := chartutil.ExpandFile(parent, path); err != nil {
		remove()
		return "", nil, fmt.Errorf("unpack chart %s: %w", path, err)
	}
	return filepath.Join(parent, name), remove, nil
}

func lintWith(dir string, values chartutil.Values, name string, skipSchema bool) ([]Problem, error) {
	version, err := chartutil.ParseKubeVersion(offline)
	if err != nil {
		return nil, err
	}
	var out []Problem
	for _, m := range lint.AllWithKubeVersionAndSchemaValidation(dir, values, "lint", version, skipSchema).Messages {
		severity := ""
		switch m.Severity {
		case support.WarningSev:
			severity = "warning"
		case support.ErrorSev:
			severity = "error"
		default:
			continue // such as that an icon would be nice
		}
		out = append(out, Problem{Severity: severity, Values: name, Path: m.Path, Message: strings.TrimSpace(m.Err.Error())})
	}
	return out, nil
}
