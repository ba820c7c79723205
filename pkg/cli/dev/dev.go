// Package dev is `labctl dev`.
package dev

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/cli/app"
	"github.com/labctl/labctl/pkg/devlab"
	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/services/frontend"
)

// registerWithin bounds the demo users' registration once the services say that they are ready.
const registerWithin = 30 * time.Second

// Options are the command's flags.
type Options struct {
	Factory *cli.Factory
	Listen  string
	Origins []string
	Fresh   bool
	Shadow  string
	Tags    []string
}

// NewCmdDev makes the command.
func NewCmdDev(f *cli.Factory, runF func(*Options) error) *cobra.Command {
	opts := &Options{Factory: f}
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run the whole chat in this process, without Kubernetes or root",
		Long: `Run the chat's services, their broker and their database in this one process, and serve the chat's page. Use it to work
on the services, or on a machine without root. The services are the same as in the cluster. The data stays in .lab/dev,
next to lab.hcl, until you pass --fresh. Press Ctrl-C to stop.

With --shadow, also try another version of a service on the traffic: one copy of that version and one of the version
that serves get all records, and are asked all that is read. They write to databases and topics of their own, or nothing.
` + "`labctl shadow status`" + ` tells where they differ. The shadow ends with labctl dev.`,
		Example: `  labctl dev
  labctl dev --fresh                               with no users and no messages
  labctl dev --origin http://localhost:5173        while the page runs in Vite's development server
  labctl dev --shadow messaging=../my-change       try the messaging of another working tree`,
		Args: cli.Takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if runF != nil {
				return runF(opts)
			}
			return run(cmd.Context(), opts)
		},
	}
	cmd.Flags().StringVar(&opts.Listen, "listen", "127.0.0.1:8090", "serve the page at `ADDRESS`; port 0 picks a free port")
	cmd.Flags().StringSliceVar(&opts.Origins, "origin", nil, "also accept connections from pages of `ORIGIN`")
	cmd.Flags().StringVar(&opts.Shadow, "shadow", "", "try a version of a service: `SERVICE=DIRECTORY`, of which the directory is a working tree of the chat")
	cmd.Flags().StringSliceVar(&opts.Tags, "shadow-tags", nil, "build that version with these build `TAGS`")
	cmd.Flags().BoolVar(&opts.Fresh, "fresh", false, "delete the users and messages of earlier runs first")
	return cmd
}

func run(ctx context.Context, opts *Options) error {
	if err := checkShadow(opts); err != nil {
		return err
	}
	if err := frontend.Built(); err != nil {
		return &cli.Error{What: "the chat's page is not built into this labctl", Err: err,
			Next: []string{"make dev   (builds the page and labctl, then runs it)"}}
	}
	dir, err := dataDir(opts.Factory)
	if err != nil {
		return err
	}
	if opts.Fresh {
		// Without its database the chat does not know them any more.
		if err := os.Remove(filepath.Join(dir, "demo.json")); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ready, ended := make(chan string, 1), make(chan error, 1)
	err = opts.Factory.Progress(ctx, "dev", false, func(sink event.Sink) error {
		start := time.Now()
		compared := make(chan error, 1)
		tried, err := buildShadow(ctx, opts, dir, event.For(sink, "shadow"))
		if err != nil {
			return err
		}
		if tried != nil {
			tried.Ready = func(err error) { compared <- err }
		}
		sink.Emit(event.Event{Kind: event.Started, Step: "chat"})
		go func() {
			ended <- devlab.Run(ctx, devlab.Options{
				Dir: dir, Shadow: tried, Listen: opts.Listen, Fresh: opts.Fresh, Frontend: frontend.Handler(), AllowedOrigins: opts.Origins,
				Getenv: opts.Factory.Getenv, Ready: func(url string) { ready <- url }, Report: event.For(sink, "chat"),
			})
		}()
		select {
		case err := <-ended:
			sink.Emit(event.Event{Kind: event.Failed, Step: "chat", Message: "it did not start"})
			if err == nil {
				err = context.Cause(ctx)
			}
			return err
		case url := <-ready:
			sink.Emit(event.Event{Kind: event.Done, Step: "chat", Message: "ready", Elapsed: time.Since(start)})
			users, err := register(ctx, dir, url, sink)
			if err != nil {
				stop()
				return errors.Join(err, <-ended)
			}
			if tried != nil {
				if err := awaitShadow(ctx, compared, tried, sink); err != nil {
					stop()
					return errors.Join(err, <-ended)
				}
			}
			sink.Emit(event.Event{Kind: event.Result, Message: welcome(url, users)})
			return nil
		}
	})
	if err != nil {
		return err
	}
	return <-ended
}

// dataDir is .lab/dev beside lab.hcl.
func dataDir(f *cli.Factory) (string, error) {
	lab, err := f.LabDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(lab, ".lab", "dev")
	return dir, os.MkdirAll(dir, 0o700)
}

func register(ctx context.Context, dir, url string, sink event.Sink) ([]app.DemoUser, error) {
	demo, err := app.OpenDemo(dir)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, registerWithin)
	defer cancel()
	return demo.Users, demo.Register(ctx, url, sink)
}

func welcome(url string, users []app.DemoUser) string {
	var b strings.Builder
	fmt.Fprintf(&b, "  chat    %s\n", url)
	for _, u := range users {
		fmt.Fprintf(&b, "  user    %-8s password %s\n", u.Name, u.Password)
	}
	b.WriteString("\nCtrl-C ends it; what was said is kept.")
	return b.String()
}
