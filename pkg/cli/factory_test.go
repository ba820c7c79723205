package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/iostreams"
)

func newLab(t *testing.T) (*Factory, string) {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "lab.hcl"), []byte(`lab "demo" {}
environment "local" { target = "local" }
`), 0o600))
	stack := filepath.Join(dir, "stacks", "local", "0-nothing")
	require.NoError(t, os.MkdirAll(stack, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(stack, "stack.hcl"), nil, 0o600))
	streams, _, _ := iostreams.Test()
	return &Factory{IO: streams, Getenv: func(string) string { return "" }, WorkDir: dir, Env: "local"}, dir
}

func TestProgressKeepsALogOfTheRun(t *testing.T) {
	f, dir := newLab(t)
	broken := errors.New("it broke")
	err := f.Progress(t.Context(), "up", false, func(sink event.Sink) error {
		sink.Emit(event.Event{Kind: event.Started, Step: "1-cluster"})
		sink.Emit(event.Event{Kind: event.Log, Step: "1-cluster", Message: "a tool's line"})
		return broken
	})
	require.ErrorIs(t, err, broken)

	logs, globErr := filepath.Glob(filepath.Join(dir, ".lab", "local", "logs", "*-labctl-up.log"))
	require.NoError(t, globErr)
	require.Len(t, logs, 1)
	require.Equal(t, "log "+logs[0], Explain(err).Where)
	content, readErr := os.ReadFile(logs[0])
	require.NoError(t, readErr)
	require.Contains(t, string(content), "1-cluster: | a tool's line\n")
	require.Contains(t, string(content), "error: it broke\n")
	info, statErr := os.Stat(logs[0])
	require.NoError(t, statErr)
	require.Equal(t, os.FileMode(0o600), info.Mode())
}

func TestOnlyUpMakesTheLabsDirectory(t *testing.T) {
	f, dir := newLab(t)
	require.NoError(t, f.Progress(t.Context(), "down", false, func(event.Sink) error { return nil }))
	require.NoDirExists(t, filepath.Join(dir, ".lab"))
}

func TestOldLogsGo(t *testing.T) {
	f, dir := newLab(t)
	logs := filepath.Join(dir, ".lab", "local", "logs")
	require.NoError(t, os.MkdirAll(logs, 0o700))
	for i := range 2 * keepLogs {
		require.NoError(t, os.WriteFile(filepath.Join(logs, fmt.Sprintf("20200101T0000%02d-labctl-up.log", i)), nil, 0o600))
	}
	require.NoError(t, os.WriteFile(filepath.Join(logs, "1-cluster.log"), nil, 0o600))
	require.NoError(t, f.Progress(t.Context(), "up", false, func(event.Sink) error { return nil }))
	left, err := filepath.Glob(filepath.Join(logs, "*-labctl-*.log"))
	require.NoError(t, err)
	require.Len(t, left, keepLogs)
	require.NoFileExists(t, filepath.Join(logs, "20200101T000020-labctl-up.log"))
	require.FileExists(t, filepath.Join(logs, "20200101T000021-labctl-up.log"))
	require.FileExists(t, filepath.Join(logs, "1-cluster.log"), "the logs of stacks are not ours")
}

func TestCacheDir(t *testing.T) {
	u, err := user.Current()
	require.NoError(t, err)
	for name, tc := range map[string]struct {
		env  map[string]string
		want string
	}{
		"its own": {map[string]string{"LABCTL_CACHE": "/c", "XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/c"},
		"XDG":     {map[string]string{"XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/x/labctl"},
		"home":    {map[string]string{"HOME": "/h"}, "/h/.cache/labctl"},
		"no HOME": {nil, filepath.Join(u.HomeDir, ".cache", "labctl")},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := (&Factory{Getenv: func(name string) string { return tc.env[name] }}).CacheDir()
			require.NoError(t, err)
			require.Equal(t, tc.want, got)
		})
	}
}

// waiter closes seen once what was written.
type waiter struct {
	what string
	seen chan struct{}
	text strings.Builder
}

func (w *waiter) Write(p []byte) (int, error) {
	w.text.Write(p)
	if strings.Contains(string(p), w.what) {
		close(w.seen)
	}
	return len(p), nil
}

func TestAnInterruptIsSaid(t *testing.T) {
	f, _ := newLab(t)
	w := &waiter{what: "stopping cleanly", seen: make(chan struct{})}
	f.IO.Err = w
	ctx, cancel := context.WithCancel(t.Context())
	said := false
	err := f.Progress(ctx, "up", false, func(event.Sink) error {
		cancel()
		select { // what is said comes from a goroutine of its own
		case <-w.seen:
			said = true
		case <-time.After(time.Minute):
		}
		return ctx.Err()
	})
	require.Equal(t, ExitInterrupted, Code(ctx, err))
	require.True(t, said, "it said %q", w.text.String())
	require.Contains(t, w.text.String(), "Once more leaves it to that")
}
