package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/version"

	"github.com/labctl/labctl/test/terminal"
)

// The cluster that the screen shows.
const (
	screenPods      = 1000
	screenEvents    = 10_000
	podsPerWorkload = 10
	screenIdle      = 20 * time.Second // that its processor time is taken over
)

// benchTUI measures the screen of `labctl status` on a lab whose cluster is an API server of this process: one with
// many pods is too much for this machine, and to the screen there is no difference.
func benchTUI(ctx context.Context, repository string) (results []result, err error) {
	frame, err := frameTime(ctx, repository)
	if err != nil {
		return nil, err
	}
	results = append(results, against("tui.frame_ms", frame, "ms", 16))
	api := httptest.NewServer(manyPods())
	defer api.Close()
	l, err := screenLab(api.URL, repository)
	if err != nil {
		return results, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(l.dir)) }()
	if _, err := l.run(ctx, "up"); err != nil {
		return results, err
	}
	s, err := l.onScreen(ctx)
	if err != nil {
		return results, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if _, err := s.Await(ctx, `bench +local `); err != nil {
		return results, err
	}
	results = append(results, against("tui.first_ms", time.Since(s.begun).Seconds()*1000, "ms", 300))
	if err := s.Press(ctx, ":pods", "Enter"); err != nil {
		return results, err
	}
	if _, err := s.Await(ctx, `(?s)bench +local +● up .*› many/app-0-0`); err != nil {
		return results, err
	}
	idle, err := s.idle(ctx)
	if err != nil {
		return results, err
	}
	own, resident := s.peak()
	memory := against("tui.memory_mb", own, "MB", 120)
	memory.Peer = fmt.Sprintf("limit; resident with the program's file: %.0f MB", resident)
	return append(results, against("tui.idle_percent", 100*idle, "%", 2), memory), nil
}

var nsPerOp = regexp.MustCompile(`BenchmarkFrame\S*\s+\d+\s+(\d+(?:\.\d+)?) ns/op`)

// frameTime gives the median of the milliseconds that the screen takes for a frame with a new snapshot.
func frameTime(ctx context.Context, repository string) (float64, error) {
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "^BenchmarkFrame$", "-count", "5", "./pkg/tui")
	cmd.Dir, cmd.Stderr = repository, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("benchmark a frame: %w\n%s", err, out)
	}
	var all []float64
	for _, m := range nsPerOp.FindAllSubmatch(out, -1) {
		ns, err := strconv.ParseFloat(string(m[1]), 64)
		if err != nil {
			return 0, err
		}
		all = append(all, ns/1e6)
	}
	if len(all) == 0 {
		return 0, fmt.Errorf("benchmark a frame: no result in\n%s", out)
	}
	return median(all), nil
}

// screenLab is a lab of one stack, whose output is the kubeconfig of an API server that is there already.
func screenLab(url, repository string) (*ownLab, error) {
	dir, err := os.MkdirTemp("", "labctl-bench-tui-")
	if err != nil {
		return nil, err
	}
	kubeconfig := fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: bench, cluster: {server: %q}}]
