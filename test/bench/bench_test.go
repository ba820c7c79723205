package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMedian(t *testing.T) {
	require.InDelta(t, 3, median([]float64{9, 1, 3}), 0)
	require.InDelta(t, 2, median([]float64{9, 1, 3, 1}), 0)
}

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	results := []result{
		against("up.warm_seconds", 45, "s", 90),
		beside("up.help_ms", 120, "ms", 100, "terraform -help", 60),
	}
	for range 2 {
		var out bytes.Buffer
		require.NoError(t, write(dir, results, &out))
		require.Equal(t, "metric           measured  unit  goal  peer or limit        ratio  \n"+
			"up.warm_seconds  45        s     90    limit                0.50   \n"+
			"up.help_ms       120       ms    100   terraform -help: 60  2.00   MISSED\n", out.String())
	}
	content, err := os.ReadFile(filepath.Join(dir, ".lab", "bench.jsonl"))
	require.NoError(t, err)
	lines := bytes.Split(bytes.TrimSpace(content), []byte("\n"))
	require.Len(t, lines, 4, "results are appended")
	var first map[string]any
	require.NoError(t, json.Unmarshal(lines[0], &first))
	require.Equal(t, map[string]any{"name": "up.warm_seconds", "value": 45.0, "unit": "s", "goal": 90.0, "met": true, "peer": "limit", "ratio": 0.5}, first)
}

func TestDiskUsageCountsAFileOnce(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "a"), make([]byte, 10_000_000), 0o600))
	require.NoError(t, os.Link(filepath.Join(dir, "a"), filepath.Join(dir, "b")))
	got, err := diskUsage(dir, dir)
	require.NoError(t, err)
	require.InDelta(t, 0.01, got, 0.001)
}

// What is not there to measure is told before anything is built.
func TestBenchmark(t *testing.T) {
	for _, args := range [][]string{{"up"}, {"chat"}, {"chat", "rooms"}, {"chat", "storm", "fan-out"}} {
		measure, err := benchmark(args)
		require.NoError(t, err, args)
		require.NotNil(t, measure, args)
	}
	for _, args := range [][]string{{}, {"down"}, {"up", "rooms"}, {"chat", "rooms", "lobby"}} {
		_, err := benchmark(args)
		require.ErrorContains(t, err, "the chat's parts are rooms, pairs, fan-out, connections, storm, history, fair, chaos", args)
	}
}
