package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/labctl/labctl/pkg/chart"
	"github.com/labctl/labctl/pkg/kube"
	"github.com/labctl/labctl/pkg/status"
	"github.com/labctl/labctl/test/protocol"
	"github.com/labctl/labctl/test/scope"
)

// TestLab is one lab's life. Its parts stand on each other, so the first that fails ends it.
func TestLab(t *testing.T) {
	l := newLab(t)
	before := look(t)
	l.part("killed at any step, up completes", l.killedAtEveryStep)
	l.part("up again has nothing to do", l.nothingToDo)
	l.part("what is asked of a lab is answered", l.answers)
	l.part("the screen shows the lab", l.screens)
	l.part("the chat keeps its protocol", func(t *testing.T) {
		scope.SkipUnlessFull(t, "test/protocol tries the same services in one process")
		protocol.Run(t, l.url())
	})
	l.part("what no policy opens is closed", l.closed)
	l.part("what is said to the databases is encrypted", l.encrypted)
	l.part("pods die and no message is lost", l.podsDie)
	l.part("chaos in the cluster, and the promise is kept", l.chaos)
	l.part("the cluster's processes die and up repairs", l.processesDie)
	l.part("what others changed is drift, and up repairs it", l.drift)
	l.part("a changed service is shipped", l.shipped)
	l.part("a service that does not start is said so and the old one stays", l.badService)
	l.part("a version is tried on live traffic and leaves no trace", l.shadowed)
	l.part("two browsers talk", l.browsers)
	l.part("stop, start, and reach another host", l.stopAndStart)
	l.part("down leaves nothing", func(t *testing.T) {
		group := l.cgroup()
		require.NotEmpty(t, groupsLeft(t, group))
		_, code, _ := l.interruptAt("1-cluster", syscall.SIGKILL, "down")
		t.Logf("down was killed: exit code %d", code)
		l.run("down")
		require.NoDirExists(t, filepath.Join(filepath.Dir(l.file), ".lab"))
		require.Empty(t, processesOf(t, filepath.Dir(l.file)))
		require.Empty(t, groupsLeft(t, group))
		require.Empty(t, look(t).since(before))
		l.run("down") // again, on nothing
	})
}

// part runs a part of a lab's life as a test of its own. One that fails ends the life.
func (l *testLab) part(name string, f func(t *testing.T)) {
	if !l.t.Run(name, func(t *testing.T) {
		outer := l.t
		l.t = t
		defer func() { l.t = outer }()
		f(t)
	}) {
		l.t.FailNow()
	}
}

// killedAtEveryStep kills labctl the moment that each step begins, and then lets it through. A quick run kills while the
// node starts, while images are built and while the chat is released: the rest is the engine's, and pkg/lab's tests kill
// that everywhere.
func (l *testLab) killedAtEveryStep(t *testing.T) {
	for _, step := range scope.Of([]string{`"step":"1-cluster"`, "2-databases/image kafka", "5-release/release chat"}, []string{
		`"step":"0-foundation"`, `"step":"1-cluster"`, "pushing", "waiting for deployment/coredns", `"step":"2-databases"`,
		"2-databases/image kafka", "2-databases/release databases", "waiting for statefulset", "5-release/image auth",
		"5-release/release chat", "waiting for deployment",
	}) {
		_, code, seen := l.interruptAt(step, syscall.SIGKILL, "up", "--json")
		require.True(t, seen, "labctl up never came to %q", step)
		require.Equal(t, -1, code)
	}
	out, code, seen := l.interruptAt("5-release/release chat", syscall.SIGINT, "up", "--verbose")
	require.True(t, seen)
	require.Equal(t, 130, code)
	require.Contains(t, out, "labctl up")
	out = l.run("up")
	require.Contains(t, out, l.url())
	require.Contains(t, out, "ada ")
	require.Contains(t, out, "grace ")
}

// releases by the namespaces they are in.
var releases = map[string]string{"data": "databases", "chat": "chat"}

func (l *testLab) nothingToDo(t *testing.T) {
	out, code := l.try(t.Context(), "up")
	require.Zero(t, code, out)
	t.Log(out)
	for line := range strings.Lines(out) {
		require.NotContains(t, line, "added", "a second up changed something")
	}
}

