package atomicfile_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/atomicfile"
)

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(path, []byte("old"), 0o644)) //nolint:gosec // what is there may be open to all
	before, err := os.Open(path)
	require.NoError(t, err)
	defer before.Close() //nolint:errcheck // opened to read
	require.NoError(t, atomicfile.Write(path, []byte("new")))
	now, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "new", string(now))
	old := make([]byte, 8)
	n, err := before.Read(old)
	require.NoError(t, err)
	require.Equal(t, "old", string(old[:n]), "who reads the old file reads on")
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	require.NoError(t, os.MkdirAll(filepath.Join(dir, "full", "x"), 0o700))
	require.Error(t, atomicfile.Write(filepath.Join(dir, "full"), nil))
	require.ErrorIs(t, atomicfile.Write(filepath.Join(dir, "none", "file"), nil), os.ErrNotExist)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 2, "nothing is left of what failed")
}

func TestSymlink(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "link")
	require.NoError(t, os.Symlink("of a caller that was killed", filepath.Join(dir, ".new-link")))
	for _, target := range []string{"one", "two"} {
		require.NoError(t, atomicfile.Symlink(target, path))
		to, err := os.Readlink(path)
		require.NoError(t, err)
		require.Equal(t, target, to)
	}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1)
	require.Error(t, atomicfile.Symlink("one", dir), "a directory stays")
}
