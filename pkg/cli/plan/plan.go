// Package plan is `labctl plan`.
package plan

import (
	"context"
	"fmt"
	"slices"
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
	Factory  *cli.Factory
	Choice   choice.Flags
	Out      string
	Affected bool
	Why      bool
	JSON     bool
}

// NewCmdPlan makes the command.
func NewCmdPlan(f *cli.Factory, runF func(*Options) error) *cobra.Command {
	opts := &Options{Factory: f}
	cmd := &cobra.Command{
		Use:   "plan [STACK...]",
		Short: "Show what up would do, without doing it",
		Long: `Plan every stack as far as possible. A stack whose inputs are known gets terraform's own plan. In the plan of any other
stack the unknown values stay unknown, and the plan names the output and the stack that it waits for. labctl never
invents a value.

With --out, keep the plans of the stacks whose inputs are known. ` + "`labctl up --plan DIR`" + ` then applies exactly these
plans, or says what has changed since. The plans contain the stacks' inputs in clear text: protect them like a
password.

The exit code is 0 when there is nothing to do and 2 when there are changes.`,
		Example: `  labctl plan
  labctl plan --affected --why
  labctl plan --out plans && labctl up --plan plans`,
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
	opts.Choice.AddParallelOnly(cmd)
	cmd.Flags().StringVarP(&opts.Out, "out", "o", "", "keep the plans in `DIR` for labctl up --plan DIR")
	cmd.Flags().BoolVar(&opts.Affected, "affected", false, "plan only stacks whose files, inputs or state changed since they were last applied")
	cmd.Flags().BoolVar(&opts.Why, "why", false, "show for each stack why there is something to do")
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
	var plans []*lab.StackPlan
	err = f.Progress(ctx, "plan", false, func(sink event.Sink) error {
		o := l.Run("labctl plan", sink)
		opts.Choice.Apply(&o)
		o.Affected, o.Why = opts.Affected, opts.Why
		var err error
		if plans, err = l.Engine.Plan(ctx, o, opts.Out); err != nil {
			return &cli.Error{What: "the lab was not planned", Err: choice.Explain("labctl plan", err), Next: l.After(err)}
		}
		return nil
	})
	if err != nil {
		return err
	}
	changes := false
	for _, p := range plans {
		changes = changes || p.Any() || p.Orphan != ""
	}
	if opts.JSON {
		if plans == nil {
			plans = []*lab.StackPlan{}
		}
		err = cli.WriteJSON(f.IO.Out, plans)
	} else {
		_, err = fmt.Fprint(f.IO.Out, text(plans, opts, f.Line))
	}
	if err == nil && changes {
		err = cli.Silent(cli.ExitChanges)
	}
	return err
}

// signs are terraform's own for what happens to a resource.
var signs = map[string]string{"create": "+", "update": "~", "delete": "-", "replace": "±", "read": "?", "forget": "x", "import": "<", "move": ">"}

// Text shows plans to people. Anything says whether they do, or may do, anything; with why it says what for.
func Text(plans []*lab.StackPlan, why bool) (text string, anything bool) {
	var b strings.Builder
	for _, p := range plans {
		if p.Orphan != "" {
			fmt.Fprintf(&b, "! %s\n", p.Orphan)
			continue
		}
		what := "nothing to change"
		changes := fmt.Sprintf("%d to add, %d to change, %d to destroy", p.Changes.Added, p.Changes.Changed, p.Changes.Destroyed)
		switch {
		case p.Partial:
			what = changes + ", as far as it is known before " + strings.Join(p.Waits, "; ")
		case len(p.Waits) > 0:
			what = "not known before " + strings.Join(p.Waits, "; ")
		case p.Any():
			what = changes
		}
		fmt.Fprintf(&b, "%s: %s\n", p.Stack, what)
		if why && p.Why != "" {
			fmt.Fprintf(&b, "    because %s\n", p.Why)
		}
		for _, a := range p.Actions {
			sign := signs[a.Verb]
			if sign == "" {
				sign = a.Verb
			}
			fmt.Fprintf(&b, "  %s %s\n", sign, a.Address)
			for _, u := range a.Unknown {
				fmt.Fprintf(&b, "      %s = (known after %s)\n", u.Attribute, strings.Join(u.After, "; "))
			}
		}
		if p.Unplanned != "" {
			fmt.Fprintf(&b, "  ? %s\n", strings.ReplaceAll(p.Unplanned, "\n", "\n    "))
		}
		if len(p.Images) > 0 && p.Any() {
			fmt.Fprintf(&b, "  ? images, where their sources changed: %s\n", strings.Join(p.Images, ", "))
		}
		for _, r := range p.Releases {
			switch {
			case len(r.Waits) > 0:
				fmt.Fprintf(&b, "  ? release %s: not known before %s\n", r.Name, strings.Join(r.Waits, "; "))
			case r.Remove:
				fmt.Fprintf(&b, "  - release %s: %s\n", r.Name, r.Why)
			case r.Why != "":
				fmt.Fprintf(&b, "  ~ release %s: %s\n", r.Name, r.Why)
			}
		}
	}
	return b.String(), slices.ContainsFunc(plans, (*lab.StackPlan).Any)
}

func text(plans []*lab.StackPlan, opts *Options, line func(string) string) string {
	var b strings.Builder
	shown, anything := Text(plans, opts.Why)
	b.WriteString(shown)
	switch {
	case !anything && slices.ContainsFunc(plans, func(p *lab.StackPlan) bool { return p.Orphan != "" }):
		b.WriteString("\nNothing to do for labctl up. What has no stack is yours to decide.\n")
	case !anything:
		if len(plans) > 0 {
			b.WriteString("\n")
		}
		b.WriteString("Nothing to do.\n")
	case opts.Out != "":
		fmt.Fprintf(&b, "\nThe plans are in %s. Next: %s\n", opts.Out, line("labctl up --plan "+cli.Quote(opts.Out)))
	default:
		fmt.Fprintf(&b, "\nNothing was done. Next: %s\n", line("labctl up"+opts.Choice.Words()))
	}
	return b.String()
}
