package status_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"
	fakediscovery "k8s.io/client-go/discovery/fake"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	ktesting "k8s.io/client-go/testing"

	"github.com/labctl/labctl/pkg/status"
	"github.com/labctl/labctl/test/golden"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func ago(d time.Duration) time.Time { return noon.Add(-d) }

func meta(namespace, name string, d time.Duration) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name, CreationTimestamp: metav1.NewTime(ago(d)), Labels: map[string]string{"app": name}}
}

func selects(name string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}
}

func deployment(namespace, name string, ready, want int32) *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: meta(namespace, name, 3*time.Hour),
		Spec:       appsv1.DeploymentSpec{Replicas: &want, Selector: selects(name)},
		Status:     appsv1.DeploymentStatus{AvailableReplicas: ready, UpdatedReplicas: want},
	}
}

func statefulSet(namespace, name string, ready int32) *appsv1.StatefulSet {
	return &appsv1.StatefulSet{
		ObjectMeta: meta(namespace, name, 50*time.Hour),
		Spec:       appsv1.StatefulSetSpec{Selector: selects(name)},
		Status:     appsv1.StatefulSetStatus{ReadyReplicas: ready},
	}
}

func pod(namespace, app, name string, status corev1.PodStatus) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: meta(namespace, app, time.Minute), Status: status}
	p.Name = name
	return p
}

func is(kind corev1.PodConditionType, status corev1.ConditionStatus, message string) []corev1.PodCondition {
	return []corev1.PodCondition{{Type: kind, Status: status, Message: message}}
}

func running(restarts int32) corev1.PodStatus {
	return corev1.PodStatus{
		Phase: corev1.PodRunning, Conditions: is(corev1.PodReady, corev1.ConditionTrue, ""),
		ContainerStatuses: []corev1.ContainerStatus{{Name: "main", Ready: true, RestartCount: restarts}},
	}
}

func container(c corev1.ContainerStatus) corev1.PodStatus {
	c.Name = "main"
	return corev1.PodStatus{Phase: corev1.PodPending, ContainerStatuses: []corev1.ContainerStatus{c}}
}

func node(ready corev1.ConditionStatus, message string, more ...corev1.NodeCondition) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: meta("", "chat", 72*time.Hour),
		Status: corev1.NodeStatus{
			NodeInfo:   corev1.NodeSystemInfo{KubeletVersion: "v1.34.3"},
			Conditions: append([]corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready, Message: message}}, more...),
		},
	}
}

func cluster(objects ...runtime.Object) *fake.Clientset {
	api := fake.NewClientset(objects...)
	api.Discovery().(*fakediscovery.FakeDiscovery).FakedServerVersion = &version.Info{GitVersion: "v1.34.3"}
	return api
}

func steps(states ...status.State) func() ([]status.Step, error) {
	all := []status.Step{
		{Name: "0-foundation", Stack: "0-foundation", Detail: "1 added"},
		{Name: "1-cluster", Stack: "1-cluster", Detail: "no changes"},
		{Name: "5-release/image auth", Stack: "5-release"},
		{Name: "5-release/release chat", Stack: "5-release", Detail: "upgraded"},
	}
	for i, s := range states {
		all[i].State, all[i].Since = s, ago(time.Duration(len(states)-i)*10*time.Minute)
		switch s {
		case status.Pending:
			all[i].Since, all[i].Detail = time.Time{}, ""
		case status.Working:
			all[i].Reason, all[i].Detail = "it is running, or it was interrupted", ""
		case status.Failed:
			all[i].Reason, all[i].Next, all[i].Detail = "deployment/auth is not ready", "labctl up", ""
		}
	}
	return func() ([]status.Step, error) { return all, nil }
}

// world is what the sources of a test know.
type world struct {
	access    status.Access
	steps     func() ([]status.Step, error)
	processes func(context.Context) ([]status.Component, int64, error)
	urls      []status.URL
	findings  []status.Finding
}

func lab(api kubernetes.Interface, states ...status.State) world {
	return world{access: status.Access{Declared: true, API: api, Timeout: 10 * time.Second}, steps: steps(states...)}
}

