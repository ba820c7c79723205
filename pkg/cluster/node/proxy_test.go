package node

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/labctl/labctl/pkg/freeport"
)

func TestForwardPassesBytesAndHalfClose(t *testing.T) {
	target, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer target.Close()
	go func() {
		conn, err := target.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		// Answers only after the client's end: a proxy that does not pass it on would hang here.
		b, err := io.ReadAll(conn)
		if err == nil {
			_, _ = conn.Write(append([]byte("got "), b...)) // the client checks what arrives
		}
	}()
	front, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer front.Close()
	go func() { _ = forward(front, target.Addr().String(), time.Sleep, io.Discard) }() // ends with front

	conn, err := net.Dial("tcp4", front.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.Write([]byte("hello"))
	require.NoError(t, err)
	require.NoError(t, conn.(*net.TCPConn).CloseWrite())
	answer, err := io.ReadAll(conn)
	require.NoError(t, err)
	require.Equal(t, "got hello", string(answer))
}

func TestForwardClosesWhereNothingListens(t *testing.T) {
	address := freeport.Of(t).Addr()
	front, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer front.Close()
	go func() { _ = forward(front, address, time.Sleep, io.Discard) }() // ends with front
	conn, err := net.Dial("tcp4", front.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.Read(make([]byte, 1))
	require.Error(t, err)
}

// failing is a listener whose accepts fail with errs, one after the other, and then end.
type failing struct {
	net.Listener
	errs []error
	last error
}

func (l *failing) Accept() (net.Conn, error) {
	if len(l.errs) == 0 {
		return nil, l.last
	}
	err := l.errs[0]
	l.errs = l.errs[1:]
	if err == nil {
		a, b := net.Pipe()
		_ = b.Close() // the client went away
		return a, nil
	}
	return nil, err
}

func TestAProxyOutlivesAShortageAndSaysWhenItEnds(t *testing.T) {
	accept := func(errno error) error {
		return &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", errno)}
	}
	const ms = time.Millisecond
	shortage := func(n int) (errs []error) {
		for range n {
			errs = append(errs, accept(unix.EMFILE))
		}
		return errs
	}
	for name, tc := range map[string]struct {
		errs   []error
		last   error
		want   error
		delays []time.Duration
	}{
		"closed":                   {last: net.ErrClosed},
		"too many open files":      {errs: shortage(3), last: net.ErrClosed, delays: []time.Duration{5 * ms, 10 * ms, 20 * ms}},
		"a long shortage":          {errs: shortage(10), last: net.ErrClosed, delays: []time.Duration{5 * ms, 10 * ms, 20 * ms, 40 * ms, 80 * ms, 160 * ms, 320 * ms, 640 * ms, time.Second, time.Second}},
		"two shortages":            {errs: []error{accept(unix.ENFILE), nil, accept(unix.ENOMEM)}, last: net.ErrClosed, delays: []time.Duration{5 * ms, 5 * ms}},
		"a connection that failed": {errs: []error{accept(unix.ECONNABORTED)}, last: net.ErrClosed, delays: []time.Duration{5 * ms}},
		"no listener any more":     {last: accept(unix.EINVAL), want: unix.EINVAL},
		"anything else":            {errs: shortage(1), last: errors.ErrUnsupported, want: errors.ErrUnsupported, delays: []time.Duration{5 * ms}},
	} {
		t.Run(name, func(t *testing.T) {
			var delays []time.Duration
			var log bytes.Buffer
			err := forward(&failing{errs: tc.errs, last: tc.last}, "127.0.0.1:1", func(d time.Duration) { delays = append(delays, d) }, &log)
			require.ErrorIs(t, err, tc.want)
			require.Equal(t, tc.delays, delays)
			require.Equal(t, len(delays) > 0, log.Len() > 0, "a shortage is in the node's log")
		})
	}
}

func TestRelaysPassBetweenNetworksBySockets(t *testing.T) {
	server, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer server.Close()
	go func() {
		conn, err := server.Accept()
		if err != nil {
			return
		}
		_, _ = io.Copy(conn, conn) // the client checks what arrives
		_ = conn.Close()
	}()
	socket := filepath.Join(t.TempDir(), "socket")
	require.NoError(t, os.WriteFile(socket, nil, 0o600), "what an earlier run left")
	near := freeport.Of(t).Addr()
	failed := make(chan error, 2)
	stop, err := serveRelays([]Relay{{Listen: socket, Target: server.Addr().String()}, {Listen: near, Target: socket}}, failed)
	require.NoError(t, err)
	conn, err := net.Dial("tcp4", near)
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.Write([]byte("hello"))
	require.NoError(t, err)
	require.NoError(t, conn.(*net.TCPConn).CloseWrite(), "the end passes the socket, too")
	answer, err := io.ReadAll(conn)
	require.NoError(t, err)
	require.Equal(t, "hello", string(answer))
	stop()
	require.NoFileExists(t, socket)
	require.Empty(t, failed)
}
