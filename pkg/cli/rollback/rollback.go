// Package rollback is `labctl rollback`.
package rollback

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/cli/app"
	"github.com/labctl/labctl/pkg/cli/confirm"
	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/gitops"
)

// Options are the command's flags.
type Options struct {
	Factory  *cli.Factory
	Revision string // "" is the one before
	Reason   string
	Undo     bool
	Confirm  string
	JSON     bool
}

// NewCmdRollback makes the command.
func NewCmdRollback(f *cli.Factory, runF func(*Options) error) *cobra.Command {
	opts := &Options{Factory: f}
	cmd := &cobra.Command{
		Use:   "rollback ENVIRONMENT [REVISION]",
		Short: "Bring an earlier state of an environment back, and keep it",
		Long: `Bring back what Git had of an environment at a revision, as a new commit, and wait until it runs. Without a revision it is the one before the last
change; ` + "`labctl gitops log`" + ` lists them.

The environment stays as it is then: up changes nothing of it, and ship refuses, until --undo, which brings back what was there before the
rollback.`,
		Example: `  labctl rollback prod
  labctl rollback prod 1f2e3d4c --reason "log-ins fail"
  labctl rollback prod --undo`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.Env = args[0]
			if len(args) > 1 {
				opts.Revision = args[1]
			}
			if opts.Undo && opts.Revision+opts.Reason != "" {
				return cli.Usagef(cmd.CommandPath(), "--undo takes no revision and no reason")
			}
			if runF != nil {
				return runF(opts)
			}
			return run(cmd.Context(), opts)
		},
	}
	cmd.Flags().StringVar(&opts.Reason, "reason", "", "say in the commit and in the status why")
	cmd.Flags().BoolVar(&opts.Undo, "undo", false, "end the rollback")
	cmd.Flags().StringVar(&opts.Confirm, "confirm", "", "confirm the change of the protected environment `NAME` without asking")
	cmd.Flags().BoolVar(&opts.JSON, "json", false, "print events to stdout as JSON, one per line")
	return cmd
}

func run(ctx context.Context, opts *Options) error {
	f := opts.Factory
	l, err := app.Open(f)
	if err != nil {
		return err
	}
	g, err := l.GitOps(ctx)
	if err != nil {
		return err
	}
	if err := confirm.Protected(f, "change it", l.Graph.Env.Name, l.Graph.Env.Protected, opts.Confirm); err != nil {
		return err
	}
	return f.Progress(ctx, "rollback", opts.JSON, func(sink event.Sink) error {
		var commit string
		err := app.During(sink, "rollback", func(report event.Report) (string, error) {
			var err error
			report.Doing("writing to Git")
			if opts.Undo {
				commit, err = g.Undo(ctx)
			} else {
				commit, err = g.Rollback(ctx, opts.Revision, opts.Reason)
			}
			if err != nil {
				return "", err
			}
			return "commit " + gitops.Short(commit), g.Wait(ctx, commit, false, report)
		})
		if err != nil {
			return &cli.Error{What: "environment " + l.Graph.Env.Name + " is not what it should be", Err: err, Next: []string{"labctl gitops log", "labctl gitops status"}}
		}
		done := fmt.Sprintf("Environment %s is rolled back, by commit %s; `%s` ends it.", l.Graph.Env.Name, gitops.Short(commit), f.Line("labctl rollback "+cli.Quote(l.Graph.Env.Name)+" --undo"))
		if opts.Undo {
			done = fmt.Sprintf("Environment %s is what it was before the rollback, by commit %s.", l.Graph.Env.Name, gitops.Short(commit))
		}
		sink.Emit(event.Event{Kind: event.Result, Message: done})
		return nil
	})
}
