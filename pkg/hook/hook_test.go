package hook_test

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/hook"
)

func TestRun(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("AWS_SECRET_ACCESS_KEY", "not for hooks")
	var lines []string
	report := event.Report(func(e event.Event) { lines = append(lines, e.Message) })
	err := hook.Run(t.Context(), dir, []string{"sh", "-c", `pwd; echo "$1 $GREETING"; echo to stderr >&2; echo "[$AWS_SECRET_ACCESS_KEY]"; printf 'no newline'`, "sh", "an argument"},
		map[string]string{"GREETING": "hello"}, report)
	require.NoError(t, err)
	real, err := filepath.EvalSymlinks(dir)
	require.NoError(t, err)
	require.Equal(t, []string{real, "an argument hello", "to stderr", "[]", "no newline"}, lines)
}

func TestFailureShowsTheLastLines(t *testing.T) {
	err := hook.Run(t.Context(), t.TempDir(), []string{"sh", "-c", "seq 100; exit 7"}, nil, nil)
	require.ErrorContains(t, err, "run sh: exit status 7\n  91\n")
	require.NotContains(t, err.Error(), "  90\n")
	require.ErrorContains(t, hook.Run(t.Context(), t.TempDir(), []string{"./not-there.sh"}, nil, nil), "not-there.sh")
	require.ErrorContains(t, hook.Run(t.Context(), t.TempDir(), nil, nil, nil), "the command is empty")
}

func TestALineOfAnyLength(t *testing.T) {
	var got int
	report := event.Report(func(e event.Event) { got += len(e.Message) })
	require.NoError(t, hook.Run(t.Context(), t.TempDir(), []string{"sh", "-c", "head -c 5000000 /dev/zero | tr '\\0' x"}, nil, report))
	require.Equal(t, 5_000_000, got)
}

// TestEverythingEnds has a hook start a process that ignores the wish to end, and interrupts the hook.
func TestEverythingEnds(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	report := event.Report(func(e event.Event) {
		if e.Message == "ready" {
			cancel(context.DeadlineExceeded)
		}
	})
	err := hook.Run(ctx, dir, []string{"sh", "-c", `sh -c 'trap "" TERM; echo $$ > stubborn; echo ready; while :; do sleep 0.1; done' & wait`}, nil, report)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	data, err := os.ReadFile(filepath.Join(dir, "stubborn"))
	require.NoError(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		return err != nil || strings.Contains(string(stat), ") Z ") || syscall.Kill(pid, 0) != nil
	}, time.Minute, 10*time.Millisecond)
}

// TestNothingGoesOnBehindTheHook has a hook leave a process of its group behind.
func TestNothingGoesOnBehindTheHook(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, hook.Run(t.Context(), dir, []string{"sh", "-c", "sleep 600 >/dev/null 2>&1 & echo $! > left"}, nil, nil))
	data, err := os.ReadFile(filepath.Join(dir, "left"))
	require.NoError(t, err)
	pid := strings.TrimSpace(string(data))
	require.Eventually(t, func() bool {
		stat, err := os.ReadFile("/proc/" + pid + "/stat")
		return err != nil || strings.Contains(string(stat), ") Z ")
	}, time.Minute, 10*time.Millisecond)
}
