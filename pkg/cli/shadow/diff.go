package shadow

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/shadow"
	"github.com/labctl/labctl/pkg/shadow/compare"
)

// DiffOptions are the flags of `labctl shadow diff`.
type DiffOptions struct {
	Factory *cli.Factory
	Service string
	JSON    bool
}

func newCmdDiff(f *cli.Factory, runF func(*DiffOptions) error) *cobra.Command {
	opts := &DiffOptions{Factory: f}
	cmd := &cobra.Command{
		Use:   "diff SERVICE",
		Short: "Show where a shadow's version differs from the live one",
		Long: `Show the results that differ, grouped by where and how they do, with one example each. A result is all that a version
wrote because of one record, or its answer to a request. A record is named by its topic's partition and offset, a request
by the id that logs have of it. What differs between two copies of the live version, too, is left out. The exit code is 2
if there is a difference.`,
		Example: `  labctl shadow diff messaging
  labctl shadow diff messaging --json | jq '.shapes[].shape'`,
		Args: cli.Takes("SERVICE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.Service = args[0]
			if runF != nil {
				return runF(opts)
			}
			return runDiff(cmd.Context(), opts)
		},
	}
	cmd.Flags().BoolVar(&opts.JSON, "json", false, "print JSON")
	return cmd
}

func runDiff(ctx context.Context, opts *DiffOptions) error {
	e, err := evidence(ctx, opts.Factory, opts.Service)
	if err != nil {
		return err
	}
	if opts.JSON {
		err = cli.WriteJSON(opts.Factory.IO.Out, e.Differing)
	} else {
		err = writeDiff(opts.Factory.IO.Out, e)
	}
	if err == nil && len(e.Differing.Shapes) > 0 {
		return cli.Silent(cli.ExitChanges)
	}
	return err
}

// writeDiff prints differences for people.
func writeDiff(out io.Writer, e shadow.Evidence) error {
	if len(e.Differing.Shapes) == 0 {
		_, err := fmt.Fprintf(out, "No difference in %d results.\n", e.Verdict.Samples)
		return err
	}
	for i, s := range e.Differing.Shapes {
		if i > 0 {
			_, _ = fmt.Fprintln(out)
		}
		_, _ = fmt.Fprintf(out, "%d results: %s\n  first %s, last %s", s.Count, s.Shape, s.First, s.Last)
		if len(s.Example.Differences) > 0 { // kept evidence has none
			_, _ = fmt.Fprint(out, "; the first:")
		}
		_, _ = fmt.Fprintln(out)
		for _, d := range s.Example.Differences {
			if err := writeDifference(out, d); err != nil {
				return err
			}
		}
	}
	if e.Differing.Others > 0 {
		_, _ = fmt.Fprintf(out, "\n%d more results differ in other ways; after %d of them no more are kept.\n", e.Differing.Others, e.Differing.Limit)
	}
	return nil
}

func writeDifference(out io.Writer, d compare.Difference) error {
	_, err := fmt.Fprintf(out, "    %s %s\n", d.Path, d.Change)
	if len(d.Live) > 0 {
		_, err = fmt.Fprintf(out, "      live       %s\n", d.Live)
	}
	if len(d.Other) > 0 {
		_, err = fmt.Fprintf(out, "      candidate  %s\n", d.Other)
	}
	return err
}
