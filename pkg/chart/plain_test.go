package chart

import (
	"context"
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"helm.sh/helm/v3/pkg/action"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/kube"
)

func chartIn(t *testing.T, name string, values map[string]any) Release {
	return Release{Name: name, Namespace: in(t), ChartDir: "testdata/" + name, Values: values, Timeout: 20 * time.Second}
}

// expiring is a context whose deadline passes when the test says so, however slow the machine is.
type expiring struct {
	context.Context
	done   chan struct{}
	expire func()
}

func newExpiring(t *testing.T) expiring {
	done := make(chan struct{})
	return expiring{t.Context(), done, sync.OnceFunc(func() { close(done) })}
}

func (e expiring) Done() <-chan struct{} { return e.done }

func (e expiring) Err() error {
	select {
	case <-e.done:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

// once calls do when a message that contains text is reported for the first time.
func once(t *testing.T, text string, do func()) event.Report {
	done := false
	return func(e event.Event) {
		t.Log(e.Kind, e.Message)
		if !done && strings.Contains(e.Message, text) {
			done = true
			do()
		}
	}
}

// status sets the status of an object, as its controller would.
func status(t *testing.T, patch func(ctx context.Context, name string, pt types.PatchType, data []byte, opts metav1.PatchOptions, subresources ...string) error, name, body string) {
	t.Helper()
	if err := patch(t.Context(), name, types.MergePatchType, []byte(body), metav1.PatchOptions{}, "status"); err != nil {
		t.Error(err)
	}
}

// patcher makes a typed client's Patch forget its answer.
func patcher[T any](patch func(context.Context, string, types.PatchType, []byte, metav1.PatchOptions, ...string) (T, error)) func(context.Context, string, types.PatchType, []byte, metav1.PatchOptions, ...string) error {
	return func(ctx context.Context, name string, pt types.PatchType, data []byte, opts metav1.PatchOptions, subresources ...string) error {
		_, err := patch(ctx, name, pt, data, opts, subresources...)
		return err
	}
}

// startPod makes a pod as a controller would, with a status as a kubelet would.
func startPod(t *testing.T, core kubernetes.Interface, name string, labels map[string]string, owner *metav1.OwnerReference, body string) {
	t.Helper()
	account(t, core, in(t))
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "registry.invalid/x"}}, RestartPolicy: corev1.RestartPolicyNever},
	}
	if owner != nil {
		pod.OwnerReferences = []metav1.OwnerReference{*owner}
	}
	if _, err := core.CoreV1().Pods(in(t)).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Error(err)
		return
	}
	status(t, patcher(core.CoreV1().Pods(in(t)).Patch), name, body)
}

const (
	pullFails = `{"status":{"phase":"Pending","containerStatuses":[{"name":"main","image":"registry.invalid/x","imageID":"","ready":false,"restartCount":0,
		"state":{"waiting":{"reason":"ImagePullBackOff","message":"no such host"}}}]}}`
	exits = `{"status":{"phase":"Failed","containerStatuses":[{"name":"main","image":"i","imageID":"i","ready":false,"restartCount":0,
		"state":{"terminated":{"exitCode":3,"reason":"Error"}}}]}}`
	rolledOut = `{"status":{"observedGeneration":1,"replicas":1,"updatedReplicas":1,"readyReplicas":1,"availableReplicas":1,"conditions":[
		{"type":"Available","status":"True"},{"type":"Progressing","status":"True","reason":"NewReplicaSetAvailable"}]}}`
)

