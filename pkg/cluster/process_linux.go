package cluster

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
	"time"

	"golang.org/x/sys/unix"

	"github.com/labctl/labctl/pkg/atomicfile"
	"github.com/labctl/labctl/pkg/cluster/cgroup"
	"github.com/labctl/labctl/pkg/cluster/node"
)

// process identifies the node's process 1 beyond the reuse of its PID.
type process struct {
	pid int
	// start is the process's start in clock ticks since boot (proc(5), /proc/PID/stat field 22).
	start string
	boot  string
}

const pidFile = "node.pid"

// runningNode gives the node's process, or ok false where it does not run.
func runningNode(dir string) (p process, ok bool) {
	b, err := os.ReadFile(filepath.Join(dir, pidFile))
	if err != nil {
		return p, false
	}
	fields := strings.Fields(string(b))
	if len(fields) != 3 && len(fields) != 4 { // an older labctl wrote no digest
		return p, false
	}
	pid, err := strconv.Atoi(fields[0])
	if err != nil {
		return p, false
	}
	p = process{pid: pid, start: fields[1], boot: fields[2]}
	now, err := identify(pid)
	return p, err == nil && now == p
}

// recordNode writes the node's process and the digest of what it was started with.
func recordNode(dir string, p process, digest string) error {
	return atomicfile.Write(filepath.Join(dir, pidFile), fmt.Appendf(nil, "%d %s %s %s\n", p.pid, p.start, p.boot, digest))
}

// startedWith gives the digest of what the node was started with, "" where it is not known.
func startedWith(dir string) string {
	b, err := os.ReadFile(filepath.Join(dir, pidFile))
	if err != nil {
		return ""
	}
	if fields := strings.Fields(string(b)); len(fields) == 4 {
		return fields[3]
	}
	return ""
}

// identify gives a process that has not ended. Its first thread may be a zombie while another ends: in process 1 that
// one waits for all of the namespace to be gone, so only the last thread's end is the node's.
func identify(pid int) (process, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return process{}, err
	}
	// The second field is the program's name in parentheses and may hold anything, so count from its end.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	const threads, start = 17, 19 // fields 20 and 22 of proc(5)
	if len(fields) <= start || fields[0] == "X" || fields[0] == "Z" && fields[threads] == "1" {
		return process{}, fmt.Errorf("process %d has ended", pid)
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return process{}, err
	}
	return process{pid, fields[start], strings.TrimSpace(string(boot))}, nil
}

// startNode starts process 1 in namespaces of its own and leaves it running. The listeners are handed over and closed
// here. digest says what the node is started with. The process waits at a gate until it is recorded, and ends where
// labctl is killed before: at no moment does a node run that no file tells of.
func startNode(s Spec, program, digest string, listeners []*net.TCPListener) error {
	var own []string
	if s.Egress {
		own = []string{"/proc/self/ns/net", "/proc/self/ns/mnt"}
	}
	cmd, gate, err := spawnNode(s.Dir, program, listeners, own, node.Namespaces)
	if err != nil {
		return err
	}
	p, err := identify(cmd.Process.Pid)
	if err == nil {
		err = recordNode(s.Dir, p, digest)
	}
	if err == nil {
		err = cgroup.Join(cgroup.Root(labID(s.Dir))+"/node", p.pid)
	}
	if err == nil {
		_, err = gate.Write([]byte{node.StartByte})
	}
	_ = gate.Close() // what was written is in the pipe; where nothing was, this ends the node
	if err != nil {
		_ = cmd.Process.Kill() // the node must not run unknown to us
		_ = cmd.Wait()
		return err
	}
	go func() { _ = cmd.Wait() }() // so that a node that ends while labctl runs is no zombie
	return nil
}

// spawnNode starts the program, which waits at the gate, with the listeners, which are closed here, and the files.
func spawnNode(dir, program string, listeners []*net.TCPListener, files []string, flags uintptr) (cmd *exec.Cmd, gate *os.File, err error) {
	log, err := os.OpenFile(node.LogPath(dir, "node"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, nil, err
	}
	defer log.Close()
	cmd = exec.Command(program, filepath.Join(dir, node.ConfigFile)) //nolint:gosec // G204: a program that labctl built
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, "/"
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	for _, l := range listeners {
		f, err := l.File()
		if err != nil {
			return nil, nil, err
		}
		defer f.Close()
		defer l.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	}
	reader, gate, err := os.Pipe() // its writing end is closed in every child, so only labctl holds it
	if err != nil {
		return nil, nil, err
	}
	defer reader.Close()
	cmd.ExtraFiles = append(cmd.ExtraFiles, reader)
	for _, name := range files {
		f, err := os.Open(name) //nolint:gosec // G304: labctl's own namespaces
		if err != nil {
			_ = gate.Close() // nothing was started
			return nil, nil, err
		}
		defer f.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	}
	cmd.SysProcAttr = &unix.SysProcAttr{
		Setsid:     true, // outlives the terminal
		Cloneflags: flags,
	}
	if err := cmd.Start(); err != nil {
		_ = gate.Close() // nothing was started
		if errors.Is(err, unix.EPERM) {
			return nil, nil, fmt.Errorf("start the node in namespaces of its own: %w (it needs root)", err)
		}
		return nil, nil, fmt.Errorf("start the node: %w", err)
	}
	return cmd, gate, nil
}

// How to end a node: first is the signal that it gets.
const (
	gracefully = unix.SIGTERM // its pods are asked to end, and killed after the node's own limit
	atOnce     = unix.SIGKILL // where its data goes too
)

// stopNode ends the node. With process 1 the kernel ends all of its processes.
func stopNode(ctx context.Context, dir string, first unix.Signal) error {
	p, ok := runningNode(dir)
	if !ok {
		return removeIfThere(filepath.Join(dir, pidFile))
	}
	if err := unix.Kill(p.pid, first); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("stop node (process %d): %w", p.pid, err)
	}
	asked := time.Now()
	killed := first == unix.SIGKILL
	for {
		if now, err := identify(p.pid); err != nil || now != p {
			return removeIfThere(filepath.Join(dir, pidFile))
		}
		if !killed && time.Since(asked) > 12*time.Second {
			killed = true
			if err := unix.Kill(p.pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("kill node (process %d): %w", p.pid, err)
			}
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return fmt.Errorf("wait for the node (process %d) to end: %w", p.pid, err)
		}
	}
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// pause sleeps, or ends early with the context's error.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
