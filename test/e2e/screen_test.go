package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/test/terminal"
)

// screen is a program on a terminal of its own.
type screen struct {
	*terminal.Terminal
	t   *testing.T
	dir string // where its pictures are kept
}

// onScreen runs labctl on a terminal. When it has ended, the terminal shows its exit code.
func (l *testLab) onScreen(t *testing.T, args ...string) *screen {
	t.Helper()
	s := &screen{t: t, dir: filepath.Join(artifacts(t), "screens")}
	require.NoError(t, os.MkdirAll(s.dir, 0o755))
	line := append([]string{l.binary, "--file", l.file}, args...)
	var err error
	s.Terminal, err = terminal.Start(t.Context(), t.TempDir(), 120, 40, strings.Join(line, " ")+`; echo "exit code $?"; exec sleep 1000`)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func (s *screen) press(keys ...string) {
	s.t.Helper()
	require.NoError(s.t, s.Press(s.t.Context(), keys...))
}

// shows waits until the screen has what a pattern says, and keeps a picture of it.
func (s *screen) shows(picture, pattern string) {
	s.t.Helper()
	text, err := s.Await(s.t.Context(), pattern)
	require.NoError(s.t, err)
	require.NoError(s.t, os.WriteFile(filepath.Join(s.dir, picture+".txt"), []byte(text), 0o644))
}

// screens shows the lab as a student sees it, to the cluster's end and beyond.
func (l *testLab) screens(t *testing.T) {
	s := l.onScreen(t, "status")
	s.shows("overview", fmt.Sprintf(`(?s)e2e  local  ● up .*%s.*deployment/messaging +● up +\S+ +1/1`, regexp.QuoteMeta(l.url())))
	s.press("/messaging", "Enter", "Enter")
	s.shows("pods", `(?s)deployment messaging in chat.*› chat/messaging-\S+ +● up`)
	s.press("l")
	s.shows("log", `(?s)logs of pod/chat/messaging-.*"?level"?`)
	s.press("q")
	s.press("y")
	s.shows("yaml", `(?s)yaml of pod/chat/messaging-.*kind: Pod`)
	s.press("q", "q", "Escape")
	s.shows("back", `── overview ─`)
	s.press(":services", "Enter")
	s.shows("services", `(?s)── services.*gateway +● up .*\d+ frames.*messaging +● up .*\d+ records`)
	s.press(":groups", "Enter")
	s.shows("groups", `(?s)── groups.*messaging +● up .* messages`)
	s.press(":events", "Enter")
	s.shows("events", `(?s)── events.*chat/pod/`)
	s.press(":overview", "Enter", "/deployment/frontend", "Enter", "a")
	s.shows("actions", `(?s)actions on deployment/chat/frontend.*› ship +\S+ ship .*frontend`)
	s.press("j", "Enter")
	s.shows("question", `(?s)Run \S+ .*rollout\s+restart\s+deployment/frontend\?.*\ny: yes`)
	s.press("y")
	s.shows("restarted", `(?s)deployment.apps/frontend restarted.*— done —`)
	s.press("q", "Escape")
	l.run("cluster", "stop")
	s.shows("stopped", `(?s)e2e  local  ◑ partial.*the cluster cannot be reached.*node +✗ down .*deployment/messaging +\? unknown`)
	l.run("up")
	s.shows("again", `(?s)e2e  local  ● up .*deployment/messaging +● up`)
	s.press("q")
	s.shows("end", `exit code 0`)
}
