// Package hook runs the commands that a stack's author wants beside it.
package hook

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/labctl/labctl/pkg/event"
)

// inherited are the environment variables that a hook gets of labctl's own: what programs need to find their way, and no
// credentials.
var inherited = []string{"PATH", "HOME", "USER", "LANG", "LC_ALL", "TERM", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"}

const (
	grace     = 10 * time.Second // between the request to end and the end
	lastLines = 10               // of its output, that an error shows
	longest   = 1 << 20          // bytes of a line; what is longer is cut into several
)

// Run runs a command in dir with env beside the inherited environment, and returns once it has ended and everything that
// it started. Each line that it prints goes to the report. When ctx ends, its process group is asked to end, and killed
// after ten seconds. The error of a command that fails has its last lines.
func Run(ctx context.Context, dir string, command []string, env map[string]string, report event.Report) error {
	if len(command) == 0 {
		return errors.New("the command is empty")
	}
	// Pdeathsig is tied to the thread that starts the process, so the thread must live as long as the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...) //nolint:gosec // G204: running what the stack's author wrote is the purpose
	cmd.Dir = dir
	for _, name := range inherited {
		if v, ok := os.LookupEnv(name); ok {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		cmd.Env = append(cmd.Env, name+"="+env[name])
	}
	// A group of its own, so that all of it can be ended; and no Ctrl-C of the terminal reaches it beside ours.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = grace
	reader, writer := io.Pipe()
	cmd.Stdout, cmd.Stderr = writer, writer
	tail := make(chan []string)
	go func() { tail <- follow(reader, report) }()
	err := cmd.Start()
	if err == nil {
		err = cmd.Wait()
		// What it left running in its group would go on unseen. There is mostly nothing, and then this fails.
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
	_ = writer.Close() // never fails
	lines := <-tail
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("run %s: %w", command[0], context.Cause(ctx))
	case err == nil:
		return nil
	}
	text := ""
	if len(lines) > 0 {
		text = "\n  " + strings.Join(lines, "\n  ")
	}
	return fmt.Errorf("run %s: %w%s", command[0], err, text)
}

// follow reports lines and gives the last ones.
func follow(r io.Reader, report event.Report) []string {
	var last []string
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, longest)
	lines.Split(splitLong)
	for lines.Scan() {
		line := strings.TrimRight(lines.Text(), "\r")
		report.Line(line)
		if last = append(last, line); len(last) > lastLines {
			last = last[1:]
		}
	}
	return last
}

// splitLong is bufio.ScanLines for lines of any length.
func splitLong(data []byte, atEOF bool) (advance int, token []byte, err error) {
	advance, token, err = bufio.ScanLines(data, atEOF)
	if advance == 0 && token == nil && len(data) >= longest/2 {
		return len(data), data, nil
	}
	return advance, token, err
}
