package shadow

import (
	"archive/tar"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// A commit's files are written as they were in it, and not as they are in the working tree.
func TestCheckOut(t *testing.T) {
	source := t.TempDir()
	git := func(args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "git", append([]string{"-C", source, "-c", "user.name=ann", "-c", "user.email=ann@example.com"}, args...)...) //nolint:gosec // a test's own
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	git("init", "-q", "-b", "main")
	require.NoError(t, os.Mkdir(filepath.Join(source, "cmd"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(source, "cmd", "run.sh"), []byte("one"), 0o700))
	require.NoError(t, os.Symlink("cmd/run.sh", filepath.Join(source, "link")))
	git("add", ".")
	git("commit", "-q", "-m", "One")
	require.NoError(t, os.WriteFile(filepath.Join(source, "cmd", "run.sh"), []byte("two"), 0o700))

	dir, hash, err := checkOut(t.Context(), source, "main")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.Len(t, hash, 40)
	b, err := os.ReadFile(filepath.Join(dir, "link"))
	require.NoError(t, err)
	require.Equal(t, "one", string(b))
	info, err := os.Stat(filepath.Join(dir, "cmd", "run.sh"))
	require.NoError(t, err)
	require.NotZero(t, info.Mode().Perm()&0o100, "it can still be run")

	_, _, err = checkOut(t.Context(), source, "nowhere")
	require.ErrorContains(t, err, "check out nowhere of "+source)
	_, _, err = checkOut(t.Context(), source, "--output=x")
	require.Error(t, err, "a ref is no flag")
}

// No file of an archive comes beside the directory.
func TestUnpackStaysInside(t *testing.T) {
	for _, name := range []string{"../outside", "/outside"} {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		require.NoError(t, w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Size: 1, Mode: 0o600}))
		_, err := w.Write([]byte("x"))
		require.NoError(t, err)
		require.NoError(t, w.Close())
		require.Error(t, unpack(&b, t.TempDir()), name)
	}
}
