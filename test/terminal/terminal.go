// Package terminal plays a terminal with a program on it, by tmux.
package terminal

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// patience is how long a text may take to appear.
const patience = time.Minute

// Terminal is one of its own, which Close ends.
type Terminal struct{ socket string }

// Start runs a command line of a shell on a terminal of so many columns and rows. The directory holds its socket.
func Start(ctx context.Context, dir string, columns, rows int, line string) (*Terminal, error) {
	t := &Terminal{socket: filepath.Join(dir, "tmux")}
	_, err := t.tmux(ctx, "new-session", "-d", "-x", strconv.Itoa(columns), "-y", strconv.Itoa(rows), line)
	return t, err
}

func (t *Terminal) tmux(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "tmux", append([]string{"-f", "/dev/null", "-S", t.socket}, args...)...)
	cmd.Env = append(os.Environ(), "TERM=xterm-256color", "LC_ALL=C.UTF-8")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("tmux %s: %w: %s", args[0], err, out)
	}
	return string(out), nil
}

// Press types keys, each by tmux's name for it.
func (t *Terminal) Press(ctx context.Context, keys ...string) error {
	_, err := t.tmux(ctx, append([]string{"send-keys"}, keys...)...)
	return err
}

// Await waits until the terminal shows a text, and gives all that it shows then.
func (t *Terminal) Await(ctx context.Context, pattern string) (string, error) {
	want, err := regexp.Compile(pattern)
	if err != nil {
		return "", err
	}
	for limit := time.Now().Add(patience); ; {
		text, err := t.tmux(ctx, "capture-pane", "-p")
		switch {
		case err != nil:
			return "", err
		case want.MatchString(text):
			return text, nil
		case time.Now().After(limit):
			return "", fmt.Errorf("the screen never had %s:\n%s", pattern, text)
		}
		time.Sleep(10 * time.Millisecond) // nobody tells when a terminal has changed
	}
}

// PID gives the process that the command line began with.
func (t *Terminal) PID(ctx context.Context) (int, error) {
	pid, err := t.tmux(ctx, "list-panes", "-F", "#{pane_pid}")
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(pid))
}

// Close ends the terminal and what runs on it.
func (t *Terminal) Close() error {
	_, err := t.tmux(context.Background(), "kill-server")
	return err
}
