package node

import (
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// serveProxies accepts on the listeners that labctl opened in the machine's network namespace and handed over from
// descriptor 3 on, and forwards each connection to its target in the node's.
func serveProxies(proxies []Proxy) (stop func(), err error) {
	var listeners []net.Listener
	stop = func() {
		for _, l := range listeners {
			_ = l.Close() // the node is ending
		}
	}
	for i, p := range proxies {
		f := os.NewFile(uintptr(3+i), p.Name)
		l, err := net.FileListener(f)
		if err != nil {
			stop()
			return nil, fmt.Errorf("%s: descriptor %d is no listener: %w", p.Name, 3+i, err)
		}
		_ = f.Close() // FileListener works on a copy
		listeners = append(listeners, l)
		go forward(l, p.Target)
	}
	return stop, nil
}

func forward(l net.Listener, target string) {
	for {
		conn, err := l.Accept()
		if err != nil {
			if ne, ok := err.(net.Error); ok && ne.Timeout() {
				continue
			}
			return
		}
		go func() {
			defer conn.Close()
			// A target that is not there yet looks to the client like a port on which nothing listens.
			upstream, err := net.DialTimeout("tcp", target, 5*time.Second)
			if err != nil {
				return
			}
			defer upstream.Close()
			var both sync.WaitGroup
			both.Go(func() { pipe(upstream, conn) })
			both.Go(func() { pipe(conn, upstream) })
			both.Wait()
		}()
	}
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
	if c, ok := dst.(*net.TCPConn); ok {
		_ = c.CloseWrite() // fails only where the connection is gone already
	}
}
