package status

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/cli/app"
	"github.com/labctl/labctl/pkg/stack"
	"github.com/labctl/labctl/pkg/status"
	"github.com/labctl/labctl/pkg/tui"
)

func TestKubectlArgs(t *testing.T) {
	pod := status.Part{Kind: status.KindPod, Namespace: "chat", Name: "auth-1"}
	deployment := status.Part{Kind: status.KindDeployment, Namespace: "chat", Name: "auth"}
	node := status.Part{Kind: status.KindNode, Name: "demo-1"}
	for _, tt := range []struct {
		what tui.Ask
		part status.Part
		want string
	}{
		{tui.AskLogs, pod, "--namespace chat logs pod/auth-1 --all-containers --tail=500 --follow"},
		{tui.AskLogs, deployment, "--namespace chat logs deployment/auth --all-containers --tail=500 --follow --all-pods --prefix"},
		{tui.AskYAML, deployment, "--namespace chat get deployment/auth --output=yaml"},
		{tui.AskDescribe, node, "describe node/demo-1"},
	} {
		require.Equal(t, tt.want, strings.Join(kubectlArgs(tt.what, tt.part), " "))
	}
}

// What a process says is read while it goes on, and it ends with its reader.
func TestOutputOfAProcess(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "sh", "-c", "echo one; echo two >&2; exec sleep 1000")
	r, err := piped(cmd)
	require.NoError(t, err)
	lines := bufio.NewScanner(r)
	for _, want := range []string{"one", "two"} {
		require.True(t, lines.Scan())
		require.Equal(t, want, lines.Text())
	}
	require.NoError(t, r.Close())
	require.NotNil(t, cmd.ProcessState, "it has ended")
	require.NoError(t, r.Close(), "who reads and who cancels may both close")

	r, err = piped(exec.CommandContext(t.Context(), "sh", "-c", "echo gone >&2; exit 1"))
	require.NoError(t, err)
	all, err := io.ReadAll(r)
	require.NoError(t, err)
	require.Equal(t, "gone\n", string(all), "the reason is what is shown")
	require.NoError(t, r.Close())

	_, err = piped(exec.CommandContext(t.Context(), filepath.Join(t.TempDir(), "none")))
	require.Error(t, err)
}

func TestOpenTheLogOfAStack(t *testing.T) {
	dir := t.TempDir()
	o := opener{lab: &app.Lab{Graph: &stack.Graph{Dir: dir}}, kubectl: func(context.Context) (string, error) { return "", nil }}
	step := status.Part{Kind: status.KindStep, Name: "5-release/image auth"}
	_, err := o.open(t.Context(), tui.AskLogs, step)
	require.EqualError(t, err, "stack 5-release has no log yet")
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "logs"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "logs", "5-release.log"), []byte("built\n"), 0o600))
	r, err := o.open(t.Context(), tui.AskLogs, step)
	require.NoError(t, err)
	all, err := io.ReadAll(r)
	require.NoError(t, err)
	require.Equal(t, "built\n", string(all))
	require.NoError(t, r.Close())
}