// labWithout is a lab without a cluster to ask.
func labWithout(declared bool, why string, states ...status.State) world {
	return world{access: status.Access{Declared: declared, Missing: why}, steps: steps(states...)}
}

func (w world) sources() status.Sources {
	from := status.Sources{Lab: "chat", Environment: "local", Target: "local", Now: func() time.Time { return noon }}
	from.Followers = []status.Follower{
		status.FollowJournal(w.steps),
		status.FollowFindings("states", func(context.Context) ([]status.Finding, error) { return w.findings, nil }),
		status.FollowAddresses(func(context.Context) ([]status.URL, error) { return w.urls, nil }),
		status.FollowCluster(func(context.Context) status.Access { return w.access }),
	}
	if w.processes != nil {
		from.Followers = append(from.Followers, status.FollowMachine(w.processes))
	}
	return from
}

func (w world) collect(t *testing.T) *status.Snapshot {
	t.Helper()
	s := status.Collect(t.Context(), w.sources())
	require.True(t, s.Complete())
	return s
}

func processes(broken bool) func(context.Context) ([]status.Component, int64, error) {
	return func(context.Context) ([]status.Component, int64, error) {
		all := []status.Component{{Name: "etcd"}, {Name: "kubelet", Restarts: 2}}
		all[0].State, all[0].Since = status.Up, ago(72*time.Hour)
		all[1].State, all[1].Since = status.Up, ago(45*time.Second)
		if broken {
			all[1].State, all[1].Reason = status.Down, "exit code 1"
		}
		return all, 1288490188, nil
	}
}

func TestSnapshots(t *testing.T) {
	for _, tt := range []struct {
		name string
		from func() world
		want status.State
	}{
		{"up", func() world {
			s := lab(cluster(
				node(corev1.ConditionTrue, ""), statefulSet("data", "kafka", 1), statefulSet("data", "mongodb", 1),
				deployment("chat", "auth", 1, 1), deployment("chat", "gateway", 2, 2),
				pod("chat", "gateway", "gateway-1", running(1)), pod("chat", "gateway", "gateway-2", running(2)), pod("data", "kafka", "kafka-0", running(0)),
				&appsv1.DaemonSet{ObjectMeta: meta("kube-system", "proxy", 72*time.Hour), Spec: appsv1.DaemonSetSpec{Selector: selects("proxy")}, Status: appsv1.DaemonSetStatus{DesiredNumberScheduled: 1, NumberAvailable: 1}},
			), status.Up, status.Up, status.Up, status.Up)
			s.processes = processes(false)
			s.urls = []status.URL{{Name: "chat", Address: "http://127.0.0.1:8080"}}
			return s
		}, status.Up},
		{"partial", func() world {
			s := lab(cluster(
				node(corev1.ConditionFalse, "container runtime network not ready"), deployment("chat", "auth", 0, 1), deployment("chat", "gateway", 2, 2),
				pod("chat", "auth", "auth-1", container(corev1.ContainerStatus{
					RestartCount: 3, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: "back-off 40s"}},
					LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 2, Reason: "Error"}},
				})),
			), status.Up, status.Up, status.Up, status.Failed)
			s.processes = processes(true)
			return s
		}, status.Partial},
		{"down", func() world {
			return labWithout(true, "there is no cluster", status.Pending, status.Pending, status.Pending, status.Pending)
		}, status.Down},
		{"no-cluster", func() world {
			return labWithout(false, "no stack has an output called kubeconfig", status.Up, status.Up, status.Up, status.Up)
		}, status.Up},
		{"no-cluster-failed", func() world {
			return labWithout(false, "", status.Up, status.Up, status.Up, status.Failed)
		}, status.Partial},
		{"no-cluster-pending", func() world {
			return labWithout(false, "", status.Pending, status.Pending, status.Pending, status.Pending)
		}, status.Down},
		{"missing-cluster", func() world {
			return labWithout(true, `output "kubeconfig" of stack "1-cluster" is empty`, status.Up, status.Up, status.Up, status.Up)
		}, status.Partial},
		{"cut-off", func() world {
			return labWithout(true, "its kubeconfig is not known yet", status.Up, status.Working, status.Pending, status.Pending)
		}, status.Partial},
		{"dead", func() world {
			api := cluster()
			api.PrependReactor("*", "*", func(ktesting.Action) (bool, runtime.Object, error) {
				return true, nil, errors.New("dial tcp 127.0.0.1:6443: connect: connection refused")
			})
			s := lab(api, status.Up, status.Up, status.Up, status.Up)
			s.processes = func(context.Context) ([]status.Component, int64, error) {
				return nil, 0, errors.New("state.json is broken")
			}
			return s
		}, status.Partial},
		{"no-journal", func() world {
			s := lab(cluster(node(corev1.ConditionTrue, "", corev1.NodeCondition{Type: corev1.NodeDiskPressure, Status: corev1.ConditionTrue, Message: "disk is full"})))
			s.steps = func() ([]status.Step, error) { return nil, errors.New("journal.json: permission denied") }
			return s
		}, status.Partial},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := tt.from().collect(t)
			require.Equal(t, tt.want, got.State)
			require.Equal(t, tt.want == status.Partial, len(got.Problems) > 0)
			var text bytes.Buffer
			require.NoError(t, got.Text(&text))
			golden.Equal(t, tt.name+".txt", text.String())
			data, err := json.MarshalIndent(got, "", "  ")
			require.NoError(t, err)
			golden.Equal(t, tt.name+".json", string(data)+"\n")
		})
	}
}

