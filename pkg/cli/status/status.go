// Package status is `labctl status`.
package status

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/cli/app"
	"github.com/labctl/labctl/pkg/status"
	"github.com/labctl/labctl/pkg/tui"
)

// Options are the command's flags.
type Options struct {
	Factory *cli.Factory
	Plain   bool
	JSON    bool
	Watch   bool
	Wait    string
	Timeout time.Duration
}

// NewCmdStatus makes the command.
func NewCmdStatus(f *cli.Factory, runF func(*Options) error) *cobra.Command {
	opts := &Options{Factory: f}
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the lab's status",
		Long: `Show how far the stacks got, whether the cluster's own processes run, and whether its workloads are ready.

On a terminal, show it on the whole screen, and go on as it changes: enter opens what is under the cursor, ? shows the
keys, q leaves. Elsewhere, and with --plain, print it once. The exit code is then 0 when the whole lab is up and ready,
and 2 when something is missing or not ready.

The cluster is asked through the kubeconfig that the stacks give. A lab that declares no cluster (no lab_cluster, no
release, no output called kubeconfig) is up when all of its steps are done.

With --watch, go on and print each change as a line, or with --json each status as a line, until Ctrl-C.

With --wait, print nothing until the lab (up, down) or a part of it reaches a state: KIND/NAME=STATE, or KIND/NAME for
up. The kinds are stack, step, cluster, component, node, deployment, statefulset, daemonset, pod, application, service, group,
shadow and source; the states are up, working, pending, partial, failed, down and unknown. The exit code is 2 if the time
is over first.`,
		Example: `  labctl status
  labctl status --json | jq .problems
  labctl status --watch
  labctl status --wait up --timeout 10m
  labctl status --wait deployment/gateway`,
		Args: cli.Takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if runF != nil {
				return runF(opts)
			}
			return run(cmd.Context(), opts)
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&opts.Plain, "plain", false, "print the status once, also on a terminal")
	flags.BoolVar(&opts.JSON, "json", false, "print JSON")
	flags.BoolVarP(&opts.Watch, "watch", "w", false, "print what changes, until Ctrl-C")
	flags.StringVar(&opts.Wait, "wait", "", "wait until `CONDITION` holds, such as up or deployment/gateway=up")
	flags.DurationVar(&opts.Timeout, "timeout", 5*time.Minute, "wait for `TIME` at most")
	cmd.MarkFlagsMutuallyExclusive("watch", "wait")
	return cmd
}

func run(ctx context.Context, opts *Options) error {
	var goal status.Goal
	if opts.Wait != "" {
		var err error
		if goal, err = status.ParseGoal(opts.Wait); err != nil {
			return &cli.Error{What: "--wait: " + err.Error(), Next: []string{"labctl status --help"}, Code: cli.ExitConfig}
		}
	}
	l, err := app.Open(opts.Factory)
	if err != nil {
		return err
	}
	from := sources(l)
	switch {
	case opts.Wait != "":
		return wait(ctx, opts, from, goal)
	case opts.Watch:
		return watch(ctx, opts, from)
	case opts.Factory.IO.Screen && !opts.Plain && !opts.JSON:
		return screen(ctx, opts, l, from)
	}
	s := status.Collect(ctx, from)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := show(opts, s); err != nil {
		return err
	}
	return ending(opts, s)
}

// screen shows the lab until the user has seen enough.
func screen(ctx context.Context, opts *Options, l *app.Lab, from status.Sources) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	o := opener{lab: l, kubectl: func(ctx context.Context) (string, error) { return app.FindTool(ctx, opts.Factory, "kubectl") }}
	return tui.Run(ctx, tui.Options{
		Snapshots: status.Watch(ctx, from), Open: o.open, Actions: actor{l, opts.Factory}.actions, Line: l.Line, In: opts.Factory.IO.In, Out: opts.Factory.IO.Out, Color: opts.Factory.IO.Color,
	})
}

func show(opts *Options, s *status.Snapshot) error {
	if opts.JSON {
		return cli.WriteJSON(opts.Factory.IO.Out, s)
	}
	return s.Text(opts.Factory.IO.Out)
}

// ending is the error that the command ends with.
func ending(opts *Options, s *status.Snapshot) error {
	switch {
	case s.State == status.Up:
		return nil
	case opts.JSON:
		return cli.Silent(cli.ExitChanges)
	}
	what, next, left := "the lab is up, and there is a state without a stack", []string(nil), 0
	for _, f := range s.Findings {
		switch f.Source {
		case releasesSource:
			what = "the lab is up, and there is more than its files say"
		case statesSource:
		default:
			continue
		}
		next, left = append(next, f.Next), left+1
	}
	if left > 0 && len(s.Problems) == left { // they are all that is wrong
		return &cli.Error{What: what, Next: slices.Compact(next), Code: cli.ExitChanges}
	}
	return &cli.Error{What: "the lab is not completely up", Next: []string{"labctl up"}, Code: cli.ExitChanges}
}

// wait returns when a goal is reached.
func wait(ctx context.Context, opts *Options, from status.Sources, goal status.Goal) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	over := time.NewTimer(opts.Timeout)
	defer over.Stop()
	snapshots, why := status.Watch(ctx, from), "nothing is known of it yet"
	for {
		select {
		case s, more := <-snapshots:
			if !more {
				return context.Cause(ctx)
			}
			reached := false
			if reached, why = s.Reached(goal); reached {
				if opts.JSON {
					return cli.WriteJSON(opts.Factory.IO.Out, s)
				}
				return nil
			}
		case <-over.C:
			return &cli.Error{What: fmt.Sprintf("waited %s for %s: %s", opts.Timeout, goal, why), Next: []string{"labctl status"}, Code: cli.ExitChanges}
		}
	}
}

// watch prints what changes, until the user has seen enough.
func watch(ctx context.Context, opts *Options, from status.Sources) error {
	var last *status.Snapshot
	for s := range status.Watch(ctx, from) {
		if !s.Complete() && last == nil {
			continue
		}
		if err := tell(opts, last, s); err != nil {
			return err
		}
		last = s
	}
	return context.Cause(ctx)
}

func tell(opts *Options, last, s *status.Snapshot) error {
	out := opts.Factory.IO.Out
	switch {
	case opts.JSON:
		line, err := json.Marshal(s)
		if err == nil {
			_, err = out.Write(append(line, '\n'))
		}
		return err
	case last == nil:
		if err := s.Text(out); err != nil {
			return err
		}
		_, err := io.WriteString(out, "\n")
		return err
	}
	for _, line := range s.Since(last) {
		if _, err := fmt.Fprintf(out, "%s  %s\n", s.At.Local().Format(time.TimeOnly), line); err != nil {
			return err
		}
	}
	return nil
}
