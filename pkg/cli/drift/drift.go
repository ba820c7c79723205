// Package drift is `labctl drift`.
package drift

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/cli/app"
	"github.com/labctl/labctl/pkg/cli/choice"
	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/lab"
)

// Options are the command's flags.
type Options struct {
	Factory *cli.Factory
	Choice  choice.Flags
	JSON    bool
}

// NewCmdDrift makes the command.
func NewCmdDrift(f *cli.Factory, runF func(*Options) error) *cobra.Command {
	opts := &Options{Factory: f}
	cmd := &cobra.Command{
		Use:   "drift [STACK...]",
		Short: "Show what has changed outside labctl since the last up",
		Long: `Compare each stack's state, and each installed release, with what exists now. This finds, for example, a stopped
cluster, a deleted namespace, or a deployment that somebody edited by hand. Nothing is changed. The exit code is 0
without drift and 2 with drift; ` + "`labctl up`" + ` repairs it.`,
		Example: `  labctl drift
  labctl drift 1-cluster --json`,
		Args: cobra.ArbitraryArgs, // names of stacks
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.Choice.Stacks = args
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
	cmd.Flags().BoolVar(&opts.JSON, "json", false, "print JSON")
	return cmd
}

func run(ctx context.Context, opts *Options) error {
	f := opts.Factory
	l, err := app.Open(f)
	if err != nil {
		return err
	}
	if err := opts.Choice.Changed(ctx, l.Graph.Lab.Source); err != nil {
		return err
	}
	var found []*lab.StackDrift
	err = f.Progress(ctx, "drift", false, func(sink event.Sink) error {
		o := l.Run("labctl drift", sink)
		opts.Choice.Apply(&o)
		var err error
		if found, err = l.Engine.Drift(ctx, o); err != nil {
			return &cli.Error{What: "not every stack could be checked for drift", Err: choice.Explain("labctl drift", err), Next: l.After(err, cli.SameCommand)}
		}
		return nil
	})
	if err != nil {
		return err
	}
	differs := false
	for _, d := range found {
		differs = differs || d.Any()
	}
	if opts.JSON {
		if found == nil {
			found = []*lab.StackDrift{}
		}
		err = cli.WriteJSON(f.IO.Out, found)
	} else {
		_, err = fmt.Fprint(f.IO.Out, text(found, f.Line("labctl up"+opts.Choice.Words())))
	}
	if err == nil && differs {
		err = cli.Silent(cli.ExitChanges)
	}
	return err
}

// past says what somebody did to a resource.
var past = map[string]string{"create": "is there, and was not", "update": "was changed", "delete": "is gone", "replace": "is another one"}

func text(found []*lab.StackDrift, repair string) string {
	var b strings.Builder
	differ := 0
	for _, d := range found {
		switch {
		case d.Orphan != "":
			fmt.Fprintf(&b, "! %s\n", d.Orphan)
			continue
		case d.Absent:
			fmt.Fprintf(&b, "%s: not applied\n", d.Stack)
			continue
		case !d.Any():
			fmt.Fprintf(&b, "%s: no drift\n", d.Stack)
			continue
		}
		differ++
		fmt.Fprintf(&b, "%s:\n", d.Stack)
		for _, r := range d.Resources {
			what := past[r.Verb]
			if what == "" {
				what = r.Verb
			}
			fmt.Fprintf(&b, "  %s %s\n", r.Address, what)
		}
		for _, r := range d.Releases {
			fmt.Fprintf(&b, "  release %s: %s\n", r.Name, r.Why)
		}
	}
	if differ > 0 {
		fmt.Fprintf(&b, "\nNext: %s   (it repairs this)\n", repair)
	}
	return b.String()
}
