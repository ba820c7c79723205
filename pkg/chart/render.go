package chart

import (
	"fmt"
	"path/filepath"
	"strings"

	"helm.sh/helm/v3/pkg/action"
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
		files = []string{""}
	}
	version, err := chartutil.ParseKubeVersion(offline)
	if err != nil {
		return nil, err
	}
	var out []Problem
	for _, file := range files {
		values := chartutil.Values{}
		if file != "" {
			if values, err = chartutil.ReadValuesFile(file); err != nil {
				return nil, fmt.Errorf("lint chart %s: read %s: %w", dir, file, err)
			}
		}
		for _, m := range lint.AllWithKubeVersion(dir, values, "lint", version).Messages {
			severity := ""
			switch m.Severity {
			case support.WarningSev:
				severity = "warning"
			case support.ErrorSev:
				severity = "error"
			default:
				continue // such as that an icon would be nice
			}
			p := Problem{Severity: severity, Path: m.Path, Message: strings.TrimSpace(m.Err.Error())}
			if file != "" {
				p.Values = "ci/" + filepath.Base(file)
			}
			out = append(out, p)
		}
	}
	return out, nil
}
