// Package tool is `labctl tool`, `labctl kubectl` and `labctl helm`: the tools that a lab needs, without installing any.
package tool

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/cli/app"
	"github.com/labctl/labctl/pkg/event"
)

// Options are the command's arguments.
type Options struct {
	Factory *cli.Factory
	Name    string
}

// NewCmdTool makes the command.
func NewCmdTool(f *cli.Factory, runF func(*Options) error) *cobra.Command {
	opts := &Options{Factory: f}
	return &cobra.Command{
		Use:   "tool kubectl|helm|terraform",
		Short: "Print the path of a tool that fits the lab",
		Long: `Print the path of a tool that fits the lab, and build it if it is missing. A kubectl or helm that labctl has not built yet, but
that is on your PATH, is used from there. labctl's own are links in one directory, which you can put on your PATH.`,
		Example:   `  export PATH="$(dirname "$(labctl tool kubectl)"):$PATH"`,
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"kubectl", "helm", "terraform"},
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.Name = args[0]
			if runF != nil {
				return runF(opts)
			}
			return run(cmd.Context(), opts)
		},
	}
}

func run(ctx context.Context, opts *Options) error {
	path, err := find(ctx, opts.Factory, opts.Name)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(opts.Factory.IO.Out, path)
	return err
}

// find gives the path of a tool, getting it where it is not there.
func find(ctx context.Context, f *cli.Factory, name string) (path string, err error) {
	get := func(report event.Report) (string, error) { return app.Terraform(ctx, f, report) }
	if app.Tools[name] != "" {
		if path, err := app.FindTool(ctx, f, name); err != nil || path != "" {
			return path, err
		}
		get = func(report event.Report) (string, error) { return app.BuildTool(ctx, f, name, report) }
	}
	err = f.Progress(ctx, "tool", false, func(sink event.Sink) error {
		path, err = get(event.For(sink, name))
		return err
	})
	return path, err
}
