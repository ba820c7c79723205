package cluster

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/labctl/labctl/pkg/cluster/cgroup"
	"github.com/labctl/labctl/pkg/cluster/node"
)

func TestNodesAreWiredToEachOther(t *testing.T) {
	s := embedded(filepath.Join(t.TempDir(), "cluster"))
	s.Nodes = 3
	supervisor := filepath.Join(t.TempDir(), "node")
	require.NoError(t, os.WriteFile(supervisor, nil, 0o600))
	facts := nodeFacts{CgroupRoot: cgroup.Root("x"), API: "https://10.40.0.2:6443", PodCIDR: podCIDR, Egress: egressFacts{Slirp: "slirp4netns"}}
	require.NoError(t, writeNodes(s, facts, map[string]string{"kubernetes": "/cache/kubernetes", "node": supervisor}))
	three, err := nodeDigest(s, supervisor)
	require.NoError(t, err)

	read := func(home string) (c node.Config) {
		b, err := os.ReadFile(filepath.Join(s.Dir, home, node.ConfigFile))
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(b, &c))
		return c
	}
	first, second := read(""), read("nodes/unit-2")
	require.Equal(t, []node.Route{{To: "10.42.1.0/24", Via: "10.40.0.3"}, {To: "10.42.2.0/24", Via: "10.40.0.4"}}, first.Routes)
	require.Equal(t, []node.Route{{To: "10.42.0.0/24", Via: "10.40.0.2"}, {To: "10.42.2.0/24", Via: "10.40.0.4"}}, second.Routes)
	require.Equal(t, "10.40.0.3/24", second.Address)
	require.Equal(t, "10.40.0.2", second.Gateway, "what leaves, leaves by the first")
	require.NotNil(t, first.Egress)
	require.Nil(t, second.Egress)
	require.Equal(t, first.Resolver, second.Resolver)
	require.Equal(t, first.Relays[0].Listen, second.Relays[0].Target)
	require.Equal(t, first.Relays[0].Target, second.Relays[0].Listen, "localhost:5000 is the registry on every node")

	var names []string
	others := map[string]node.Other{}
	for _, c := range first.Components {
		names = append(names, c.Name)
		if c.Node != nil {
			others[c.Name] = *c.Node
			require.Equal(t, filepath.Join(inside, "nodes", c.Name, stopFile), c.Unless)
		}
	}
	require.Subset(t, names, []string{"kube-apiserver", "etcd", "registry", "kubelet", "kube-proxy", "network-policies", "egress", "unit-2", "unit-3"})
	require.Equal(t, map[string]node.Other{
		"unit-2": {Device: "node2", Cgroup: "/labctl/x/unit-2"}, "unit-3": {Device: "node3", Cgroup: "/labctl/x/unit-3"},
	}, others)
	names = nil
	for _, c := range second.Components {
		names = append(names, c.Name)
		require.NotContains(t, c.After, "kube-apiserver", "it is no component of that node")
	}
	require.Equal(t, []string{"containerd", "kubelet", "kube-proxy", "network-policies"}, names)

	for file, want := range map[string][]string{
		"nodes/unit-2/conf/kubelet.yaml":                {"pki/kubelet-server-unit-2.crt", "cgroupRoot: /labctl/x/unit-2"},
		"nodes/unit-2/conf/kubelet.kubeconfig":          {"pki/kubelet-unit-2.crt", `server: "https://10.40.0.2:6443"`},
		"nodes/unit-2/conf/cni/10-labctl.conflist":      {`"subnet": "10.42.1.0/24"`, `"own": "/run/labctl/cluster/nodes/unit-2/policies.sock"`, `"/run/labctl/cluster/policies.sock"`, `"hostIP": "10.40.0.3"`},
		"nodes/unit-3/conf/kube-proxy.yaml":             {"hostnameOverride: unit-3", "clusterCIDR: 10.42.0.0/16"},
		"conf/cni/10-labctl.conflist":                   {`"subnet": "10.42.0.0/24"`},
		"nodes/unit-2/conf/containerd.toml":             {`conf_dir = "/run/labctl/cluster/nodes/unit-2/conf/cni"`},
		"nodes/unit-3/conf/proxy.kubeconfig":            {"pki/proxy.crt"},
		"nodes/unit-3/conf/network-policies.kubeconfig": {"pki/network-policies.crt"},
	} {
		b, err := os.ReadFile(filepath.Join(s.Dir, file))
		require.NoError(t, err)
		for _, text := range want {
			require.Contains(t, string(b), text, file)
		}
	}

	// Fewer nodes are another configuration, and the files of those that are gone go.
	s.Nodes = 2
	require.NoError(t, writeNodes(s, facts, map[string]string{"kubernetes": "/cache/kubernetes", "node": supervisor}))
	two, err := nodeDigest(s, supervisor)
	require.NoError(t, err)
	require.NotEqual(t, three, two)
	require.NoError(t, removeOthersFiles(s))
	require.NoDirExists(t, filepath.Join(s.Dir, "nodes", "unit-3"))
	require.FileExists(t, filepath.Join(s.Dir, "nodes", "unit-2", node.ConfigFile))
	again, err := nodeDigest(s, supervisor)
	require.NoError(t, err)
	require.Equal(t, two, again)
}