func TestWhyAWorkloadIsNotReady(t *testing.T) {
	waiting := func(reason, message string) corev1.PodStatus {
		return container(corev1.ContainerStatus{Image: "main:1", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}})
	}
	rolling := func(d *appsv1.Deployment, updated int32) *appsv1.Deployment {
		d.Status.UpdatedReplicas = updated
		return d
	}
	ending := pod("chat", "auth", "auth-0", waiting("ErrImagePull", "old"))
	ending.DeletionTimestamp, ending.Finalizers = &metav1.Time{Time: noon}, []string{"x"}
	older := pod("chat", "auth", "auth-0", waiting("CreateContainerConfigError", "of the older"))
	older.CreationTimestamp = metav1.NewTime(ago(time.Hour))
	for _, tt := range []struct {
		name    string
		objects []runtime.Object
		ready   int32
		want    string
	}{
		{"ready", []runtime.Object{deployment("chat", "auth", 1, 1), pod("chat", "auth", "auth-1", running(0))}, 1, ""},
		{"no pod", []runtime.Object{deployment("chat", "auth", 0, 1)}, 0, "0 of 1 pods ready"},
		{"refused pod", []runtime.Object{func() *appsv1.Deployment {
			d := deployment("chat", "auth", 0, 1)
			d.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Message: "violates PodSecurity"}}
			return d
		}()}, 0, "violates PodSecurity"},
		{"image", []runtime.Object{deployment("chat", "auth", 0, 1), pod("chat", "auth", "auth-1", waiting("ImagePullBackOff", "not found\nmore"))}, 0, "image main:1 cannot be pulled: not found"},
		{"being made", []runtime.Object{deployment("chat", "auth", 0, 1), pod("chat", "auth", "auth-1", waiting("ContainerCreating", ""))}, 0, "container main: ContainerCreating"},
		{"no room", []runtime.Object{deployment("chat", "auth", 0, 1), pod("chat", "auth", "auth-1", corev1.PodStatus{Conditions: is(corev1.PodScheduled, corev1.ConditionFalse, "insufficient memory")})}, 0, "cannot be scheduled: insufficient memory"},
		{"evicted", []runtime.Object{deployment("chat", "auth", 0, 1), pod("chat", "auth", "auth-1", corev1.PodStatus{Phase: corev1.PodFailed, Reason: "Evicted"})}, 0, "pod failed: Evicted"},
		{"ended", []runtime.Object{deployment("chat", "auth", 0, 1), pod("chat", "auth", "auth-1", container(corev1.ContainerStatus{State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "OOMKilled"}}}))}, 0, "container main ended with exit code 137 (OOMKilled)"},
		{"probe", []runtime.Object{deployment("chat", "auth", 0, 1), pod("chat", "auth", "auth-1", container(corev1.ContainerStatus{State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}))}, 0, "container main runs, but its readiness probe fails"},
		{"nothing known", []runtime.Object{deployment("chat", "auth", 0, 1), pod("chat", "auth", "auth-1", corev1.PodStatus{})}, 0, "not started yet"},
		{"the newest pod speaks", []runtime.Object{deployment("chat", "auth", 0, 1), older, pod("chat", "auth", "auth-1", waiting("ErrImagePull", "of the newer"))}, 0, "image main:1 cannot be pulled: of the newer"},
		{"pods that end say nothing", []runtime.Object{deployment("chat", "auth", 0, 1), ending}, 0, "0 of 1 pods ready"},
		{"pods of others say nothing", []runtime.Object{deployment("chat", "auth", 0, 1), pod("chat", "other", "o", waiting("ErrImagePull", "x")), pod("data", "auth", "a", waiting("ErrImagePull", "x"))}, 0, "0 of 1 pods ready"},
		{"old pods do not count", []runtime.Object{rolling(deployment("chat", "auth", 2, 2), 1)}, 1, "1 of 2 pods ready"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := lab(cluster(tt.objects...)).collect(t).Namespaces[0].Workloads[0]
			require.Equal(t, tt.want, w.Reason)
			require.Equal(t, tt.ready, w.Ready)
			require.Equal(t, tt.want == "", w.State == status.Up)
			require.Equal(t, tt.want == "", w.Next == "")
		})
	}
}

