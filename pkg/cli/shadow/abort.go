package shadow

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/cli/app"
	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/shadow/incluster"
)

// AbortOptions are the flags of `labctl shadow abort`.
type AbortOptions struct {
	Factory *cli.Factory
	Service string
	JSON    bool
}

func newCmdAbort(f *cli.Factory, runF func(*AbortOptions) error) *cobra.Command {
	opts := &AbortOptions{Factory: f}
	cmd := &cobra.Command{
		Use:   "abort SERVICE",
		Short: "End a shadow in the lab's cluster, and remove all that it has",
		Long: `End a shadow: remove its workloads, consumer groups, topics and databases. The live service is not touched. What was found is
gone; ` + "`labctl shadow report`" + ` keeps it. A shadow of labctl dev ends with labctl dev.`,
		Example: `  labctl shadow abort messaging`,
		Args:    cli.Takes("SERVICE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.Service = args[0]
			if runF != nil {
				return runF(opts)
			}
			return runAbort(cmd.Context(), opts)
		},
	}
	cmd.Flags().BoolVar(&opts.JSON, "json", false, "print events to stdout as JSON, one per line")
	return cmd
}

func runAbort(ctx context.Context, opts *AbortOptions) error {
	f := opts.Factory
	l, err := app.Open(f)
	if err != nil {
		return err
	}
	s, err := l.Shadow(ctx, opts.Service)
	if err != nil {
		return err
	}
	return f.Progress(ctx, "shadow", opts.JSON, func(sink event.Sink) error {
		begin := time.Now()
		sink.Emit(event.Event{Kind: event.Started, Step: "shadow"})
		err := s.Abort(ctx, event.For(sink, "shadow"))
		switch {
		case errors.Is(err, incluster.ErrNone):
			sink.Emit(event.Event{Kind: event.Skipped, Step: "shadow", Message: err.Error()})
			return nil
		case err != nil:
			sink.Emit(event.Event{Kind: event.Failed, Step: "shadow", Message: "not removed"})
			return &cli.Error{What: "the shadow of " + opts.Service + " is not removed", Err: err, Next: l.After(err, cli.SameCommand)}
		}
		sink.Emit(event.Event{Kind: event.Done, Step: "shadow", Message: "removed, with all that it had", Elapsed: time.Since(begin)})
		return nil
	})
}