func TestANodeThatWasStoppedIsStartedAgain(t *testing.T) {
	s := embedded(t.TempDir())
	s.Nodes = 3
	require.NoError(t, os.MkdirAll(filepath.Join(s.Dir, "nodes", "unit-3"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(s.Dir, "nodes", "unit-3", stopFile), nil, 0o600))
	names, err := unstop(s)
	require.NoError(t, err)
	require.Equal(t, []string{"unit-3"}, names)
	names, err = unstop(s)
	require.NoError(t, err)
	require.Empty(t, names)
}

func TestWhichNodesCanBeStopped(t *testing.T) {
	err := unknownNode("chat", node.State{Components: []node.ComponentState{{Name: "kubelet"}}})
	require.ErrorContains(t, err, "the cluster has one node")
	err = unknownNode("chat", node.State{Components: []node.ComponentState{{Name: "chat-2", Node: true}, {Name: "kubelet"}, {Name: "chat-3", Node: true}}})
	require.ErrorContains(t, err, "those that can be are chat-2, chat-3")
	require.ErrorIs(t, (&Manager{}).StopNode(t.Context(), t.TempDir(), "chat-2"), ErrGone)
}

// After a crash the API goes on saying what it was told before.
func TestOldNewsOfANodeIsNotBelieved(t *testing.T) {
	started := time.Date(2026, 11, 30, 12, 0, 0, 700e6, time.UTC)
	report := func(status v1.ConditionStatus, at time.Time) []v1.Node {
		return []v1.Node{
			{ObjectMeta: metav1.ObjectMeta{Name: "unit"}},
			{ObjectMeta: metav1.ObjectMeta{Name: "unit-2"}, Status: v1.NodeStatus{Conditions: []v1.NodeCondition{
				{Type: v1.NodeReady, Status: status, Message: "no network yet", LastHeartbeatTime: metav1.NewTime(at)},
			}}},
		}
	}
	require.NoError(t, nodeReady(report(v1.ConditionTrue, started.Truncate(time.Second)), "unit-2", started))
	require.ErrorContains(t, nodeReady(report(v1.ConditionTrue, started.Add(-time.Second)), "unit-2", started), "has not reported since it started")
	require.ErrorContains(t, nodeReady(report(v1.ConditionFalse, started), "unit-2", started), "node unit-2 is not ready: no network yet")
	require.ErrorContains(t, nodeReady(report(v1.ConditionTrue, started), "unit-3", started), "node unit-3 has not registered")

	pod := func(node string, since time.Time) []v1.Pod {
		return []v1.Pod{{ObjectMeta: metav1.ObjectMeta{Namespace: "chat", Name: "auth"}, Spec: v1.PodSpec{NodeName: node}, Status: v1.PodStatus{
			ContainerStatuses: []v1.ContainerStatus{{State: v1.ContainerState{Running: &v1.ContainerStateRunning{StartedAt: metav1.NewTime(since)}}}},
		}}}
	}
	require.NoError(t, podsAreBack(pod("unit-2", started), "unit-2", started))
	require.NoError(t, podsAreBack(pod("unit", started.Add(-time.Hour)), "unit-2", started), "another node's")
	require.ErrorContains(t, podsAreBack(pod("unit-2", started.Add(-time.Hour)), "unit-2", started), "pod chat/auth has not come back yet")

	first := node.State{Components: []node.ComponentState{{Name: "unit-2", Running: true, Since: started}, {Name: "unit-3", Since: started}}}
	require.True(t, hasStarted(first, "unit-2", node.State{Started: started.Add(time.Millisecond)}))
	require.False(t, hasStarted(first, "unit-2", node.State{Started: started.Add(-time.Minute)}), "of an earlier run")
	require.False(t, hasStarted(first, "unit-3", node.State{Started: started.Add(time.Millisecond)}), "it does not run")
}

func TestLogsOfAllNodesHaveNames(t *testing.T) {
	dir := t.TempDir()
	for _, log := range []string{node.LogPath(dir, "kubelet"), node.LogPath(filepath.Join(dir, node.HomeOf("unit-2")), "kubelet")} {
		require.NoError(t, os.MkdirAll(filepath.Dir(log), 0o700))
		require.NoError(t, os.WriteFile(log, []byte(log+"\n"), 0o600))
	}
	names, err := logs(dir)
	require.NoError(t, err)
	require.Equal(t, []string{"kubelet", "unit-2/kubelet"}, names)
	require.Equal(t, node.LogPath(filepath.Join(dir, "nodes/unit-2"), "kubelet"), logPath(dir, "unit-2/kubelet"))
}