// A chart as the public ones are lands where Helm would put it, and is ready when its pods are.
func TestPlainChartOnAnAPI(t *testing.T) {
	c, core := api(t)
	pods := map[string]string{"run": "plain"}
	t.Run("its namespace is the release's", func(t *testing.T) {
		r := chartIn(t, "plain", nil)
		r.NoWait = true
		must(t, c, r, true)
		_, err := core.AppsV1().Deployments(in(t)).Get(t.Context(), "plain", metav1.GetOptions{})
		require.NoError(t, err)
		_, err = core.AppsV1().Deployments("default").Get(t.Context(), "plain", metav1.GetOptions{})
		require.True(t, apierrors.IsNotFound(err), "%v", err)
		plan, err := c.Plan(t.Context(), r)
		require.NoError(t, err)
		require.Equal(t, Nothing, plan.Action, plan.Why)

		require.NoError(t, core.CoreV1().ConfigMaps(in(t)).Delete(t.Context(), "plain-settings", metav1.DeleteOptions{}))
		plan, err = c.Plan(t.Context(), r)
		require.NoError(t, err)
		require.Equal(t, []string{"ConfigMap plain-settings: missing"}, plan.Drift)
		r.Values = map[string]any{"replicas": 2}
		must(t, c, r, true)
		d, err := core.AppsV1().Deployments(in(t)).Get(t.Context(), "plain", metav1.GetOptions{})
		require.NoError(t, err)
		require.EqualValues(t, 2, *d.Spec.Replicas)

		// Its pods do not bear its name: they are found by their controller.
		yes := true
		set, err := core.AppsV1().ReplicaSets(in(t)).Create(t.Context(), &appsv1.ReplicaSet{
			ObjectMeta: metav1.ObjectMeta{Name: "plain-1", Labels: pods, OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "Deployment", Name: "plain", UID: d.UID, Controller: &yes}}},
			Spec:       appsv1.ReplicaSetSpec{Selector: d.Spec.Selector, Template: d.Spec.Template},
		}, metav1.CreateOptions{})
		require.NoError(t, err)
		owner := &metav1.OwnerReference{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "plain-1", UID: set.UID, Controller: &yes}
		startPod(t, core, "plain-1-a", pods, owner, pullFails)
		startPod(t, core, "other", pods, nil, pullFails)
		asked := false
		require.NoError(t, c.Remove(t.Context(), in(t), "plain", time.Minute, once(t, "wait for 1 pods to end", func() {
			asked = true
			now := int64(0)
			if err := core.CoreV1().Pods(in(t)).Delete(t.Context(), "plain-1-a", metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
				t.Error(err)
			}
		})))
		require.True(t, asked)
		_, err = core.AppsV1().Deployments(in(t)).Get(t.Context(), "plain", metav1.GetOptions{})
		require.True(t, apierrors.IsNotFound(err), "%v", err)
	})
	t.Run("an image that cannot be pulled", func(t *testing.T) {
		_, err := c.Ensure(t.Context(), chartIn(t, "plain", nil), once(t, "waiting for deployment/plain", func() {
			status(t, patcher(core.AppsV1().Deployments(in(t)).Patch), "plain", `{"status":{"observedGeneration":1}}`)
			startPod(t, core, "plain-a", pods, nil, pullFails)
		}))
		var e *kube.NotReadyError
		require.ErrorAs(t, err, &e)
		require.Equal(t, "deployment/plain", e.Workload)
		require.ErrorContains(t, err, "image registry.invalid/x cannot be pulled: no such host")
	})
	t.Run("nothing is ready because nothing was found", func(t *testing.T) {
		ctx := newExpiring(t)
		_, err := c.Ensure(ctx, chartIn(t, "plain", nil), once(t, "waiting for deployment/plain", ctx.expire))
		require.ErrorContains(t, err, "deployment/plain in namespace "+in(t)+" is not ready: 0 of 1 pods ready")
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
	t.Run("ready", func(t *testing.T) {
		r := chartIn(t, "plain", nil)
		changed, err := c.Ensure(t.Context(), r, once(t, "waiting for deployment/plain", func() {
			status(t, patcher(core.AppsV1().Deployments(in(t)).Patch), "plain", rolledOut)
		}))
		require.NoError(t, err)
		require.True(t, changed)
		require.NoError(t, c.WaitReady(t.Context(), in(t), "plain", nil))
		require.ErrorIs(t, c.WaitReady(t.Context(), in(t), "other", nil), ErrNotInstalled)
	})
}

func TestHooksOnAnAPI(t *testing.T) {
	c, core := api(t)
	jobs := func(t *testing.T) func(context.Context, string, types.PatchType, []byte, metav1.PatchOptions, ...string) error {
		return patcher(core.BatchV1().Jobs(in(t)).Patch)
	}
	selects := func(t *testing.T, name string) map[string]string {
		job, err := core.BatchV1().Jobs(in(t)).Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Error(err)
			return nil
		}
		return job.Spec.Selector.MatchLabels
	}
	started := time.Now().UTC().Format(time.RFC3339)
	complete := `{"status":{"startTime":"` + started + `","completionTime":"` + started + `","succeeded":1,"conditions":[{"type":"SuccessCriteriaMet","status":"True"},{"type":"Complete","status":"True"}]}}`
	failed := `{"status":{"startTime":"` + started + `","failed":1,"conditions":[
		{"type":"FailureTarget","status":"True","reason":"DeadlineExceeded","message":"Job was active longer than specified deadline"},
		{"type":"Failed","status":"True","reason":"DeadlineExceeded","message":"Job was active longer than specified deadline"}]}}`
	t.Run("a job that fails with its pod", func(t *testing.T) {
		_, err := c.Ensure(t.Context(), chartIn(t, "hooked", nil), once(t, "waiting for job/hooked-migrate", func() {
			startPod(t, core, "migrate-a", selects(t, "hooked-migrate"), nil, exits)
			status(t, jobs(t), "hooked-migrate", failed)
		}))
		var e *kube.NotReadyError
		require.ErrorAs(t, err, &e)
		require.Equal(t, "job/hooked-migrate", e.Workload)
		require.ErrorContains(t, err, "DeadlineExceeded")
		require.ErrorContains(t, err, "pod migrate-a: container main ended with exit code 3 (Error)")
	})
	t.Run("a job that deletes its pod when it fails", func(t *testing.T) {
		ctx := newExpiring(t)
		_, err := c.Ensure(ctx, chartIn(t, "hooked", nil), once(t, "waiting for job/hooked-migrate", ctx.expire))
		require.ErrorContains(t, err, "job/hooked-migrate in namespace "+in(t)+" is not ready: 0 of its pods run, 0 failed")

		looks := 0
		job := kube.Object{GVK: batchv1.SchemeGroupVersion.WithKind("Job"), Namespace: in(t), Name: "hooked-migrate"}
		err = c.waiter.WaitObjects(t.Context(), []kube.Object{job}, func(event.Event) {
			switch looks++; looks {
			case 1:
				startPod(t, core, "migrate-a", selects(t, "hooked-migrate"), nil, exits)
			case 3: // it was seen in between
				now := int64(0)
				if err := core.CoreV1().Pods(in(t)).Delete(t.Context(), "migrate-a", metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
					t.Error(err)
				}
				status(t, jobs(t), "hooked-migrate", failed)
			}
		})
		require.ErrorContains(t, err, "it failed: DeadlineExceeded: Job was active longer than specified deadline: pod migrate-a: container main ended with exit code 3 (Error)")
	})
	t.Run("an image that cannot be pulled", func(t *testing.T) {
		_, err := c.Ensure(t.Context(), chartIn(t, "hooked", nil), once(t, "waiting for job/hooked-migrate", func() {
			startPod(t, core, "migrate-a", selects(t, "hooked-migrate"), nil, pullFails)
		}))
		require.ErrorContains(t, err, "job/hooked-migrate in namespace "+in(t)+" is not ready: image registry.invalid/x cannot be pulled: no such host")
	})
	t.Run("a job among the objects must end, and may go", func(t *testing.T) {
		r := chartIn(t, "hooked", map[string]any{"seed": true})
		waited := once(t, "waiting for job/hooked-seed", func() { status(t, jobs(t), "hooked-seed", complete) })
		hooked := once(t, "waiting for job/hooked-migrate", func() { status(t, jobs(t), "hooked-migrate", complete) })
		_, err := c.Ensure(t.Context(), r, func(e event.Event) { hooked(e); waited(e) })
		require.NoError(t, err)
		background := metav1.DeletePropagationBackground
		require.NoError(t, core.BatchV1().Jobs(in(t)).Delete(t.Context(), "hooked-seed", metav1.DeleteOptions{PropagationPolicy: &background}))
		must(t, c, r, false)
	})
}

