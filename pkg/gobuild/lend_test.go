package gobuild_test

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/labctl/labctl/pkg/gobuild"
	"github.com/stretchr/testify/require"
)

// A private build compiles what the user's cache has not, and leaves that cache as it was.
func TestPrivateCachesBeginWithWhatTheUserHas(t *testing.T) {
	shared := t.TempDir()
	t.Setenv("GOCACHE", shared)
	dir := module(t, map[string]string{
		"main.go":       "package main\n\nimport _ \"example.test/tiny/a\"\n\nfunc main() {}\n",
		"a/a.go":        "package a\n",
		"other/main.go": "package main\n\nimport (\n\t_ \"example.test/tiny/a\"\n\t_ \"example.test/tiny/b\"\n)\n\nfunc main() {}\n",
		"b/b.go":        "package b\n",
	})
	require.NoError(t, gobuild.Build(context.Background(), gobuild.Options{Dir: dir, Out: filepath.Join(t.TempDir(), "tiny")}, nil))
	before := sizes(t, shared)
	require.NotEmpty(t, before)

	var seen recorder
	require.NoError(t, gobuild.Build(context.Background(), gobuild.Options{
		Dir: dir, Package: "./other", Out: filepath.Join(t.TempDir(), "other"), PrivateCache: true, CacheDir: t.TempDir(),
	}, seen.report))
	for _, e := range seen.events {
		if e.Total > 0 {
			require.Equal(t, int64(3), e.Total, "b, main and the link are to be made")
		}
	}
	require.Equal(t, before, sizes(t, shared))
}

// sizes gives the files below dir and their sizes.
func sizes(t *testing.T, dir string) map[string]int64 {
	t.Helper()
	found := map[string]int64{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := os.Stat(path)
		if err == nil {
			found[path] = info.Size()
		}
		return err
	}))
	return found
}
