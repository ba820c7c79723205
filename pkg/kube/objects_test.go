package kube

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery/cached/memory"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/restmapper"

	"github.com/labctl/labctl/pkg/event"
)

var gardenKind = schema.GroupVersionKind{Group: "labctl.test", Version: "v1", Kind: "Garden"}

// cluster gives a client of a cluster with these objects; the unstructured ones are known to its dynamic client alone.
func cluster(t *testing.T, objects ...runtime.Object) *Client {
	t.Helper()
	var typed []runtime.Object
	for _, o := range objects {
		if _, ok := o.(*unstructured.Unstructured); !ok {
			typed = append(typed, o)
		}
	}
	core := fake.NewClientset(typed...)
	list := func(version string, names ...string) *metav1.APIResourceList {
		out := &metav1.APIResourceList{GroupVersion: version}
		for i := 0; i < len(names); i += 2 {
			out.APIResources = append(out.APIResources, metav1.APIResource{Name: names[i], Kind: names[i+1], Namespaced: true, Verbs: metav1.Verbs{"get"}})
		}
		return out
	}
	core.Resources = []*metav1.APIResourceList{
		list("v1", "pods", "Pod", "persistentvolumeclaims", "PersistentVolumeClaim", "configmaps", "ConfigMap"),
		list("apps/v1", "deployments", "Deployment", "statefulsets", "StatefulSet", "daemonsets", "DaemonSet", "replicasets", "ReplicaSet"),
		list("batch/v1", "jobs", "Job"),
		list("labctl.test/v1", "gardens", "Garden"),
		list("apiregistration.k8s.io/v1", "apiservices", "APIService"),
	}
	return &Client{
		Core:    core,
		dynamic: dynamicfake.NewSimpleDynamicClient(scheme.Scheme, objects...),
		mapper:  restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(core.Discovery())),
	}
}

func named(kind schema.GroupVersionKind, name string) Object {
	return Object{GVK: kind, Namespace: "chat", Name: name}
}

func garden(conditions ...any) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{
		"metadata": map[string]any{"name": "eden", "namespace": "chat"},
		"status":   map[string]any{"conditions": conditions},
	}}
	u.SetGroupVersionKind(gardenKind)
	return u
}

var serviceKind = schema.GroupVersionKind{Group: "apiregistration.k8s.io", Version: "v1", Kind: "APIService"}

func service(conditions ...any) *unstructured.Unstructured {
	u := garden(conditions...)
	u.SetName("v1.labctl.test")
	u.SetGroupVersionKind(serviceKind)
	return u
}

func condition(kind, status, message string) map[string]any {
	return map[string]any{"type": kind, "status": status, "reason": "Because", "message": message}
}

func job(conditions ...batchv1.JobCondition) *batchv1.Job {
	now := metav1.Now()
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Name: "migrate", Namespace: "chat"},
		Spec:       batchv1.JobSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "auth"}}},
		Status:     batchv1.JobStatus{StartTime: &now, Active: 1, Conditions: conditions},
	}
}

