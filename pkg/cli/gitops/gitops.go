// Package gitops is `labctl gitops` and its subcommands.
package gitops

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/cli/app"
	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/gitops"
)

// NewCmdGitOps makes the command.
func NewCmdGitOps(f *cli.Factory) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "gitops",
		Short: "See and change what Argo CD makes of Git",
		Long: `See and change what Argo CD makes of the environment's directory in Git. An environment has it where lab.hcl gives it a gitops
block.

` + "`labctl up`" + ` and ` + "`labctl ship`" + ` write to Git what changed in the lab, and wait until it runs. What changed in Git alone stays.`,
		Example: `  labctl gitops status
  labctl gitops diff
  labctl gitops log`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newCmdStatus(f), newCmdDiff(f), newCmdPush(f), newCmdSync(f), newCmdWait(f), newCmdLog(f), newCmdURL(f), newCmdCredential(f))
	return cmd
}

// with opens the environment's Git side.
func with(f *cli.Factory, do func(ctx context.Context, l *app.Lab, g *app.GitOps) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, _ []string) error {
		l, err := app.Open(f)
		if err != nil {
			return err
		}
		g, err := l.GitOps(cmd.Context())
		if err != nil {
			return err
		}
		return do(cmd.Context(), l, g)
	}
}

func newCmdStatus(f *cli.Factory) *cobra.Command {
	asJSON := false
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what is in Git, and what of it runs",
		Long: `Show the environment's last commit and its Applications. Exit code 1 means that something is not synced or not healthy.
What is wrong is said in Argo CD's own words.`,
		Args: cli.Takes(),
	}
	cmd.RunE = with(f, func(ctx context.Context, _ *app.Lab, g *app.GitOps) error {
		s, err := g.Status(ctx)
		if err != nil {
			return &cli.Error{What: "the state of Git and Argo CD is not known", Err: err, Next: []string{"labctl status"}}
		}
		if asJSON {
			err = cli.WriteJSON(f.IO.Out, s)
		} else {
			err = show(f.IO.Out, s)
		}
		if err == nil && !s.Well() {
			return cli.Silent(cli.ExitFailed)
		}
		return err
	})
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// show prints a status for people.
func show(out io.Writer, s app.GitOpsStatus) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintf(w, "repository\t%s, branch %s, %s\n", s.Repo, s.Revision, s.Path)
	if s.Head != nil {
		_, _ = fmt.Fprintf(w, "last commit\t%s  %s (%s, %s)\n", s.Head.Short(), s.Head.Subject(), s.Head.Author, s.Head.At.Local().Format(time.DateTime))
	}
	if s.Pin != nil {
		_, _ = fmt.Fprintf(w, "pinned\trolled back to %s by %s; `labctl rollback %s --undo` ends it\n", gitops.Short(s.Pin.Revision), s.Pin.By, s.Environment)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if len(s.Apps) == 0 {
		_, err := fmt.Fprintln(out, "\nArgo CD has nothing of it yet; `labctl up` brings it there")
		return err
	}
	_, _ = fmt.Fprintln(out)
	_, _ = fmt.Fprintln(w, "APPLICATION\tSYNC\tHEALTH\tRUNS")
	for _, a := range s.Apps {
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", a.Name, a.Sync, a.Health, gitops.Short(a.Synced))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, a := range s.Apps {
		if a.Message != "" {
			_, _ = fmt.Fprintf(out, "\n%s: %s\n", a.Name, a.Message)
		}
	}
	return nil
}

