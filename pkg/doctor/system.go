//go:build unix

package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/gobuild"
)

// System fills in how this machine is looked at and changed. What o has already is left.
func System(o Options) Options {
	o.UID = os.Getuid()
	if o.LookPath == nil {
		o.LookPath = exec.LookPath
	}
	if o.Exists == nil {
		o.Exists = exists
	}
	if o.FreeBytes == nil {
		o.FreeBytes = freeBytes
	}
	if o.OpenFiles == nil {
		o.OpenFiles = openFiles
	}
	if o.Namespaces == nil {
		o.Namespaces = tryNamespaces
	}
	if o.Listen == nil {
		o.Listen = listen
	}
	if o.Run == nil {
		o.Run = run
	}
	if o.Output == nil {
		o.Output = output
	}
	if o.Read == nil {
		o.Read = read
	}
	if o.BridgeFilter == nil {
		o.BridgeFilter = func() bool { return exists("/proc/sys/net/bridge/bridge-nf-call-iptables") }
	}
	if o.Overlay == nil {
		o.Overlay = tryOverlay
	}
	return o
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func read(path string) string {
	content, err := os.ReadFile(path) //nolint:gosec // one of /proc or /sys
	if err != nil {
		return ""
	}
	return string(content)
}

// freeBytes is the space that is free on the file system of dir, or of the nearest directory above it that exists.
func freeBytes(dir string) (uint64, error) {
	for {
		var stat unix.Statfs_t
		err := unix.Statfs(dir, &stat)
		if err == nil {
			return stat.Bavail * uint64(stat.Bsize), nil //nolint:gosec // a block size is positive
		}
		parent := filepath.Dir(dir)
		if !errors.Is(err, unix.ENOENT) || parent == dir {
			return 0, fmt.Errorf("free space of %s: %w", dir, err)
		}
		dir = parent
	}
}

func openFiles() (uint64, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("limit of open files: %w", err)
	}
	return uint64(limit.Max), nil //nolint:unconvert // it is signed on some systems
}

// listen tries whether a port is free, and says who has it if not.
func listen(port int) error {
	listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err == nil {
		return listener.Close()
	}
	if who := holder("/proc", port); who != "" {
		return fmt.Errorf("taken by %s", who)
	}
	return err
}

// tcpListen is the state of a listening socket in /proc/net/tcp.
const tcpListen = "0A"

// holder names the process that listens on a TCP port, as proc shows it; "" where that can't be seen.
func holder(proc string, port int) string {
	sockets := make(map[string]bool)
	for _, table := range []string{"tcp", "tcp6"} {
		for line := range strings.Lines(read(filepath.Join(proc, "net", table))) {
			fields := strings.Fields(line)
			if len(fields) < 10 || fields[3] != tcpListen {
				continue
			}
			_, hex, _ := strings.Cut(fields[1], ":")
			if local, err := strconv.ParseInt(hex, 16, 32); err == nil && int(local) == port {
				sockets["socket:["+fields[9]+"]"] = true
			}
		}
	}
	if len(sockets) == 0 {
		return ""
	}
	descriptors, err := filepath.Glob(filepath.Join(proc, "[0-9]*", "fd", "*"))
	if err != nil {
		return ""
	}
	for _, descriptor := range descriptors {
		if target, err := os.Readlink(descriptor); err == nil && sockets[target] {
			process := filepath.Dir(filepath.Dir(descriptor))
			return fmt.Sprintf("%s (process %s)", strings.TrimSpace(read(filepath.Join(process, "comm"))), filepath.Base(process))
		}
	}
	return ""
}

// environment keeps apt from asking, and what is parsed in English.
func environment() []string {
	return append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "NEEDRESTART_MODE=l", "LC_ALL=C.UTF-8")
}

func output(ctx context.Context, name string, args ...string) (string, error) {
	var said []string
	take := func(line string) { said = append(said, line) }
	err := gobuild.Command{Env: environment(), Name: name, Args: args, Stdout: take, Stderr: take}.Run(ctx)
	return strings.Join(said, "\n"), err
}

// keepLines is how many of a failed program's last lines its error has.
const keepLines = 30

// run runs a program, passes its lines on, and makes progress of those of apt-get.
func run(ctx context.Context, report event.Report, name string, args ...string) error {
	var said []string
	progress := packageProgress{report: report}
	take := func(line string) {
		report.Line(line)
		progress.line(line)
		if said = append(said, line); len(said) > keepLines {
			said = said[1:]
		}
	}
	err := gobuild.Command{Env: environment(), Name: name, Args: args, Stdout: take, Stderr: take}.Run(ctx)
	text := strings.Join(said, "\n")
	if err == nil && name == "apt-get" && args[0] == "update" && gobuild.IsNetwork(text) {
		err = errors.New("not all lists could be fetched") // which it takes for a success
	}
	switch {
	case err == nil || ctx.Err() != nil:
		return err
	case gobuild.IsDiskFull(text):
		err = fmt.Errorf("%w: free some space: %w", gobuild.ErrDiskFull, err)
	case name == "apt-get" && gobuild.IsNetwork(text):
		err = fmt.Errorf("%w: the mirrors in /etc/apt/sources.list did not answer; connect the machine and run the command again: %w", gobuild.ErrNetwork, err)
	}
	return fmt.Errorf("%s %s: %w\n  %s", name, strings.Join(args, " "), err, strings.Join(said, "\n  "))
}

// packageProgress counts what apt-get says it does: it unpacks each package and sets it up.
type packageProgress struct {
	report      event.Report
	done, total int64
}

func (p *packageProgress) line(line string) {
	if before, _, ok := strings.Cut(line, " newly installed,"); ok {
		words := strings.Fields(before) // "2 upgraded, 12"
		if n, err := strconv.ParseInt(words[len(words)-1], 10, 64); err == nil {
			p.total = 2 * n
		}
		return
	}
	if p.total > 0 && (strings.HasPrefix(line, "Unpacking ") || strings.HasPrefix(line, "Setting up ")) {
		p.done = min(p.done+1, p.total)
		p.report.At(p.done, p.total, "installing packages: %s", strings.TrimSuffix(line, " ..."))
	}
}
