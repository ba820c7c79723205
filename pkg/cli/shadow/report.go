package shadow

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

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
	JSON    bool
}

func newCmdReport(f *cli.Factory, runF func(*ReportOptions) error) *cobra.Command {
	opts := &ReportOptions{Factory: f}
	cmd := &cobra.Command{
		Use:   "report SERVICE",
		Short: "Print the evidence of a shadow, to keep",
		Long: `Print all that a verdict rests on, as Markdown: the policy, the conditions with their bounds, the copies, and the
differing results with an example each. Examples have what people said: mind who reads them. Where there is no shadow any
more, it is the evidence of the last promotion, which has none.`,
		Example: `  labctl shadow report messaging > shadow.md
  labctl shadow report messaging --json > shadow.json`,
		Args: cli.Takes("SERVICE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.Service = args[0]
			if runF != nil {
				return runF(opts)
			}
			return runReport(cmd.Context(), opts)
		},
	}
	cmd.Flags().BoolVar(&opts.JSON, "json", false, "print JSON, with all of the evidence")
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
	if opts.JSON {
		return cli.WriteJSON(opts.Factory.IO.Out, e)
	}
	return writeReport(opts.Factory.IO.Out, e)
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
	s, err := inCluster(ctx, l, opts.Service)
	if err != nil {
		return e, err
	}
	p, err := s.Last(ctx)
	if errors.Is(err, incluster.ErrNoPromotion) {
		return e, incluster.ErrNone
	}
	return p.Evidence, err
}

// writeReport prints the evidence as Markdown.
func writeReport(out io.Writer, e shadow.Evidence) error {
	v := e.Verdict
	var b strings.Builder
	fmt.Fprintf(&b, "# Shadow of %s: %s\n\n%s\n\n", e.Service, v.State, v.Why)
	fmt.Fprintf(&b, "- candidate: %s\n- began: %s, by %s\n- looked at: %s\n- compared: %d results; %s of the candidate's and %s of the baseline's agree with live\n",
		e.Version, e.Started.UTC().Format(time.RFC3339), e.By, e.At.UTC().Format(time.RFC3339), v.Samples, percent(v.Agreement.Candidate), percent(v.Agreement.Baseline))
	if e.Requests > 0 {
		fmt.Fprintf(&b, "- requests: %d of the results are answers to requests\n", e.Requests)
	}
	if len(e.LeftOut) > 0 {
		fmt.Fprintf(&b, "- left out: %s\n", leftOut(e))
	}
	b.WriteString("\n## Conditions\n\n| condition | state | value | lower | upper | limit | results | why |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n")
	for _, c := range v.Conditions {
		fmt.Fprintf(&b, "| %s | %s | %.5g | %.5g | %.5g | %.5g | %d | %s |\n", strings.TrimSpace(c.Name+" "+c.Kind), c.State, c.Value, c.Lower, c.Upper, c.Limit, c.Samples, c.Why)
	}
	fmt.Fprintf(&b, "\nalpha %g, prior %g, tolerance %g (of one kind %g), at least %d results\n", v.Policy.Alpha, v.Policy.Prior, v.Policy.Tolerance, v.Policy.KindTolerance, v.Policy.Least)
	b.WriteString("\n## Differences\n\n```\n")
	if err := writeDiff(&b, e); err != nil {
		return err
	}
	b.WriteString("```\n")
	_, err := io.WriteString(out, b.String())
	return err
}
