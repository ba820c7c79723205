package chaos

import (
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

func pod(namespace, name, service, owner string, ready bool) *corev1.Pod {
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID("uid of " + name), Labels: map[string]string{nameLabel: service}},
		Status: corev1.PodStatus{
			Conditions:        []corev1.PodCondition{{Type: corev1.PodReady, Status: status}},
			ContainerStatuses: []corev1.ContainerStatus{{ContainerID: "containerd://" + name}},
		},
	}
	if owner != "" {
		yes := true
		p.OwnerReferences = []metav1.OwnerReference{{Kind: owner, Name: service, Controller: &yes}}
	}
	return p
}

// A cluster whose controllers make another pod for each that is deleted.
func cluster(t *testing.T, objects ...runtime.Object) *fake.Clientset {
	api := fake.NewClientset(objects...)
	var made atomic.Int64
	api.PrependReactor("delete", "pods", func(a clienttesting.Action) (bool, runtime.Object, error) {
		d := a.(clienttesting.DeleteActionImpl)
		old, err := api.Tracker().Get(a.GetResource(), a.GetNamespace(), d.Name)
		require.NoError(t, err)
		require.Equal(t, old.(*corev1.Pod).UID, *d.DeleteOptions.Preconditions.UID, "no other pod of that name")
		require.EqualValues(t, 1, *d.DeleteOptions.GracePeriodSeconds)
		next := old.(*corev1.Pod).DeepCopy()
		next.UID = types.UID(fmt.Sprint("another ", made.Add(1)))
		if next.OwnerReferences[0].Kind != "StatefulSet" {
			next.Name += "-next"
		}
		require.NoError(t, api.Tracker().Delete(a.GetResource(), a.GetNamespace(), d.Name))
		return true, nil, api.Tracker().Add(next)
	})
	return api
}

func TestPods(t *testing.T) {
	api := cluster(t,
		pod("chat", "gateway-a", "gateway", "ReplicaSet", true), pod("chat", "gateway-b", "gateway", "ReplicaSet", true),
		pod("chat", "messaging-a", "messaging", "ReplicaSet", true), pod("data", "kafka-0", "kafka", "StatefulSet", true),
		pod("chat", "auth-a", "auth", "ReplicaSet", false), pod("chat", "test", "gateway", "", true), pod("other", "x-0", "x", "StatefulSet", true),
	)
	var signals []string
	o := PodsOptions{API: api, Namespaces: []string{"chat", "data"}, Signal: func(id string, s syscall.Signal) (bool, error) {
		signals = append(signals, fmt.Sprintf("%s %d", id, s))
		return true, nil
	}}
	p, err := NewPods(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, []string{"gateway/0", "gateway/1", "kafka", "messaging/0"}, p.Parts(), "what serves and comes back by itself")
	require.Equal(t, []Kind{Kill, Pause}, p.Kinds())

	met, err := p.Strike(t.Context(), Fault{Kind: Kill, Part: "gateway/1", Time: time.Millisecond})
	require.NoError(t, err)
	require.Equal(t, "gateway-b", met)
	met, err = p.Strike(t.Context(), Fault{Kind: Kill, Part: "kafka"})
	require.NoError(t, err)
	require.Equal(t, "kafka-0", met)
	_, err = api.CoreV1().Pods("chat").Get(t.Context(), "gateway-b-next", metav1.GetOptions{})
	require.NoError(t, err)
	met, err = p.Strike(t.Context(), Fault{Kind: Pause, Part: "messaging/0", Time: time.Millisecond})
	require.NoError(t, err)
	require.Equal(t, "messaging-a", met)
	require.Equal(t, []string{"containerd://gateway-b 9", "containerd://kafka-0 9", "containerd://messaging-a 19", "containerd://messaging-a 18"}, signals)

	for _, f := range []Fault{{Kind: Kill, Part: "sms/0"}, {Kind: Cut, Part: "gateway/0", To: "kafka"}, {Kind: Storm, Part: "gateway/0"}} {
		_, err := p.Strike(t.Context(), f)
		require.Error(t, err, f)
	}
}

// Where containers are out of reach a pod is killed by the API alone.
func TestPodsOutOfReach(t *testing.T) {
	p, err := NewPods(t.Context(), PodsOptions{API: cluster(t, pod("chat", "gateway-a", "gateway", "ReplicaSet", true)), Namespaces: []string{"chat"}})
	require.NoError(t, err)
	require.Equal(t, []Kind{Kill}, p.Kinds())
	require.Equal(t, []Kind{Kill, Storm, Retry, Deaf}, Possible(p))
	met, err := p.Strike(t.Context(), Fault{Kind: Kill, Part: "gateway/0"})
	require.NoError(t, err)
	require.Equal(t, "gateway-a", met)
	_, err = p.Strike(t.Context(), Fault{Kind: Pause, Part: "gateway/0"})
	require.ErrorContains(t, err, "not a fault of pods")

	_, err = NewPods(t.Context(), PodsOptions{API: cluster(t), Namespaces: []string{"chat"}})
	require.ErrorIs(t, err, ErrNoPods)
}

// A pod that is gone, and of which no process is left, is no fault of the run; one whose processes are elsewhere cannot be paused.
func TestPodsWithoutProcesses(t *testing.T) {
	p, err := NewPods(t.Context(), PodsOptions{
		API: cluster(t, pod("chat", "gateway-a", "gateway", "ReplicaSet", true)), Namespaces: []string{"chat"},
		Signal: func(string, syscall.Signal) (bool, error) { return false, nil },
	})
	require.NoError(t, err)
	_, err = p.Strike(t.Context(), Fault{Kind: Pause, Part: "gateway/0"})
	require.ErrorContains(t, err, "no process of pod gateway-a")
	_, err = p.Strike(t.Context(), Fault{Kind: Kill, Part: "gateway/0"})
	require.NoError(t, err)
}

// Another fault may end the pod that was chosen before it is paused: then the one in its place is.
func TestPodsEndWhileTheyAreMet(t *testing.T) {
	api := fake.NewClientset(pod("chat", "gateway-a", "gateway", "ReplicaSet", true))
	p, err := NewPods(t.Context(), PodsOptions{API: api, Namespaces: []string{"chat"}, Signal: func(id string, _ syscall.Signal) (bool, error) {
		if id != "containerd://gateway-a" {
			return true, nil
		}
		pods := corev1.SchemeGroupVersion.WithResource("pods")
		return false, errors.Join(
			api.Tracker().Delete(pods, "chat", "gateway-a"),
			api.Tracker().Add(pod("chat", "gateway-b", "gateway", "ReplicaSet", true)))
	}})
	require.NoError(t, err)
	met, err := p.Strike(t.Context(), Fault{Kind: Pause, Part: "gateway/0", Time: time.Millisecond})
	require.NoError(t, err)
	require.Equal(t, "gateway-b", met)
}
