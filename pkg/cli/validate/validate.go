// Package validate is `labctl validate`.
package validate

import (
	"context"
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
	"github.com/labctl/labctl/pkg/cli/charts"
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
starts nothing, connects to nothing and writes nothing. A chart from a registry or a repository is checked once
labctl plan or labctl up has fetched it.

Errors are shown with file, line and column, and the exit code is 3. A probable mistake, such as an output that no
target's stacks use, is a warning.

With --json, print an array of diagnostics in the form of the Language Server Protocol: range (lines and UTF-16
characters, from 0), severity (1 error, 2 warning), code, message and detail, and the file relative to the lab. The
array is empty when there is nothing to report.`,
		Example: `  labctl validate
  labctl validate --json | jq -r '.[] | "\(.file): \(.message)"'`,
		Args: cli.Takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if runF != nil {
				return runF(opts)
			}
			return run(cmd.Context(), opts)
		},
	}
	cmd.Flags().BoolVar(&opts.JSON, "json", false, "print diagnostics as JSON")
	return cmd
}

func run(ctx context.Context, opts *Options) error {
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
	store := &chart.Store{Offline: true}
	if opts.Factory.Getenv != nil { // without an environment there is no cache, and nothing was fetched
		if dir, err := opts.Factory.CacheDir(); err == nil {
			store.Dir = filepath.Join(dir, "charts")
		}
	}
	found, err := charts.Check(ctx, g, store, nil)
	if err != nil {
		return err
	}
	wrong := found.Problems
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
	for _, name := range found.NotFetched {
		_, _ = fmt.Fprintf(streams.Err, "warning: chart %s was not checked: it was not fetched yet; labctl plan fetches it\n", name)
	}
	if len(wrong) > 0 {
		return found.Err()
	}
	terraform, images := 0, 0
	for _, s := range g.Stacks {
		if s.HasTerraform() {
			terraform++
		}
		images += len(s.Images)
	}
	_, err = fmt.Fprintf(streams.Out, "lab %q, environment %q on target %q: %d stacks, %d of them with Terraform, %d images, %d charts; the configuration is valid\n",
		g.Lab.Name, g.Env.Name, g.Env.Target, len(g.Stacks), terraform, images, found.Charts)
	return err
}

// write prints everything that was found as one array.
func write(out io.Writer, found []stack.Finding, wrong []charts.Problem) error {
	list := make([]stack.Diagnostic, 0, len(found)+len(wrong))
	for _, f := range found {
		list = append(list, f.Diagnostic())
	}
	for _, p := range wrong {
		d := stack.Diagnostic{File: filepath.Join(p.Chart, p.Path), Severity: 1, Code: "chart", Source: "labctl", Message: p.Message}
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
