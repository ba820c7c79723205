package cluster

import (
	"os/exec"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/labctl/labctl/pkg/kube"
)

func TestANameServiceThatDoesNotAnswerIsSaid(t *testing.T) {
	dir := nodeDir(t)
	alone := exec.Command("sleep", "600") // or until the end of the test
	alone.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if err := alone.Start(); err != nil {
		t.Skipf("no network of one's own: %v", err)
	}
	t.Cleanup(func() {
		require.NoError(t, alone.Process.Kill())
		require.ErrorContains(t, alone.Wait(), "killed")
	})
	p, err := identify(alone.Process.Pid)
	require.NoError(t, err)
	require.NoError(t, recordNode(dir, p, "digest"))

	no := false
	client := &kube.Client{Core: fake.NewClientset(&discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "kube-dns-1", Labels: map[string]string{discoveryv1.LabelServiceName: "kube-dns"}},
		Endpoints:  []discoveryv1.Endpoint{{Addresses: []string{"10.42.0.7"}, Conditions: discoveryv1.EndpointConditions{Ready: &no}}},
	})}
	err = nameService(t.Context(), dir, client)
	require.ErrorContains(t, err, "network is unreachable", "asked in the process's network, which has no way anywhere")
	require.ErrorContains(t, err, "behind 10.43.0.10 is 10.42.0.7 (not ready)")

	client.Core = fake.NewClientset()
	require.ErrorContains(t, nameService(t.Context(), dir, client), "nobody is behind 10.43.0.10")
	require.ErrorContains(t, nameService(t.Context(), t.TempDir(), client), "the node does not run")
}
