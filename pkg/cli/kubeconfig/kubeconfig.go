// Package kubeconfig is `labctl kubeconfig`.
package kubeconfig

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/cli/app"
)

// Options are the command's flags.
type Options struct {
	Factory *cli.Factory
	Path    bool
}

// NewCmdKubeconfig makes the command.
func NewCmdKubeconfig(f *cli.Factory, runF func(*Options) error) *cobra.Command {
	opts := &Options{Factory: f}
	cmd := &cobra.Command{
		Use:   "kubeconfig",
		Short: "Print the kubeconfig of the lab's cluster",
		Long: `Print the kubeconfig of the lab's cluster. Whoever has it is an administrator of the cluster. With --path, write it to
a file in the lab's own directory that only you can read, and print the path of the file.`,
		Example: `  export KUBECONFIG="$(labctl kubeconfig --path)"
  kubectl get pods --all-namespaces`,
		Args: cli.Takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if runF != nil {
				return runF(opts)
			}
			return run(cmd.Context(), opts)
		},
	}
	cmd.Flags().BoolVar(&opts.Path, "path", false, "write it to a file, and print the path of the file")
	return cmd
}

func run(ctx context.Context, opts *Options) error {
	l, err := app.Open(opts.Factory)
	if err != nil {
		return err
	}
	out := opts.Factory.IO.Out
	if !opts.Path {
		content, err := l.Kubeconfig(ctx)
		if err != nil {
			return err
		}
		_, err = io.WriteString(out, strings.TrimRight(content, "\n")+"\n")
		return err
	}
	path, err := l.KubeconfigFile(ctx)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, path)
	return err
}