func (l *testLab) answers(t *testing.T) {
	l.run("status", "--wait", "up", "--timeout", "2m")
	var s status.Snapshot
	require.NoError(t, json.Unmarshal([]byte(l.run("status", "--json")), &s))
	require.Equal(t, status.Up, s.State, s.Problems)
	require.Contains(t, s.Groups, status.Group{Name: "messaging", Condition: status.Condition{State: status.Up}, Members: 1, Topics: []string{"messages"}, History: []float64{0}})
	require.Contains(t, l.run("status"), "messaging")
	l.run("status", "--wait", "deployment/chat/messaging")
	require.Contains(t, l.run("exec", "1-cluster", "--", "state", "list"), "lab_cluster.this")
	require.Contains(t, l.run("cluster", "status"), "kube-apiserver")
	require.NotEmpty(t, l.run("logs", "auth"))
	require.Contains(t, l.run("open", "--print"), l.url())
	require.Contains(t, l.run("kubectl", "-n", "chat", "get", "deployments"), "messaging")
	out, code := l.try(t.Context(), "kubectl", "get", "nothing-of-this-kind")
	require.Equal(t, 1, code, "kubectl's own")
	require.Contains(t, out, "nothing-of-this-kind")
	require.Contains(t, l.run("helm", "list", "--all-namespaces"), "databases")
	require.Equal(t, "1Gi", l.run("kubectl", "run", "plain", "--image=example.test/plain", "--dry-run=server", "--output=jsonpath={.spec.containers[0].resources.limits.memory}"))
	out, code = l.try(t.Context(), "kubectl", "run", "privileged", "--image=example.test/privileged", "--privileged", "--dry-run=server")
	require.Equal(t, 1, code, out)
	require.Contains(t, out, `violates PodSecurity "baseline`)
	// What pods use is known once they were looked at twice.
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		out, code := l.try(t.Context(), "kubectl", "top", "pods", "--namespace", "chat", "--no-headers")
		require.Zero(c, code, out)
		require.Contains(c, out, "messaging-")
	}, 2*time.Minute, time.Second)

	_, err := l.kube().Ready(t.Context())
	require.NoError(t, err)
	charts, err := chart.New(l.run("kubeconfig"))
	require.NoError(t, err)
	for namespace, release := range releases {
		require.NoError(t, charts.Check(t.Context(), namespace, release, 2*time.Minute, nil), "helm test %s", release)
	}
	for file, mode := range map[string]os.FileMode{".": 0o700, "cluster": 0o700, "cluster/kubeconfig": 0o600, "demo.json": 0o600} {
		info, err := os.Stat(filepath.Join(l.stateDir(), file))
		require.NoError(t, err)
		require.Equal(t, mode, info.Mode().Perm(), file)
	}

	// The lab listens on loopback only.
	listening, err := exec.Command("ss", "-ltnH").Output()
	require.NoError(t, err)
	for line := range strings.Lines(string(listening)) {
		for name, port := range l.ports {
			if strings.Contains(line, fmt.Sprintf(":%d ", port)) {
				require.Contains(t, line, fmt.Sprintf("127.0.0.1:%d ", port), name)
			}
		}
	}
	// What is between the services is not for the world.
	response, err := http.Get(l.url() + "/internal/peers")
	require.NoError(t, err)
	defer response.Body.Close()
	require.NotEqual(t, "application/json", response.Header.Get("Content-Type"))
}

// chaos kills and pauses pods by a seed in whose schedule are the broker, the database and several services.
func (l *testLab) chaos(t *testing.T) {
	scope.SkipUnlessFull(t, "40 s; podsDie kills what this kills")
	var report struct {
		Verdict struct{ Acked int }
		Runs    []struct {
			Faults []struct {
				Kind, Part, Met, Error string
			}
		}
	}
	out := l.run("chaos", "--lab", "--seed", chaosSeed, "--duration", "25s", "--every", "2500ms", "--kind", "kill,pause", "--settle", "4m", "--json")
	require.NoError(t, json.Unmarshal([]byte(out), &report))
	require.Greater(t, report.Verdict.Acked, 300)
	require.Len(t, report.Runs, 1)
	met := map[string]bool{}
	for _, f := range report.Runs[0].Faults {
		require.Empty(t, f.Error, f)
		require.NotEmpty(t, f.Met, "%v: each pod that is struck is named", f)
		met[f.Kind+" "+f.Part] = true
	}
	require.Contains(t, met, "kill kafka")
	require.Contains(t, met, "kill mongodb")
	require.Contains(t, met, "kill messaging/0")
}

// chaosSeed is a seed whose schedule has what chaos wants to see.
const chaosSeed = "53"

func (l *testLab) kube() *kube.Client {
	l.t.Helper()
	c, err := kube.New([]byte(l.run("kubeconfig")))
	require.NoError(l.t, err)
	return c
}