func TestCustomResourcesOnAnAPI(t *testing.T) {
	c, _ := api(t)
	config, err := clientcmd.RESTConfigFromKubeConfig([]byte(shared.start(t)))
	require.NoError(t, err)
	config.WarningHandler = rest.NoWarnings{}
	client, err := dynamic.NewForConfig(config)
	require.NoError(t, err)
	gardens := client.Resource(schema.GroupVersionResource{Group: "labctl.test", Version: "v1", Resource: "gardens"})
	r := chartIn(t, "custom", nil)
	must(t, c, r, true) // it says nothing of itself: current

	says := func(condition string) {
		_, err := gardens.Namespace(in(t)).Patch(t.Context(), "custom", types.MergePatchType, []byte(`{"status":{"conditions":[`+condition+`]}}`), metav1.PatchOptions{}, "status")
		if err != nil {
			t.Error(err)
		}
	}
	says(`{"type":"Ready","status":"False","reason":"Drought","message":"no water"}`)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	require.ErrorContains(t, c.WaitReady(ctx, in(t), "custom", nil), "garden/custom in namespace "+in(t)+" is not ready: no water")
	require.NoError(t, c.WaitReady(t.Context(), in(t), "custom", once(t, "waiting for garden/custom", func() {
		says(`{"type":"Ready","status":"True"}`)
	})))
	says(`{"type":"Stalled","status":"True","reason":"Dead","message":"all is dry"}`)
	require.ErrorContains(t, c.WaitReady(t.Context(), in(t), "custom", nil), "all is dry") // at once
}

