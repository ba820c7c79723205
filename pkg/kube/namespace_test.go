package kube_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/labctl/labctl/pkg/kube"
)

func TestNamespaces(t *testing.T) {
	c := api(t)
	namespaces, ctx := c.Core.CoreV1().Namespaces(), t.Context()
	level := func(name string) string {
		ns, err := namespaces.Get(ctx, name, metav1.GetOptions{})
		require.NoError(t, err)
		return ns.Labels["pod-security.kubernetes.io/enforce"]
	}
	require.NoError(t, kube.EnsureNamespace(ctx, c.Core, "ours", ""))
	require.Empty(t, level("ours"))
	require.NoError(t, kube.EnsureNamespace(ctx, c.Core, "ours", "restricted"))
	require.Equal(t, "restricted", level("ours"), "who comes second may know better")
	require.NoError(t, kube.EnsureNamespace(ctx, c.Core, "ours", "privileged"))
	require.Equal(t, "restricted", level("ours"))

	_, err := namespaces.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "theirs"}}, metav1.CreateOptions{})
	require.NoError(t, err)
	require.NoError(t, kube.EnsureNamespace(ctx, c.Core, "theirs", "restricted"))
	require.Empty(t, level("theirs"))
	require.NoError(t, kube.ForgetNamespace(ctx, c.Core, "theirs"))
	require.Empty(t, level("theirs"), "it is there")

	record := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "release", Labels: map[string]string{"owner": "helm"}}}
	_, err = c.Core.CoreV1().Secrets("ours").Create(ctx, record, metav1.CreateOptions{})
	require.NoError(t, err)
	require.NoError(t, kube.ForgetNamespace(ctx, c.Core, "ours"))
	require.Equal(t, "restricted", level("ours"), "a release needs it")
	require.NoError(t, c.Core.CoreV1().Secrets("ours").Delete(ctx, "release", metav1.DeleteOptions{}))
	finalized := finalize(t, c, "ours")
	require.NoError(t, kube.ForgetNamespace(ctx, c.Core, "ours"))
	require.NoError(t, <-finalized)
	_, err = namespaces.Get(ctx, "ours", metav1.GetOptions{})
	require.True(t, apierrors.IsNotFound(err), err)
	require.NoError(t, kube.ForgetNamespace(ctx, c.Core, "ours"), "again, on nothing")
}

func TestOwnedSets(t *testing.T) {
	c := api(t)
	mine := kube.Owner{Lab: "owned", Environment: "local", Stack: "5-release"}
	for name, owner := range map[string]kube.Owner{"x.one": mine, "y.two": mine, "x.three": {Lab: "owned", Environment: "prod"}} {
		require.NoError(t, apply(t, c, kube.Set{Name: name, Namespace: "default", Owner: owner}, nil, configMap("owned-"+name, "1")))
	}
	sets, err := c.Owned(t.Context(), kube.Owner{Lab: "owned", Environment: "local"}, "x.")
	require.NoError(t, err)
	require.Equal(t, map[string]kube.Owner{"x.one": mine}, sets)
}
