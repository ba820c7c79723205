package shadow

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/cli/app"
	"github.com/labctl/labctl/pkg/shadow"
	"github.com/labctl/labctl/pkg/shadow/incluster"
)

// ReportOptions are the flags of `labctl shadow report`.
type ReportOptions struct {
	Factory *cli.Factory
	Service string
	Format  string
}

// The formats of a report.
const (
	markdown = "markdown"
	asJSON   = "json"
	asHTML   = "html"
)

func formats() []string { return []string{markdown, asJSON, asHTML} }

func newCmdReport(f *cli.Factory, runF func(*ReportOptions) error) *cobra.Command {
	opts := &ReportOptions{Factory: f}
	cmd := &cobra.Command{
		Use:   "report SERVICE",
		Short: "Print the evidence of a shadow, to keep",
		Long: `Print all that a verdict rests on: the policy, the conditions with their bounds, the copies, and the differing results with
an example each. Examples have what people said: mind who reads them. Where there is no shadow any more, it is the evidence
of the last promotion, which has none.

As HTML it is one file, which needs no others.`,
		Example: `  labctl shadow report messaging > shadow.md
  labctl shadow report messaging --format html > shadow.html
  labctl shadow report messaging --format json | jq .verdict`,
		Args: cli.Takes("SERVICE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.Service = args[0]
			if !slices.Contains(formats(), opts.Format) {
				return cli.Usagef(cmd.CommandPath(), "--format %q is not known; there are: %s", opts.Format, strings.Join(formats(), ", "))
			}
			if runF != nil {
				return runF(opts)
			}
			return runReport(cmd.Context(), opts)
		},
	}
	cmd.Flags().StringVar(&opts.Format, "format", markdown, "print as `FORMAT`: "+strings.Join(formats(), ", "))
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(formats(), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func runReport(ctx context.Context, opts *ReportOptions) error {
	e, err := ask(ctx, opts.Factory, opts.Service)
	if errors.Is(err, incluster.ErrNone) {
		e, err = keptEvidence(ctx, opts)
	}
	if err != nil {
		return explainNone(err, opts.Service)
	}
	return writeReport(opts.Factory.IO.Out, e, opts.Format)
}

// writeReport prints the evidence.
func writeReport(out io.Writer, e shadow.Evidence, format string) error {
	switch format {
	case asJSON:
		return cli.WriteJSON(out, e)
	case asHTML:
		return newPage(e).writeHTML(out)
	}
	return newPage(e).writeMarkdown(out)
}

// keptEvidence gives that of the last promotion, where there is no shadow any more. The error is incluster.ErrNone where there
// was none.
func keptEvidence(ctx context.Context, opts *ReportOptions) (e shadow.Evidence, err error) {
	l, err := app.Open(opts.Factory)
	if err != nil {
		return e, err
	}
	if _, err := l.Kubeconfig(ctx); err != nil { // the lab is not up
		return e, incluster.ErrNone
	}
	s, err := l.Shadow(ctx, opts.Service)
	if err != nil {
		return e, err
	}
	p, err := s.Last(ctx)
	if errors.Is(err, incluster.ErrNoPromotion) {
		return e, incluster.ErrNone
	}
	return p.Evidence, err
}