contexts: [{name: bench, context: {cluster: bench, user: bench}}]
users: [{name: bench, user: {}}]
current-context: bench
`, url)
	stack := fmt.Sprintf("output \"kubeconfig\" {\n  value     = <<-EOT\n%sEOT\n  sensitive = true\n}\n", kubeconfig)
	for name, content := range map[string]string{
		"lab.hcl": "lab \"bench\" {}\n\nenvironment \"local\" {\n  target = \"local\"\n}\n", "stacks/local/1-cluster/main.tf": stack,
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			return nil, err
		}
	}
	return &ownLab{dir: dir, labctl: filepath.Join(repository, "bin", "labctl"), env: os.Environ()}, nil
}

// manyPods is an API server of a cluster in which nothing changes.
func manyPods() http.Handler {
	labels := func(app int) map[string]string { return map[string]string{"app": fmt.Sprint("app-", app)} }
	meta := func(name string, app int) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: "many", Name: name, UID: "u", ResourceVersion: "1", CreationTimestamp: metav1.Now(), Labels: labels(app)}
	}
	pods, deployments, events := &corev1.PodList{}, &appsv1.DeploymentList{}, &corev1.EventList{}
	want := int32(podsPerWorkload)
	for app := range screenPods / podsPerWorkload {
		deployments.Items = append(deployments.Items, appsv1.Deployment{
			ObjectMeta: meta(fmt.Sprint("app-", app), app), Spec: appsv1.DeploymentSpec{Replicas: &want, Selector: &metav1.LabelSelector{MatchLabels: labels(app)}},
			Status: appsv1.DeploymentStatus{AvailableReplicas: want, UpdatedReplicas: want},
		})
		for i := range podsPerWorkload {
			pods.Items = append(pods.Items, corev1.Pod{
				ObjectMeta: meta(fmt.Sprintf("app-%d-%d", app, i), app),
				Spec:       corev1.PodSpec{NodeName: "bench-1", Containers: []corev1.Container{{Name: "main", Image: "registry.example/app:1", Command: []string{"/app", "--flag"}}}},
				Status: corev1.PodStatus{
					Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
					ContainerStatuses: []corev1.ContainerStatus{{Name: "main", Ready: true}},
				},
			})
		}
	}
	for i := range screenEvents {
		events.Items = append(events.Items, corev1.Event{
			ObjectMeta: meta(fmt.Sprint("event-", i), 0), InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: "many", Name: fmt.Sprintf("app-%d-0", i%100)},
			Type: "Normal", Reason: "Pulled", Message: "Container image is already present on the machine", Count: 1, LastTimestamp: metav1.Now(), Source: corev1.EventSource{Component: "kubelet", Host: "bench-1"},
		})
	}
	nodes := &corev1.NodeList{Items: []corev1.Node{{
		ObjectMeta: metav1.ObjectMeta{Name: "bench-1", ResourceVersion: "1"},
		Status:     corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}},
	}}}
	mux := http.NewServeMux()
	answer := func(path, version string, list runtime.Object, meta *metav1.ListMeta) {
		kind := fmt.Sprintf("%T", list)
		list.GetObjectKind().SetGroupVersionKind(metav1.SchemeGroupVersion.WithKind(kind[strings.LastIndex(kind, ".")+1:]))
		meta.ResourceVersion = "1"
		body, err := json.Marshal(list)
		if err != nil {
			panic(err) // these objects are all of this function
		}
		body = []byte(strings.Replace(string(body), `"apiVersion":"meta.k8s.io/v1"`, fmt.Sprintf(`"apiVersion":%q`, version), 1))
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			if r.URL.Query().Get("watch") == "" {
				_, _ = w.Write(body)
				return
			}
			if r.URL.Query().Get("sendInitialEvents") == "true" { // a server that does not know this way of listing
				w.WriteHeader(http.StatusUnprocessableEntity)
				_, _ = w.Write([]byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Invalid","code":422,"message":"sendInitialEvents is forbidden"}`))
				return
			}
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done() // nothing changes
		})
	}
	answer("/api/v1/pods", "v1", pods, &pods.ListMeta)
	answer("/api/v1/nodes", "v1", nodes, &nodes.ListMeta)
	answer("/api/v1/events", "v1", events, &events.ListMeta)
	answer("/apis/apps/v1/deployments", "apps/v1", deployments, &deployments.ListMeta)
	sets, daemons := &appsv1.StatefulSetList{}, &appsv1.DaemonSetList{}
	answer("/apis/apps/v1/statefulsets", "apps/v1", sets, &sets.ListMeta)
	answer("/apis/apps/v1/daemonsets", "apps/v1", daemons, &daemons.ListMeta)
	secrets, maps := &corev1.SecretList{}, &corev1.ConfigMapList{}
	answer("/api/v1/secrets", "v1", secrets, &secrets.ListMeta)
	answer("/api/v1/configmaps", "v1", maps, &maps.ListMeta)
	mux.HandleFunc("GET /version", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(version.Info{GitVersion: "v1.34.3"})
	})
	return mux
}

// screen is `labctl status` on a terminal of its own.
type screen struct {
	*terminal.Terminal
	pid   int
	begun time.Time

	mu            sync.Mutex
	own, resident float64 // MB, the most so far
}

func (l *ownLab) onScreen(ctx context.Context) (*screen, error) {
	s := &screen{begun: time.Now()}
	var err error
	s.Terminal, err = terminal.Start(ctx, l.dir, 200, 60, "exec "+l.labctl+" --file "+filepath.Join(l.dir, "lab.hcl")+" status")
	if err != nil {
		return nil, err
	}
	if s.pid, err = s.PID(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	go s.sample(ctx)
	return s, nil
}

// idle gives the share of a processor that the screen takes while nothing changes.
func (s *screen) idle(ctx context.Context) (float64, error) {
	before, err := cpuOf(s.pid)
	if err != nil {
		return 0, err
	}
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.After(screenIdle):
	}
	after, err := cpuOf(s.pid)
	return (after - before).Seconds() / screenIdle.Seconds(), err
}

// cpuOf gives the processor time that a process has taken (proc(5), fields 14 and 15 of stat, in hundredths of a second).
func cpuOf(pid int) (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(f) < 13 {
		return 0, fmt.Errorf("the kernel says of process %d: %s", pid, b)
	}
	var ticks time.Duration
	for _, field := range f[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += time.Duration(n)
	}
	return ticks * 10 * time.Millisecond, nil
}

// memory gives how much a process has of its own and how much is resident in all, in MB. The difference is the pages of its file that it
// has looked at, which the kernel shares between all that run the program, and takes back when it needs them.
func memory(pid int) (own, resident float64, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) != 3 {
			continue
		}
		kb, _ := strconv.ParseFloat(f[1], 64) // of other lines
		switch f[0] {
		case "RssAnon:":
			own = kb / 1000
		case "VmRSS:":
			resident = kb / 1000
		}
	}
	return own, resident, nil
}

// sample keeps the most memory that the screen has, until it ends or ctx does.
func (s *screen) sample(ctx context.Context) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		own, resident, err := memory(s.pid)
		if err != nil {
			return
		}
		s.mu.Lock()
		s.own, s.resident = max(s.own, own), max(s.resident, resident)
		s.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (s *screen) peak() (own, resident float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.own, s.resident
}
