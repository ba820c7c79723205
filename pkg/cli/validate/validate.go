// Package validate is `labctl validate`.
package validate

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/labctl/labctl/pkg/chart"
	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/stack"
)

// Options are the command's flags.
type Options struct {
	Factory *cli.Factory
	JSON    bool
}

// read gives the outputs that need no stack to use them. The address and the kubeconfig are for labctl and for people. The
// others say what a target is made of.
func read() []string {
	return []string{"grafana_url", "identity", "kubeconfig", "location", "logs", "prometheus_url", "url", "vault_url", "workspace"}
}

// elsewhere gives the outputs that stacks of other targets use: the outputs of a number are the same on every target, and
// not each target needs all of them. A target that does not hold together says nothing here; it is validated by its own
// environments.
func elsewhere(g *stack.Graph) []string {
	var used []string
	asked := []string{g.Env.Target}
	for _, name := range slices.Sorted(maps.Keys(g.Lab.Environments)) {
		target := g.Lab.Environments[name].Target
		if slices.Contains(asked, target) {
			continue
		}
		if other, err := stack.Open(stack.Options{File: g.Lab.File, Env: name}); err == nil {
			asked, used = append(asked, target), append(used, other.Used()...)
		}
	}
	return used
}

// NewCmdValidate makes the command.
func NewCmdValidate(f *cli.Factory, runF func(*Options) error) *cobra.Command {
	opts := &Options{Factory: f}
	cmd := &cobra.Command{
		Use:   "validate",
		Short: "Check lab.hcl, the stacks and the charts, offline",
		Long: `Check the configuration: lab.hcl, the wiring of the stacks' inputs to outputs, the types, and the charts. validate
starts nothing, connects to nothing and writes nothing.

Errors are shown with file, line and column, and the exit code is 3. A probable mistake, such as an output that no
target's stacks use, is a warning.

With --json, print an array of diagnostics in the form of the Language Server Protocol: range (lines and UTF-16
characters, from 0), severity (1 error, 2 warning), code, message and detail, and the file relative to the lab. The
array is empty when there is nothing to report.`,
		Example: `  labctl validate
  labctl validate --json | jq -r '.[] | "\(.file): \(.message)"'`,
		Args: cli.Takes(),
		RunE: func(*cobra.Command, []string) error {
			if runF != nil {
				return runF(opts)
			}
			return run(opts)
		},
	}
	cmd.Flags().BoolVar(&opts.JSON, "json", false, "print diagnostics as JSON")
	return cmd
}

func run(opts *Options) error {
	streams := opts.Factory.IO
	g, err := opts.Factory.Graph()
	var config *stack.ConfigError
	if opts.JSON && errors.As(err, &config) {
		if err := write(streams.Out, config.Findings(), nil); err != nil {
			return err
		}
		return cli.Silent(cli.ExitConfig)
	}
	if err != nil {
		return err
	}
	charts, wrong, err := lint(g)
	if err != nil {
		return err
	}
	warnings := g.Warnings(slices.Concat(read(), elsewhere(g))...)
	if opts.JSON {
		if err := write(streams.Out, warnings, wrong); err != nil {
			return err
		}
		if len(wrong) > 0 {
			return cli.Silent(cli.ExitConfig)
		}
		return nil
	}
	for _, w := range warnings {
		_, _ = fmt.Fprintf(streams.Err, "warning: %s\n", strings.ReplaceAll(w.String(), "\n", "\n  "))
	}
	if len(wrong) > 0 {
		var lines []string
		for _, p := range wrong {
			lines = append(lines, p.chart+": "+p.String())
		}
		return &cli.Error{What: "the charts are not valid", Err: errors.New(strings.Join(lines, "\n")), Code: cli.ExitConfig}
	}
	terraform, images := 0, 0
	for _, s := range g.Stacks {
		if s.HasTerraform() {
			terraform++
		}
		images += len(s.Images)
	}
	_, err = fmt.Fprintf(streams.Out, "lab %q, environment %q on target %q: %d stacks, %d of them with Terraform, %d images, %d charts; the configuration is valid\n",
		g.Lab.Name, g.Env.Name, g.Env.Target, len(g.Stacks), terraform, images, charts)
	return err
}

// problem is what is wrong with a chart.
type problem struct {
	chart.Problem
	chart string // its directory, as people know it
}

// lint checks each chart once.
func lint(g *stack.Graph) (charts int, wrong []problem, err error) {
	var seen []string
	for _, s := range g.Stacks {
		for _, r := range s.Releases {
			if slices.Contains(seen, r.Chart) {
				continue
			}
			seen = append(seen, r.Chart)
			problems, err := chart.Lint(r.Chart)
			if err != nil {
				return 0, nil, &cli.Error{Err: err, Code: cli.ExitConfig}
			}
			for _, p := range problems {
				wrong = append(wrong, problem{Problem: p, chart: g.Path(r.Chart)})
			}
		}
	}
	return len(seen), wrong, nil
}

// write prints everything that was found as one array.
func write(out io.Writer, found []stack.Finding, charts []problem) error {
	list := make([]stack.Diagnostic, 0, len(found)+len(charts))
	for _, f := range found {
		list = append(list, f.Diagnostic())
	}
	for _, p := range charts {
		d := stack.Diagnostic{File: filepath.Join(p.chart, p.Path), Severity: 1, Code: "chart", Source: "labctl", Message: p.Message}
		if p.Values != "" {
			d.Detail = "It shows with the values of " + p.Values + "."
		}
		list = append(list, d)
	}
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(list)
}