// Helm installs definitions once. On demand they follow the chart.
func TestUpgradeCRDsOnAnAPI(t *testing.T) {
	c, core := api(t)
	has := func() bool {
		data, err := core.Discovery().RESTClient().Get().AbsPath("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/gardens.labctl.test").DoRaw(t.Context())
		require.NoError(t, err)
		return strings.Contains(string(data), `"hedges"`)
	}
	r := chartIn(t, "custom", nil)
	r.NoWait = true
	must(t, c, r, true)
	dir := filepath.Join(t.TempDir(), "custom")
	require.NoError(t, os.CopyFS(dir, os.DirFS("testdata/custom")))
	file := filepath.Join(dir, "crds", "gardens.yaml")
	text := strings.ReplaceAll(string(read(t, file)), "size: {type: integer}", "size: {type: integer}\n                hedges: {type: integer}")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	r.ChartDir = dir
	must(t, c, r, true)
	require.False(t, has())
	r.UpgradeCRDs = true
	r.Values = map[string]any{"size": 2}
	must(t, c, r, true)
	require.True(t, has())
}

func TestAdoptOnAnAPI(t *testing.T) {
	c, core := api(t)
	_, err := core.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: in(t)}}, metav1.CreateOptions{})
	require.NoError(t, err)
	_, err = core.CoreV1().ConfigMaps(in(t)).Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "plain-settings"}, Data: map[string]string{"color": "green", "mine": "1"}}, metav1.CreateOptions{})
	require.NoError(t, err)
	r := chartIn(t, "plain", nil)
	r.NoWait = true
	_, err = c.Ensure(t.Context(), r, nil)
	require.ErrorContains(t, err, "cannot be imported")
	r.Adopt = true
	must(t, c, r, true)
	have, err := core.CoreV1().ConfigMaps(in(t)).Get(t.Context(), "plain-settings", metav1.GetOptions{})
	require.NoError(t, err)
	require.Equal(t, "blue", have.Data["color"])
	require.Equal(t, "plain", have.Annotations["meta.helm.sh/release-name"])
	require.Equal(t, "Helm", have.Labels["app.kubernetes.io/managed-by"])
	must(t, c, r, false)
}

// A chart over a megabyte does not fit into Helm's record, and its history stays usable by hand.
func TestLargeChartAndRollbackOnAnAPI(t *testing.T) {
	c, core := api(t)
	dir := filepath.Join(t.TempDir(), "plain")
	require.NoError(t, os.CopyFS(dir, os.DirFS("testdata/plain")))
	noise := make([]byte, 1500<<10)
	_, err := rand.Read(noise)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "manual.bin"), noise, 0o600))
	r := chartIn(t, "plain", nil)
	r.ChartDir, r.NoWait = dir, true
	must(t, c, r, true)
	r.Values = map[string]any{"settings": map[string]any{"color": "red"}}
	must(t, c, r, true)
	color := func() string {
		m, err := core.CoreV1().ConfigMaps(in(t)).Get(t.Context(), "plain-settings", metav1.GetOptions{})
		require.NoError(t, err)
		return m.Data["color"]
	}
	require.Equal(t, "red", color())

	s, err := c.open(t.Context(), in(t), func(string) {})
	require.NoError(t, err)
	s.cfg.Releases.Driver = s.cfg.Releases.Driver.(*compactDriver).Driver // as `helm` has it
	back := action.NewRollback(s.cfg)
	back.Version = 1
	require.NoError(t, back.Run("plain"))
	require.Equal(t, "blue", color())
	revisions, err := action.NewHistory(s.cfg).Run("plain")
	require.NoError(t, err)
	require.Len(t, revisions, 3)

	plan, err := c.Plan(t.Context(), r)
	require.NoError(t, err)
	require.Equal(t, Upgrade, plan.Action)
	require.Equal(t, "somebody rolled it back to revision 1 by hand (revision 3); to keep that, change the chart or the values in the lab", plan.Why)
	must(t, c, r, true)
	require.Equal(t, "red", color())
}
