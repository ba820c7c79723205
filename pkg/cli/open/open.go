// Package open is `labctl open`.
package open

import (
	"context"
	"fmt"
	"os/exec"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/cli/app"
)

// Options are the command's flags.
type Options struct {
	Factory *cli.Factory
	Print   bool
	// Browse shows a page to the user. It is set by NewCmdOpen.
	Browse func(ctx context.Context, program, url string) error
}

// NewCmdOpen makes the command.
func NewCmdOpen(f *cli.Factory, runF func(*Options) error) *cobra.Command {
	opts := &Options{Factory: f, Browse: browse}
	cmd := &cobra.Command{
		Use:   "open",
		Short: "Open the chat in a browser, or print its address",
		Long:  `Print the chat's address and, on a desktop, open it in the browser.`,
		Example: `  labctl open
  curl "$(labctl open --print)/api/auth/jwks"`,
		Args: cli.Takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if runF != nil {
				return runF(opts)
			}
			return run(cmd.Context(), opts)
		},
	}
	cmd.Flags().BoolVar(&opts.Print, "print", false, "only print the address")
	return cmd
}

func run(ctx context.Context, opts *Options) error {
	f := opts.Factory
	l, err := app.Open(f)
	if err != nil {
		return err
	}
	url, err := l.URL(ctx)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(f.IO.Out, url); err != nil {
		return err
	}
	program := browser(runtime.GOOS, f.Getenv)
	if opts.Print || program == "" {
		return nil
	}
	if err := opts.Browse(ctx, program, url); err != nil {
		_, _ = fmt.Fprintf(f.IO.Err, "no browser could be opened (%v): open the address yourself\n", err)
	}
	return nil
}

// browser gives the program that opens an address on this desktop, or nothing where there is none.
func browser(goos string, getenv func(string) string) string {
	switch {
	case goos == "darwin":
		return "open"
	case getenv("DISPLAY") != "" || getenv("WAYLAND_DISPLAY") != "":
		return "xdg-open"
	}
	return ""
}

func browse(ctx context.Context, program, url string) error {
	path, err := exec.LookPath(program)
	if err != nil {
		return err
	}
	return exec.CommandContext(ctx, path, url).Run()
}
