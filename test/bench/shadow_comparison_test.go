package main

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
)

// The program checks by itself that all was joined, and which joins differ.
func TestMeasureJoins(t *testing.T) {
	dir := t.TempDir()
	program, err := buildJoins(context.Background(), "../..", dir)
	require.NoError(t, err)
	for _, what := range []string{"same", "noise", "open"} {
		rate, peak, err := measureJoins(context.Background(), program, dir, what, 13_000)
		require.NoError(t, err)
		require.Positive(t, rate)
		require.Positive(t, peak)
	}
	canceled, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = benchComparison(canceled)
	require.ErrorIs(t, err, context.Canceled)
}
