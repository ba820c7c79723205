package wire

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPosition(t *testing.T) {
	for _, p := range []Position{{}, {0: 17}, {3: 4711, 0: 0, 11: 1}} {
		got, err := ParsePosition(p.String())
		require.NoError(t, err)
		require.Equal(t, p, got)
	}
	require.Equal(t, "0:17,3:4711", Position{3: 4711, 0: 17}.String())
	for _, bad := range []string{"x", "1", "1:", ":1", "-1:1", "1:-1", "1:1,", "4294967296:1"} {
		_, err := ParsePosition(bad)
		require.Error(t, err, bad)
	}
}
