package main

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/load"
)

func TestAtLeast(t *testing.T) {
	require.True(t, atLeast("chat.connections", 18_000, "", 18_000).Met)
	r := atLeast("chat.connections", 9_000, "", 18_000)
	require.False(t, r.Met)
	require.InDelta(t, 0.5, r.Ratio, 0)
}

// What test/bench/nats prints is what is read here.
func TestPeers(t *testing.T) {
	var p peers
	require.NoError(t, json.Unmarshal([]byte(`{"core":{"delivered":{"count":2,"p50_ms":1.5,"p99_ms":3},"per_second":7},"jetstream":{"stored":{"p99_ms":9},"per_second":8}}`), &p))
	require.InDelta(t, 1.5, p.Core.Delivered.P50, 0)
	require.InDelta(t, 7, p.Core.PerSecond, 0)
	require.InDelta(t, 9, p.JetStream.Stored.P99, 0)
}

func TestMiddle(t *testing.T) {
	var all []turn
	for _, n := range []float64{5, 1, 9} {
		all = append(all, turn{chat: load.Result{StoredPerSecond: n}, peers: peers{JetStream: peer{PerSecond: 2 * n}}})
	}
	r := rate("chat.stored_per_second", all, 6, "JetStream",
		func(t turn) float64 { return t.chat.StoredPerSecond }, func(t turn) float64 { return t.peers.JetStream.PerSecond })
	require.Equal(t, result{Name: "chat.stored_per_second", Value: 5, Unit: "1/s", Goal: 6, Peer: "JetStream: 10", Ratio: 0.5}, r)
}
