// Package e2e brings a whole lab up with the real binary, beside any other lab of the machine, uses it as students
// do, breaks it, and takes it down again.
package e2e

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/freeport"
)

// upWithin bounds one `labctl up`, which may have to build Kubernetes first.
const upWithin = 45 * time.Minute

// testLab is a lab of the test's own: its own directory, name and ports, and its own copy of the sources, so that a
// service can be changed.
type testLab struct {
	t      *testing.T
	binary string
	file   string // lab.hcl
	source string // a copy of the repository's sources
	ports  map[string]int
}

// newLab prepares a lab, with more lines in its environment, and sees to it that nothing of it is left at the end, also where the test fails.
func newLab(t *testing.T, more ...string) *testLab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("the end-to-end test makes a Kubernetes node and needs root: run it as root, or leave it out with `go test $(go list ./... | grep -v test/e2e)`")
	}
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	l := &testLab{t: t, ports: freePorts(t, "api_port", "http_port", "registry_port")}
	dir := t.TempDir()
	l.binary = os.Getenv("LABCTL") // tools/test.sh has built it
	if l.binary == "" {
		l.binary = filepath.Join(dir, "labctl")
		build := exec.Command("go", "build", "-o", l.binary, "./cmd/labctl")
		build.Dir = root
		out, err := build.CombinedOutput()
		require.NoError(t, err, "%s", out)
	}

	l.source = filepath.Join(dir, "source")
	copyTree(t, root, l.source)
	l.file = filepath.Join(dir, "lab", "lab.hcl")
	require.NoError(t, os.MkdirAll(filepath.Dir(l.file), 0o755))
	require.NoError(t, os.WriteFile(l.file, fmt.Appendf(nil, `lab "e2e" {
  source = %q
}

environment "local" {
  target    = "local"
  protected = false
  vars = {
    location      = "test"
    api_port      = %d
    http_port     = %d
    registry_port = %d
  }
  %s
}
`, l.source, l.ports["api_port"], l.ports["http_port"], l.ports["registry_port"], strings.Join(more, "\n  ")), 0o644))

	t.Cleanup(func() {
		if t.Failed() {
			l.keepLogs()
		}
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
		defer cancel()
		if out, code := l.try(ctx, "down"); code != 0 {
			t.Errorf("labctl down in the end: exit code %d\n%s", code, out)
		}
	})
	return l
}

func freePorts(t *testing.T, names ...string) map[string]int {
	t.Helper()
	ports := map[string]int{}
	for _, name := range names {
		ports[name] = freeport.Of(t).Port
	}
	return ports
}

// copyTree copies what a lab's source needs. Build results stay behind, so that the lab makes its own.
func copyTree(t *testing.T, from, to string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(to, 0o755))
	for _, top := range []string{"go.mod", "go.sum", "pkg", "services", "stacks", "charts", "images"} {
		err := filepath.WalkDir(filepath.Join(from, top), func(path string, d os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(from, path)
			if err != nil {
				return err
			}
			if d.IsDir() {
				if d.Name() == "node_modules" {
					return filepath.SkipDir
				}
				return os.MkdirAll(filepath.Join(to, rel), 0o755)
			}
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(to, rel), b, info.Mode().Perm())
		})
		require.NoError(t, err)
	}
}

func (l *testLab) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, l.binary, append([]string{"--file", l.file}, args...)...)
	cmd.Dir = filepath.Dir(l.file)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = time.Minute
	return cmd
}

// try runs labctl and gives all that it printed and its exit code.
func (l *testLab) try(ctx context.Context, args ...string) (string, int) {
	cmd := l.command(ctx, args...)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		return err.Error(), -1
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// run runs labctl, which must succeed, and gives its standard output.
func (l *testLab) run(args ...string) string {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), upWithin)
	defer cancel()
	cmd := l.command(ctx, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	shown := stdout.String()
	if args[0] == "kubeconfig" {
		shown = "(not shown: it grants everything)"
	}
	l.t.Logf("labctl %s\n%s%s", strings.Join(args, " "), stderr.String(), shown)
	if err != nil && args[0] == "up" {
		l.showNetwork()
	}
	require.NoError(l.t, err)
	return stdout.String()
}

// interruptAt runs labctl and sends it a signal as soon as it prints a line that contains what. It gives all that
// was printed and the exit code, -1 for a death by signal.
func (l *testLab) interruptAt(what string, signal syscall.Signal, args ...string) (out string, code int, seen bool) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), upWithin)
	defer cancel()
	cmd := l.command(ctx, args...)
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	require.NoError(l.t, cmd.Start())
	var all strings.Builder
	var reading sync.WaitGroup
	reading.Go(func() {
		lines := bufio.NewScanner(r)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			all.WriteString(lines.Text() + "\n")
			if !seen && strings.Contains(lines.Text(), what) {
				seen = true
				_ = cmd.Process.Signal(signal) // gone already: the test sees it did not end by the signal
			}
		}
	})
	_ = cmd.Wait() // how it ended is in ProcessState
	_ = w.Close()  // ends the reading
	reading.Wait()
	l.t.Logf("labctl %s, signal %v at %q\n%s", strings.Join(args, " "), signal, what, all.String())
	return all.String(), cmd.ProcessState.ExitCode(), seen
}

// url is the chat's address.
func (l *testLab) url() string { return fmt.Sprintf("http://127.0.0.1:%d", l.ports["http_port"]) }

// stateDir is where the lab keeps what it knows.
func (l *testLab) stateDir() string { return filepath.Join(filepath.Dir(l.file), ".lab", "local") }

// artifacts is where what people look at after a run is kept.
func artifacts(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../../.lab/artifacts")
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(dir, 0o755))
	return dir
}

// keepLogs copies the lab's logs to the artefacts, where they outlive `labctl down`.
func (l *testLab) keepLogs() {
	to := filepath.Join(artifacts(l.t), "e2e-logs")
	for _, dir := range []string{"logs", "cluster/logs"} {
		files, err := filepath.Glob(filepath.Join(l.stateDir(), dir, "*.log"))
		if err != nil || os.MkdirAll(filepath.Join(to, dir), 0o755) != nil {
			continue
		}
		for _, f := range files {
			if b, err := os.ReadFile(f); err == nil {
				_ = os.WriteFile(filepath.Join(to, dir, filepath.Base(f)), b, 0o644) // a help for people, not a result
			}
		}
	}
	l.t.Logf("the lab's logs are in %s", to)
}
