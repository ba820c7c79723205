package main

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/shadow/verdict"
)

// A run says what came first, and whether it failed at any moment.
func TestWatchVerdict(t *testing.T) {
	policy := verdict.Default()
	policy.Latency, policy.Lag, policy.Restarts, policy.MemoryRatio = nil, -1, -1, 0
	first, fails, err := watchVerdict(context.Background(), policy, 1, 0, 0.5, 100)
	require.NoError(t, err)
	require.Equal(t, verdict.Fail, first)
	require.True(t, fails)
	first, fails, err = watchVerdict(context.Background(), policy, 1, 0, 0, 4000)
	require.NoError(t, err)
	require.Equal(t, verdict.Pass, first)
	require.False(t, fails)
}
