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
	"time"

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
		{tui.AskLogs, status.Part{Kind: status.KindService, Namespace: "chat", Name: "auth"}, "--namespace chat logs deployment/auth --all-containers --tail=500 --follow --all-pods --prefix"},
		{tui.AskYAML, status.Part{Kind: status.KindApplication, Name: "chat"}, "--namespace argocd get applications.argoproj.io/chat --output=yaml"},
	} {
		require.Equal(t, tt.want, strings.Join(kubectlArgs(tt.what, tt.part), " "))
	}
}

// What a process says is read while it goes on, and it ends with its reader.
func TestOutputOfAProcess(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "sh", "-c", "echo one; echo two >&2; exec sleep 1000")
	r, err := piped(cmd, time.Second)
	require.NoError(t, err)
	lines := bufio.NewScanner(r)
	for _, want := range []string{"one", "two"} {
		require.True(t, lines.Scan())
		require.Equal(t, want, lines.Text())
	}
	require.NoError(t, r.Close())
	require.NotNil(t, cmd.ProcessState, "it has ended")
	require.NoError(t, r.Close(), "who reads and who cancels may both close")

	r, err = piped(exec.CommandContext(t.Context(), "sh", "-c", "echo gone >&2; exit 1"), time.Second)
	require.NoError(t, err)
	all, err := io.ReadAll(r)
	require.EqualError(t, err, "exit status 1")
	require.Equal(t, "gone\n", string(all), "the reason is what is shown")
	require.NoError(t, r.Close())

	_, err = piped(exec.CommandContext(t.Context(), filepath.Join(t.TempDir(), "none")), time.Second)
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

// What can be done about a part is a command that labctl has.
func TestCommandsOnParts(t *testing.T) {
	for _, tt := range []struct {
		part    status.Part
		service bool
		want    []string
	}{
		{status.Part{Kind: status.KindStep, Name: "5-release/image auth"}, false, []string{"up 5-release", "plan 5-release", "drift 5-release", "down 5-release"}},
		{status.Part{Kind: status.KindService, Namespace: "chat", Name: "messaging"}, true, []string{"ship messaging", "kubectl --namespace chat rollout restart deployment/messaging", "shadow start messaging --working-tree", "chaos --lab"}},
		{status.Part{Kind: status.KindStatefulSet, Namespace: "data", Name: "kafka"}, false, []string{"kubectl --namespace data rollout restart statefulset/kafka"}},
		{status.Part{Kind: status.KindPod, Namespace: "chat", Name: "auth-1"}, false, []string{"kubectl --namespace chat delete pod auth-1"}},
		{status.Part{Kind: status.KindShadow, Name: "auth"}, false, []string{"shadow promote auth", "shadow abort auth"}},
		{status.Part{Kind: status.KindNode, Name: "demo-1"}, false, nil},
	} {
		var got []string
		for _, c := range commandsOn(tt.part, tt.service) {
			got = append(got, strings.Join(c.words, " "))
		}
		require.Equal(t, tt.want, got)
	}
}
