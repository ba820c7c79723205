//go:build unix

package gobuild

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Command is one run of a build tool whose output is read line by line.
type Command struct {
	Dir  string
	Env  []string // all of the environment
	Name string
	Args []string
	// Stdout and Stderr take a line without its end; they are called one at a time.
	Stdout, Stderr func(line string)
}

// Run starts the command and waits for it. When ctx ends, the command is killed with every process it started, and
// the error is ctx's.
func (c Command) Run(ctx context.Context) error {
	done := make(chan error, 1)
	go func() {
		// Pdeathsig is tied to the thread that starts the process, so the thread must live as long as the process.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		done <- c.run(ctx)
	}()
	err := <-done
	if ctx.Err() != nil && err != nil {
		return context.Cause(ctx)
	}
	return err
}

func (c Command) run(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, c.Name, c.Args...) //nolint:gosec // the callers name the tools they run
	cmd.Dir, cmd.Env = c.Dir, c.Env
	cmd.SysProcAttr = ownGroup()
	cmd.Cancel = func() error {
		err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		if errors.Is(err, syscall.ESRCH) {
			return os.ErrProcessDone
		}
		return err
	}
	// A grandchild that left the group could hold the pipes open for ever.
	cmd.WaitDelay = 5 * time.Second

	var mu sync.Mutex
	stdout, stderr := &lines{mu: &mu, take: c.Stdout}, &lines{mu: &mu, take: c.Stderr}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	err := cmd.Run()
	stdout.flush()
	stderr.flush()
	return err
}

// maxLine bounds what is kept of a line, for a tool that prints megabytes without an end of line.
const maxLine = 64 << 10

// lines is an io.Writer that hands on whole lines.
type lines struct {
	mu   *sync.Mutex
	take func(string)
	rest []byte
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.take == nil {
		return len(p), nil
	}
	n := len(p)
	for len(p) > 0 {
		advance, line, _ := bufio.ScanLines(p, false)
		if advance == 0 {
			l.rest = append(l.rest, p...)
			if len(l.rest) > maxLine {
				l.take(string(l.rest))
				l.rest = nil
			}
			break
		}
		l.take(string(append(l.rest, line...)))
		l.rest, p = nil, p[advance:]
	}
	return n, nil
}

func (l *lines) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.take != nil && len(l.rest) > 0 {
		l.take(string(l.rest))
		l.rest = nil
	}
}

var _ io.Writer = (*lines)(nil)

// with returns env with the given KEY=value entries, which win over those there.
func with(env []string, set ...string) []string {
	out := make([]string, 0, len(env)+len(set))
	replaced := make(map[string]bool, len(set))
	for _, kv := range set {
		key, _, _ := strings.Cut(kv, "=")
		replaced[key] = true
	}
	for _, kv := range env {
		if key, _, _ := strings.Cut(kv, "="); !replaced[key] {
			out = append(out, kv)
		}
	}
	return append(out, set...)
}
