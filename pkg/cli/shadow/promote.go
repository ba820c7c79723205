package shadow

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/cli/app"
	"github.com/labctl/labctl/pkg/cli/confirm"
	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/shadow/incluster"
)

// PromoteOptions are the flags of `labctl shadow promote` and `labctl shadow rollback`.
type PromoteOptions struct {
	Factory *cli.Factory
	Service string
	Force   bool
	Reason  string
	Watch   time.Duration
	Confirm string
	JSON    bool
}

func newCmdPromote(f *cli.Factory, runF func(*PromoteOptions) error) *cobra.Command {
	opts := &PromoteOptions{Factory: f}
	cmd := &cobra.Command{
		Use:   "promote SERVICE",
		Short: "Give a shadow's version the place of the live one",
		Long: `Roll the live service out with the version that passed, under the live consumer group, and end the shadow. The evidence is kept
in the cluster. If, within the time of --watch, a pod of the new version ends or is not ready any more, or more requests and
records fail than before, the version before comes back.

Without a pass the version is promoted with --force and a reason, which is kept with the evidence. The next ` + "`labctl up`" + `
builds the service from the source again: bring the change there, too.`,
		Example: `  labctl shadow promote messaging
  labctl shadow promote messaging --force --reason "the edits are meant to differ"`,
		Args: cli.Takes("SERVICE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.Service = args[0]
			if opts.Force != (opts.Reason != "") {
				return cli.Usagef(cmd.CommandPath(), "--force and --reason go together: whoever promotes without a pass says why")
			}
			if runF != nil {
				return runF(opts)
			}
			return runPromote(cmd.Context(), opts)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.BoolVar(&opts.Force, "force", false, "promote without a pass")
	flags.StringVar(&opts.Reason, "reason", "", "keep with the evidence why: `TEXT`")
	flags.DurationVar(&opts.Watch, "watch", 30*time.Second, "watch the new version for `TIME`")
	flags.StringVar(&opts.Confirm, "confirm", "", "confirm the change of the protected environment `NAME` without asking")
	flags.BoolVar(&opts.JSON, "json", false, "print events to stdout as JSON, one per line")
	return cmd
}

func newCmdRollback(f *cli.Factory, runF func(*PromoteOptions) error) *cobra.Command {
	opts := &PromoteOptions{Factory: f}
	cmd := &cobra.Command{
		Use:     "rollback SERVICE",
		Short:   "Bring the version before the last promotion back",
		Long:    `Roll the live service out with the version that it had before it was promoted. That is noted beside the evidence.`,
		Example: `  labctl shadow rollback messaging --reason "replies are slow"`,
		Args:    cli.Takes("SERVICE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.Service = args[0]
			if runF != nil {
				return runF(opts)
			}
			return runRollback(cmd.Context(), opts)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&opts.Reason, "reason", "by hand", "keep with the evidence why: `TEXT`")
	flags.StringVar(&opts.Confirm, "confirm", "", "confirm the change of the protected environment `NAME` without asking")
	flags.BoolVar(&opts.JSON, "json", false, "print events to stdout as JSON, one per line")
	return cmd
}

// change has a service run another image, in a step that is shown.
func change(ctx context.Context, opts *PromoteOptions, command string, do func(context.Context, incluster.Shadow, incluster.Rollout, string, event.Report) (done string, err error)) error {
	f := opts.Factory
	l, err := app.Open(f)
	if err != nil {
		return err
	}
	if err := confirm.Protected(f, "change it", l.Graph.Env.Name, l.Graph.Env.Protected, opts.Confirm); err != nil {
		return err
	}
	s, err := l.Shadow(ctx, opts.Service)
	if err != nil {
		return err
	}
	user, host := app.Who(f)
	return f.Progress(ctx, "shadow", opts.JSON, func(sink event.Sink) error {
		roll := func(ctx context.Context, image string) error {
			return l.Engine.ShipImage(ctx, opts.Service, image, l.Run("labctl shadow "+command+" "+opts.Service, sink))
		}
		err := app.During(sink, "shadow", func(report event.Report) (string, error) {
			return do(ctx, s, roll, user+" on "+host, report)
		})
		if err != nil {
			return explain(l, opts.Service, command, err)
		}
		return nil
	})
}

func explain(l *app.Lab, service, command string, err error) error {
	next := []string{"labctl shadow status " + service, cli.SameCommand}
	switch {
	case errors.Is(err, incluster.ErrNoPass):
		next = []string{"labctl shadow status " + service, "labctl shadow diff " + service, cli.SameCommand + ` --force --reason "…"`}
	case errors.Is(err, incluster.ErrNone):
		next = []string{"labctl shadow start " + service + " --working-tree"}
	case errors.Is(err, incluster.ErrNoPromotion):
		next = []string{"labctl ship " + service}
	}
	return &cli.Error{What: "labctl shadow " + command + " " + service + " is not done", Err: err, Next: l.After(err, next...)}
}

func runPromote(ctx context.Context, opts *PromoteOptions) error {
	return change(ctx, opts, "promote", func(ctx context.Context, s incluster.Shadow, roll incluster.Rollout, by string, report event.Report) (string, error) {
		p, err := s.Promote(ctx, by, opts.Reason, opts.Watch, roll, report)
		return fmt.Sprintf("%s runs %s", opts.Service, p.Evidence.Version), err
	})
}

func runRollback(ctx context.Context, opts *PromoteOptions) error {
	return change(ctx, opts, "rollback", func(ctx context.Context, s incluster.Shadow, roll incluster.Rollout, _ string, _ event.Report) (string, error) {
		p, err := s.Rollback(ctx, opts.Reason, roll)
		return fmt.Sprintf("%s runs %s again", opts.Service, p.From), err
	})
}
