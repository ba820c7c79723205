// Package tool is the hidden `labctl tool`, with which the Makefile asks for the tools that labctl uses itself.
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
		Use:       "tool terraform",
		Short:     "Print the path of a tool that labctl uses, and install it if it is missing",
		Hidden:    true,
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"terraform"},
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
	var path string
	err := opts.Factory.Progress(ctx, "tool", false, func(sink event.Sink) error {
		var err error
		path, err = app.Terraform(ctx, opts.Factory, event.For(sink, opts.Name))
		return err
	})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(opts.Factory.IO.Out, path)
	return err
}
