// Package up is `labctl up`.
package up

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/cli/charts"
	"github.com/labctl/labctl/pkg/cli/choice"
	"github.com/labctl/labctl/pkg/cli/doctor"
	"github.com/labctl/labctl/pkg/cli/report"
	"github.com/labctl/labctl/pkg/cli/wire"
	machine "github.com/labctl/labctl/pkg/doctor"
	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/lab"
)

// Options are the command's flags.
type Options struct {
	Factory  *cli.Factory
	Choice   choice.Flags
	JSON     bool
	Affected bool
	Why      bool
	Plan     string // a directory of plans; "" means none
	Report   report.Flag
}

// NewCmdUp makes the command.
func NewCmdUp(f *cli.Factory, runF func(*Options) error) *cobra.Command {
	opts := &Options{Factory: f}
	cmd := &cobra.Command{
		Use:   "up [STACK...]",
		Short: "Bring the lab up, or repair it",
		Long: `Bring up everything that lab.hcl names for the environment: check the machine and the wiring, apply the numbered stacks
in order, build and push the images, install the charts, and deliver a message between two demo users through the front
door. Every step checks before it acts. So up may be run again at any time: it continues after a failure, a Ctrl-C or a
kill, repairs what broke, and is done in seconds when nothing changed.

With names, only those stacks and what they need are brought up. A stack that fails stops those that need it; the others
go on, and the error says how to continue. With --plan exactly what ` + "`labctl plan --out`" + ` kept is applied, or nothing.

What the machine lacks is installed where labctl may do that; otherwise the commands are printed (exit code 4).`,
		Example: `  labctl up
  labctl up 2-databases       that stack and what it needs
  labctl up --affected --why  what changed since, and say why
  labctl up --plan plans      what labctl plan --out plans showed
  labctl up --from-source     build also what could be pulled from a registry
  labctl up --json | jq .     follow it with a program`,
		Args: cobra.ArbitraryArgs, // names of stacks
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.Choice.Stacks = args
			if err := check(cmd.CommandPath(), opts); err != nil {
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
	cmd.Flags().BoolVar(&opts.Affected, "affected", false, "only stacks whose files, inputs or state changed since they were last applied; takes no look at the rest")
	cmd.Flags().BoolVar(&opts.Why, "why", false, "say of each stack why there is something to do")
	cmd.Flags().StringVar(&opts.Plan, "plan", "", "apply exactly the plans that labctl plan --out kept in `DIR`")
	cmd.Flags().Var(&opts.Report, "report", "print what was done to each stack as json, junit or md instead of a table, or write it to FILE")
	cmd.Flags().BoolVar(&opts.JSON, "json", false, "print events as JSON, one a line, on stdout")
	cmd.Flags().BoolVar(&f.FromSource, "from-source", false, "build from source also what could be pulled from a registry")
	return cmd
}

func check(command string, opts *Options) error {
	if opts.JSON && opts.Report.ToStdout() {
		return cli.Usagef(command, "--json and --report both write to stdout: give --report a file, --report %s=FILE", opts.Report.String())
	}
	if opts.Plan != "" && (len(opts.Choice.Stacks)+len(opts.Choice.Only)+len(opts.Choice.Skip) > 0 || opts.Choice.From != "" || opts.Choice.To != "") {
		return cli.Usagef(command, "--plan says itself which stacks are meant: leave the others out when you plan")
	}
	return opts.Choice.Check(command)
}

func run(ctx context.Context, opts *Options) error {
	f := opts.Factory
	l, err := wire.Open(f)
	if err != nil {
		return err
	}
	var summary *lab.Summary
	var done string
	err = f.Progress(ctx, "up", opts.JSON, func(sink event.Sink) error {
		if l.Embedded() {
			if err := doctor.Prepare(ctx, f, machine.Up, sink); err != nil {
				return err
			}
		}
		if err := charts.Refuse(ctx, l.Graph, l.Charts, event.For(sink, "charts")); err != nil {
			return err
		}
		o := l.Run("labctl up", sink)
		opts.Choice.Apply(&o)
		o.Affected, o.Why = opts.Affected, opts.Why
		if opts.Plan != "" {
			plans, err := l.Engine.Plans(ctx, opts.Plan)
			if err != nil {
				return &cli.Error{What: "the plans were not applied", Err: err, Next: l.After(err, "labctl plan --out "+opts.Plan)}
			}
			o.Plans, o.Selection = plans, lab.Selection{Only: plans.Stacks}
		}
		var err error
		if summary, err = l.Engine.Up(ctx, o); err != nil {
			return &cli.Error{What: "the lab is not up", Err: choice.Explain("labctl up", err), Next: l.After(err, "labctl up   (it continues where it stopped)")}
		}
		if done, err = finish(ctx, l, o.Selection.Whole(), summary, sink); err == nil && opts.JSON {
			sink.Emit(event.Event{Kind: event.Result, Message: done})
		}
		return err
	})
	if summary != nil && !opts.JSON && !opts.Report.ToStdout() && (err != nil || !l.HasChat() || len(opts.Choice.Stacks) > 0) {
		// A run that failed shows its table before its error.
		_, _ = fmt.Fprintf(f.IO.Err, "\n%s\n\n", report.Table(summary))
	}
	if reportErr := opts.Report.Write(summary, l.Graph.Env.Name, f.IO.Out); err == nil {
		err = reportErr
	}
	if err == nil && done != "" && !opts.JSON && !opts.Report.ToStdout() {
		_, err = fmt.Fprintln(f.IO.Out, done)
	}
	return err
}

// finish proves that the chat works, where the whole lab is up and has one, and gives the command's last words.
func finish(ctx context.Context, l *wire.Lab, whole bool, summary *lab.Summary, sink event.Sink) (string, error) {
	if !whole {
		return "The chosen stacks are up.", nil
	}
	if !l.HasChat() {
		return "The lab is up.", nil
	}
	demo, err := l.Prove(ctx, summary.Changed(), sink)
	if err != nil {
		return "", &cli.Error{What: "the lab stands, but no message was delivered", Err: err,
			Next: l.After(err, "labctl status", "labctl logs gateway")}
	}
	url, err := l.URL(ctx)
	if err != nil {
		return "", err
	}
	return welcome(l.Program(), url, demo, summary.Changed()), nil
}

// welcome is what up ends with: where the chat is, who can log in, and what to try.
func welcome(program, url string, demo []wire.DemoUser, changed bool) string {
	var b strings.Builder
	if changed {
		b.WriteString("The lab is up, and a message went through it.\n\n")
	} else {
		b.WriteString("The lab is up; there was nothing to do.\n\n")
	}
	fmt.Fprintf(&b, "  chat    %s\n", url)
	for _, u := range demo {
		fmt.Fprintf(&b, "  user    %-8s password %s\n", u.Name, u.Password)
	}
	b.WriteString("\nTry:\n")
	tries := []struct{ command, what string }{
		{"labctl open", "open the chat; log in as one of them, and in a private window as the other"},
		{"labctl status", "see what stands"},
		{"labctl ship messaging", "change a service, then roll it out"},
		{"labctl down", "take everything away again"},
	}
	for _, t := range tries {
		fmt.Fprintf(&b, "  %-*s  %s\n", len(cli.Called(program, "labctl ship messaging")), cli.Called(program, t.command), t.what)
	}
	return strings.TrimRight(b.String(), "\n")
}
