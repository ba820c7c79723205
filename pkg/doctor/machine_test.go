package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/freeport"
	"github.com/labctl/labctl/pkg/gobuild"
)

// find returns the finding of a name.
func find(t *testing.T, findings []Finding, name string) Finding {
	t.Helper()
	for _, f := range findings {
		if f.Name == name {
			return f
		}
	}
	require.Failf(t, "no such finding", "%s in %v", name, names(findings))
	return Finding{}
}

func TestVersionsAreCompared(t *testing.T) {
	tests := map[string]struct {
		name, program, says string
		err                 error
		ok                  bool
		have                string
		fix                 string
	}{
		"new enough":               {name: "containerd", program: "containerd", says: "containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u3", ok: true, have: "1.6.20"},
		"too old":                  {name: "containerd", program: "containerd", says: "containerd github.com/containerd/containerd 1.4.13", have: "1.4.13", fix: "apt-get install -y --no-install-recommends containerd"},
		"a go that is too old":     {name: "go", program: "go", says: "go version go1.19.8 linux/amd64", have: "1.19.8", fix: "https://go.dev/dl"},
		"node":                     {name: "npm", program: "node", says: "v20.20.2", ok: true, have: "20.20.2"},
		"one that does not run":    {name: "runc", program: "runc", err: errors.New("exec format error"), have: "exec format error", fix: "runc"},
		"one that says no version": {name: "runc", program: "runc", says: "unknown", ok: true, have: "/usr/bin/runc"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			o := bare(new([]string))
			o.LookPath = func(program string) (string, error) { return "/usr/bin/" + program, nil }
			o.Output = func(_ context.Context, program string, _ ...string) (string, error) {
				if program == "/usr/bin/"+test.program {
					return test.says, test.err
				}
				return "99.0", nil
			}
			f := find(t, Check(context.Background(), o), test.name)
			require.Equal(t, test.ok, f.OK, "%+v", f)
			require.Contains(t, f.Have, test.have)
			require.Contains(t, strings.Join(f.Fix, "\n"), test.fix)
		})
	}
}

func TestAProgramBesideThePathIsNotInstalledAgain(t *testing.T) {
	o := bare(new([]string))
	o.Exists = func(path string) bool { return path == "/usr/sbin/runc" }
	f := find(t, Check(context.Background(), o), "runc")
	require.False(t, f.OK)
	require.Empty(t, f.Packages)
	require.Equal(t, []string{`export PATH="$PATH:/usr/sbin"`}, f.Fix)
}

func TestTestsNeedABrowser(t *testing.T) {
	o := bare(new([]string))
	o.For = Test
	require.Equal(t, []string{"chromium", "fonts-liberation"}, find(t, Check(context.Background(), o), "chromium").Packages)
	o.LookPath = func(program string) (string, error) {
		if program == "google-chrome" || program == "apt-get" {
			return "/opt/" + program, nil
		}
		return "", exec.ErrNotFound
	}
	require.True(t, find(t, Check(context.Background(), o), "chromium").OK)
}

