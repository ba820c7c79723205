package node

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	acceptFirst = 5 * time.Millisecond // before a failed accept is tried again
	acceptMost  = time.Second          // the delay doubles up to this
)

// serveProxies accepts on the listeners that labctl opened in the machine's network namespace and handed over from
// descriptor 3 on, and forwards each connection to its target in the node's. A proxy that ends for good sends its error to
// failed, which must have room for one of each.
func serveProxies(proxies []Proxy, failed chan<- error) (stop func(), err error) {
	var open listeners
	for i, p := range proxies {
		f := os.NewFile(uintptr(3+i), p.Name)
		l, err := net.FileListener(f)
		if err != nil {
			open.close()
			return nil, fmt.Errorf("%s: descriptor %d is no listener: %w", p.Name, 3+i, err)
		}
		_ = f.Close() // FileListener works on a copy
		open.serve(l, p.Name, p.Target, failed)
	}
	return open.close, nil
}

// serveRelays listens for the relays and forwards, as serveProxies does.
func serveRelays(relays []Relay, failed chan<- error) (stop func(), err error) {
	var open listeners
	for _, r := range relays {
		network := networkOf(r.Listen)
		if network == "unix" {
			// What an earlier run of the node left; nobody listens on it.
			if err := os.Remove(r.Listen); err != nil && !errors.Is(err, os.ErrNotExist) {
				open.close()
				return nil, err
			}
		}
		l, err := net.Listen(network, r.Listen)
		if err != nil {
			open.close()
			return nil, err
		}
		open.serve(l, r.Listen, r.Target, failed)
	}
	return open.close, nil
}

type listeners []net.Listener

func (o *listeners) serve(l net.Listener, name, target string, failed chan<- error) {
	*o = append(*o, l)
	go func() {
		if err := forward(l, target, time.Sleep, os.Stderr); err != nil {
			failed <- fmt.Errorf("proxy %s: %w", name, err)
		}
	}()
}

func (o *listeners) close() {
	for _, l := range *o {
		_ = l.Close() // the node is ending
	}
}

// networkOf tells a Unix socket's path from a TCP address.
func networkOf(address string) string {
	if strings.HasPrefix(address, "/") {
		return "unix"
	}
	return "tcp"
}

// forward serves a listener until it is closed. The error says why it had to stop before. While the machine has no
// descriptors or no memory for another connection, it waits and tries again.
func forward(l net.Listener, target string, sleep func(time.Duration), log io.Writer) error {
	delay := acceptFirst
	for {
		conn, err := l.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil
		case err != nil && isTemporary(err):
			if delay == acceptFirst { // the first of a row
				_, _ = fmt.Fprintf(log, "node: proxy to %s: %v; trying again\n", target, err) // the log is a help for people
			}
			sleep(delay)
			delay = min(2*delay, acceptMost)
			continue
		case err != nil:
			return err
		}
		delay = acceptFirst
		go relay(conn, target)
	}
}

// isTemporary says whether accept(2) may work the next time: the machine lacks something, or the one connection failed.
func isTemporary(err error) bool {
	for _, errno := range []error{
		unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM, unix.EINTR, unix.EAGAIN, unix.EPERM,
		unix.ECONNABORTED, unix.ECONNRESET, unix.EPROTO, unix.ENETDOWN, unix.ENETUNREACH, unix.EHOSTDOWN, unix.EHOSTUNREACH,
	} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// relay copies between a connection and a new one to target until both directions have ended.
func relay(conn net.Conn, target string) {
	defer conn.Close()
	// A target that is not there yet looks to the client like a port on which nothing listens.
	upstream, err := net.DialTimeout(networkOf(target), target, 5*time.Second)
	if err != nil {
		return
	}
	defer upstream.Close()
	var both sync.WaitGroup
	both.Go(func() { pipe(upstream, conn) })
	both.Go(func() { pipe(conn, upstream) })
	both.Wait()
}

// pipe copies one direction and passes its end on, so that half-closed connections work. When copying fails, the
// connection is of no more use to either side.
func pipe(dst, src net.Conn) {
	_, err := io.Copy(dst, src)
	if err != nil {
		_ = dst.Close()
		_ = src.Close()
		return
	}
	if c, ok := dst.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite() // fails only where the connection is gone already
	}
}
