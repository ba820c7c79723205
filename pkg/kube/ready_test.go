package kube

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

func deployment(ready int32) *appsv1.Deployment {
	one := int32(1)
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "auth", Namespace: "chat"},
		Spec:       appsv1.DeploymentSpec{Replicas: &one, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "auth"}}},
		Status:     appsv1.DeploymentStatus{Replicas: 1, UpdatedReplicas: 1, AvailableReplicas: ready},
	}
}

func pod(status corev1.PodStatus) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "auth-1", Namespace: "chat", Labels: map[string]string{"app": "auth"}},
		Status:     status,
	}
}

func waiting(reason, message string, restarts int32) corev1.PodStatus {
	return corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{
		Name: "auth", Image: "localhost:5000/lab/auth", RestartCount: restarts,
		State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}},
	}}}
}

var auth = []Object{named(appsv1.SchemeGroupVersion.WithKind("Deployment"), "auth")}

func TestWaitObjectsGivesUpOnWhatDoesNotMendItself(t *testing.T) {
	for name, tc := range map[string]struct {
		status corev1.PodStatus
		want   string
	}{
		"image that cannot be pulled": {waiting("ImagePullBackOff", "not found", 0), "image localhost:5000/lab/auth cannot be pulled: not found"},
		"refused configuration":       {waiting("CreateContainerConfigError", `secret "db" not found`, 0), `container auth cannot be made: secret "db" not found`},
		"crash loop":                  {waiting("CrashLoopBackOff", "", crashLimit), "container auth ended 3 times"},
	} {
		t.Run(name, func(t *testing.T) {
			c := cluster(t, deployment(0), pod(tc.status))
			err := c.WaitObjects(t.Context(), auth, nil)
			var e *NotReadyError
			require.ErrorAs(t, err, &e)
			require.Equal(t, "deployment/auth", e.Workload)
			require.ErrorContains(t, err, tc.want)
			require.Contains(t, e.Hint(), "labctl logs auth")
		})
	}
}

// A busy node's kubelet may hear of a secret late.
func TestAKubeletThatWaitsForASecretIsWaitedFor(t *testing.T) {
	for message, want := range map[string]bool{
		"failed to sync secret cache: timed out waiting for the condition":    false,
		"failed to sync configmap cache: timed out waiting for the condition": false,
		`secret "db" not found`: true,
	} {
		reason, _, fatal := whyNotReady(pod(waiting("CreateContainerConfigError", message, 0)))
		require.Equal(t, "container auth cannot be made: "+message, reason)
		require.Equal(t, want, fatal, message)
	}
}

func TestThePodsOfAnOldRevisionDoNotCount(t *testing.T) {
	d := deployment(0)
	d.UID = "1"
	yes := true
	set := func(revision, hash string) *appsv1.ReplicaSet {
		return &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{
			Name: "auth-" + hash, Namespace: "chat", Labels: map[string]string{"app": "auth", "pod-template-hash": hash},
			Annotations:     map[string]string{"deployment.kubernetes.io/revision": revision},
			OwnerReferences: []metav1.OwnerReference{{UID: "1", Controller: &yes}},
		}}
	}
	old := pod(waiting("CrashLoopBackOff", "", crashLimit))
	old.Labels["pod-template-hash"] = "a"
	fresh := pod(waiting("ContainerCreating", "", 0))
	fresh.Name, fresh.Labels["pod-template-hash"] = "auth-2", "b"
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	c := cluster(t, d, set("9", "a"), set("10", "b"), old, fresh)
	err := c.WaitObjects(ctx, auth, nil)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "ContainerCreating")

	c = cluster(t, d, set("11", "a"), set("10", "b"), old, fresh)
	require.ErrorContains(t, c.WaitObjects(t.Context(), auth, nil), "ended 3 times")
}

func TestAGenerationThatNobodyHasSeenYetIsWaitedFor(t *testing.T) {
	d := deployment(0)
	d.Generation = 2
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	c := cluster(t, d, pod(waiting("CrashLoopBackOff", "", crashLimit)))
	require.ErrorIs(t, c.WaitObjects(ctx, auth, nil), context.DeadlineExceeded)
}

func TestWaitObjectsShowsTheLastLogLines(t *testing.T) {
	c := cluster(t, deployment(0), pod(waiting("CrashLoopBackOff", "", crashLimit)))
	var e *NotReadyError
	require.ErrorAs(t, c.WaitObjects(t.Context(), auth, nil), &e)
	require.Equal(t, []string{"fake logs"}, e.LastLines) // what client-go's fake has in every log
}

func TestWaitObjectsOutOfTimeSaysWhatItWaitedFor(t *testing.T) {
	for name, objects := range map[string][]runtime.Object{
		"a first crash may be for a database that is not there yet": {deployment(0), pod(waiting("CrashLoopBackOff", "", 1))},
		"no pod at all": {deployment(0)},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			c := cluster(t, objects...)
			err := c.WaitObjects(ctx, auth, nil)
			require.True(t, errors.Is(err, context.DeadlineExceeded))
			require.ErrorContains(t, err, "deployment/auth in namespace chat is not ready")
		})
	}
}

func TestWaitObjectsEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c := cluster(t, deployment(0))
	require.ErrorIs(t, c.WaitObjects(ctx, auth, nil), context.Canceled)
}

func TestDefaultClasses(t *testing.T) {
	require.Equal(t, "b", marked([]metav1.ObjectMeta{{Name: "a"}, {Name: "b", Annotations: map[string]string{"x": "true"}}}, "x"))
	require.Equal(t, "a", marked([]metav1.ObjectMeta{{Name: "a"}}, "x"))
	require.Empty(t, marked([]metav1.ObjectMeta{{Name: "a"}, {Name: "b"}}, "x"))
}
