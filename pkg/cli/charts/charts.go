// Package charts checks the charts of a lab before anything is applied.
package charts

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/labctl/labctl/pkg/chart"
	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/stack"
)

// Problem is what is wrong with a chart, or with a release's values for it.
type Problem struct {
	chart.Problem
	Chart string // its directory or its address, as people know it
}

// Result is what a check found.
type Result struct {
	Charts     int // how many there are
	Problems   []Problem
	NotFetched []string // remote charts that an offline store does not have
}

// Err is an error with exit code 3 where there are problems.
func (r *Result) Err() error {
	if len(r.Problems) == 0 {
		return nil
	}
	lines := make([]string, 0, len(r.Problems))
	for _, p := range r.Problems {
		lines = append(lines, p.Chart+": "+p.String())
	}
	return &cli.Error{What: "the charts are not valid", Err: errors.New(strings.Join(lines, "\n")), Code: cli.ExitConfig}
}

// Source says where the chart of a release comes from.
func Source(rel *stack.Release) chart.Source {
	return chart.Source{Release: rel.Name, Chart: rel.Chart, Repository: rel.Repository, Version: rel.Version, LockFile: rel.LockFile}
}

// Check locates the chart of every release and checks it with the values that are known before anything is applied.
func Check(ctx context.Context, g *stack.Graph, store *chart.Store, report event.Report) (*Result, error) {
	out := &Result{}
	var seen []string
	for _, s := range g.Stacks {
		for _, rel := range s.Releases {
			if rel.Builtin != "" {
				continue // its values were checked with the wiring
			}
			src := Source(rel)
			name := src.String()
			remote := rel.Repository != "" || strings.HasPrefix(rel.Chart, "oci://")
			if !remote {
				name = g.Path(rel.Chart)
			}
			if !slices.Contains(seen, name) {
				seen = append(seen, name)
			}
			path, err := store.Locate(ctx, src, report)
			if errors.Is(err, chart.ErrNotFetched) {
				out.NotFetched = append(out.NotFetched, name)
				continue
			}
			var found []chart.Problem
			if err == nil {
				values, complete := rel.KnownValues()
				found, err = chart.Check(chart.Release{
					Name: rel.Name, Namespace: rel.Namespace, ChartDir: path, ValuesFiles: rel.ValuesFiles, Values: values,
				}, !remote, complete)
			}
			if err != nil {
				return nil, explain(ctx, err)
			}
			for _, p := range found {
				if next := (Problem{Problem: p, Chart: name}); !slices.Contains(out.Problems, next) {
					out.Problems = append(out.Problems, next)
				}
			}
		}
	}
	out.Charts = len(seen)
	return out, nil
}

// explain tells a configuration that is wrong from a network that is away.
func explain(ctx context.Context, err error) error {
	var fetch *chart.FetchError
	if ctx.Err() != nil || errors.As(err, &fetch) {
		return err
	}
	return &cli.Error{Err: err, Code: cli.ExitConfig}
}

// Refuse is Check for commands that apply: what labctl validate refuses is an error with exit code 3.
func Refuse(ctx context.Context, g *stack.Graph, store *chart.Store, report event.Report) error {
	found, err := Check(ctx, g, store, report)
	if err != nil {
		return err
	}
	return found.Err()
}
