package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/labctl/labctl/test/scope"
)

// TestNodes is the life of a lab with three nodes: they are one cluster, can be drained, die, and be taken away.
func TestNodes(t *testing.T) {
	scope.SkipUnlessFull(t, "another lab, with three nodes")
	l := newLab(t)
	before := look(t)
	l.want(3)
	l.part("three nodes are ready, and reach each other and what the machine reaches", func(t *testing.T) {
		l.run("up")
		require.Equal(t, map[string]string{"e2e": "Ready", "e2e-2": "Ready", "e2e-3": "Ready"}, l.nodes(t))
		require.Contains(t, l.run("cluster", "status"), "e2e-3/kubelet")
		require.NotEmpty(t, l.run("cluster", "logs", "e2e-2/containerd"))
		outside := newOutside(t)
		var askers []asker
		for node := range l.nodes(t) {
			out := asker{name: "out-of-" + node, namespace: "default", node: node, urls: []string{"http://" + outside.ip + "/"}}
			out.start(l)
			askers = append(askers, out)
			a := asker{name: "on-" + node, namespace: "chat", node: node, labels: map[string]string{"app.kubernetes.io/name": "chat-test"}}
			for _, part := range []string{"auth", "gateway", "messaging", "presence", "groups", "frontend"} {
				a.urls = append(a.urls, "http://"+part+":8081/readyz")
			}
			a.start(l)
			askers = append(askers, a)
		}
		for _, a := range askers {
			for url, said := range a.answers(l) {
				require.Empty(t, said, "%s asks %s", a.name, url)
			}
		}
	})
	l.part("what no policy opens is closed between nodes, too", l.closed)
	l.part("a node is drained, and no message is lost", func(t *testing.T) {
		k := startTalk(t, l.url())
		k.more(20)
		node := l.nodeOf(t, "data", "app.kubernetes.io/name=kafka")
		l.run("kubectl", "drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=3m")
		require.NotEqual(t, node, l.nodeOf(t, "data", "app.kubernetes.io/name=kafka"), "its volume is on every node")
		k.more(20)
		k.finish()
		l.run("kubectl", "uncordon", node)
	})
	l.part("a node dies, is noticed, and up repairs it", func(t *testing.T) {
		l.run("cluster", "stop", "--node", "e2e-2")
		require.EventuallyWithT(t, func(c *assert.CollectT) {
			require.Equal(c, map[string]string{"e2e": "Ready", "e2e-2": "NotReady", "e2e-3": "Ready"}, l.nodes(t))
		}, 2*time.Minute, time.Second)
		out, code := l.try(t.Context(), "drift", "cluster")
		require.Equal(t, 2, code, out)
		require.Contains(t, out, "lab_cluster.this was changed")
		out, _ = l.try(t.Context(), "status") // its exit code says that something is wrong
		require.Contains(t, out, "e2e-2 is not running: killed by SIGKILL")
		out = l.run("up")
		require.Contains(t, out, "a test message was delivered")
		require.Equal(t, "Ready", l.nodes(t)["e2e-2"])
		_, code = l.try(t.Context(), "cluster", "stop", "--node", "e2e")
		require.NotZero(t, code, "the control plane's")
	})
	l.part("a cluster of fewer nodes forgets the others", func(t *testing.T) {
		l.want(1)
		l.run("up")
		require.Equal(t, map[string]string{"e2e": "Ready"}, l.nodes(t))
		require.NoDirExists(t, filepath.Join(l.stateDir(), "cluster", "nodes", "e2e-2"))
	})
	l.part("down leaves nothing", func(t *testing.T) {
		group := l.cgroup()
		l.run("down")
		require.Empty(t, processesOf(t, filepath.Dir(l.file)))
		require.Empty(t, groupsLeft(t, group))
		require.Empty(t, look(t).since(before))
	})
}

var nodesLine = regexp.MustCompile(`(?m)^    nodes = .*\n`)

// want changes how many nodes lab.hcl asks for.
func (l *testLab) want(nodes int) {
	l.t.Helper()
	b, err := os.ReadFile(l.file)
	require.NoError(l.t, err)
	text := nodesLine.ReplaceAllString(string(b), "")
	text = strings.Replace(text, "  vars = {\n", fmt.Sprintf("  vars = {\n    nodes = %d\n", nodes), 1)
	require.NoError(l.t, os.WriteFile(l.file, []byte(text), 0o600))
}

// nodes gives what the API says of each node.
func (l *testLab) nodes(t *testing.T) map[string]string {
	t.Helper()
	nodes, err := l.kube().Core.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	out := map[string]string{}
	for _, n := range nodes.Items {
		out[n.Name] = "NotReady"
		for _, c := range n.Status.Conditions {
			if c.Type == "Ready" && c.Status == "True" {
				out[n.Name] = "Ready"
			}
		}
	}
	return out
}

// nodeOf gives the node of a pod, once it has one.
func (l *testLab) nodeOf(t *testing.T, namespace, selector string) (node string) {
	t.Helper()
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		pods, err := l.kube().Core.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{LabelSelector: selector})
		require.NoError(c, err)
		require.Len(c, pods.Items, 1)
		require.Nil(c, pods.Items[0].DeletionTimestamp)
		node = pods.Items[0].Spec.NodeName
		require.NotEmpty(c, node, fmt.Sprint(pods.Items[0].Status))
	}, time.Minute, 100*time.Millisecond)
	return node
}
