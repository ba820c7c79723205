package gateway

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A session may have several sockets, as tabs: somebody is at it if somebody is at any of them.
func TestHubCountsDevices(t *testing.T) {
	h := newHub()
	add := func(session string, away bool) *conn {
		c := &conn{user: "u", session: session}
		c.away.Store(away)
		h.add(c)
		return c
	}
	add("phone", true)
	first := add("laptop", false)
	add("laptop", true)
	add("laptop", false)
	add("tablet", true)
	add("tablet", true)
	devices, away, sessions := h.count("u")
	require.Equal(t, 6, devices)
	require.Equal(t, 4, away)
	require.Equal(t, map[string]bool{"phone": true, "laptop": false, "tablet": true}, sessions)
	h.remove(first)
	_, _, sessions = h.count("u")
	require.False(t, sessions["laptop"])
	devices, away, sessions = h.count("nobody")
	require.Zero(t, devices)
	require.Zero(t, away)
	require.Empty(t, sessions)
}
