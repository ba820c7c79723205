// Package freeport finds ports for the servers of a test that are started later than their addresses are told.
package freeport

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Reserved is a port of the loopback that nobody gets by chance.
type Reserved struct {
	Port int
	fd   int
}

// Addr is 127.0.0.1:port.
func (r *Reserved) Addr() string { return fmt.Sprintf("127.0.0.1:%d", r.Port) }

// Reserve takes a free TCP port of 127.0.0.1 until Release. Whoever asks for it by number can listen on it, as often as they like,
// in this process and in others; the kernel gives it neither to a listener on port 0 nor to an outgoing connection, which it would
// do with a port that is looked up by a listener and closed again.
//
// It is a socket that is bound and does not listen: with SO_REUSEADDR on both, which net.Listen sets, another may be bound beside it
// (socket(7)).
func Reserve() (*Reserved, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("reserve a port: socket: %w", err)
	}
	r := &Reserved{fd: fd}
	if err := r.bind(); err != nil {
		r.Release()
		return nil, fmt.Errorf("reserve a port: %w", err)
	}
	return r, nil
}

func (r *Reserved) bind() error {
	// Bound without SO_REUSEADDR, so that the kernel gives a port that is nobody's, not one that another has reserved.
	if err := unix.Bind(r.fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	if err := unix.SetsockoptInt(r.fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return fmt.Errorf("setsockopt SO_REUSEADDR: %w", err)
	}
	name, err := unix.Getsockname(r.fd)
	if err != nil {
		return fmt.Errorf("getsockname: %w", err)
	}
	r.Port = name.(*unix.SockaddrInet4).Port
	return nil
}

// Release gives the port back.
func (r *Reserved) Release() { _ = unix.Close(r.fd) }

// TB is what this package needs of testing.TB.
type TB interface {
	Helper()
	Cleanup(func())
	Fatal(args ...any)
}

// Of reserves a port until the end of a test.
func Of(t TB) *Reserved {
	t.Helper()
	r, err := Reserve()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Release)
	return r
}