func newCmdDiff(f *cli.Factory) *cobra.Command {
	asJSON := false
	cmd := &cobra.Command{
		Use:   "diff",
		Short: "Compare the lab with Git, and Git with the cluster",
		Long: `Show as a unified diff what the lab would write to Git, and then, by Argo CD's own comparison, which objects in the cluster
are not as Git says. Exit code 2 means that there is a difference.`,
		Args: cli.Takes(),
	}
	cmd.RunE = with(f, func(ctx context.Context, _ *app.Lab, g *app.GitOps) error {
		d, err := g.Differences(ctx)
		if err != nil {
			return &cli.Error{What: "not compared", Err: err, Next: []string{"labctl gitops status"}}
		}
		if asJSON {
			err = cli.WriteJSON(f.IO.Out, d)
		} else {
			_, err = io.WriteString(f.IO.Out, d.Text())
		}
		if err == nil && d.Any() {
			return cli.Silent(cli.ExitChanges)
		}
		return err
	})
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func newCmdPush(f *cli.Factory) *cobra.Command {
	var asJSON, overwrite bool
	cmd := &cobra.Command{
		Use:   "push",
		Short: "Write what changed in the lab to Git, and wait until it runs",
		Long: `Write the charts and the values that the lab's files describe to Git, with the images that were built last, as one commit a release, and
wait until Argo CD has made it so. What changed in Git alone stays; what changed on both sides is an error, unless --overwrite says
that the lab is right.`,
		Args: cli.Takes(),
	}
	cmd.RunE = with(f, func(ctx context.Context, l *app.Lab, _ *app.GitOps) error {
		return f.Progress(ctx, "gitops", asJSON, func(sink event.Sink) error {
			o := l.Run("labctl gitops push", sink)
			o.Overwrite = overwrite
			if err := l.Engine.Deliver(ctx, o); err != nil {
				return &cli.Error{What: "not delivered", Err: err, Next: l.After(err, "labctl gitops status")}
			}
			sink.Emit(event.Event{Kind: event.Result, Message: "What the lab describes is in Git, and runs."})
			return nil
		})
	})
	cmd.Flags().BoolVar(&overwrite, "overwrite", false, "replace what others changed in Git")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print events to stdout as JSON, one per line")
	return cmd
}

func newCmdSync(f *cli.Factory) *cobra.Command {
	return newCmdWaiting(f, true, &cobra.Command{
		Use:   "sync",
		Short: "Make Argo CD apply what is in Git again, and wait until it runs",
	})
}

func newCmdWait(f *cli.Factory) *cobra.Command {
	return newCmdWaiting(f, false, &cobra.Command{
		Use:   "wait",
		Short: "Wait until what is in Git runs",
	})
}

func newCmdWaiting(f *cli.Factory, sync bool, cmd *cobra.Command) *cobra.Command {
	asJSON := false
	cmd.Args = cli.Takes()
	cmd.RunE = with(f, func(ctx context.Context, _ *app.Lab, g *app.GitOps) error {
		return f.Progress(ctx, "gitops", asJSON, func(sink event.Sink) error {
			if err := app.During(sink, "gitops", func(report event.Report) (string, error) { return "", g.Wait(ctx, "", sync, report) }); err != nil {
				return &cli.Error{What: "what is in Git does not run", Err: err, Next: []string{"labctl gitops status"}}
			}
			sink.Emit(event.Event{Kind: event.Result, Message: "What is in Git runs."})
			return nil
		})
	})
	cmd.Flags().BoolVar(&asJSON, "json", false, "print events to stdout as JSON, one per line")
	return cmd
}

func newCmdLog(f *cli.Factory) *cobra.Command {
	var asJSON bool
	limit := 20
	cmd := &cobra.Command{
		Use:   "log",
		Short: "Show the commits that changed the environment",
		Args:  cli.Takes(),
	}
	cmd.RunE = with(f, func(ctx context.Context, _ *app.Lab, g *app.GitOps) error {
		if limit < 1 {
			return cli.Usagef(cmd.CommandPath(), "--limit must be 1 or more, not %d", limit)
		}
		log, err := g.Log(ctx, limit)
		if err != nil {
			return &cli.Error{What: "the history is not known", Err: err, Next: []string{"labctl gitops status"}}
		}
		if asJSON {
			return cli.WriteJSON(f.IO.Out, log)
		}
		w := tabwriter.NewWriter(f.IO.Out, 0, 0, 2, ' ', 0)
		for _, c := range log {
			_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", c.Short(), c.At.Local().Format(time.DateTime), c.Author, c.Subject())
		}
		return w.Flush()
	})
	cmd.Flags().IntVar(&limit, "limit", limit, "show at most `N` commits")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func newCmdURL(f *cli.Factory) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "url",
		Short: "Print the address of the repository",
		Long: `Print the address of the repository, as git takes it. That on the lab's own Git server wants a log-in, which labctl gives git
as a credential helper.`,
		Example: `  git -c credential.helper='!labctl gitops credential' clone "$(labctl gitops url)"`,
		Args:    cli.Takes(),
	}
	cmd.RunE = with(f, func(ctx context.Context, _ *app.Lab, g *app.GitOps) error {
		url, err := g.URL(ctx)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(f.IO.Out, url)
		return err
	})
	return cmd
}

func newCmdCredential(f *cli.Factory) *cobra.Command {
	return &cobra.Command{
		Use:   "credential get|store|erase",
		Short: "Give git the log-in of the repository",
		Long: `Give git the log-in of the lab's repository, as one of git's credential helpers (git help credentials). Only get does
something: nothing is stored.`,
		Example:   `  git config credential.helper '!labctl gitops credential'`,
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"get", "store", "erase"},
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[0] != "get" {
				return nil
			}
			return with(f, func(ctx context.Context, _ *app.Lab, g *app.GitOps) error {
				user, password, err := g.Credentials(ctx)
				if err != nil || user == "" {
					return err
				}
				_, err = fmt.Fprintf(f.IO.Out, "username=%s\npassword=%s\n", user, password)
				return err
			})(cmd, args)
		},
	}
}