func TestLimitsOfTheKernel(t *testing.T) {
	tests := map[string]struct {
		files map[string]string
		name  string
		ok    bool
		want  string
	}{
		"few watchers":           {files: map[string]string{"/proc/sys/fs/inotify/max_user_instances": "8\n"}, name: "inotify", want: "sysctl -w fs.inotify.max_user_instances=512"},
		"enough watchers":        {files: map[string]string{"/proc/sys/fs/inotify/max_user_instances": "128\n", "/proc/sys/fs/inotify/max_user_watches": "60000\n"}, name: "inotify", ok: true, want: "max_user_watches 60000"},
		"cgroup v2":              {files: map[string]string{"/sys/fs/cgroup/cgroup.controllers": "cpuset cpu io memory pids\n"}, name: "cgroups", ok: true, want: "v2"},
		"cgroup v2 without":      {files: map[string]string{"/sys/fs/cgroup/cgroup.controllers": "cpuset io pids\n"}, name: "cgroups", want: "v2 without cpu, memory"},
		"cgroup v1":              {files: map[string]string{"/sys/fs/cgroup/cpu": "", "/sys/fs/cgroup/memory": "", "/sys/fs/cgroup/pids": ""}, name: "cgroups", ok: true, want: "v1"},
		"cgroup v1 without":      {files: map[string]string{"/sys/fs/cgroup/cpu": ""}, name: "cgroups", want: "v1 without memory, pids"},
		"little memory is told":  {files: map[string]string{"/proc/meminfo": "MemTotal:        2000000 kB\nMemFree: 1 kB\n"}, name: "memory", ok: true, want: "2.0 GB, which is little"},
		"enough memory is shown": {files: map[string]string{"/proc/meminfo": "MemTotal:        8000000 kB\n"}, name: "memory", ok: true, want: "8.2 GB"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			o := bare(new([]string))
			o.Read = func(path string) string { return test.files[path] }
			o.Exists = func(path string) bool { _, ok := test.files[path]; return ok }
			f := find(t, Check(context.Background(), o), test.name)
			require.Equal(t, test.ok, f.OK, "%+v", f)
			require.Contains(t, f.Have+"\n"+strings.Join(f.Fix, "\n"), test.want)
		})
	}
}

func TestAMissingModuleIsLoaded(t *testing.T) {
	var ran []string
	loaded := false
	o := bare(&ran)
	o.LookPath = func(program string) (string, error) { return "/usr/bin/" + program, nil }
	o.Exists = func(path string) bool { return !strings.HasPrefix(path, "/run/systemd") }
	o.BridgeFilter = func() bool { return loaded }
	o.Namespaces = func(context.Context) error {
		require.True(t, loaded, "it can't work without the module, so it must not be tried")
		return nil
	}
	record := o.Run
	o.Run = func(ctx context.Context, report event.Report, name string, args ...string) error {
		loaded = loaded || name == "modprobe"
		return record(ctx, report, name, args...)
	}
	missing := Missing(Check(context.Background(), o))
	require.Equal(t, []string{"bridge netfilter"}, names(missing))
	require.NoError(t, Fix(context.Background(), o, missing, nil))
	require.Equal(t, []string{"modprobe br_netfilter"}, ran, "the package of modprobe is there")
	require.Empty(t, Missing(Check(context.Background(), o)))
}

func TestOverlayIsNotNeeded(t *testing.T) {
	o := bare(new([]string))
	o.Overlay = func(context.Context) error { return errors.New("no such device") }
	f := find(t, Check(context.Background(), o), "overlay")
	require.True(t, f.OK)
	require.Contains(t, f.Have, "no such device")
}

func TestNothingIsBegunThatCannotBeFinished(t *testing.T) {
	var ran []string
	o := bare(&ran)
	o.OpenFiles = func() (uint64, error) { return 1024, nil }
	require.ErrorIs(t, Fix(context.Background(), o, Check(context.Background(), o), nil), ErrNotReady)
	require.Empty(t, ran)

	// cli names the commands this way, without the right to run one.
	err := Fix(context.Background(), Options{LookPath: o.LookPath}, Check(context.Background(), bare(&ran)), nil)
	require.ErrorIs(t, err, ErrNotReady)
	require.ErrorContains(t, err, "containernetworking-plugins")
	require.Empty(t, ran)
}

func TestAnInstallThatFails(t *testing.T) {
	o := bare(new([]string))
	o.Run = func(_ context.Context, _ event.Report, _ string, args ...string) error {
		if args[0] == "update" {
			return fmt.Errorf("%w: no mirror", gobuild.ErrNetwork)
		}
		return errors.New("unable to locate package containerd")
	}
	err := Fix(context.Background(), o, Check(context.Background(), o), nil)
	require.ErrorIs(t, err, gobuild.ErrNetwork)
	require.ErrorContains(t, err, "unable to locate package containerd")
}

