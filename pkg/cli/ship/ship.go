// Package ship is `labctl ship`.
package ship

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/cli/app"
	"github.com/labctl/labctl/pkg/event"
)

// Options are the command's flags.
type Options struct {
	Factory *cli.Factory
	Service string
	JSON    bool
}

// NewCmdShip makes the command.
func NewCmdShip(f *cli.Factory, runF func(*Options) error) *cobra.Command {
	opts := &Options{Factory: f}
	cmd := &cobra.Command{
		Use:   "ship SERVICE",
		Short: "Build one service, push its image, and roll it out",
		Long: `Build the service's image from the current source, push its missing layers to the lab's registry, roll it out, and wait
until the new pods are ready. If they do not get ready, ship prints the reason and their last log lines.`,
		Example: `  labctl ship messaging`,
		Args:    cli.Takes("SERVICE"),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			l, err := app.Open(f)
			if err != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return l.Engine.Services(), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.Service = args[0]
			if runF != nil {
				return runF(opts)
			}
			return run(cmd.Context(), opts)
		},
	}
	cmd.Flags().BoolVar(&opts.JSON, "json", false, "print events to stdout as JSON, one per line")
	return cmd
}

func run(ctx context.Context, opts *Options) error {
	f := opts.Factory
	l, err := app.Open(f)
	if err != nil {
		return err
	}
	if err := Known(l.Engine.Services(), opts.Service, "labctl ship"); err != nil {
		return err
	}
	return f.Progress(ctx, "ship", opts.JSON, func(sink event.Sink) error {
		start := time.Now()
		if err := l.Engine.Ship(ctx, opts.Service, l.Run("labctl ship "+opts.Service, sink)); err != nil {
			return &cli.Error{What: opts.Service + " is not shipped", Err: err, Next: l.After(err, "labctl status", "labctl up")}
		}
		sink.Emit(event.Event{Kind: event.Result, Message: fmt.Sprintf("%s is shipped and ready (%.1fs).", opts.Service, time.Since(start).Seconds())})
		return nil
	})
}

// Known says whether service is one of services, and which there are if not.
func Known(services []string, service, command string) error {
	if slices.Contains(services, service) {
		return nil
	}
	var next []string
	for _, s := range services {
		if strings.HasPrefix(s, service[:min(len(service), 2)]) {
			next = append(next, command+" "+s)
		}
	}
	return &cli.Error{What: fmt.Sprintf("there is no service %q; there are %s", service, strings.Join(services, ", ")), Next: next}
}
