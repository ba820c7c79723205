// Package status is `labctl status`.
package status

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/spf13/cobra"

	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/cli/wire"
	"github.com/labctl/labctl/pkg/cluster"
	"github.com/labctl/labctl/pkg/kube"
	"github.com/labctl/labctl/pkg/status"
)

// Options are the command's flags.
type Options struct {
	Factory *cli.Factory
	JSON    bool
}

// NewCmdStatus makes the command.
func NewCmdStatus(f *cli.Factory, runF func(*Options) error) *cobra.Command {
	opts := &Options{Factory: f}
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say what stands, and how it is",
		Long: `Show how far the stacks got, whether the cluster's own processes run, and how its workloads are. The exit code is 0
when the lab is up and well, and 2 when up would have something to do.`,
		Example: `  labctl status
  labctl status --json | jq .problems`,
		Args: cli.Takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if runF != nil {
				return runF(opts)
			}
			return run(cmd.Context(), opts)
		},
	}
	cmd.Flags().BoolVar(&opts.JSON, "json", false, "print JSON")
	return cmd
}

func run(ctx context.Context, opts *Options) error {
	l, err := wire.Open(opts.Factory)
	if err != nil {
		return err
	}
	from, err := sources(ctx, l)
	if err != nil {
		return err
	}
	s := status.Collect(ctx, from)
	if opts.JSON {
		encoder := json.NewEncoder(opts.Factory.IO.Out)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(s)
	} else {
		err = s.Text(opts.Factory.IO.Out)
	}
	switch {
	case err != nil:
		return err
	case s.State == status.Up:
		return nil
	case opts.JSON:
		return cli.Silent(cli.ExitChanges)
	}
	return &cli.Error{What: "the lab is not all up", Next: []string{"labctl up"}, Code: cli.ExitChanges}
}

// sources says where a snapshot of the lab comes from.
func sources(ctx context.Context, l *wire.Lab) (status.Sources, error) {
	from := status.Sources{Lab: l.Graph.Lab.Name, Environment: l.Graph.Env.Name, Target: l.Graph.Env.Target}
	from.Steps = func() ([]status.Step, error) {
		steps, err := l.Engine.Steps()
		var out []status.Step
		for _, s := range steps {
			out = append(out, status.Step{Name: s.Name, Stack: s.Stack, State: string(s.State), At: s.At, Detail: s.Detail})
		}
		return out, err
	}
	if url, err := l.URL(ctx); err == nil {
		from.URLs = []status.URL{{Name: "chat", Address: url}}
	}
	dir, err := l.ClusterDir()
	switch {
	case errors.Is(err, wire.ErrNoCluster):
		from.NoAPI = "there is no cluster yet"
		return from, nil
	case err == nil:
		from.Processes = func(context.Context) ([]status.Component, int64, error) { return processes(dir) }
	}
	kubeconfig, err := l.Kubeconfig(ctx)
	if err != nil {
		from.NoAPI = "its kubeconfig is not known yet"
		return from, nil
	}
	client, err := kube.New([]byte(kubeconfig))
	if err != nil {
		return from, err
	}
	from.API = client.Core
	return from, nil
}

func processes(dir string) ([]status.Component, int64, error) {
	s, err := cluster.Inspect(dir)
	if err != nil || !s.Exists {
		return nil, 0, err
	}
	if !s.Running {
		return []status.Component{{Name: "node", Reason: "it is stopped; `labctl cluster start` or `labctl up` starts it"}}, 0, nil
	}
	var out []status.Component
	for _, c := range s.Components {
		out = append(out, status.Component{Name: c.Name, Running: c.Running, Restarts: c.Restarts, Since: c.Since, Reason: c.LastExit})
	}
	return out, s.MemoryBytes, nil
}