func TestOneRefusedListLeavesTheOthers(t *testing.T) {
	api := cluster(deployment("chat", "auth", 1, 1), node(corev1.ConditionTrue, ""))
	api.PrependReactor("list", "nodes", func(ktesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "nodes"}, "", errors.New("no"))
	})
	s := lab(api, status.Up, status.Up, status.Up, status.Up).collect(t)
	require.Equal(t, status.Partial, s.Cluster.State)
	require.Equal(t, status.Partial, s.State)
	require.Len(t, s.Problems, 1)
	require.Contains(t, s.Problems[0], "nodes cannot be listed: ")
	require.Equal(t, "auth", s.Namespaces[0].Workloads[0].Name)
}

// An API that takes the connection and never answers costs the time limit, and no more.
func TestSilentAPI(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-release:
		}
	}))
	defer server.Close()
	defer close(release)
	api, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL})
	require.NoError(t, err)
	from := lab(api, status.Up, status.Up, status.Up, status.Up)
	from.access.Timeout = 100 * time.Millisecond
	s := from.collect(t)
	require.Equal(t, status.Unknown, s.Cluster.State)
	require.Equal(t, "no answer in time", s.Cluster.Reason)
	require.Equal(t, []string{"the cluster cannot be reached: no answer in time"}, s.Problems)
	require.Len(t, s.Stacks, 3)
}

// A lab without any step, as all of them have `when = false`, has nothing left to do.
func TestNoSteps(t *testing.T) {
	for declared, want := range map[bool]status.State{false: status.Up, true: status.Down} {
		from := labWithout(declared, "")
		from.steps = func() ([]status.Step, error) { return nil, nil }
		require.Equal(t, want, from.collect(t).State)
	}
}

func TestFindings(t *testing.T) {
	from := labWithout(false, "", status.Up, status.Up, status.Up, status.Up)
	from.findings = []status.Finding{{Text: "3-old has a state and no stack", Next: "labctl down 3-old"}}
	s := from.collect(t)
	require.Equal(t, status.Partial, s.State)
	require.Equal(t, []string{"3-old has a state and no stack"}, s.Problems)
	require.Equal(t, []status.Finding{{Source: "states", Text: "3-old has a state and no stack", Next: "labctl down 3-old"}}, s.Findings)
}

// A client whose token comes from a program that hangs costs the time limit, and no more.
func TestSilentClient(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	api := cluster()
	api.PrependReactor("*", "*", func(ktesting.Action) (bool, runtime.Object, error) {
		<-release
		return true, nil, errors.New("released")
	})
	from := lab(api, status.Up, status.Up, status.Up, status.Up)
	from.access.Timeout = 100 * time.Millisecond
	require.Equal(t, []string{"the cluster cannot be reached: no answer in time"}, from.collect(t).Problems)
}
