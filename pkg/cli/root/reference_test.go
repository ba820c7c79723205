package root

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/iostreams"
)

var update = flag.Bool("update", false, "write docs/cli anew")

// TestReference holds docs/cli to what the commands say of themselves.
func TestReference(t *testing.T) {
	dir := filepath.Join("..", "..", "..", "docs", "cli")
	want := map[string]string{}
	streams, _, _ := iostreams.Test()
	root := NewCmdRoot(&cli.Factory{IO: streams, Getenv: func(string) string { return "" }})
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	pages(root, want)
	if *update {
		require.NoError(t, os.RemoveAll(dir))
		require.NoError(t, os.MkdirAll(dir, 0o755))
		for name, page := range want {
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(page), 0o644))
		}
	}
	have := map[string]string{}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	for _, file := range files {
		page, err := os.ReadFile(file)
		require.NoError(t, err)
		have[filepath.Base(file)] = string(page)
	}
	const stale = "docs/cli is not what the commands say: run `make docs`"
	require.Equal(t, slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(have)), stale)
	for name, page := range want {
		require.Equal(t, page, have[name], "%s: %s", name, stale)
	}
}

// Every command that a user can see has what a page and a good --help need.
func TestCommandsExplainThemselves(t *testing.T) {
	streams, _, _ := iostreams.Test()
	root := NewCmdRoot(&cli.Factory{IO: streams, Getenv: func(string) string { return "" }})
	for _, cmd := range all(root) {
		require.NotEmpty(t, cmd.Short, cmd.CommandPath())
		require.False(t, strings.HasSuffix(cmd.Short, "."), cmd.CommandPath())
		if cmd.HasSubCommands() {
			continue
		}
		require.NotNil(t, cmd.Args, "%s does not say which arguments it takes", cmd.CommandPath())
		for _, line := range strings.Split(cmd.Example, "\n") {
			require.LessOrEqual(t, len(line), 110, cmd.CommandPath())
		}
	}
}

func all(cmd *cobra.Command) []*cobra.Command {
	out := []*cobra.Command{cmd}
	for _, child := range cmd.Commands() {
		if child.IsAvailableCommand() {
			out = append(out, all(child)...)
		}
	}
	return out
}

// pages writes the page of cmd and those of its subcommands, by file name.
func pages(cmd *cobra.Command, out map[string]string) {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n", cmd.CommandPath())
	text := cmd.Long
	if text == "" {
		text = cmd.Short + "."
	}
	fmt.Fprintf(&b, "%s\n", strings.TrimSpace(text))
	if cmd.Runnable() {
		fmt.Fprintf(&b, "\n    %s\n", cmd.UseLine())
	}
	if cmd.Example != "" {
		fmt.Fprintf(&b, "\n## Examples\n\n%s\n", indented(cmd.Example))
	}
	if children := cmd.Commands(); len(children) > 0 {
		b.WriteString("\n## Commands\n\n")
		for _, child := range children {
			if child.IsAvailableCommand() && child.Name() != "help" {
				fmt.Fprintf(&b, "- [%s](%s): %s\n", child.CommandPath(), pageName(child), child.Short)
			}
		}
	}
	if own := cmd.LocalFlags(); own.HasAvailableFlags() {
		fmt.Fprintf(&b, "\n## Flags\n\n%s\n", indented(own.FlagUsages()))
	}
	out[pageName(cmd)] = b.String()
	for _, child := range cmd.Commands() {
		if child.IsAvailableCommand() && child.Name() != "help" {
			pages(child, out)
		}
	}
}

func pageName(cmd *cobra.Command) string {
	return strings.ReplaceAll(cmd.CommandPath(), " ", "_") + ".md"
}

func indented(s string) string {
	var lines []string
	for line := range strings.Lines(strings.TrimRight(s, "\n")) {
		lines = append(lines, strings.TrimRight("  "+line, " \n"))
	}
	return strings.Join(lines, "\n")
}
