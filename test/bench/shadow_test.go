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

func TestMetricOf(t *testing.T) {
	const out = "BenchmarkHangingComparer-2 \t       1\t7501234 ns/op\t       412.0 captured-p99-us\t       398.5 plain-p99-us\nPASS\n"
	v, err := metricOf(out, "plain-p99-us")
	require.NoError(t, err)
	require.InDelta(t, 398.5, v, 1e-9)
	_, err = metricOf(out, "p50-us")
	require.ErrorContains(t, err, "no p50-us")
}
