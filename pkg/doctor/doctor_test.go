package doctor

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/event"
)

// bare is a Debian machine with nothing but Go, whose package manager works.
func bare(ran *[]string) Options {
	have := map[string]bool{"go": true, "apt-get": true, "mount": true}
	return Options{
		For: Up, CacheDir: "/cache", UID: 0,
		LookPath: func(name string) (string, error) {
			if have[name] {
				return "/usr/bin/" + name, nil
			}
			return "", exec.ErrNotFound
		},
		Exists:     func(string) bool { return false },
		FreeBytes:  func(string) (uint64, error) { return 100 << 30, nil },
		OpenFiles:  func() (uint64, error) { return 20000, nil },
		Namespaces: func(context.Context) error { return nil },
		Listen:     func(int) error { return nil },
		Run: func(_ context.Context, _ event.Report, name string, args ...string) error {
			*ran = append(*ran, name+" "+strings.Join(args, " "))
			return nil
		},
	}
}

func names(all []Finding) []string {
	var n []string
	for _, f := range all {
		n = append(n, f.Name)
	}
	return n
}

func TestABareMachineGetsWhatItLacksInOneGo(t *testing.T) {
	var ran []string
	o := bare(&ran)
	missing := Missing(Check(context.Background(), o))
	require.Equal(t, []string{"containerd", "runc", "CNI plugins", "iptables", "ipset", "conntrack", "slirp4netns", "npm", "CA certificates"}, names(missing))
	require.Equal(t, []string{"apt-get install -y --no-install-recommends containerd"}, missing[0].Fix)
	require.NoError(t, Fix(context.Background(), o, missing, nil))
	require.Equal(t, []string{
		"apt-get update -q",
		"apt-get install -y -q --no-install-recommends -o DPkg::Lock::Timeout=120 ca-certificates conntrack containerd containernetworking-plugins ipset iptables nodejs npm runc slirp4netns",
	}, ran)
}

func TestAContainerdThatCameWithItsPackageIsStopped(t *testing.T) {
	var ran []string
	o := bare(&ran)
	o.Exists = func(path string) bool { return path == "/run/systemd/system" }
	var warned []string
	report := event.Report(func(e event.Event) {
		if e.Kind == event.Warning {
			warned = append(warned, e.Message)
		}
	})
	require.NoError(t, Fix(context.Background(), o, Check(context.Background(), o), report))
	require.Equal(t, "systemctl disable --now containerd", ran[2])
	require.Len(t, warned, 1)
}

func TestWithoutRightsNothingRunsAndTheCommandsAreNamed(t *testing.T) {
	var ran []string
	o := bare(&ran)
	o.UID = 1000
	err := Fix(context.Background(), o, Check(context.Background(), o), nil)
	require.ErrorIs(t, err, ErrNotReady)
	require.ErrorContains(t, err, "sudo labctl up")
	require.ErrorContains(t, err, "apt-get install -y --no-install-recommends runc")
	require.Empty(t, ran)
}

func TestAnotherDistributionIsToldWhatToInstall(t *testing.T) {
	var ran []string
	o := bare(&ran)
	o.LookPath = func(string) (string, error) { return "", exec.ErrNotFound }
	err := Fix(context.Background(), o, Check(context.Background(), o), nil)
	require.ErrorIs(t, err, ErrNotReady)
	require.ErrorContains(t, err, "what Debian calls: containerd")
	require.Empty(t, ran)
}

func TestFindingsThatPackagesDoNotMend(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*Options)
		want   []string
	}{
		"full disk":      {func(o *Options) { o.FreeBytes = func(string) (uint64, error) { return 5 << 30, nil } }, []string{"disk space", "LABCTL_CACHE"}},
		"few open files": {func(o *Options) { o.OpenFiles = func() (uint64, error) { return 1024, nil } }, []string{"open files", "ulimit"}},
		"no namespaces":  {func(o *Options) { o.Namespaces = func(context.Context) error { return errors.New("EPERM") } }, []string{"kernel", "EPERM", "modprobe"}},
		"port taken": {func(o *Options) {
			o.Listen = func(int) error { return errors.New("in use") }
			o.Ports = []Port{{8080, "the chat"}}
		}, []string{"port 8080", "the lab needs it for the chat", "lab.hcl"}},
		"package manager ": {func(o *Options) { o.LookPath = func(string) (string, error) { return "", exec.ErrNotFound } }, []string{"go", "https://go.dev/dl"}},
	} {
		t.Run(name, func(t *testing.T) {
			var ran []string
			o := bare(&ran)
			tc.change(&o)
			err := Fix(context.Background(), o, Check(context.Background(), o), nil)
			require.ErrorIs(t, err, ErrNotReady)
			for _, want := range tc.want {
				require.ErrorContains(t, err, want)
			}
		})
	}
}

func TestSpaceNeededDependsOnWhatIsBuilt(t *testing.T) {
	o := bare(new([]string))
	o.FreeBytes = func(string) (uint64, error) { return 6 << 30, nil }
	require.False(t, o.space().OK)
	o.Built = true
	require.True(t, o.space().OK)
	o.Built, o.For = false, Dev
	require.True(t, o.space().OK)
}

func TestDevNeedsNoRootAndNoContainers(t *testing.T) {
	o := bare(new([]string))
	o.For, o.UID = Dev, 1000
	require.Equal(t, []string{"npm", "CA certificates"}, names(Missing(Check(context.Background(), o))))
}

func TestTheRealMachineCanBeLookedAt(t *testing.T) {
	all := Check(context.Background(), System(Options{For: Up, CacheDir: t.TempDir() + "/not/there/yet", Built: true}))
	for _, f := range all {
		require.NotEmpty(t, f.Name)
		require.True(t, f.OK || len(f.Fix) > 0, "%s says what is wrong and not what to do: %+v", f.Name, f)
	}
	require.Contains(t, names(all), "disk space")
}
