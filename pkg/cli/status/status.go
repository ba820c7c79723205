// Package status is `labctl status`.
package status

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/cli/app"
	"github.com/labctl/labctl/pkg/cluster"
	"github.com/labctl/labctl/pkg/kube"
	"github.com/labctl/labctl/pkg/lab"
	"github.com/labctl/labctl/pkg/status"
)

// remoteTimeout bounds each question to a cluster that runs elsewhere: kubelogin alone may take some seconds for a token.
const remoteTimeout = 15 * time.Second

// straysTimeout bounds the question which releases a cluster has of this lab.
const straysTimeout = 3 * time.Second

const unread = "the outputs of the stacks cannot be read"

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
		Short: "Show the lab's status",
		Long: `Show how far the stacks got, whether the cluster's own processes run, and whether its workloads are ready. The exit
code is 0 when the whole lab is up and ready, and 2 when something is missing or not ready.

The cluster is asked through the kubeconfig that the stacks give. A lab that declares no cluster (no lab_cluster, no
release, no output called kubeconfig) is up when all of its steps are done.`,
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
	l, err := app.Open(opts.Factory)
	if err != nil {
		return err
	}
	orphans, err := l.Engine.Orphans()
	strays := findStrays(ctx, l)
	s := status.Collect(ctx, sources(ctx, l, orphans, strays, err))
	if opts.JSON {
		err = cli.WriteJSON(opts.Factory.IO.Out, s)
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
	if left := len(orphans) + len(strays); left > 0 && len(s.Problems) == left { // they are all that is wrong
		what, next := "the lab is up, and there is a state without a stack", []string(nil)
		for _, o := range orphans {
			next = append(next, o.Down())
		}
		for _, stray := range strays {
			what, next = "the lab is up, and there is more than its files say", append(next, stray.Next())
		}
		return &cli.Error{What: what, Next: slices.Compact(next), Code: cli.ExitChanges}
	}
	return &cli.Error{What: "the lab is not completely up", Next: []string{"labctl up"}, Code: cli.ExitChanges}
}

// findStrays gives the releases that no stack names any more. A cluster that does not tell in time has none: what is wrong with it is said
// elsewhere.
func findStrays(ctx context.Context, l *app.Lab) []lab.Stray {
	ctx, cancel := context.WithTimeout(ctx, straysTimeout)
	defer cancel()
	found, err := l.Engine.Strays(ctx)
	if err != nil {
		return nil
	}
	return found
}

// sources gathers what a snapshot of the lab is made of.
func sources(ctx context.Context, l *app.Lab, orphans []lab.Orphan, strays []lab.Stray, unlisted error) status.Sources {
	from := status.Sources{Lab: l.Graph.Lab.Name, Environment: l.Graph.Env.Name, Target: l.Graph.Env.Target}
	from.Steps = func() ([]status.Step, error) {
		steps, err := l.Engine.Steps()
		var out []status.Step
		for _, s := range steps {
			out = append(out, status.Step{Name: s.Name, Stack: s.Stack, State: string(s.State), At: s.At, Detail: s.Detail})
		}
		return out, err
	}
	if unlisted != nil {
		from.Problems = append(from.Problems, unlisted.Error())
	}
	for _, o := range orphans {
		from.Problems = append(from.Problems, o.String())
	}
	for _, stray := range strays {
		from.Problems = append(from.Problems, stray.String())
	}
	running, err := l.Engine.Running()
	if err != nil {
		from.Problems = append(from.Problems, err.Error())
	}
	from.Problems = append(from.Problems, running...)
	outputs, err := l.Engine.Outputs(ctx)
	if err != nil {
		reason, _, _ := strings.Cut(err.Error(), "\n")
		from.Problems = append(from.Problems, unread+": "+reason)
	}
	if url := text(outputs["release"]["url"]); url != "" {
		from.URLs = []status.URL{{Name: "chat", Address: url}}
	}
	if dir, err := l.ClusterDir(); err == nil {
		from.Processes = func(context.Context) ([]status.Component, int64, error) { return processes(dir) }
	} else { // labctl does not run this cluster, which may be far away
		from.Timeout = remoteTimeout
	}
	c := findCluster(l.Graph, outputs)
	from.Undeclared, from.NoAPI = !c.declared, c.missing
	if err != nil {
		from.NoAPI = unread
	}
	if c.kubeconfig != "" {
		client, err := kube.New([]byte(c.kubeconfig))
		if err != nil { // without err, which may quote the content
			from.NoAPI = c.source + " is not the content of a kubeconfig"
			return from
		}
		from.API = client.Core
	}
	return from
}

func processes(dir string) ([]status.Component, int64, error) {
	s, err := cluster.Inspect(dir)
	if err != nil || !s.Exists {
		return nil, 0, err
	}
	if !s.Running {
		return []status.Component{{Name: "node", Reason: "stopped; `labctl cluster start` or `labctl up` starts it"}}, 0, nil
	}
	var out []status.Component
	for _, c := range s.Components {
		out = append(out, status.Component{Name: c.Name, Running: c.Running, Restarts: c.Restarts, Since: c.Since, Reason: c.LastExit})
	}
	return out, s.MemoryBytes, nil
}
