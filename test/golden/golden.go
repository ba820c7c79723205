// Package golden compares what a test made with a file that is kept beside it.
package golden

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the golden files anew")

// Equal wants got to be what testdata/name holds. With -update it writes the file first.
func Equal(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644)) //nolint:gosec // a golden file is public
	}
	want, err := os.ReadFile(path) //nolint:gosec // of the test's own
	require.NoError(t, err)
	require.Equal(t, string(want), got, "run `go test -update` in this package if this is meant")
}
