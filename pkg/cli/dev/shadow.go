package dev

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/cli/app"
	"github.com/labctl/labctl/pkg/devlab"
	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/gobuild"
	"github.com/labctl/labctl/pkg/shadow"
	"github.com/labctl/labctl/pkg/shadow/side"
	"github.com/labctl/labctl/pkg/shadow/verdict"
)

// buildShadow builds the version that --shadow names. It gives nil where there is none.
func buildShadow(ctx context.Context, opts *Options, dir string, report event.Report) (*devlab.Shadow, error) {
	if opts.Shadow == "" {
		return nil, nil
	}
	service, tree := opts.tried()
	rules, err := shadow.ReadRules(filepath.Dir(filepath.Dir(dir)), service)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	program := filepath.Join(dir, "shadow", service)
	report.Doing("building %s from %s", service, tree)
	if err := gobuild.Build(ctx, gobuild.Options{Dir: tree, Package: programOf(service), Out: program, Tags: opts.Tags, Env: []string{"CGO_ENABLED=0"}}, report); err != nil {
		return nil, err
	}
	user, host := app.Who(opts.Factory)
	return &devlab.Shadow{
		Options: shadow.Options{
			Service: service, About: shadow.About{
				Version: shadow.Tagged("the working tree "+tree, opts.Tags), By: user + " on " + host, At: time.Now(), Policy: verdict.Default(), Rules: rules,
			},
			Dir: filepath.Join(dir, "shadow", "open"), Now: time.Now,
		},
		Commands: map[side.Side][]string{side.Candidate: {program}, side.Baseline: {self, "part", service}},
	}, nil
}

// programOf is the main package of a service.
func programOf(service string) string { return "./services/" + service + "/cmd/" + service }

// checkShadow says what is wrong with --shadow before anything starts.
func checkShadow(opts *Options) error {
	const command = "labctl dev"
	if opts.Shadow == "" {
		if len(opts.Tags) > 0 {
			return cli.Usagef(command, "--shadow-tags says how the version of --shadow is built, and there is none")
		}
		return nil
	}
	service, tree := opts.tried()
	if tree == "" {
		return cli.Usagef(command, "--shadow %q names no directory; write it as --shadow messaging=../my-change", opts.Shadow)
	}
	if err := shadow.Check(service); err != nil {
		return cli.Usagef(command, "--shadow: %w", err)
	}
	if _, err := os.Stat(filepath.Join(tree, programOf(service))); err != nil {
		return cli.Usagef(command, "--shadow: %s is no working tree of the chat: it has no %s", tree, programOf(service))
	}
	return nil
}

// tried gives what --shadow names: the service, and the working tree of the version.
func (o *Options) tried() (service, tree string) {
	service, tree, _ = strings.Cut(o.Shadow, "=")
	if tree != "" && !filepath.IsAbs(tree) {
		tree = filepath.Join(o.Factory.WorkDir, tree)
	}
	return service, tree
}

// awaitShadow waits until results are compared.
func awaitShadow(ctx context.Context, compared <-chan error, tried *devlab.Shadow, sink event.Sink) error {
	return app.During(sink, "shadow", func(event.Report) (string, error) {
		select {
		case <-ctx.Done():
			return "", context.Cause(ctx)
		case err := <-compared:
			return tried.Version + " gets the traffic of " + tried.Service, err
		}
	})
}
