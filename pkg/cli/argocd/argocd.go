// Package argocd is `labctl argocd` and its subcommands.
package argocd

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/cli/app"
)

// NewCmdArgoCD makes the command.
func NewCmdArgoCD(f *cli.Factory) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "argocd",
		Short: "Log in to Argo CD and open its page",
		Example: `  labctl argocd password
  labctl argocd open`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newCmdPassword(f), newCmdOpen(f))
	return cmd
}

func open(ctx context.Context, f *cli.Factory, do func(g *app.GitOps) error) error {
	l, err := app.Open(f)
	if err != nil {
		return err
	}
	g, err := l.GitOps(ctx)
	if err != nil {
		return err
	}
	return do(g)
}

func newCmdPassword(f *cli.Factory) *cobra.Command {
	rotate := false
	cmd := &cobra.Command{
		Use:   "password",
		Short: "Print the password of Argo CD's user admin",
		Long: `Print the password of Argo CD's user admin, after a log-in with it. It is kept in a file that only you can read. Where this machine
knows none that Argo CD takes, Argo CD gets a new one.`,
		Args: cli.Takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			return open(ctx, f, func(g *app.GitOps) error {
				var err error
				if rotate {
					err = g.Passwords().Rotate(ctx, g.Client())
				} else {
					api, openErr := g.Passwords().Open(ctx, g.Client())
					if err = openErr; err == nil {
						api.Close()
					}
				}
				if err != nil {
					return &cli.Error{What: "there is no log-in to Argo CD", Err: err, Next: []string{"labctl gitops status", "labctl up"}}
				}
				password, err := g.Passwords().Read()
				if err != nil {
					return err
				}
				_, err = fmt.Fprintln(f.IO.Out, password)
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&rotate, "rotate", false, "give Argo CD a new password first")
	return cmd
}

func newCmdOpen(f *cli.Factory) *cobra.Command {
	return &cobra.Command{
		Use:   "open",
		Short: "Make Argo CD's page reachable until Ctrl-C",
		Long: `Print an address at which Argo CD's page is reachable from this machine until you press Ctrl-C. An Argo CD that was built from source has
no page; ` + "`labctl gitops status`" + ` shows what it would.`,
		Args: cli.Takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			return open(ctx, f, func(g *app.GitOps) error {
				address, stop, err := g.Page(ctx)
				if err != nil {
					return &cli.Error{What: "Argo CD's page cannot be shown", Err: err, Next: []string{"labctl gitops status"}}
				}
				defer stop()
				_, _ = fmt.Fprintf(f.IO.Err, "user admin, password: %s; Ctrl-C ends\n", f.Line("labctl argocd password"))
				if _, err := fmt.Fprintln(f.IO.Out, address); err != nil {
					return err
				}
				<-ctx.Done()
				return nil
			})
		},
	}
}