// podsDie takes away every part of the chat in turn, without notice, while messages flow.
func (l *testLab) podsDie(t *testing.T) {
	c := l.kube()
	k := startTalk(t, l.url())
	now := int64(0)
	for _, victim := range []struct{ namespace, name string }{
		{"chat", "messaging"}, {"chat", "gateway"}, {"data", "kafka"}, {"data", "mongodb"}, {"chat", "messaging"}, {"chat", "auth"},
	} {
		k.more(20)
		pods, err := c.Core.CoreV1().Pods(victim.namespace).List(t.Context(), metav1.ListOptions{})
		require.NoError(t, err)
		killed := 0
		for _, p := range pods.Items {
			if strings.HasPrefix(p.Name, victim.name+"-") {
				require.NoError(t, c.Core.CoreV1().Pods(p.Namespace).Delete(t.Context(), p.Name, metav1.DeleteOptions{GracePeriodSeconds: &now}))
				killed++
			}
		}
		require.Positive(t, killed, "no pod of %s", victim.name)
	}
	k.more(20)
	k.finish()
	charts, err := chart.New(l.run("kubeconfig"))
	require.NoError(t, err)
	for namespace, release := range releases {
		require.NoError(t, charts.WaitReady(t.Context(), namespace, release, nil))
	}
}

// processesDie kills the API server, which the node starts again by itself, and then the node, which up does.
func (l *testLab) processesDie(t *testing.T) {
	k := startTalk(t, l.url())
	k.more(10)
	k.finish()
	var api string
	for _, p := range processesIn(t, l.cgroup()) {
		if pid, command, _ := strings.Cut(p, " "); strings.Contains(command, "kubernetes kube-apiserver") {
			api = pid
		}
	}
	require.NotEmpty(t, api, "no kube-apiserver of this lab")
	kill(t, api)
	l.run("up")

	before := l.podsByAddress(t)
	b, err := os.ReadFile(filepath.Join(l.stateDir(), "cluster", "node.pid"))
	require.NoError(t, err)
	kill(t, strings.Fields(string(b))[0])
	require.Contains(t, l.run("cluster", "status"), "the cluster is stopped")
	out, code := l.try(t.Context(), "status")
	require.Equal(t, 2, code, out)
	l.run("up")
	require.Len(t, k.history(), k.count(), "messages from before the node's death")
	for address, pod := range l.podsByAddress(t) {
		if was, had := before[address]; had {
			require.Equal(t, was, pod, "who still sends to the pod that had %s before reaches another", address)
		}
	}
}

// podsByAddress gives the name of each pod by its address.
func (l *testLab) podsByAddress(t *testing.T) map[string]string {
	pods, err := l.kube().Core.CoreV1().Pods("").List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	out := map[string]string{}
	for _, p := range pods.Items {
		if p.DeletionTimestamp == nil { // one that ends may be gone at the next look
			out[p.Status.PodIP] = p.Name
		}
	}
	return out
}

