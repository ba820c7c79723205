package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/labctl/labctl/pkg/freeport"
)

// ownLab is a lab beside any other: its own directory, name and ports, and a copy of the source that may be changed.
type ownLab struct {
	dir    string // holds lab.hcl and .lab
	source string
	labctl string
	env    []string
}

// newLab makes one, with more lines in its environment.
func newLab(ctx context.Context, repository string, more ...string) (*ownLab, error) {
	dir, err := os.MkdirTemp("", "labctl-bench-")
	if err != nil {
		return nil, err
	}
	l := &ownLab{dir: dir, source: filepath.Join(dir, "source"), labctl: filepath.Join(repository, "bin", "labctl"), env: os.Environ()}
	ports, err := freePorts(3)
	if err != nil {
		return nil, err
	}
	config := fmt.Sprintf(`lab "bench" {
  source = "source"
}

environment "local" {
  target = "local"
  vars   = { location = "bench", api_port = %d, http_port = %d, registry_port = %d }
  %s
}
`, ports[0], ports[1], ports[2], strings.Join(more, "\n  "))
	if err := os.WriteFile(filepath.Join(dir, "lab.hcl"), []byte(config), 0o600); err != nil {
		return nil, err
	}
	return l, copySource(ctx, repository, l.source)
}

// freePorts gives ports of the loopback that are the lab's.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		r, err := freeport.Reserve() // as long as this process lasts
		if err != nil {
			return nil, err
		}
		ports = append(ports, r.Port)
	}
	return ports, nil
}

// copySource copies what Git knows or would add, so that neither builds nor caches come along.
func copySource(ctx context.Context, from, to string) error {
	list := exec.CommandContext(ctx, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	list.Dir = from
	files, err := list.Output()
	if err != nil {
		return fmt.Errorf("list the repository's files: %w", err)
	}
	for name := range strings.SplitSeq(strings.TrimRight(string(files), "\x00"), "\x00") {
		path := filepath.Join(from, name)
		info, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed, and not committed yet
		}
		if err != nil {
			return err
		}
		target := filepath.Join(to, name)
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := os.WriteFile(target, content, info.Mode().Perm()); err != nil {
			return err
		}
	}
	return nil
}

// run runs labctl and gives its wall time in seconds. Its progress goes to stderr.
func (l *ownLab) run(ctx context.Context, args ...string) (float64, error) {
	_, seconds, err := l.output(ctx, args...)
	return seconds, err
}

func (l *ownLab) output(ctx context.Context, args ...string) ([]byte, float64, error) {
	cmd := l.command(ctx, l.labctl, append([]string{"--file", filepath.Join(l.dir, "lab.hcl")}, args...)...)
	var out bytes.Buffer
	cmd.Stdout = &out
	start := time.Now()
	err := cmd.Run()
	seconds := time.Since(start).Seconds()
	if err != nil {
		return nil, seconds, fmt.Errorf("labctl %s: %w", strings.Join(args, " "), err)
	}
	return out.Bytes(), seconds, nil
}

// command makes a command that an interrupt ends gently, so that it can clean up.
func (l *ownLab) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	fmt.Fprintf(os.Stderr, "--- %s %s\n", filepath.Base(name), strings.Join(args, " "))
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env, cmd.Stderr = l.dir, l.env, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 2 * time.Minute
	return cmd
}

// end takes the lab down, also after an interrupt, and removes its directory.
func (l *ownLab) end() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	if _, err := l.run(ctx, "down"); err != nil {
		return fmt.Errorf("%w; its directory %s is kept", err, l.dir)
	}
	return remove(l.dir)
}

// remove removes a directory with what the go command made read-only in it.
func remove(dir string) error {
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			return os.Chmod(path, 0o700)
		}
		return err
	})
	return errors.Join(err, os.RemoveAll(dir))
}

// diskUsage gives the gigabytes (10^9 bytes) that directories take on disk, each file once.
func diskUsage(dirs ...string) (float64, error) {
	seen := map[[2]uint64]bool{}
	blocks := int64(0)
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // it went while we looked
			}
			if err != nil {
				return err
			}
			var st syscall.Stat_t
			if err := syscall.Lstat(path, &st); err != nil {
				return nil //nolint:nilerr // it went while we looked
			}
			if key := [2]uint64{uint64(st.Dev), st.Ino}; !seen[key] {
				seen[key] = true
				blocks += st.Blocks
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
	}
	return float64(blocks) * 512 / 1e9, nil // st_blocks counts 512 bytes, stat(2)
}
