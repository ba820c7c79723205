package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/labctl/labctl/pkg/cluster"
)

const (
	nodesRounds   = 3
	connectRounds = 300
)

// benchCluster measures what more nodes cost, and what a connection out of the cluster does.
func benchCluster(ctx context.Context, repository string) (results []result, err error) {
	l, err := newLab(ctx, repository)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.end()) }()
	if _, err := l.run(ctx, "up", "cluster"); err != nil { // fills the caches
		return nil, err
	}
	took := map[int]float64{}
	for _, nodes := range []int{3, 1} {
		if err := l.want(nodes); err != nil {
			return results, err
		}
		took[nodes], err = repeat(nodesRounds, func(int) (float64, error) {
			if _, err := l.run(ctx, "down"); err != nil {
				return 0, err
			}
			return l.run(ctx, "up", "cluster")
		})
		if err != nil {
			return results, err
		}
	}
	results = append(results, beside("cluster.three_nodes_more_seconds", took[3]-took[1], "s", 25, "one node", took[1]))
	status, err := cluster.Inspect(filepath.Join(l.dir, ".lab", "local", "cluster"))
	if err != nil {
		return results, err
	}
	more, machine, err := connect(ctx, status.PID)
	if err != nil {
		return results, err
	}
	return append(results, beside("cluster.egress_more_ms", more-machine, "ms", 1, "the machine", machine)), nil
}

var nodesVar = regexp.MustCompile(` nodes = \d+,`)

// want changes how many nodes the lab's cluster has.
func (l *ownLab) want(nodes int) error {
	file := filepath.Join(l.dir, "lab.hcl")
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	text := nodesVar.ReplaceAllString(string(b), "")
	return os.WriteFile(file, []byte(strings.Replace(text, `location = "bench",`, fmt.Sprintf(`location = "bench", nodes = %d,`, nodes), 1)), 0o600)
}

// connect gives the medians, in ms, of the time that a TCP connection to the same server takes from the network of a process
// and from the machine's. The server is at an address that is the machine's and no loopback one.
func connect(ctx context.Context, pid int) (theirs, machine float64, err error) {
	address, remove, err := ownAddress()
	if err != nil {
		return 0, 0, err
	}
	defer remove()
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp4", net.JoinHostPort(address, "0"))
	if err != nil {
		return 0, 0, err
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_ = conn.Close()
		}
	}()
	if machine, err = connects(ctx, l.Addr().String()); err != nil {
		return 0, 0, err
	}
	answers := make(chan error, 1)
	go func() {
		// The thread ends with this goroutine: nobody else gets its network.
		runtime.LockOSThread()
		network, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
		if err == nil {
			err = unix.Setns(int(network.Fd()), unix.CLONE_NEWNET)
		}
		if err == nil {
			theirs, err = connects(ctx, l.Addr().String())
		}
		answers <- err
	}()
	return theirs, machine, <-answers
}

// connects gives the median of the times, in ms. It dials on the thread that it is called on.
func connects(ctx context.Context, address string) (float64, error) {
	var all []float64
	for range connectRounds {
		start := time.Now()
		conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp4", address)
		if err != nil {
			return 0, err
		}
		// slirp4netns accepts by itself: only when the server has closed is the connection one to the server.
		_, _ = conn.Read(make([]byte, 1)) // it says nothing
		all = append(all, float64(time.Since(start).Microseconds())/1000)
		_ = conn.Close()
	}
	slices.Sort(all)
	return all[len(all)/2], nil
}

// ownAddress gives the machine an address of the range for tests of devices between networks (RFC 2544), for as long as it is needed.
func ownAddress() (address string, remove func(), err error) {
	pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: fmt.Sprintf("labbench%d", os.Getpid()%100000)}, PeerName: fmt.Sprintf("labend%d", os.Getpid()%100000)}
	if err := netlink.LinkAdd(pair); err != nil {
		return "", nil, err
	}
	remove = func() { _ = netlink.LinkDel(pair) } // it is ours
	address = fmt.Sprintf("198.19.%d.1", os.Getpid()%250)
	addr, err := netlink.ParseAddr(address + "/30")
	if err == nil {
		err = netlink.AddrAdd(pair, addr)
	}
	if err == nil {
		err = netlink.LinkSetUp(pair)
	}
	if err != nil {
		remove()
		return "", nil, err
	}
	return address, remove, nil
}