func TestWaitObjects(t *testing.T) {
	rolledOut := deployment(1)
	rolledOut.Status.ReadyReplicas = 1
	rolledOut.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentAvailable, Status: corev1.ConditionTrue}}
	late := deployment(0)
	deadline := int32(600)
	late.Spec.ProgressDeadlineSeconds = &deadline
	late.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionFalse, Reason: "ProgressDeadlineExceeded"}}
	onDelete := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: "db", Namespace: "chat"}, Spec: appsv1.StatefulSetSpec{
		Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "db"}}, UpdateStrategy: appsv1.StatefulSetUpdateStrategy{Type: appsv1.OnDeleteStatefulSetStrategyType},
	}}
	slow, waits := "slow", storagev1.VolumeBindingWaitForFirstConsumer
	class := &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: slow}, VolumeBindingMode: &waits}
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "data", Namespace: "chat"}, Spec: corev1.PersistentVolumeClaimSpec{StorageClassName: &slow}, Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimPending}}
	user := pod(waiting("ContainerCreating", "", 0))
	user.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}}}
	failed := batchv1.JobCondition{Type: batchv1.JobFailed, Status: corev1.ConditionTrue, Reason: "BackoffLimitExceeded", Message: "too often"}
	apps, core, batch := appsv1.SchemeGroupVersion, corev1.SchemeGroupVersion, batchv1.SchemeGroupVersion
	exited := corev1.PodStatus{Phase: corev1.PodFailed, ContainerStatuses: []corev1.ContainerStatus{{Name: "auth", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 3, Reason: "Error"}}}}}
	optional := named(batch.WithKind("Job"), "gone")
	optional.Optional = true
	complete := named(core.WithKind("Pod"), "auth-1")
	complete.Complete = true
	running := corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}
	for _, tt := range []struct {
		name    string
		objects []runtime.Object
		wait    Object
		want    string // "" means ready
		atOnce  bool
	}{
		{"deployment rolled out", []runtime.Object{rolledOut}, named(apps.WithKind("Deployment"), "auth"), "", true},
		{"deployment without a pod", []runtime.Object{deployment(0)}, named(apps.WithKind("Deployment"), "auth"), "deployment/auth in namespace chat is not ready: 0 of 1 pods ready", false},
		{"deployment beyond its deadline", []runtime.Object{late}, named(apps.WithKind("Deployment"), "auth"), "0 of 1 pods ready", false},
		{"image that cannot be pulled", []runtime.Object{deployment(0), pod(waiting("ImagePullBackOff", "not found", 0))}, named(apps.WithKind("Deployment"), "auth"), "image localhost:5000/lab/auth cannot be pulled: not found", true},
		{"crash loop", []runtime.Object{deployment(0), pod(waiting("CrashLoopBackOff", "", crashLimit))}, named(apps.WithKind("Deployment"), "auth"), "container auth ended 3 times\nlast lines of pod auth-1, container auth:\n    fake logs", true},
		{"stateful set updated on delete", []runtime.Object{onDelete}, named(apps.WithKind("StatefulSet"), "db"), "statefulset/db in namespace chat is not ready: 0 of 1 pods ready", false},
		{"missing", nil, named(core.WithKind("ConfigMap"), "gone"), "configmap/gone in namespace chat is not ready: it is missing", false},
		{"missing, and may be", nil, optional, "", true},
		{"of a kind that nobody knows", nil, named(schema.GroupVersionKind{Group: "x", Version: "v1", Kind: "Y"}, "z"), "y/z in namespace chat is not ready: it is missing", false},
		{"job that runs", []runtime.Object{job(), pod(running)}, named(batch.WithKind("Job"), "migrate"), "job/migrate in namespace chat is not ready: 1 of its pods run, 0 failed: pod auth-1: last seen running", false},
		{"job that is done", []runtime.Object{job(batchv1.JobCondition{Type: batchv1.JobComplete, Status: corev1.ConditionTrue})}, named(batch.WithKind("Job"), "migrate"), "", true},
		{"job that failed", []runtime.Object{job(failed), pod(exited)}, named(batch.WithKind("Job"), "migrate"), "it failed: BackoffLimitExceeded: too often: pod auth-1: container auth ended with exit code 3 (Error)\nlast lines of pod auth-1, container auth:\n    fake logs", true},
		{"job whose image cannot be pulled", []runtime.Object{job(), pod(waiting("ImagePullBackOff", "not found", 0))}, named(batch.WithKind("Job"), "migrate"), "cannot be pulled", true},
		{"job that may crash", []runtime.Object{job(), pod(waiting("CrashLoopBackOff", "", crashLimit))}, named(batch.WithKind("Job"), "migrate"), "ended 3 times", false},
		{"pod that is ready", []runtime.Object{pod(running)}, named(core.WithKind("Pod"), "auth-1"), "", true},
		{"pod that must end", []runtime.Object{pod(running)}, complete, "pod/auth-1 in namespace chat is not ready: last seen running", false},
		{"pod that failed", []runtime.Object{pod(exited)}, named(core.WithKind("Pod"), "auth-1"), "exit code 3", true},
		{"claim that nobody uses", []runtime.Object{class, claim}, named(core.WithKind("PersistentVolumeClaim"), "data"), "", true},
		{"claim that a pod uses", []runtime.Object{class, claim, user}, named(core.WithKind("PersistentVolumeClaim"), "data"), "PVC is not Bound", false},
		{"API that nobody has asked yet", []runtime.Object{service()}, named(serviceKind, "v1.labctl.test"), "apiservice/v1.labctl.test in namespace chat is not ready: nothing is known of it yet", false},
		{"API that does not answer", []runtime.Object{service(condition("Available", "False", "no answer"))}, named(serviceKind, "v1.labctl.test"), "no answer", false},
		{"API that answers", []runtime.Object{service(condition("Available", "True", "all checks passed"))}, named(serviceKind, "v1.labctl.test"), "", true},
		{"custom resource without conditions", []runtime.Object{garden()}, named(gardenKind, "eden"), "", true},
		{"custom resource that is ready", []runtime.Object{garden(condition("Ready", "True", ""))}, named(gardenKind, "eden"), "", true},
		{"custom resource that is not", []runtime.Object{garden(condition("Ready", "False", "no water"))}, named(gardenKind, "eden"), "garden/eden in namespace chat is not ready: no water", false},
		{"custom resource that is stalled", []runtime.Object{garden(condition("Stalled", "True", "all is dry"))}, named(gardenKind, "eden"), "all is dry", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			limit := 300 * time.Millisecond
			if tt.atOnce {
				limit = time.Minute
			}
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			err := cluster(t, tt.objects...).WaitObjects(ctx, []Object{tt.wait}, nil)
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			var e *NotReadyError
			require.ErrorAs(t, err, &e)
			require.ErrorContains(t, err, tt.want)
			require.Equal(t, !tt.atOnce, ctx.Err() != nil)
		})
	}
}

// A job that fails may delete its pods: what they said is known nevertheless.
func TestAJobThatDeletesItsPods(t *testing.T) {
	running := corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}
	p := pod(running)
	p.Spec.Containers = []corev1.Container{{Name: "auth"}}
	c := cluster(t, job(), p)
	err := c.WaitObjects(t.Context(), []Object{named(batchv1.SchemeGroupVersion.WithKind("Job"), "migrate")}, func(event.Event) {
		_ = c.Core.CoreV1().Pods("chat").Delete(t.Context(), "auth-1", metav1.DeleteOptions{}) // the second time it is gone
		u, err := runtime.DefaultUnstructuredConverter.ToUnstructured(job(batchv1.JobCondition{Type: batchv1.JobFailed, Status: corev1.ConditionTrue, Reason: "DeadlineExceeded"}))
		if err != nil {
			t.Error(err)
			return
		}
		live := &unstructured.Unstructured{Object: u}
		live.SetGroupVersionKind(batchv1.SchemeGroupVersion.WithKind("Job"))
		resource := batchv1.SchemeGroupVersion.WithResource("jobs")
		if _, err := c.dynamic.Resource(resource).Namespace("chat").Update(t.Context(), live, metav1.UpdateOptions{}); err != nil {
			t.Error(err)
		}
	})
	require.EqualError(t, err, "job/migrate in namespace chat is not ready: it failed: DeadlineExceeded: pod auth-1: last seen running\nlast lines of pod auth-1, container auth:\n    fake logs")
}
