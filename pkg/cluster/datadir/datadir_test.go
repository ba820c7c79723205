package datadir_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/cluster/datadir"
)

func write(t *testing.T, path string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(t, os.WriteFile(path, []byte("x"), 0o600))
}

func TestOnlyADirectoryOfItsOwnIsClaimedAndRemoved(t *testing.T) {
	for name, tc := range map[string]struct {
		prepare func(t *testing.T, dir string)
		foreign bool
	}{
		"absent":            {prepare: func(*testing.T, string) {}},
		"empty":             {prepare: func(t *testing.T, dir string) { require.NoError(t, os.Mkdir(dir, 0o700)) }},
		"half-made cluster": {prepare: func(t *testing.T, dir string) { require.NoError(t, datadir.Claim(dir)) }},
		"cluster with data": {prepare: func(t *testing.T, dir string) {
			require.NoError(t, datadir.Claim(dir))
			write(t, filepath.Join(dir, "etcd", "wal"))
		}},
		"a user's files":           {foreign: true, prepare: func(t *testing.T, dir string) { write(t, filepath.Join(dir, "thesis.tex")) }},
		"a user's hidden file":     {foreign: true, prepare: func(t *testing.T, dir string) { write(t, filepath.Join(dir, ".bashrc")) }},
		"a user's empty directory": {foreign: true, prepare: func(t *testing.T, dir string) { require.NoError(t, os.MkdirAll(filepath.Join(dir, "src"), 0o700)) }},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "cluster")
			tc.prepare(t, dir)
			if !tc.foreign {
				require.NoError(t, datadir.Claim(dir))
				require.FileExists(t, filepath.Join(dir, datadir.Marker))
				require.NoError(t, datadir.Remove(dir))
				require.NoDirExists(t, dir)
				return
			}
			before, err := os.ReadDir(dir)
			require.NoError(t, err)
			require.ErrorIs(t, datadir.Claim(dir), datadir.ErrForeign)
			err = datadir.Remove(dir)
			require.ErrorIs(t, err, datadir.ErrForeign)
			require.ErrorContains(t, err, before[0].Name())
			after, err := os.ReadDir(dir)
			require.NoError(t, err)
			require.Equal(t, before, after, "nothing was added or removed")
		})
	}
}

func TestOlderClustersAreMarkedInsideTheStateDirectoryOnly(t *testing.T) {
	root := t.TempDir()
	state := filepath.Join(root, ".lab", "local")
	for name, tc := range map[string]struct {
		dir, file string
		marked    bool
	}{
		"embedded":                   {filepath.Join(state, "cluster"), "node.json", true},
		"kind":                       {filepath.Join(state, "kind"), "kind.json", true},
		"no cluster":                 {filepath.Join(state, "stacks"), "terraform.tfstate", false},
		"the state directory itself": {state, "node.json", false},
		"outside":                    {filepath.Join(root, "home"), "node.json", false},
		"outside, alike":             {filepath.Join(root, ".lab", "local2"), "node.json", false},
	} {
		t.Run(name, func(t *testing.T) {
			write(t, filepath.Join(tc.dir, tc.file))
			require.NoError(t, datadir.MarkOlder(tc.dir, state))
			_, err := os.Stat(filepath.Join(tc.dir, datadir.Marker))
			require.Equal(t, tc.marked, err == nil)
			require.NoError(t, datadir.MarkOlder(tc.dir, ""))
		})
	}
}
