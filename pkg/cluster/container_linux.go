package cluster

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// SignalContainer sends a signal to each process of a container on this machine, whose id is as Kubernetes gives it
// ("containerd://…"), and says whether there is any. It needs root.
func SignalContainer(id string, signal unix.Signal) (found bool, err error) {
	_, id, _ = strings.Cut(id, "://")
	if id == "" {
		return false, nil
	}
	groups, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		return false, err
	}
	for _, group := range groups {
		if !inContainer(group, id) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(group)))
		if err != nil {
			continue
		}
		switch err := signalMember(pid, group, id, signal); {
		case errors.Is(err, unix.ESRCH): // it ended while we looked
		case err != nil:
			return found, fmt.Errorf("send %v to process %d of container %s: %w", signal, pid, id, err)
		default:
			found = true
		}
	}
	return found, nil
}

// signalMember signals a process, if it is a container's and not another that has its number now.
func signalMember(pid int, group, id string, signal unix.Signal) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	if !inContainer(group, id) {
		return unix.ESRCH
	}
	return unix.PidfdSendSignal(fd, signal, nil, 0)
}

// inContainer reads /proc/PID/cgroup (cgroups(7)): a line is hierarchy:controllers:path, and a container's group is named by its id, or
// cri-containerd-ID.scope where systemd makes the groups.
func inContainer(group, id string) bool {
	content, err := os.ReadFile(group)
	if err != nil {
		return false // it ended
	}
	for line := range strings.Lines(string(content)) {
		name := path.Base(strings.TrimSpace(line))
		if name == id || strings.HasSuffix(name, "-"+id+".scope") {
			return true
		}
	}
	return false
}
