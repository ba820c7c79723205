// Package cgroup makes and removes the control groups of labs, in every hierarchy that the machine has.
//
// A lab's group holds "node", its nodes' components, and what the kubelets make of their own: that of the first node
// "kubepods", those of others a group by the node's name with "kubepods" in it.
package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// parent holds a group for each lab.
const parent = "labctl"

// Root is a lab's group, from a hierarchy's root. id is unique on the machine.
func Root(id string) string { return "/" + parent + "/" + id }

// hierarchies lists the mounted control group hierarchies: one for version 2, one a controller for version 1, where a
// version 2 hierarchy without controllers may stand beside them ("hybrid"): runc makes groups in it too.
func hierarchies() ([]string, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs("/sys/fs/cgroup", &fs); err != nil {
		return nil, fmt.Errorf("control groups: %w", err)
	}
	if fs.Type == unix.CGROUP2_SUPER_MAGIC {
		return []string{"/sys/fs/cgroup"}, nil
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil, err
	}
	var dirs []string
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		if len(f) > 2 && (f[2] == "cgroup" || f[2] == "cgroup2") && strings.HasPrefix(f[1], "/sys/fs/cgroup/") {
			dirs = append(dirs, f[1])
		}
	}
	if len(dirs) == 0 {
		return nil, errors.New("no control groups are mounted under /sys/fs/cgroup, and containers need them")
	}
	return dirs, nil
}

// Make makes a group, which is Root or below it, and those above it. Those that are there are kept.
func Make(group string) error {
	dirs, err := hierarchies()
	if err != nil {
		return err
	}
	for _, h := range dirs {
		at := h
		for part := range strings.SplitSeq(strings.TrimPrefix(group, "/"), "/") {
			if err := delegate(at); err != nil {
				return err
			}
			at = filepath.Join(at, part)
			if err := os.Mkdir(at, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
				return err
			}
			if err := inheritCpuset(at); err != nil {
				return err
			}
		}
	}
	return nil
}

// Join makes a group and puts a process into it.
func Join(group string, pid int) error {
	if err := Make(group); err != nil {
		return err
	}
	dirs, err := hierarchies()
	if err != nil {
		return err
	}
	for _, h := range dirs {
		if err := os.WriteFile(filepath.Join(h, group, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o644); err != nil { //nolint:gosec // G306: exists
			return fmt.Errorf("put the node into control group %s: %w", group, err)
		}
	}
	return nil
}

// delegate passes a version 2 group's controllers on to its children.
func delegate(group string) error {
	b, err := os.ReadFile(filepath.Join(group, "cgroup.controllers"))
	if errors.Is(err, os.ErrNotExist) {
		return nil // version 1
	}
	if err != nil {
		return err
	}
	for _, c := range strings.Fields(string(b)) {
		// One by one: a controller that cannot be passed on here (cpu with real-time processes) must not keep the rest.
		_ = os.WriteFile(filepath.Join(group, "cgroup.subtree_control"), []byte("+"+c), 0o644) //nolint:gosec // G306: exists
	}
	return nil
}

// inheritCpuset fills a version 1 cpuset, which starts empty and takes no process until it is not.
func inheritCpuset(group string) error {
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		own, err := os.ReadFile(filepath.Join(group, file))
		if err != nil || strings.TrimSpace(string(own)) != "" {
			continue // not a cpuset, or filled
		}
		above, err := os.ReadFile(filepath.Join(filepath.Dir(group), file))
		if err != nil {
			continue // version 2, where empty means inherited
		}
		if err := os.WriteFile(filepath.Join(group, file), above, 0o644); err != nil { //nolint:gosec // G306: exists
			return err
		}
	}
	return nil
}

// Remove removes a group and all below it, deepest first, and the common parent when this was the last lab.
func Remove(ctx context.Context, group string) error {
	dirs, err := hierarchies()
	if err != nil {
		return err
	}
	for _, h := range dirs {
		var groups []string
		err := filepath.WalkDir(filepath.Join(h, group), func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, os.ErrNotExist) {
				return nil
			}
			if err == nil && d.IsDir() {
				groups = append(groups, path)
			}
			return err
		})
		if err != nil {
			return err
		}
		for i := len(groups) - 1; i >= 0; i-- {
			if err := removeOne(ctx, groups[i]); err != nil {
				return fmt.Errorf("remove control group %s: %w", groups[i], err)
			}
		}
		if path.Dir(group) == "/"+parent {
			_ = unix.Rmdir(filepath.Join(h, parent)) // not empty while another lab stands
		}
	}
	return nil
}

// removeOne removes one group. A group whose last process has just been killed is busy until the kernel has let go
// of it, which it does soon but not at once.
func removeOne(ctx context.Context, group string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	every := time.NewTicker(10 * time.Millisecond)
	defer every.Stop()
	for {
		err := unix.Rmdir(group)
		if err == nil || errors.Is(err, unix.ENOENT) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-every.C:
		}
	}
}
