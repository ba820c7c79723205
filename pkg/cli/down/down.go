// Package down is `labctl down`.
package down

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/cli/app"
	"github.com/labctl/labctl/pkg/cli/choice"
	"github.com/labctl/labctl/pkg/cli/confirm"
	"github.com/labctl/labctl/pkg/cli/report"
	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/lab"
)

// Options are the command's flags.
type Options struct {
	Factory *cli.Factory
	Choice  choice.Flags
	JSON    bool
	Confirm string
	Report  report.Flag
}

// NewCmdDown makes the command.
func NewCmdDown(f *cli.Factory, runF func(*Options) error) *cobra.Command {
	opts := &Options{Factory: f}
	cmd := &cobra.Command{
		Use:   "down [STACK...]",
		Short: "Destroy the lab, and leave nothing behind",
		Long: `Destroy the lab's stacks in reverse order, and the chat's data with them. No process, mount, network interface or
firewall rule remains, and no file outside the lab's own .lab directory. Built programs and images stay in the cache,
so that the next up is quick. You can run down again at any time.

With names, destroy only those stacks and the stacks that need them.`,
		Example: `  labctl down
  labctl down 2-databases               that stack and the stacks that need it
  labctl down -e prod --confirm prod    confirm a protected environment by its name`,
		Args: cobra.ArbitraryArgs, // names of stacks
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.Choice.Stacks = args
			if opts.JSON && opts.Report.ToStdout() {
				return cli.Usagef(cmd.CommandPath(), "--json and --report both write to stdout: give --report a file, --report %s=FILE", opts.Report.String())
			}
			if err := opts.Choice.Check(cmd.CommandPath()); err != nil {
				return err
			}
			if runF != nil {
				return runF(opts)
			}
			return run(cmd.Context(), opts)
		},
	}
	opts.Choice.Add(cmd, f)
	opts.Choice.AddParallel(cmd)
	cmd.Flags().Var(&opts.Report, "report", "print the result of each stack as json, junit or md, or write it to FILE")
	cmd.Flags().BoolVar(&opts.JSON, "json", false, "print events to stdout as JSON, one per line")
	cmd.Flags().StringVar(&opts.Confirm, "confirm", "", "confirm a protected environment by its `NAME`, without a prompt")
	return cmd
}

func run(ctx context.Context, opts *Options) error {
	f := opts.Factory
	if err := f.Forget(); err != nil {
		return err
	}
	l, err := app.Open(f)
	if err != nil {
		return err
	}
	if err := confirm.Protected(f, "take it down", l.Graph.Env.Name, l.Engine.Protected(), opts.Confirm); err != nil {
		return err
	}
	if err := opts.Choice.Changed(ctx, l.Graph.Lab.Source); err != nil {
		return err
	}
	var summary *lab.Summary
	whole := true
	err = f.Progress(ctx, "down", opts.JSON, func(sink event.Sink) error {
		o := l.Run("labctl down", sink)
		opts.Choice.Apply(&o)
		whole = o.Selection.Whole()
		var err error
		if summary, err = l.Engine.Down(ctx, o); err != nil {
			return &cli.Error{What: "the lab is not completely down", Err: choice.Explain("labctl down", err), Next: l.After(err, cli.SameCommand+"   (it continues where it stopped)")}
		}
		if opts.JSON {
			sink.Emit(event.Event{Kind: event.Result, Message: farewell(l, whole, summary)})
		}
		return nil
	})
	if summary != nil && err != nil && !opts.JSON && !opts.Report.ToStdout() {
		_, _ = fmt.Fprintf(f.IO.Err, "\n%s\n\n", report.Table(summary))
	}
	if reportErr := opts.Report.Write(summary, l.Graph.Env.Name, f.IO.Out); err == nil {
		err = reportErr
	}
	if err != nil || opts.JSON || opts.Report.ToStdout() {
		return err
	}
	_, err = fmt.Fprintln(f.IO.Out, farewell(l, whole, summary))
	return err
}

func farewell(l *app.Lab, whole bool, summary *lab.Summary) string {
	if !whole {
		return report.Table(summary)
	}
	return fmt.Sprintf("The lab %q (%s) is down. Nothing of it runs on this machine any more.", l.Graph.Lab.Name, l.Graph.Env.Name)
}
