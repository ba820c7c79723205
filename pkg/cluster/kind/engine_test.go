package kind

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	kindexec "sigs.k8s.io/kind/pkg/exec"

	"github.com/labctl/labctl/pkg/event"
)

// program puts a program of the given shell lines first in the path, and nothing else into it.
func program(t *testing.T, name, lines string) {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+lines), 0o755))
	t.Setenv("PATH", dir)
}

func TestWithoutAnEngineNothingIsDone(t *testing.T) {
	o := options(t)
	t.Setenv("PATH", t.TempDir())
	err := (&Cluster{}).Ensure(t.Context(), o, nil)
	missing := new(NoEngineError)
	require.ErrorAs(t, err, &missing)
	require.Equal(t, []string{"docker: it is not installed", "nerdctl: it is not installed", "podman: it is not installed"}, missing.Tried)
	require.ErrorContains(t, err, "install Docker Engine and start it, or use the embedded cluster")
	require.NoDirExists(t, o.Dir)
}

func TestAnEngineThatDoesNotRunSaysWhy(t *testing.T) {
	program(t, "docker", "echo 'Cannot connect to the Docker daemon' >&2; exit 1\n")
	_, err := findEngine(t.Context(), "")
	missing := new(NoEngineError)
	require.ErrorAs(t, err, &missing)
	require.Equal(t, "docker info: exit status 1: Cannot connect to the Docker daemon", missing.Tried[0])
}

func TestTheFirstEngineThatWorksIsTaken(t *testing.T) {
	program(t, "podman", "echo '{}'\n")
	e, err := findEngine(t.Context(), "")
	require.NoError(t, err)
	require.Equal(t, "podman", e.name)
}

func TestTheEngineThatMadeAClusterIsAsked(t *testing.T) {
	o := made(t, record{Container: "c0ffee"})
	program(t, "podman", "echo '{}'\n")
	err := (&Cluster{}).Ensure(t.Context(), o, nil)
	missing := new(NoEngineError)
	require.ErrorAs(t, err, &missing)
	require.Equal(t, []string{"docker: it is not installed"}, missing.Tried)
}

func TestVersionOfControlGroups(t *testing.T) {
	for _, c := range []struct {
		engine, format, answer string
		v1                     bool
	}{
		{"docker", "{{.CgroupVersion}}", "1", true},
		{"docker", "{{.CgroupVersion}}", "2", false},
		{"podman", "{{.Host.CgroupsVersion}}", "v1", true},
		{"podman", "{{.Host.CgroupsVersion}}", "v2", false},
	} {
		t.Run(c.engine+" "+c.answer, func(t *testing.T) {
			program(t, c.engine, fmt.Sprintf("[ \"$*\" = 'info --format %s' ] && echo %s\n", c.format, c.answer))
			v1, err := engine{name: c.engine}.cgroupV1(t.Context())
			require.NoError(t, err)
			require.Equal(t, c.v1, v1)
		})
	}
}

func TestAnImageThatCannotBePulledSaysWhatToDo(t *testing.T) {
	program(t, "docker", `case "$1" in
image) exit 1 ;;
pull) echo "dial tcp: lookup registry-1.docker.io: no such host" >&2; exit 1 ;;
esac
`)
	err := engine{name: "docker"}.ensureImage(t.Context(), "kindest/node:v1.34.3", nil)
	require.ErrorContains(t, err, "pull the node's image kindest/node:v1.34.3: docker pull: exit status 1: dial tcp: lookup registry-1.docker.io: no such host")
	require.ErrorContains(t, err, "name a mirror's image as node_image, or use the embedded cluster")

	program(t, "docker", `[ "$1 $5" = "image kindest/node:v1.34.3" ]`+"\n")
	require.NoError(t, engine{name: "docker"}.ensureImage(t.Context(), "kindest/node:v1.34.3", nil), "what is there is not pulled")
}

func TestAPullIsCancelled(t *testing.T) {
	program(t, "docker", `case "$1" in
image) exit 1 ;;
pull) exec sleep 60 ;;
esac
`)
	ctx, cancel := context.WithCancel(t.Context())
	err := engine{name: "docker"}.ensureImage(ctx, "kindest/node:v1.34.3", func(event.Event) { cancel() })
	require.ErrorIs(t, err, context.Canceled)
	require.NotContains(t, err.Error(), "mirror", "the user's own wish needs no advice")
}

func TestTheLibrarysLogBecomesEvents(t *testing.T) {
	var got []string
	l := logger{func(e event.Event) { got = append(got, string(e.Kind)+": "+e.Message) }}
	l.V(0).Infof("Creating cluster %q ...\n", "lab")
	l.V(0).Infof(" • %s  ...\n", "Ensuring node image (kindest/node:v1.34.3) 🖼️")
	l.V(0).Infof(" ✓ %s\n", "Ensuring node image (kindest/node:v1.34.3) 🖼️")
	l.V(0).Infof(" • %s  ...\n", "Preparing nodes 📦 ")
	l.V(0).Infof(" ✗ %s\n", "Preparing nodes 📦 ")
	l.V(0).Info("")
	l.V(1).Info("a detail")
	l.V(3).Infof("%s", "the output of kubeadm")
	l.Warn("cgroup v1 is deprecated")
	l.Errorf("failed to update kubeconfig: %v", os.ErrPermission)
	require.Equal(t, []string{
		`progress: Creating cluster "lab"`,
		"progress: Ensuring node image (kindest/node:v1.34.3)",
		"progress: Preparing nodes",
		"warning: cgroup v1 is deprecated",
		"warning: failed to update kubeconfig: permission denied",
	}, got)
}

func TestExplainShowsTheEndOfTheOutput(t *testing.T) {
	var output strings.Builder
	for i := range errorLines + 5 {
		fmt.Fprintf(&output, "line %d\r\n", i)
	}
	inner := &kindexec.RunError{Command: []string{"docker", "exec"}, Output: []byte(output.String()), Inner: os.ErrDeadlineExceeded}
	err := explain(fmt.Errorf("failed to init node with kubeadm: %w", inner))
	require.ErrorIs(t, err, inner)
	require.NotContains(t, err.Error(), "line 4\n")
	require.Contains(t, err.Error(), "\n    line 5\n")
	require.True(t, strings.HasSuffix(err.Error(), "\n    line 19"), err)

	plain := errors.New("nothing was run")
	require.Equal(t, plain, explain(plain))
}