func TestAContainerdThatWasThereIsLeftRunning(t *testing.T) {
	var ran []string
	o := bare(&ran)
	o.Exists = func(path string) bool {
		return path == "/run/systemd/system" || path == "/lib/systemd/system/containerd.service"
	}
	require.NoError(t, Fix(context.Background(), o, Check(context.Background(), o), nil))
	require.NotContains(t, strings.Join(ran, "\n"), "systemctl")
}

// script puts a program of the given text into the place of apt-get.
func script(t *testing.T, text string) {
	t.Helper()
	bin := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(bin, "apt-get"), []byte("#!/bin/sh\n"+text), 0o755))
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
}

func TestWhatAptSays(t *testing.T) {
	tests := map[string]struct {
		text string
		args []string
		is   error
		want string
	}{
		"a failure":         {text: "echo 'E: Unable to locate package x'; exit 100", args: []string{"install", "x"}, want: "E: Unable to locate package x"},
		"no network":        {text: "echo \"Err:1 Temporary failure resolving 'deb.test'\"; exit 100", args: []string{"install", "x"}, is: gobuild.ErrNetwork, want: "sources.list"},
		"a silent failure":  {text: "echo \"W: Temporary failure resolving 'deb.test'\"", args: []string{"update"}, is: gobuild.ErrNetwork},
		"a full disk":       {text: "echo 'cannot copy: No space left on device' >&2; echo 'no space left on device' >&2; exit 1", args: []string{"install", "x"}, is: gobuild.ErrDiskFull},
		"asks no questions": {text: "echo \"$DEBIAN_FRONTEND\"; exit 1", args: []string{"install", "x"}, want: "noninteractive"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			script(t, test.text)
			err := run(context.Background(), nil, "apt-get", test.args...)
			require.Error(t, err)
			if test.is != nil {
				require.ErrorIs(t, err, test.is)
			}
			require.ErrorContains(t, err, test.want)
		})
	}
}

func TestInstallingShowsProgress(t *testing.T) {
	script(t, `
echo '0 upgraded, 2 newly installed, 0 to remove and 1 not upgraded.'
echo 'Unpacking runc (1.1.5) ...'
echo 'Unpacking iptables (1.8.9) ...'
echo 'Setting up runc (1.1.5) ...'
echo 'Setting up iptables (1.8.9) ...'
`)
	var at []string
	err := run(context.Background(), func(e event.Event) {
		if e.Kind == event.Progress {
			at = append(at, fmt.Sprintf("%d/%d %s", e.Done, e.Total, e.Message))
		}
	}, "apt-get", "install", "runc", "iptables")
	require.NoError(t, err)
	require.Len(t, at, 4)
	require.Equal(t, "4/4 installing packages: Setting up iptables (1.8.9)", at[3])
}

func TestAPortsHolderIsNamed(t *testing.T) {
	reserved := freeport.Of(t)
	listener, err := net.Listen("tcp", reserved.Addr())
	require.NoError(t, err)
	port := reserved.Port
	err = listen(port)
	require.ErrorContains(t, err, "taken by doctor.test (process "+fmt.Sprint(os.Getpid())+")")
	require.NoError(t, listener.Close())
	require.NoError(t, listen(port))
}

func TestTrialsLeaveNothing(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	before, err := net.Interfaces()
	require.NoError(t, err)
	namespace, err := os.Readlink("/proc/self/ns/net")
	require.NoError(t, err)
	for range 50 { // on whatever threads there are, the first among them
		require.NoError(t, tryNamespaces(context.Background()))
		require.NoError(t, tryOverlay(context.Background()))
	}
	after, err := net.Interfaces()
	require.NoError(t, err)
	for _, i := range after {
		require.NotContains(t, i.Name, "probe")
	}
	require.NotEmpty(t, before)
	now, err := os.Readlink("/proc/self/ns/net")
	require.NoError(t, err)
	require.Equal(t, namespace, now)
	mounts, err := os.ReadFile("/proc/self/mounts")
	require.NoError(t, err)
	require.NotContains(t, string(mounts), "labctl-overlay-")
}
