// Package cluster is `labctl cluster` and its subcommands.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/cli/app"
	"github.com/labctl/labctl/pkg/cluster"
	"github.com/labctl/labctl/pkg/cluster/node"
	"github.com/labctl/labctl/pkg/event"
)

// NewCmdCluster makes the command.
func NewCmdCluster(f *cli.Factory) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cluster",
		Short: "Inspect, stop and start the lab's Kubernetes nodes",
		Long: `Inspect, stop and start the processes of the lab's Kubernetes nodes. They run on this machine whether or not labctl
runs. The chat's data survives a stop.`,
		Example: `  labctl cluster status
  labctl cluster logs kubelet -f
  labctl cluster stop`,
		Args: cobra.NoArgs, // what is no subcommand is a mistake, not an argument
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newCmdStatus(f, nil), newCmdStop(f, nil), newCmdStart(f, nil), newCmdLogs(f, nil))
	return cmd
}

// StatusOptions are the flags of `labctl cluster status`.
type StatusOptions struct {
	Factory *cli.Factory
	JSON    bool
}

func newCmdStatus(f *cli.Factory, runF func(*StatusOptions) error) *cobra.Command {
	opts := &StatusOptions{Factory: f}
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show which of the cluster's processes are running",
		Args:  cli.Takes(),
		RunE: func(*cobra.Command, []string) error {
			if runF != nil {
				return runF(opts)
			}
			return runStatus(opts)
		},
	}
	cmd.Flags().BoolVar(&opts.JSON, "json", false, "print JSON")
	return cmd
}

func runStatus(opts *StatusOptions) error {
	l, err := app.Open(opts.Factory)
	if err != nil {
		return err
	}
	var s cluster.Status // of a cluster that does not exist
	undeclared := false
	switch dir, err := l.ClusterDir(); {
	case err == nil:
		if s, err = cluster.Inspect(dir); err != nil {
			return fmt.Errorf("inspect the cluster: %w", err)
		}
	case errors.Is(err, app.ErrUndeclared):
		undeclared = true
	case !errors.Is(err, app.ErrNoCluster):
		return err
	}
	out := opts.Factory.IO.Out
	if opts.JSON {
		return cli.WriteJSON(out, s)
	}
	switch {
	case undeclared:
		_, err = fmt.Fprintf(out, "%v; `labctl status` shows the lab\n", app.ErrUndeclared)
	case !s.Exists:
		_, err = fmt.Fprintln(out, "there is no cluster; `labctl up` creates it")
	case !s.Running:
		_, err = fmt.Fprintln(out, "the cluster is stopped; `labctl cluster start` starts it")
	default:
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		_, _ = fmt.Fprintf(w, "running\tpid %d\t%.2f GiB with its pods\n", s.PID, float64(s.MemoryBytes)/(1<<30))
		for _, c := range s.Components {
			state := "stopped"
			if c.Running {
				state = "running"
			}
			_, _ = fmt.Fprintf(w, "%s\t%s\t%s\n", c.Name, state, history(c))
		}
		err = w.Flush()
	}
	return err
}

// history tells how often a component was restarted, and how it last ended.
func history(c node.ComponentState) string {
	if c.Restarts == 0 {
		return ""
	}
	return fmt.Sprintf("restarted %d times, last: %s", c.Restarts, c.LastExit)
}

// Options are the flags of `labctl cluster stop` and `start`.
type Options struct {
	Factory *cli.Factory
	Node    string // of stop: the one node, or "" for all
	JSON    bool
}

func newCmdStop(f *cli.Factory, runF func(*Options) error) *cobra.Command {
	opts := &Options{Factory: f}
	cmd := newCmdChange(opts, runF, &cobra.Command{
		Use:   "stop",
		Short: "Stop the cluster's processes, and keep its data",
		Long: `Stop the cluster's processes, and keep its data. With --node, that node alone loses its power: its processes and pods
end at once, and the cluster notices by itself, as it would with any machine.`,
		Example: `  labctl cluster stop
  labctl cluster stop --node chat-2`,
	}, func(ctx context.Context, l *app.Lab, sink event.Sink) (string, error) {
		if opts.Node != "" {
			return fmt.Sprintf("Node %s is off. `labctl kubectl get nodes` shows when the cluster notices; `labctl cluster start` or `labctl up` starts it again.", opts.Node),
				l.StopNode(ctx, sink, opts.Node)
		}
		return "The cluster is stopped. `labctl cluster start` or `labctl up` starts it again.", l.Stop(ctx, sink, "cluster")
	})
	cmd.Flags().StringVar(&opts.Node, "node", "", "stop the `NODE` alone, as if it lost its power")
	return cmd
}

func newCmdStart(f *cli.Factory, runF func(*Options) error) *cobra.Command {
	return newCmdChange(&Options{Factory: f}, runF, &cobra.Command{
		Use:   "start",
		Short: "Start the cluster's processes again",
	}, func(ctx context.Context, l *app.Lab, sink event.Sink) (string, error) {
		return "The cluster runs.", l.Start(ctx, sink, "cluster")
	})
}

// newCmdChange completes a command that changes the cluster and says what came of it.
func newCmdChange(opts *Options, runF func(*Options) error, cmd *cobra.Command, change func(context.Context, *app.Lab, event.Sink) (result string, err error)) *cobra.Command {
	cmd.Args = cli.Takes()
	verb := "cluster-" + cmd.Name()
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if runF != nil {
			return runF(opts)
		}
		l, err := app.Open(opts.Factory)
		if err != nil {
			return err
		}
		return opts.Factory.Progress(cmd.Context(), verb, opts.JSON, func(sink event.Sink) error {
			sink.Emit(event.Event{Kind: event.Started, Step: "cluster"})
			result, err := change(cmd.Context(), l, sink)
			if err != nil {
				sink.Emit(event.Event{Kind: event.Failed, Step: "cluster", Err: err.Error()})
				return &cli.Error{What: cmd.Name() + " the cluster", Err: err}
			}
			sink.Emit(event.Event{Kind: event.Done, Step: "cluster"})
			sink.Emit(event.Event{Kind: event.Result, Message: result})
			return nil
		})
	}
	cmd.Flags().BoolVar(&opts.JSON, "json", false, "print events to stdout as JSON, one per line")
	return cmd
}

// LogsOptions are the flags of `labctl cluster logs`.
type LogsOptions struct {
	Factory   *cli.Factory
	Component string
	Follow    bool
	Lines     int
}

func newCmdLogs(f *cli.Factory, runF func(*LogsOptions) error) *cobra.Command {
	opts := &LogsOptions{Factory: f}
	cmd := &cobra.Command{
		Use:     "logs COMPONENT",
		Short:   "Print the log of one of the cluster's processes",
		Example: `  labctl cluster logs kubelet -f`,
		Args:    cli.Takes("COMPONENT"),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			l, err := app.Open(f)
			if err != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			dir, err := l.ClusterDir()
			if err != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			var names []string
			if s, err := cluster.Inspect(dir); err == nil {
				for _, c := range s.Components {
					names = append(names, c.Name)
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.Component = args[0]
			if runF != nil {
				return runF(opts)
			}
			l, err := app.Open(f)
			if err != nil {
				return err
			}
			dir, err := l.ClusterDir()
			if err != nil {
				return err
			}
			return cluster.Log(cmd.Context(), dir, opts.Component, opts.Lines, opts.Follow, f.IO.Out)
		},
	}
	cmd.Flags().BoolVarP(&opts.Follow, "follow", "f", false, "follow the log")
	cmd.Flags().IntVarP(&opts.Lines, "lines", "n", 50, "start with the last `N` lines")
	return cmd
}
