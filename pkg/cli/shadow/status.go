package shadow

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/shadow"
	"github.com/labctl/labctl/pkg/shadow/side"
	"github.com/labctl/labctl/pkg/shadow/verdict"
)

// StatusOptions are the flags of `labctl shadow status`.
type StatusOptions struct {
	Factory *cli.Factory
	Service string
	Watch   bool
	Wait    time.Duration
	JSON    bool
}

// watchEvery is the time between two looks.
const watchEvery = 2 * time.Second

func newCmdStatus(f *cli.Factory, runF func(*StatusOptions) error) *cobra.Command {
	opts := &StatusOptions{Factory: f}
	cmd := &cobra.Command{
		Use:   "status [SERVICE]",
		Short: "Show how a shadow's version does, and the verdict",
		Long: `Show how many results were compared, how many agree, how the copies run, and the verdict with its reason. The verdict holds
whenever you look: to look often, or to stop when you like what you see, makes it no less sure.

With --wait, wait until there is a verdict. The exit code is then 0 for pass, 1 for fail, and 2 if it is still
inconclusive when the time is over.`,
		Example: `  labctl shadow status
  labctl shadow status messaging --watch
  labctl shadow status messaging --wait 10m`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.Service = takes(args)
			if runF != nil {
				return runF(opts)
			}
			return runStatus(cmd.Context(), opts)
		},
	}
	cmd.Flags().BoolVarP(&opts.Watch, "watch", "w", false, "look again every two seconds, until Ctrl-C")
	cmd.Flags().DurationVar(&opts.Wait, "wait", 0, "wait at most `TIME` for a verdict, and exit by it")
	cmd.Flags().BoolVar(&opts.JSON, "json", false, "print JSON")
	cmd.MarkFlagsMutuallyExclusive("watch", "wait")
	return cmd
}

func runStatus(ctx context.Context, opts *StatusOptions) error {
	deadline := time.Now().Add(opts.Wait)
	for {
		e, err := evidence(ctx, opts.Factory, opts.Service)
		if err != nil {
			return err
		}
		decided := e.Verdict.State != verdict.Inconclusive || opts.Wait == 0 || e.Error+e.Ended != "" || time.Now().After(deadline)
		if opts.Watch || decided {
			if err := showStatus(opts, e); err != nil {
				return err
			}
		}
		if opts.Wait > 0 && decided {
			return cli.Silent(exitCode(e))
		}
		if !opts.Watch && opts.Wait == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(watchEvery):
		}
	}
}

// exitCode is what a pipeline goes by.
func exitCode(e shadow.Evidence) cli.ExitCode {
	switch e.Verdict.State {
	case verdict.Pass:
		return cli.ExitOK
	case verdict.Fail:
		return cli.ExitFailed
	}
	return cli.ExitChanges
}

func showStatus(opts *StatusOptions, e shadow.Evidence) error {
	if opts.JSON {
		e.Differing = nil // labctl shadow diff has them
		return cli.WriteJSON(opts.Factory.IO.Out, e)
	}
	return writeStatus(opts.Factory.IO.Out, e)
}

// writeStatus prints a status for people.
func writeStatus(out io.Writer, e shadow.Evidence) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	v := e.Verdict
	_, _ = fmt.Fprintf(w, "shadow of\t%s\n", e.Service)
	_, _ = fmt.Fprintf(w, "candidate\t%s\n", e.Version)
	_, _ = fmt.Fprintf(w, "since\t%s (%s), by %s\n", e.Started.Local().Format(time.DateTime), e.At.Sub(e.Started).Round(time.Second), e.By)
	switch {
	case e.Ended != "":
		_, _ = fmt.Fprintf(w, "ended\t%s\n", e.Ended)
	case !e.Ends.IsZero():
		_, _ = fmt.Fprintf(w, "ends\tin %s\n", shadow.Brief(max(0, e.Ends.Sub(e.At)).Round(time.Minute)))
	}
	agree := ""
	if v.Samples > 0 {
		agree = fmt.Sprintf("; %s agree with live (baseline: %s)", percent(v.Agreement.Candidate), percent(v.Agreement.Baseline))
	}
	_, _ = fmt.Fprintf(w, "compared\t%d results%s\n", v.Samples, agree)
	writeFacts(w, countedFacts(e))
	_, _ = fmt.Fprintf(w, "verdict\t%s\n", v.Sentence())
	writeFacts(w, troubleFacts(e))
	if err := w.Flush(); err != nil {
		return err
	}
	_, _ = fmt.Fprintln(out)
	_, _ = fmt.Fprintln(w, "SIDE\tBEHIND\tRESTARTS\tMEMORY")
	for _, s := range side.All() {
		f := e.Sides[s.String()]
		_, _ = fmt.Fprintf(w, "%s\t%d\t%d\t%s\n", s, f.Lag, f.Restarts, memory(f))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return writeOpen(out, v)
}

func writeFacts(w io.Writer, facts []fact) {
	for _, f := range facts {
		_, _ = fmt.Fprintf(w, "%s\t%s\n", f.Name, f.Is)
	}
}

// memory says what a side's process holds.
func memory(f shadow.SideFacts) string {
	if f.Memory == 0 {
		return "-"
	}
	return fmt.Sprintf("%d MiB", f.Memory>>20)
}

// writeOpen prints the conditions that do not pass, those that fail first. The report has all.
func writeOpen(out io.Writer, v verdict.Verdict) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	passed := 0
	_, _ = fmt.Fprintln(out)
	for _, state := range []verdict.State{verdict.Fail, verdict.Inconclusive, verdict.Pass} {
		for _, c := range v.Conditions {
			switch {
			case c.State != state:
			case state == verdict.Pass:
				passed++
			default:
				_, _ = fmt.Fprintf(w, "%s\t%s\t%s\n", c.State, strings.TrimSpace(c.Name+" "+c.Kind), c.Why)
			}
		}
	}
	_, _ = fmt.Fprintf(w, "%d of %d conditions pass.\n", passed, len(v.Conditions))
	return w.Flush()
}

// percent never rounds up to 100 what is less.
func percent(share float64) string {
	if share < 1 && share > 0.9999 {
		return "more than 99.99 %"
	}
	return fmt.Sprintf("%.2f %%", 100*share)
}