// drift edits a deployment by hand, removes a service, and then a whole namespace.
func (l *testLab) drift(t *testing.T) {
	require.Contains(t, l.run("drift"), "5-release: no drift")
	c := l.kube().Core
	auth, err := c.AppsV1().Deployments("chat").Get(t.Context(), "auth", metav1.GetOptions{})
	require.NoError(t, err)
	auth.Spec.Template.Spec.Containers[0].Image = "example.invalid/auth:by-hand"
	_, err = c.AppsV1().Deployments("chat").Update(t.Context(), auth, metav1.UpdateOptions{})
	require.NoError(t, err)
	require.NoError(t, c.CoreV1().Services("chat").Delete(t.Context(), "groups", metav1.DeleteOptions{}))
	out, code := l.try(t.Context(), "drift")
	require.Equal(t, 2, code, out)
	require.Contains(t, out, "2-databases: no drift")
	require.Regexp(t, `release chat: .*Deployment auth.*changed`, out)
	require.Regexp(t, `release chat: .*Service groups.*missing`, out)
	l.run("up", "--why")
	require.Contains(t, l.run("drift", "release"), "5-release: no drift")

	require.NoError(t, c.CoreV1().Namespaces().Delete(t.Context(), "chat", metav1.DeleteOptions{}))
	require.Eventually(t, func() bool {
		_, err := c.CoreV1().Namespaces().Get(t.Context(), "chat", metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	}, 2*time.Minute, 100*time.Millisecond, "the namespace chat goes")
	var found []struct {
		Stack    string `json:"stack"`
		Releases []struct{ Name, Why string }
	}
	out, code = l.try(t.Context(), "drift", "--json", "--only", "release")
	require.Equal(t, 2, code, out)
	require.NoError(t, json.Unmarshal([]byte(out[strings.Index(out, "["):]), &found), out)
	require.Len(t, found, 1)
	var names []string
	for _, r := range found[0].Releases {
		names = append(names, r.Name)
	}
	require.Equal(t, []string{"secrets", "chat"}, names)
	l.run("up")
	k := startTalk(t, l.url())
	k.more(5)
	k.finish()
}

// cgroup is the control group of the lab's node.
func (l *testLab) cgroup() string {
	b, err := os.ReadFile(filepath.Join(l.stateDir(), "cluster", "node.pid"))
	require.NoError(l.t, err)
	group, err := os.ReadFile("/proc/" + strings.Fields(string(b))[0] + "/cgroup")
	require.NoError(l.t, err)
	for line := range strings.Lines(string(group)) {
		if _, path, ok := strings.Cut(line, "/labctl/"); ok {
			return "/labctl/" + strings.Split(strings.TrimSpace(path), "/")[0]
		}
	}
	require.FailNow(l.t, "the node is in no control group of labctl", "%s", group)
	return ""
}

func kill(t *testing.T, pid string) {
	t.Helper()
	out, err := exec.Command("kill", "-9", pid).CombinedOutput()
	require.NoError(t, err, "%s", out)
	// The signal is sent; the end of process 1 comes when the kernel has ended all others of its namespace.
	require.Eventually(t, func() bool {
		_, err := os.Stat("/proc/" + pid)
		return os.IsNotExist(err)
	}, time.Minute, 5*time.Millisecond, "process %s is still there", pid)
}

// edit changes a source file of the lab's own copy and gives the way back.
func (l *testLab) edit(file, old, replacement string) (undo func()) {
	l.t.Helper()
	path := filepath.Join(l.source, file)
	b, err := os.ReadFile(path)
	require.NoError(l.t, err)
	require.Contains(l.t, string(b), old)
	require.NoError(l.t, os.WriteFile(path, []byte(strings.Replace(string(b), old, replacement, 1)), 0o644))
	return func() { require.NoError(l.t, os.WriteFile(path, b, 0o644)) }
}

// image is what a deployment of the chat runs.
func (l *testLab) image(service string) string { l.t.Helper(); return l.imageIn("chat", service) }

func (l *testLab) imageIn(namespace, service string) string {
	l.t.Helper()
	d, err := l.kube().Core.AppsV1().Deployments(namespace).Get(context.Background(), service, metav1.GetOptions{})
	require.NoError(l.t, err)
	return d.Spec.Template.Spec.Containers[0].Image
}

const authMain = "services/auth/cmd/auth/main.go"

func (l *testLab) shipped(t *testing.T) {
	auth, groups := l.image("auth"), l.image("groups")
	l.edit(authMain, "func main() {", "func main() {\n\tprintln(\"a changed auth starts\")\n")
	l.run("ship", "auth")
	require.NotEqual(t, auth, l.image("auth"))
	require.Equal(t, groups, l.image("groups"))
	require.Contains(t, l.run("logs", "auth"), "a changed auth starts")
}

func (l *testLab) badService(t *testing.T) {
	undo := l.edit(authMain, "func main() {", "func main() {\n\tpanic(\"auth was broken by a test\")\n")
	out, code := l.try(t.Context(), "ship", "auth")
	t.Log(out)
	require.Equal(t, 1, code)
	require.Contains(t, out, "auth was broken by a test", "the last log lines")
	require.Regexp(t, `labctl logs --file \S+ auth`, out, "the next command, for this lab")
	k := startTalk(t, l.url()) // registering needs an auth that works
	k.more(5)
	k.finish()

	l.edit(authMain, "func main() {", "func main() { this does not compile\n")
	out, code = l.try(t.Context(), "ship", "auth")
	require.Equal(t, 1, code)
	require.Contains(t, out, "main.go:", "the compiler's own line")
	undo()
	l.run("up")
	// By now the autoscaler had the time to look at what the gateways use.
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		out, code := l.try(t.Context(), "kubectl", "--namespace", "chat", "get", "hpa", "gateway", "--output", `jsonpath={.status.conditions[?(@.type=="ScalingActive")].status}`)
		require.Zero(c, code, out)
		require.Equal(c, "True", out)
	}, 2*time.Minute, time.Second)
}

func (l *testLab) browsers(t *testing.T) {
	dir, err := filepath.Abs("../browser")
	require.NoError(t, err)
	for _, args := range [][]string{{"npm", "ci", "--no-audit", "--no-fund"}, {"node", "--test"}} {
		cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "BASE_URL="+l.url(), "ARTIFACTS="+artifacts(t))
		out, err := cmd.CombinedOutput()
		t.Logf("%s", out)
		require.NoError(t, err)
	}
}

func (l *testLab) stopAndStart(t *testing.T) {
	group := l.cgroup()
	require.NotEmpty(t, processesIn(t, group))
	l.run("cluster", "stop")
	require.Empty(t, processesIn(t, group), "the node's processes")
	out, code := l.try(t.Context(), "drift", "1-cluster")
	require.Equal(t, 2, code, out)
	require.Contains(t, out, "lab_cluster.this was changed")
	o := newOutside(t)
	started, err := o.command(l, "cluster", "start").CombinedOutput()
	t.Logf("labctl cluster start\n%s", started)
	require.NoError(t, err)
	l.run("up")
	o.reach(l)
	k := startTalk(t, l.url())
	k.more(5)
	k.finish()
}
