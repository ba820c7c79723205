package workload_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/labctl/labctl/pkg/chart"
	"github.com/labctl/labctl/pkg/cluster/clustertest"
	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/kube"
	"github.com/labctl/labctl/pkg/shadow/workload"
)

// kinds are those of what belongs to a shadow: what Side and Comparer give, and what the cluster makes of it.
var kinds = []schema.GroupVersionKind{
	{Group: "apps", Version: "v1", Kind: "Deployment"},
	{Group: "apps", Version: "v1", Kind: "ReplicaSet"},
	{Version: "v1", Kind: "Pod"},
	{Version: "v1", Kind: "Service"},
	{Group: "discovery.k8s.io", Version: "v1", Kind: "EndpointSlice"},
	{Group: "networking.k8s.io", Version: "v1", Kind: "NetworkPolicy"},
	{Version: "v1", Kind: "ServiceAccount"},
}

// list gives everything that has the label of a service's shadow.
func list(t *testing.T, c *kube.Client, service string) (all []unstructured.Unstructured) {
	t.Helper()
	for _, kind := range kinds {
		found, err := c.List(t.Context(), kind, "chat", labels.Set{workload.Label: service})
		require.NoError(t, err, kind)
		all = append(all, found...)
	}
	return all
}

// On a real API: the shadow of a service that Helm has installed is taken, its pods are let in, Helm sees no change by
// it, and when what belongs to it is deleted, nothing is left of it and all that was live before.
func TestShadowOnAnAPI(t *testing.T) {
	ctx := t.Context()
	kubeconfig, stop := clustertest.Start(t)
	t.Cleanup(stop)
	helm, err := chart.New(kubeconfig)
	require.NoError(t, err)
	r := release(t, "all")
	r.NoWait = true // no controller runs
	_, err = helm.Ensure(ctx, r, nil)
	require.NoError(t, err)
	c, err := kube.New([]byte(kubeconfig))
	require.NoError(t, err)
	core := c.Core

	d, err := core.AppsV1().Deployments("chat").Get(ctx, "messaging", metav1.GetOptions{})
	require.NoError(t, err)
	s, err := core.CoreV1().Services("chat").Get(ctx, "messaging", metav1.GetOptions{})
	require.NoError(t, err)
	policies, err := core.NetworkingV1().NetworkPolicies("chat").List(ctx, metav1.ListOptions{})
	require.NoError(t, err)
	made := shadow(t, workload.Live{Deployment: *d, Service: *s, Policies: policies.Items}, "messaging")
	for _, o := range made {
		var err error
		switch o := o.(type) {
		case *appsv1.Deployment:
			_, err = core.AppsV1().Deployments("chat").Create(ctx, o, metav1.CreateOptions{})
		case *corev1.Service:
			_, err = core.CoreV1().Services("chat").Create(ctx, o, metav1.CreateOptions{})
		case *corev1.ServiceAccount:
			_, err = core.CoreV1().ServiceAccounts("chat").Create(ctx, o, metav1.CreateOptions{})
		case *networkingv1.NetworkPolicy:
			_, err = core.NetworkingV1().NetworkPolicies("chat").Create(ctx, o, metav1.CreateOptions{})
		default:
			t.Fatalf("a %T", o)
		}
		require.NoError(t, err)
	}
	for _, d := range deployments(made) { // the namespace enforces the pod security level "restricted"
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: d.Name, Labels: d.Spec.Template.Labels}, Spec: d.Spec.Template.Spec}
		_, err := core.CoreV1().Pods("chat").Create(ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		require.NoError(t, err, d.Name)
	}
	found := list(t, c, "messaging")
	require.Len(t, found, len(made))
	require.Empty(t, list(t, c, "presence"))

	for _, kind := range kinds {
		require.NoError(t, c.DeleteAll(ctx, kind, "chat", labels.Set{workload.Label: "messaging"}, event.Report(nil)))
	}
	require.Empty(t, list(t, c, "messaging"))
	plan, err := helm.Plan(ctx, r)
	require.NoError(t, err)
	require.Equal(t, chart.Nothing, plan.Action, plan.Why)
	require.NoError(t, helm.Remove(ctx, "chat", "chat", time.Minute, nil))
}
