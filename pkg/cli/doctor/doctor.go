// Package doctor is `labctl doctor`, and the look at the machine that up begins with.
package doctor

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/cli/app"
	"github.com/labctl/labctl/pkg/doctor"
	"github.com/labctl/labctl/pkg/event"
)

// step is the name under which the look at the machine reports.
const step = "machine"

var purposes = []doctor.Purpose{doctor.Up, doctor.Dev, doctor.Test}

// Options are the command's flags.
type Options struct {
	Factory *cli.Factory
	Fix     bool
	For     string
	JSON    bool
}

// NewCmdDoctor makes the command.
func NewCmdDoctor(f *cli.Factory, runF func(*Options) error) *cobra.Command {
	opts := &Options{Factory: f}
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check this machine, and install what is missing",
		Long: `Check whether this machine has what the lab needs: permissions, programs, kernel features, ports, disk space and
limits. For everything that is missing, print the commands that install it. With --fix, run them (as root, on Debian or
Ubuntu). The exit code is 4 while something is missing.`,
		Example: `  labctl doctor
  labctl doctor --fix
  labctl doctor --fix --for test     also what make test needs`,
		Args: cli.Takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !slices.Contains(purposes, doctor.Purpose(opts.For)) {
				return cli.Usagef("labctl doctor", "--for %s is unknown; use %v, %v or %v", opts.For, purposes[0], purposes[1], purposes[2])
			}
			if runF != nil {
				return runF(opts)
			}
			return run(cmd.Context(), opts)
		},
	}
	cmd.Flags().BoolVar(&opts.Fix, "fix", false, "install what is missing")
	cmd.Flags().StringVar(&opts.For, "for", string(doctor.Up), "check for `PURPOSE`: up, dev or test")
	cmd.Flags().BoolVar(&opts.JSON, "json", false, "print JSON")
	// It fails for a flag that does not exist or is completed already, and this one is neither.
	_ = cmd.RegisterFlagCompletionFunc("for", cobra.FixedCompletions([]string{
		string(doctor.Up) + "\tlabctl up", string(doctor.Dev) + "\tlabctl dev", string(doctor.Test) + "\tmake test",
	}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func run(ctx context.Context, opts *Options) error {
	f := opts.Factory
	machine, err := app.Machine(f, doctor.Purpose(opts.For))
	if err != nil {
		return err
	}
	findings := doctor.Check(ctx, machine)
	if opts.Fix && len(doctor.Missing(findings)) > 0 {
		err := f.Progress(ctx, "doctor", false, func(sink event.Sink) error { return fix(ctx, machine, findings, sink) })
		if err != nil {
			return err
		}
		findings = doctor.Check(ctx, machine)
	}
	if opts.JSON {
		err = cli.WriteJSON(f.IO.Out, findings)
	} else {
		err = show(f.IO.Out, findings)
	}
	missing := doctor.Missing(findings)
	switch {
	case err != nil:
		return err
	case len(missing) == 0:
		return nil
	case opts.JSON:
		return cli.Silent(cli.ExitMachine)
	}
	out := &cli.Error{What: "this machine is not ready; missing: " + names(missing), Code: cli.ExitMachine}
	if !slices.ContainsFunc(missing, func(f doctor.Finding) bool { return len(f.Packages) == 0 }) {
		next := "labctl doctor --fix"
		if opts.For != string(doctor.Up) {
			next += " --for " + opts.For
		}
		out.Next = []string{next}
	}
	return out
}

// Prepare makes the machine ready, or says what it lacks: what labctl may install is installed.
func Prepare(ctx context.Context, f *cli.Factory, purpose doctor.Purpose, sink event.Sink) error {
	machine, err := app.Machine(f, purpose)
	if err != nil {
		return err
	}
	findings := doctor.Check(ctx, machine)
	if len(doctor.Missing(findings)) == 0 {
		return nil
	}
	return fix(ctx, machine, findings, sink)
}

func fix(ctx context.Context, machine doctor.Options, findings []doctor.Finding, sink event.Sink) error {
	missing := names(doctor.Missing(findings))
	sink.Emit(event.Event{Kind: event.Started, Step: step, Message: "missing: " + missing})
	if err := doctor.Fix(ctx, machine, findings, event.For(sink, step)); err != nil {
		sink.Emit(event.Event{Kind: event.Failed, Step: step, Message: "missing: " + missing})
		return err
	}
	sink.Emit(event.Event{Kind: event.Done, Step: step, Message: "installed " + missing})
	return nil
}

func names(findings []doctor.Finding) string {
	var out []string
	for _, f := range findings {
		out = append(out, f.Name)
	}
	return strings.Join(out, ", ")
}

func show(w io.Writer, findings []doctor.Finding) error {
	longest := 0
	for _, f := range findings {
		longest = max(longest, len(f.Name))
	}
	var b strings.Builder
	for _, f := range findings {
		if f.OK {
			fmt.Fprintf(&b, "✓ %-*s  %s\n", longest, f.Name, f.Have)
			continue
		}
		have := f.Have
		if have == "" {
			have = "missing"
		}
		fmt.Fprintf(&b, "✗ %-*s  %s\n", longest, f.Name, have)
		fmt.Fprintf(&b, "  %-*s  needed: %s\n", longest, "", f.Need)
		for _, command := range f.Fix {
			fmt.Fprintf(&b, "  %-*s  $ %s\n", longest, "", command)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
