package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// machine is what a lab could leave behind on the machine, as sorted lines.
type machine map[string][]string

// look takes stock of the machine.
func look(t *testing.T) machine {
	t.Helper()
	m := machine{}
	mounts, err := os.ReadFile("/proc/mounts")
	require.NoError(t, err)
	m["mounts"] = strings.Split(string(mounts), "\n")

	links, err := os.ReadDir("/sys/class/net")
	require.NoError(t, err)
	for _, link := range links {
		m["interfaces"] = append(m["interfaces"], link.Name())
	}
	rules, err := exec.Command("iptables-save").Output()
	require.NoError(t, err)
	for line := range strings.Lines(string(rules)) {
		if strings.HasPrefix(line, "-A") {
			m["iptables"] = append(m["iptables"], line)
		}
	}
	for _, setting := range []string{"net/ipv4/ip_forward", "vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops"} {
		b, err := os.ReadFile(filepath.Join("/proc/sys", setting))
		require.NoError(t, err)
		m["kernel settings"] = append(m["kernel settings"], setting+"="+string(b))
	}
	for _, root := range []string{"/etc", "/var", "/run", "/opt", "/usr/local"} {
		err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
			if err != nil {
				return nil //nolint:nilerr // others on the machine remove their files as we look
			}
			for _, others := range []string{"/run/user", "/var/cache/fontconfig", "/var/log/journal", "/var/lib/systemd"} {
				if strings.HasPrefix(path, others) { // of whoever logs in, draws a page, or keeps time
					return nil
				}
			}
			m["files"] = append(m["files"], path)
			return nil
		})
		require.NoError(t, err)
	}
	for what := range m {
		sort.Strings(m[what])
	}
	return m
}

// groupsLeft lists what is left of a control group in any hierarchy.
func groupsLeft(t *testing.T, group string) []string {
	t.Helper()
	perController, err := filepath.Glob("/sys/fs/cgroup/*" + group)
	require.NoError(t, err)
	unified, err := filepath.Glob("/sys/fs/cgroup" + group)
	require.NoError(t, err)
	return append(perController, unified...)
}

// since lists what is there now and was not before.
func (m machine) since(before machine) []string {
	var left []string
	for what, now := range m {
		was := map[string]bool{}
		for _, line := range before[what] {
			was[line] = true
		}
		for _, line := range now {
			if !was[line] {
				left = append(left, what+": "+strings.TrimSpace(line))
			}
		}
	}
	sort.Strings(left)
	return left
}

// processesOf lists the processes that have to do with a directory, by their arguments, their program, or their
// working directory, each as its PID and its arguments.
func processesOf(t *testing.T, dir string) []string {
	t.Helper()
	return processes(t, func(proc, command string) bool {
		exe, _ := os.Readlink(filepath.Join(proc, "exe")) // none for kernel threads
		cwd, _ := os.Readlink(filepath.Join(proc, "cwd"))
		return strings.Contains(command, dir) || strings.HasPrefix(exe, dir) || strings.HasPrefix(cwd, dir)
	})
}

// processesIn lists the processes of a control group and those below it.
func processesIn(t *testing.T, group string) []string {
	t.Helper()
	return processes(t, func(proc, _ string) bool {
		b, err := os.ReadFile(filepath.Join(proc, "cgroup"))
		return err == nil && strings.Contains(string(b), group+"/")
	})
}

func processes(t *testing.T, wanted func(proc, command string) bool) []string {
	t.Helper()
	entries, err := filepath.Glob("/proc/[0-9]*")
	require.NoError(t, err)
	var found []string
	for _, p := range entries {
		cmdline, err := os.ReadFile(filepath.Join(p, "cmdline"))
		if err != nil || len(cmdline) == 0 {
			continue // ended, and its parent has not looked yet
		}
		if command := strings.ReplaceAll(string(cmdline), "\x00", " "); wanted(p, command) {
			found = append(found, filepath.Base(p)+" "+command)
		}
	}
	return found
}
