package shadow

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/cli/app"
	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/shadow"
	"github.com/labctl/labctl/pkg/shadow/incluster"
	"github.com/labctl/labctl/pkg/shadow/verdict"
)

// StartOptions are the flags of `labctl shadow start`.
type StartOptions struct {
	Factory     *cli.Factory
	Service     string
	Image       string
	Ref         string
	WorkingTree bool
	Tags        []string
	Lifetime    time.Duration
	JSON        bool
}

func newCmdStart(f *cli.Factory, runF func(*StartOptions) error) *cobra.Command {
	opts := &StartOptions{Factory: f}
	cmd := &cobra.Command{
		Use:   "start SERVICE",
		Short: "Give a version of a service the live traffic, beside the live one",
		Long: `Start a version of a service in the lab's cluster, which gets all that the live one gets. A second copy of the live version is
started as well, to tell differences from noise, and a comparer, which copies the live state for both and compares. Nobody
hears what they say: their credentials let them write to topics and databases of their own alone.

The version is an image, a commit, or the working tree, which labctl builds and pushes.

When its lifetime is over the shadow ends: nothing more is compared, and the next labctl command that looks at it, and
` + "`labctl up`" + `, removes the copies. What was found stays until ` + "`labctl shadow abort`" + `.`,
		Example: `  labctl shadow start messaging --working-tree
  labctl shadow start messaging --ref my-branch --lifetime 2h
  labctl shadow start messaging --image registry.example/chat/messaging@sha256:…`,
		Args: cli.Takes("SERVICE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.Service = args[0]
			if err := shadow.CheckLifetime(opts.Lifetime); err != nil {
				return cli.Usagef(cmd.CommandPath(), "--lifetime: %w", err)
			}
			if runF != nil {
				return runF(opts)
			}
			return runStart(cmd.Context(), opts)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&opts.Image, "image", "", "try the image `REFERENCE`")
	flags.StringVar(&opts.Ref, "ref", "", "build and try the commit that `REF` names: a branch, a tag or a hash")
	flags.BoolVar(&opts.WorkingTree, "working-tree", false, "build and try the working tree as it is")
	flags.StringSliceVar(&opts.Tags, "tags", nil, "build it with these build `TAGS`")
	flags.DurationVar(&opts.Lifetime, "lifetime", shadow.DefaultLifetime, "end it after `TIME`, at most 168h")
	flags.BoolVar(&opts.JSON, "json", false, "print events to stdout as JSON, one per line")
	cmd.MarkFlagsOneRequired("image", "ref", "working-tree")
	cmd.MarkFlagsMutuallyExclusive("image", "ref", "working-tree")
	cmd.MarkFlagsMutuallyExclusive("image", "tags")
	return cmd
}

func runStart(ctx context.Context, opts *StartOptions) error {
	f := opts.Factory
	if err := shadow.Check(opts.Service); err != nil {
		return &cli.Error{What: "no shadow is started", Err: err, Next: []string{"labctl shadow start messaging --working-tree"}}
	}
	l, err := app.Open(f)
	if err != nil {
		return err
	}
	s, err := l.Shadow(ctx, opts.Service)
	if err != nil {
		return err
	}
	rules, err := shadow.ReadRules(l.Graph.Lab.Source, opts.Service)
	if err != nil {
		return err
	}
	return f.Progress(ctx, "shadow", opts.JSON, func(sink event.Sink) error {
		if err := app.During(sink, "shadow", func(report event.Report) (string, error) {
			if err := s.EndExpired(ctx, time.Now(), report); err != nil {
				return "", err
			}
			o, err := prepare(ctx, l, opts, report)
			if err != nil {
				return "", err
			}
			o.Policy, o.Rules, o.Lifetime = verdict.Default(), rules, opts.Lifetime
			return o.Version + " gets the traffic of " + opts.Service, s.Start(ctx, o, report)
		}); err != nil {
			next := []string{"labctl shadow abort " + opts.Service}
			if errors.Is(err, incluster.ErrThere) {
				next = append([]string{"labctl shadow status " + opts.Service}, next...)
			}
			return &cli.Error{What: "the shadow of " + opts.Service + " is not started", Err: err, Next: l.After(err, next...)}
		}
		sink.Emit(event.Event{Kind: event.Result, Message: fmt.Sprintf("See how it does:\n  %s", l.Line("labctl shadow status "+opts.Service))})
		return nil
	})
}
