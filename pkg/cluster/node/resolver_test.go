package node

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFollowLinks(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	in := func(name string) string { return filepath.Join(dir, name) }
	require.NoError(t, os.WriteFile(in("file"), nil, 0o600))
	require.NoError(t, os.Mkdir(in("etc"), 0o755))
	for link, target := range map[string]string{
		"etc/relative": "../file", "absolute": in("file"), "twice": "etc/relative", "nowhere": "/run/gone/stub-resolv.conf", "loop": "loop",
	} {
		require.NoError(t, os.Symlink(target, in(link)))
	}
	for link, want := range map[string]string{
		"file": in("file"), "etc/relative": in("file"), "absolute": in("file"), "twice": in("file"),
		"nowhere": "/run/gone/stub-resolv.conf", "missing": in("missing"),
	} {
		got, err := followLinks(in(link))
		require.NoError(t, err, link)
		require.Equal(t, want, got, link)
	}
	_, err = followLinks(in("loop"))
	require.ErrorContains(t, err, "too many links")
}
