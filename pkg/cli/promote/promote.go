// Package promote is `labctl promote`.
package promote

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/cli/app"
	"github.com/labctl/labctl/pkg/cli/confirm"
	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/gitops"
)

// Options are the command's flags.
type Options struct {
	Factory *cli.Factory
	From    string
	To      string
	Yes     bool
	Confirm string
	JSON    bool
}

// NewCmdPromote makes the command.
func NewCmdPromote(f *cli.Factory, runF func(*Options) error) *cobra.Command {
	opts := &Options{Factory: f}
	cmd := &cobra.Command{
		Use:   "promote FROM TO",
		Short: "Bring the charts and images of one environment to another",
		Long: `Bring the charts and the images of one environment to another as a commit, and wait until it runs. The values stay, since they are
what differs between the two. What changes is shown first, and asked about.`,
		Example: `  labctl promote staging prod`,
		Args:    cli.Takes("FROM", "TO"),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.From, opts.To = args[0], args[1]
			f.Env = opts.To
			if opts.From == opts.To {
				return cli.Usagef(cmd.CommandPath(), "an environment cannot be promoted to itself")
			}
			if runF != nil {
				return runF(opts)
			}
			return run(cmd.Context(), opts)
		},
	}
	cmd.Flags().BoolVarP(&opts.Yes, "yes", "y", false, "do not ask")
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
	from, ok := l.Graph.Lab.Environments[opts.From]
	if !ok {
		return &cli.Error{What: fmt.Sprintf("there is no environment %q", opts.From), Next: []string{"labctl promote --help"}}
	}
	g, err := l.GitOps(ctx)
	if err != nil {
		return err
	}
	p, err := g.Promote(ctx, from)
	if err != nil {
		return &cli.Error{What: "nothing is promoted", Err: err, Next: []string{"labctl gitops status -e " + cli.Quote(opts.From), "labctl gitops status"}}
	}
	if p.Diff == "" {
		_, err := fmt.Fprintf(f.IO.Err, "Environment %s has all that %s has.\n", opts.To, opts.From)
		return err
	}
	if err := agree(opts, l, p.Diff); err != nil {
		return err
	}
	return f.Progress(ctx, "promote", opts.JSON, func(sink event.Sink) error {
		var commit string
		err := app.During(sink, "promote", func(report event.Report) (string, error) {
			report.Doing("writing to Git")
			var err error
			if commit, err = p.Commit(ctx); err != nil {
				return "", err
			}
			return "commit " + gitops.Short(commit), g.Wait(ctx, commit, false, report)
		})
		if err != nil {
			return &cli.Error{What: "environment " + opts.To + " is not what it should be", Err: err, Next: []string{"labctl gitops status", "labctl rollback " + cli.Quote(opts.To)}}
		}
		sink.Emit(event.Event{Kind: event.Result, Message: fmt.Sprintf("Environment %s has what %s has, by commit %s.", opts.To, opts.From, gitops.Short(commit))})
		return nil
	})
}

// agree shows what changes and asks about it.
func agree(opts *Options, l *app.Lab, diff string) error {
	f := opts.Factory
	out := f.IO.Out
	if opts.JSON {
		out = f.IO.Err
	}
	if _, err := io.WriteString(out, diff); err != nil {
		return err
	}
	if l.Graph.Env.Protected {
		return confirm.Protected(f, "change it", l.Graph.Env.Name, true, opts.Confirm)
	}
	if opts.Yes {
		return nil
	}
	if f.IO.Interactive {
		_, _ = fmt.Fprintf(f.IO.Err, "Promote this to %s? [y/N] ", opts.To)
		line, _ := bufio.NewReader(f.IO.In).ReadString('\n') // a stream that ends has typed nothing
		if strings.EqualFold(strings.TrimSpace(line), "y") {
			return nil
		}
	}
	return &cli.Error{What: "nothing is promoted: it was not agreed to", Next: []string{f.Again("yes") + " --yes"}}
}
