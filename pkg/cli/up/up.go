// Package up is `labctl up`.
package up

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/cli/app"
	"github.com/labctl/labctl/pkg/cli/charts"
	"github.com/labctl/labctl/pkg/cli/choice"
	"github.com/labctl/labctl/pkg/cli/confirm"
	"github.com/labctl/labctl/pkg/cli/doctor"
	"github.com/labctl/labctl/pkg/cli/plan"
	"github.com/labctl/labctl/pkg/cli/report"
	"github.com/labctl/labctl/pkg/cli/shadow"
	machine "github.com/labctl/labctl/pkg/doctor"
	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/lab"
	"github.com/labctl/labctl/pkg/stack"
)

// Options are the command's flags.
type Options struct {
	Factory  *cli.Factory
	Choice   choice.Flags
	JSON     bool
	Affected bool
	Why      bool
	Direct   bool   // Helm installs what Argo CD would
	Plan     string // a directory of plans; "" means none
	Confirm  string // the name of a protected environment
	Report   report.Flag
}

// NewCmdUp makes the command.
func NewCmdUp(f *cli.Factory, runF func(*Options) error) *cobra.Command {
	opts := &Options{Factory: f}
	cmd := &cobra.Command{
		Use:   "up [STACK...]",
		Short: "Bring the lab up, or repair it",
		Long: `Bring up the environment that lab.hcl describes. Check the machine and the wiring, apply the numbered stacks in order,
build and push the images, install the charts, and deliver a message between two demo users through the ingress.

Every step checks before it acts, so you can run up again at any time: it continues after a failure, a Ctrl-C or a
kill, repairs what is broken, and takes seconds when nothing changed.

With names, bring up only those stacks and the stacks that they need. When a stack fails, the stacks that need it are
not started; the others continue, and the error says how to go on. With --plan, apply exactly the plans that
` + "`labctl plan --out`" + ` kept, or nothing.

A protected environment is changed only after up has shown its plan and you have typed its name, with --confirm NAME,
or with --plan. Where there is nothing to change, up asks nothing.

If the machine lacks something, up installs it (as root, on Debian or Ubuntu) or prints the commands (exit code 4).`,
		Example: `  labctl up
  labctl up 2-databases       that stack and the stacks that it needs
  labctl up --affected --why  only what changed, with the reasons
  labctl up --plan plans      the plans that labctl plan --out plans kept
  labctl up -e prod --confirm prod
  labctl up --from-source     build every image from source
  labctl up --json | jq .     events for a program`,
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
	cmd.Flags().BoolVar(&opts.Affected, "affected", false, "check and apply only stacks whose files, inputs or state changed since they were last applied")
	cmd.Flags().BoolVar(&opts.Why, "why", false, "show for each stack why there is something to do")
	cmd.Flags().BoolVar(&opts.Direct, "direct", false, "install by Helm what Argo CD would make of Git, and take it over from Argo CD")
	cmd.Flags().StringVar(&opts.Plan, "plan", "", "apply exactly the plans that labctl plan --out kept in `DIR`")
	cmd.Flags().StringVar(&opts.Confirm, "confirm", "", "confirm the change of the protected environment `NAME` without asking")
	cmd.Flags().Var(&opts.Report, "report", "print the result of each stack as json, junit or md instead of a table, or write it to FILE")
	cmd.Flags().BoolVar(&opts.JSON, "json", false, "print events to stdout as JSON, one per line")
	cmd.Flags().BoolVar(&f.FromSource, "from-source", false, "build every image from source, even where it could be pulled")
	return cmd
}

func check(command string, opts *Options) error {
	if opts.JSON && opts.Report.ToStdout() {
		return cli.Usagef(command, "--json and --report both write to stdout: give --report a file, --report %s=FILE", opts.Report.String())
	}
	if opts.Plan != "" && (len(opts.Choice.Stacks)+len(opts.Choice.Only)+len(opts.Choice.Skip) > 0 || opts.Choice.From != "" || opts.Choice.To != "") {
		return cli.Usagef(command, "--plan already selects the stacks: choose them when you run labctl plan")
	}
	return opts.Choice.Check(command)
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
	mayChange, err := confirmProtected(ctx, l, opts)
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
		o.Affected, o.Why, o.Direct, o.MayChange = opts.Affected, opts.Why, opts.Direct, mayChange
		if opts.Plan != "" {
			plans, err := l.Engine.Plans(ctx, opts.Plan)
			if err != nil {
				return &cli.Error{What: "the plans were not applied", Err: err, Next: l.After(err, "labctl plan --out "+cli.Quote(opts.Plan))}
			}
			o.Plans, o.Selection = plans, lab.Selection{Only: plans.Stacks}
		}
		var err error
		if summary, err = l.Engine.Up(ctx, o); err != nil {
			next := cli.SameCommand + "   (it continues where it stopped)"
			var missing *stack.NotKnownError
			switch {
			case opts.Plan != "":
				next = "labctl plan --out " + cli.Quote(opts.Plan) + "   (the plans that were applied are used up)"
			case errors.As(err, &missing) && !o.Selection.Whole(): // what is missing was not chosen
				next = missing.Command()
			}
			return &cli.Error{What: "the lab is not up", Err: choice.Explain("labctl up", err), Next: l.After(err, next)}
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

// confirmProtected shows what up would change in a protected environment and wants its name. Where the plan has nothing
// to change, it gives a guard against what the plan did not foresee, such as an image whose sources changed.
func confirmProtected(ctx context.Context, l *app.Lab, opts *Options) (mayChange func(stack string) error, err error) {
	f, env := opts.Factory, l.Graph.Env
	if !env.Protected || opts.Plan != "" {
		return nil, nil
	}
	const to = "change it"
	if opts.Confirm != "" {
		return nil, confirm.Protected(f, to, env.Name, true, opts.Confirm)
	}
	var plans []*lab.StackPlan
	err = f.Progress(ctx, "up", false, func(sink event.Sink) error {
		o := l.Run("labctl up", sink)
		opts.Choice.Apply(&o)
		o.Affected, o.Why = opts.Affected, opts.Why
		var err error
		if plans, err = l.Engine.Plan(ctx, o, ""); err != nil {
			return &cli.Error{What: "the lab was not planned", Err: choice.Explain("labctl up", err), Next: l.After(err)}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	text, anything := plan.Text(plans, opts.Why)
	if !anything {
		return func(string) error { return confirm.Refused(f, env.Name) }, nil
	}
	_, _ = fmt.Fprintf(f.IO.Err, "\n%s\n", text)
	return nil, confirm.Protected(f, to, env.Name, true, "")
}

// finish proves that the chat works, where the whole lab is up and has one, and gives the command's last words.
func finish(ctx context.Context, l *app.Lab, whole bool, summary *lab.Summary, sink event.Sink) (string, error) {
	if !whole {
		return "The chosen stacks are up.", nil
	}
	if !l.HasChat() {
		return "The lab is up.", nil
	}
	shadows := event.For(sink, "shadow")
	if err := shadow.EndExpired(ctx, l, shadows); err != nil {
		shadows.Warn("a shadow whose lifetime is over may still have its copies: %v", err)
	}
	demo, err := l.Prove(ctx, summary.Changed(), sink)
	if err != nil {
		return "", &cli.Error{What: "the lab is up, but the test message was not delivered", Err: err,
			Next: l.After(err, "labctl status", "labctl logs gateway")}
	}
	url, err := l.URL(ctx)
	if err != nil {
		return "", err
	}
	return welcome(l.Line, url, demo, summary.Changed()), nil
}

// welcome is what up ends with: where the chat is, who can log in, and what to try.
func welcome(line func(string) string, url string, demo []app.DemoUser, changed bool) string {
	var b strings.Builder
	if changed {
		b.WriteString("The lab is up, and a test message was delivered.\n\n")
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
		{"labctl status", "show the lab's status"},
		{"labctl ship messaging", "change a service, then roll it out"},
		{"labctl down", "destroy the lab"},
	}
	for _, t := range tries {
		fmt.Fprintf(&b, "  %-*s  %s\n", len(line("labctl ship messaging")), line(t.command), t.what)
	}
	return strings.TrimRight(b.String(), "\n")
}
