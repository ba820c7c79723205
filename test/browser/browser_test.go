// Package browser runs the browser test: chat.test.mjs in Chromium against the whole chat.
package browser

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/services/frontend"
	"github.com/labctl/labctl/test/inprocess"
)

// TestChat runs against BASE_URL, or against a chat of its own in this process where BASE_URL is not set.
func TestChat(t *testing.T) {
	chromium := find(t, "CHROMIUM", "chromium", "chromium-browser", "google-chrome")
	node := find(t, "NODE", "node", "nodejs")
	install(t)
	base := os.Getenv("BASE_URL")
	if base == "" {
		require.NoError(t, frontend.Built())
		base = inprocess.Chat(t, frontend.Handler())
	}
	// The spec reporter is for people; the exit code tells this test.
	cmd := command(t, node, "--test", "--test-reporter=spec", "chat.test.mjs")
	cmd.Env = append(os.Environ(), "BASE_URL="+base, "CHROMIUM="+chromium, "ARTIFACTS="+artifacts(t))
	require.NoError(t, cmd.Run(), "the pictures of the failed pages are in %s", artifacts(t))
}

// install fetches what package-lock.json names, once for each lock file.
func install(t *testing.T) {
	t.Helper()
	lock, err := os.Stat("package-lock.json")
	require.NoError(t, err)
	if done, err := os.Stat(filepath.Join("node_modules", ".package-lock.json")); err == nil && !done.ModTime().Before(lock.ModTime()) {
		return
	}
	require.NoError(t, command(t, find(t, "NPM", "npm"), "ci", "--no-audit", "--no-fund").Run())
}

// command runs a program in this directory. When the test's time is up, the browser that it started ends with it.
func command(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	ctx := t.Context()
	if deadline, ok := t.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-10*time.Second))
		t.Cleanup(cancel)
	}
	cmd := exec.CommandContext(ctx, name, args...) //nolint:gosec // a test runs the tools that it found
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	return cmd
}

// find gives the program that the environment variable names, or the first of names that is on PATH.
func find(t *testing.T, variable string, names ...string) string {
	t.Helper()
	if path := os.Getenv(variable); path != "" {
		return path
	}
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	require.FailNow(t, names[0]+" is missing", "install it with: labctl doctor --fix --for test")
	return ""
}

// artifacts is where the pictures go: ARTIFACTS, or beside those of the other tests.
func artifacts(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("ARTIFACTS")
	if dir == "" {
		dir = filepath.Join("..", "..", ".lab", "artifacts", "browser")
	}
	dir, err := filepath.Abs(dir)
	require.NoError(t, err)
	return dir
}
