package cluster

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// PortTakenError says that another process listens on a port that the lab needs.
type PortTakenError struct {
	Port int
	Use  string // what the lab needs it for
	By   string // the process, as "name (PID)", or empty where it cannot be seen
}

func (e *PortTakenError) Error() string {
	by := e.By
	if by == "" {
		by = "another process"
	}
	return fmt.Sprintf("port %d on 127.0.0.1, which the lab needs for %s, is taken by %s: stop it, or choose another port in lab.hcl", e.Port, e.Use, by)
}

// listen opens a listener on the machine's loopback.
func listen(port int, use string) (*net.TCPListener, error) {
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
	if errors.Is(err, unix.EADDRINUSE) {
		return nil, &PortTakenError{Port: port, Use: use, By: listenerOf(port)}
	}
	if err != nil {
		return nil, fmt.Errorf("open port %d for %s: %w", port, use, err)
	}
	return l, nil
}

// listenerOf finds the process that listens on a TCP port, by the socket's inode (proc(5), /proc/net/tcp).
func listenerOf(port int) string {
	inodes := map[string]bool{}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		b, err := os.ReadFile(table)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(b)) {
			f := strings.Fields(line)
			if len(f) < 10 || f[3] != "0A" { // 0A: LISTEN
				continue
			}
			_, hex, _ := strings.Cut(f[1], ":")
			if p, err := strconv.ParseInt(hex, 16, 32); err == nil && int(p) == port {
				inodes["socket:["+f[9]+"]"] = true
			}
		}
	}
	fds, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		return ""
	}
	for _, fd := range fds {
		target, err := os.Readlink(fd)
		if err != nil || !inodes[target] {
			continue
		}
		pid := strings.Split(fd, "/")[2]
		name, err := os.ReadFile(filepath.Join("/proc", pid, "comm"))
		if err != nil {
			continue
		}
		return fmt.Sprintf("%s (process %s)", strings.TrimSpace(string(name)), pid)
	}
	return ""
}
