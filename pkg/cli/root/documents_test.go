package root

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/iostreams"
)

var (
	// A command line in a code block, or between backquotes.
	inBlock  = regexp.MustCompile(`(?m)^    (?:[^#\n]*\$\()?((?:bin/)?labctl|make) ([^#\n]*)`)
	inQuotes = regexp.MustCompile("`((?:bin/)?labctl|make) ([^`]*)`")
	target   = regexp.MustCompile(`(?m)^([a-z-]+):`)
)

// TestDocumentsNameWhatThereIs checks that the commands and targets in the README, the guide and the page for contributors
// exist.
func TestDocumentsNameWhatThereIs(t *testing.T) {
	top := filepath.Join("..", "..", "..")
	makefile, err := os.ReadFile(filepath.Join(top, "Makefile"))
	require.NoError(t, err)
	targets := map[string]bool{}
	for _, m := range target.FindAllStringSubmatch(string(makefile), -1) {
		targets[m[1]] = true
	}
	documents, err := filepath.Glob(filepath.Join(top, "docs", "guide", "*.md"))
	require.NoError(t, err)
	seen := 0
	for _, path := range append(documents, filepath.Join(top, "README.md"), filepath.Join(top, "docs", "contributing.md")) {
		content, err := os.ReadFile(path)
		require.NoError(t, err)
		for _, m := range append(inBlock.FindAllStringSubmatch(string(content), -1), inQuotes.FindAllStringSubmatch(string(content), -1)...) {
			seen++
			if m[1] == "make" {
				require.True(t, targets[strings.Fields(m[2])[0]], "%s: there is no target for %q", path, m[0])
				continue
			}
			line, _, _ := strings.Cut(m[2], "  ") // what follows explains it
			line, _, _ = strings.Cut(line, " | ") // or is another program's
			known(t, path, strings.Fields(strings.TrimRight(strings.TrimSpace(line), `)"`)))
		}
	}
	require.Greater(t, seen, 20, "the documents are not read as they are written")
}

func known(t *testing.T, path string, args []string) {
	t.Helper()
	streams, _, _ := iostreams.Test()
	root := NewCmdRoot(&cli.Factory{IO: streams, Getenv: func(string) string { return "" }})
	root.InitDefaultHelpCmd()
	cmd, rest, err := root.Find(args)
	require.NoError(t, err, "%s: labctl %s", path, strings.Join(args, " "))
	require.NotSame(t, root, cmd, "%s: labctl %s", path, strings.Join(args, " "))
	require.NoError(t, cmd.ParseFlags(rest), "%s: labctl %s", path, strings.Join(args, " "))
}
