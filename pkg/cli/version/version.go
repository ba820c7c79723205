// Package version is `labctl version`.
package version

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/labctl/labctl/pkg/cli"
)

// Options are the command's flags.
type Options struct {
	Factory *cli.Factory
	JSON    bool
}

// Info is what --json prints.
type Info struct {
	cli.Build
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// NewCmdVersion makes the command.
func NewCmdVersion(f *cli.Factory, runF func(*Options) error) *cobra.Command {
	opts := &Options{Factory: f}
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version of labctl",
		Args:  cli.Takes(),
		RunE: func(*cobra.Command, []string) error {
			if runF != nil {
				return runF(opts)
			}
			return run(opts)
		},
	}
	cmd.Flags().BoolVar(&opts.JSON, "json", false, "print JSON")
	return cmd
}

func run(opts *Options) error {
	info := Info{Build: opts.Factory.Build, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	fill(&info.Build)
	out := opts.Factory.IO.Out
	if opts.JSON {
		return json.NewEncoder(out).Encode(info)
	}
	var details []string
	for _, s := range []string{info.Commit, info.Date, info.Go, info.Platform} {
		if s != "" {
			details = append(details, s)
		}
	}
	_, err := fmt.Fprintf(out, "labctl %s (%s)\n", info.Version, strings.Join(details, ", "))
	return err
}

// fill takes what the linker was not told from what the go command recorded.
func fill(b *cli.Build) {
	if info, ok := debug.ReadBuildInfo(); ok {
		if b.Version == "" {
			b.Version = info.Main.Version
		}
		for _, s := range info.Settings {
			switch {
			case s.Key == "vcs.revision" && b.Commit == "":
				b.Commit = s.Value[:min(len(s.Value), 12)]
			case s.Key == "vcs.time" && b.Date == "":
				b.Date = s.Value
			}
		}
	}
	if b.Version == "" || b.Version == "(devel)" {
		b.Version = "dev"
	}
}
