package freeport

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

// A port that is reserved can be listened on by number, again and again, with connections of before still closing; nobody else is
// given it, neither as a listener on any port nor as a client.
func TestReserved(t *testing.T) {
	r := Of(t)
	for range 3 {
		ln, err := net.Listen("tcp", r.Addr())
		require.NoError(t, err)
		c, err := net.Dial("tcp", r.Addr())
		require.NoError(t, err)
		s, err := ln.Accept()
		require.NoError(t, err)
		require.NoError(t, s.Close()) // the server's end waits (TIME_WAIT)
		require.NoError(t, c.Close())
		_, err = net.Listen("tcp", r.Addr())
		require.Error(t, err, "two servers on one port")
		require.NoError(t, ln.Close())
	}
}

// The kernel has some 28,000 ports for whoever does not care which. Of so many of them that one of a hundred looked up and closed would
// be among them, none is one that is reserved.
func TestNobodyGetsAReservedPort(t *testing.T) {
	reserved := map[int]bool{}
	for range 100 {
		r := Of(t)
		require.False(t, reserved[r.Port], "reserved twice")
		reserved[r.Port] = true
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	for range 1000 {
		other, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer other.Close()
		require.False(t, reserved[other.Addr().(*net.TCPAddr).Port])
		c, err := net.Dial("tcp", ln.Addr().String())
		require.NoError(t, err)
		defer c.Close()
		require.False(t, reserved[c.LocalAddr().(*net.TCPAddr).Port])
	}
}
