// Package graph is `labctl graph`.
package graph

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/stack"
)

// Options are the command's flags.
type Options struct {
	Factory *cli.Factory
	Format  string
}

func formats() []string { return []string{"text", "dot", "mermaid", "json"} }

// NewCmdGraph makes the command.
func NewCmdGraph(f *cli.Factory, runF func(*Options) error) *cobra.Command {
	opts := &Options{Factory: f}
	cmd := &cobra.Command{
		Use:   "graph",
		Short: "Show the stacks and the outputs that they pass on",
		Long: `Show the environment's stacks in the order in which they run. For each stack, show which outputs of other stacks it
uses, and for what. The graph comes from the configuration alone: the lab need not be up. An asterisk marks a sensitive
output.`,
		Example: `  labctl graph
  labctl graph --format dot | dot -Tsvg > lab.svg
  labctl graph --format mermaid
  labctl graph --format json | jq -r '.edges[].output'`,
		Args: cli.Takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !slices.Contains(formats(), opts.Format) {
				return cli.Usagef(cmd.CommandPath(), "unknown format %q; use one of: %s", opts.Format, strings.Join(formats(), ", "))
			}
			if runF != nil {
				return runF(opts)
			}
			return run(opts)
		},
	}
	cmd.Flags().StringVar(&opts.Format, "format", "text", "print as `FORMAT`: "+strings.Join(formats(), ", "))
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(formats(), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func run(opts *Options) error {
	g, err := opts.Factory.Graph()
	if err != nil {
		return err
	}
	out, err := draw(view(g), opts.Format)
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(opts.Factory.IO.Out, out)
	return err
}

// lab is what is drawn. It is also the form of --format json.
type lab struct {
	Lab         string       `json:"lab"`
	Environment string       `json:"environment"`
	Target      string       `json:"target"`
	Stacks      []node       `json:"stacks"`
	Edges       []stack.Edge `json:"edges"`
}

type node struct {
	ID        string   `json:"id"`
	Number    int      `json:"number"`
	Name      string   `json:"name"`
	Terraform bool     `json:"terraform"`
	Outputs   []string `json:"outputs"`
	Images    []string `json:"images"`
	Releases  []string `json:"releases"`
	Hooks     []string `json:"hooks"`
	Backend   string   `json:"backend"` // its type; "" where the state stays in the lab's own directory
	Needs     []string `json:"needs"`   // the stacks whose outputs it uses, by ID
}

func view(g *stack.Graph) lab {
	out := lab{Lab: g.Lab.Name, Environment: g.Env.Name, Target: g.Env.Target, Stacks: []node{}, Edges: g.Edges()}
	if out.Edges == nil {
		out.Edges = []stack.Edge{}
	}
	for _, s := range g.Stacks {
		n := node{ID: s.ID, Number: s.Number, Name: s.Name, Terraform: s.HasTerraform(),
			Outputs: []string{}, Images: []string{}, Releases: []string{}, Hooks: []string{}, Needs: []string{}}
		for name := range s.Outputs {
			n.Outputs = append(n.Outputs, name)
		}
		slices.Sort(n.Outputs)
		for _, i := range s.Images {
			n.Images = append(n.Images, i.Name)
		}
		for _, r := range s.Releases {
			n.Releases = append(n.Releases, r.Name)
		}
		for _, h := range s.Hooks {
			n.Hooks = append(n.Hooks, h.Name)
		}
		if s.Backend != nil {
			n.Backend = s.Backend.Type
		}
		for _, other := range g.Stacks {
			if slices.ContainsFunc(out.Edges, func(e stack.Edge) bool { return e.From == other.ID && e.To == s.ID }) {
				n.Needs = append(n.Needs, other.ID)
			}
		}
		out.Stacks = append(out.Stacks, n)
	}
	return out
}
