// Package outputs is `labctl outputs`.
package outputs

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/zclconf/go-cty/cty"

	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/cli/app"
	"github.com/labctl/labctl/pkg/lab"
	"github.com/labctl/labctl/pkg/stack"
)

// Reader reads the states of the stacks and the journal.
type Reader interface {
	// Outputs gives stack name → output → value, sensitive ones marked. Stacks that were not applied are left out, and so
	// may be stacks with an empty state.
	Outputs(ctx context.Context) (map[string]map[string]cty.Value, error)
	// Steps gives the steps of `up` and how far each got on this machine.
	Steps() ([]lab.Step, error)
}

// Options are the command's flags and arguments.
type Options struct {
	Factory *cli.Factory
	JSON    bool
	Shell   bool
	Stack   string // "" means all
	Output  string // "" means all
	// Open gives the lab's stacks and their states.
	Open func() (*stack.Graph, Reader, error)
}

// NewCmdOutputs makes the command.
func NewCmdOutputs(f *cli.Factory, runF func(*Options) error) *cobra.Command {
	opts := &Options{Factory: f, Open: func() (*stack.Graph, Reader, error) {
		l, err := app.Open(f)
		if err != nil {
			return nil, nil, err
		}
		return l.Graph, l.Engine, nil
	}}
	cmd := &cobra.Command{
		Use:   "outputs [STACK [NAME]]",
		Short: "Print the outputs of the stacks",
		Long: `Print the outputs of all stacks, of one stack, or one output alone. One output alone is printed as its bare value: a
string as it is, everything else as JSON. The values come from the stacks' states; nothing is applied.

Sensitive values are shown only when asked for by name. Otherwise the table says "(sensitive)", --json says null, and
--shell leaves them out. An output that is null is null in the table and in --json, and --shell leaves it out. Numbers
keep all of their digits.`,
		Example: `  labctl outputs
  labctl outputs cluster kubeconfig
  labctl outputs --json | jq -r .cluster.url
  eval "$(labctl outputs --shell)"; curl "$LAB_CLUSTER_URL"`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 2 {
				return cli.Usagef(cmd.CommandPath(), "%s takes a stack and an output, and not %q", cmd.CommandPath(), strings.Join(args[2:], " "))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if opts.JSON && opts.Shell {
				return cli.Usagef(cmd.CommandPath(), "--json and --shell cannot be used together")
			}
			if len(args) > 0 {
				opts.Stack = args[0]
			}
			if len(args) > 1 {
				opts.Output = args[1]
			}
			if runF != nil {
				return runF(opts)
			}
			return run(cmd.Context(), opts)
		},
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			return complete(f, args), cobra.ShellCompDirectiveNoFileComp
		},
	}
	cmd.Flags().BoolVar(&opts.JSON, "json", false, "print JSON: stack, then output, then value")
	cmd.Flags().BoolVar(&opts.Shell, "shell", false, "print lines for a shell: export LAB_CLUSTER_URL='…'")
	return cmd
}

// complete gives the stacks, or the outputs of the stack that was named.
func complete(f *cli.Factory, args []string) []string {
	g, err := f.Graph()
	if err != nil || len(args) > 1 {
		return nil
	}
	var out []string
	if len(args) == 0 {
		for _, s := range g.Stacks {
			out = append(out, s.Name)
		}
		return out
	}
	s, err := g.Stack(args[0])
	if err != nil {
		return nil
	}
	return declared(s)
}

func declared(s *stack.Stack) []string {
	return slices.Sorted(maps.Keys(s.Outputs))
}

func run(ctx context.Context, opts *Options) error {
	g, reader, err := opts.Open()
	if err != nil {
		return err
	}
	stacks := g.Stacks
	if opts.Stack != "" {
		s, err := g.Stack(opts.Stack)
		if err != nil {
			return err
		}
		stacks = []*stack.Stack{s}
	}
	if s := stacks[0]; opts.Output != "" && s.Outputs[opts.Output] == nil {
		return fmt.Errorf("stack %q has no output %q; it has %s", s.ID, opts.Output, list(declared(s)))
	}
	values, err := reader.Outputs(ctx)
	if err != nil {
		return err
	}
	var rows []row
	for _, s := range stacks {
		found, err := pick(s, values[s.Name], opts.Output)
		if err != nil {
			return err
		}
		rows = append(rows, found...)
	}
	if len(rows) == 0 {
		if err := checkApplied(reader, stacks, values, opts); err != nil {
			return err
		}
	}
	return show(opts.Factory.IO.Out, rows, opts)
}

func list(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// checkApplied tells apart the two reasons why the stacks have no output to print. They have none, or they get them when
// they are applied, which is an error. An output that was asked for by name must be there.
func checkApplied(reader Reader, stacks []*stack.Stack, values map[string]map[string]cty.Value, opts *Options) error {
	next := []string{"labctl up"}
	if opts.Stack != "" {
		next = []string{"labctl up " + cli.Quote(opts.Stack)}
	}
	steps, err := reader.Steps()
	if err != nil {
		return err
	}
	applied := func(s *stack.Stack) bool {
		return values[s.Name] != nil || slices.ContainsFunc(steps, func(step lab.Step) bool {
			return step.Name == s.ID && step.State == lab.Done
		})
	}
	waiting := slices.ContainsFunc(stacks, func(s *stack.Stack) bool { return len(s.Outputs) > 0 && !applied(s) })
	up := len(values) > 0 || slices.ContainsFunc(steps, func(step lab.Step) bool { return step.State != lab.Pending })
	switch {
	case waiting && !up:
		return &cli.Error{What: "the lab is not up", Next: next}
	case opts.Output != "":
		return &cli.Error{What: fmt.Sprintf("output %q of stack %q has no value", opts.Output, opts.Stack), Next: next}
	case waiting && opts.Stack != "":
		return &cli.Error{What: fmt.Sprintf("stack %q has no outputs yet", opts.Stack), Next: next}
	case waiting:
		return &cli.Error{What: "no stack has outputs yet", Next: next}
	}
	return nil
}

func show(out io.Writer, rows []row, opts *Options) error {
	var text string
	var err error
	switch {
	case opts.JSON:
		text, err = asJSON(rows)
	case opts.Shell:
		text, err = shell(rows)
	case opts.Output != "":
		if text = rows[0].text; !strings.HasSuffix(text, "\n") {
			text += "\n"
		}
	case len(rows) == 0 && opts.Stack != "":
		text = fmt.Sprintf("Stack %q has no outputs.\n", opts.Stack)
	case len(rows) == 0:
		text = "The stacks have no outputs.\n"
	default:
		text = table(rows)
	}
	if err != nil {
		return err
	}
	_, err = io.WriteString(out, text)
	return err
}
