package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cgroupParent holds a group for each lab. The lab's group holds "node", the components, and the kubelet's "kubepods".
const cgroupParent = "labctl"

// cgroupRoot is the control group of the cluster in dir, from the hierarchy's root. The directory's own identity is
// part of the name: two labs may have the same name in different places.
func cgroupRoot(dir string) string {
	return "/" + cgroupParent + "/" + labID(dir)
}

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

// joinCgroups makes the lab's groups and puts the node's process into its own.
func joinCgroups(id string, pid int) error {
	dirs, err := hierarchies()
	if err != nil {
		return err
	}
	for _, h := range dirs {
		group := h
		for _, part := range []string{cgroupParent, id, "node"} {
			if err := delegate(group); err != nil {
				return err
			}
			group = filepath.Join(group, part)
			if err := os.Mkdir(group, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
				return err
			}
			if err := inheritCpuset(group); err != nil {
				return err
			}
		}
		if err := os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o644); err != nil { //nolint:gosec // G306: exists
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
		parent, err := os.ReadFile(filepath.Join(filepath.Dir(group), file))
		if err != nil {
			continue // version 2, where empty means inherited
		}
		if err := os.WriteFile(filepath.Join(group, file), parent, 0o644); err != nil { //nolint:gosec // G306: exists
			return err
		}
	}
	return nil
}

// removeCgroups removes the lab's groups, deepest first, and the common parent when this was the last lab.
func removeCgroups(ctx context.Context, id string) error {
	dirs, err := hierarchies()
	if err != nil {
		return err
	}
	for _, h := range dirs {
		var groups []string
		root := filepath.Join(h, cgroupParent, id)
		err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
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
			if err := removeGroup(ctx, groups[i]); err != nil {
				return fmt.Errorf("remove control group %s: %w", groups[i], err)
			}
		}
		_ = unix.Rmdir(filepath.Join(h, cgroupParent)) // not empty while another lab stands
	}
	return nil
}

// removeGroup removes one group. A group whose last process has just been killed is busy until the kernel has let go
// of it, which it does soon but not at once.
func removeGroup(ctx context.Context, group string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		err := unix.Rmdir(group)
		if err == nil || errors.Is(err, unix.ENOENT) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) || pause(ctx, 10*time.Millisecond) != nil {
			return err
		}
	}
}
