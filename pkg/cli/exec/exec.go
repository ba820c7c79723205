// Package exec is `labctl exec`.
package exec

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
	Stack   string
	Args    []string
}

// NewCmdExec makes the command.
func NewCmdExec(f *cli.Factory, runF func(*Options) error) *cobra.Command {
	opts := &Options{Factory: f}
	cmd := &cobra.Command{
		Use:   "exec STACK -- ARGUMENTS",
		Short: "Run terraform by hand in a stack",
		Long: `Run terraform with ARGUMENTS in the work directory of STACK, with the same variables, state and provider that labctl
uses. STACK is a stack's name, number or directory name. The exit code is terraform's own.`,
		Example: `  labctl exec cluster -- plan
  labctl exec 1 -- state list
  labctl exec 1-cluster -- output -json`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 2 {
				return cli.Usagef("labctl exec", "name a stack and the arguments for terraform: labctl exec STACK -- ARGUMENTS")
			}
			return nil
		},
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			g, err := f.Graph()
			if err != nil || len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			var names []string
			for _, s := range g.Stacks {
				if s.HasTerraform() {
					names = append(names, s.Name)
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.Stack, opts.Args = args[0], args[1:]
			if runF != nil {
				return runF(opts)
			}
			return run(cmd.Context(), opts)
		},
	}
	return cmd
}

func run(ctx context.Context, opts *Options) error {
	l, err := app.Open(opts.Factory)
	if err != nil {
		return err
	}
	o := l.Run("labctl exec", event.SinkFunc(func(e event.Event) {
		if e.Kind == event.Warning {
			_, _ = fmt.Fprintf(opts.Factory.IO.Err, "warning: %s\n", e.Message)
		}
	}))
	code, err := l.Engine.Exec(ctx, opts.Stack, opts.Args, opts.Factory.IO, o)
	if err != nil {
		return err
	}
	if code != 0 {
		return cli.Silent(cli.ExitCode(code))
	}
	return nil
}
