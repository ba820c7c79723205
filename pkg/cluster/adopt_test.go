package cluster_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/cluster"
	"github.com/labctl/labctl/pkg/cluster/clustertest"
	"github.com/labctl/labctl/pkg/kube"
)

func TestAnExistingClusterIsAdoptedAndLeftAlone(t *testing.T) {
	kubeconfig, stop := clustertest.Start(t)
	defer stop()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, os.WriteFile(path, []byte(kubeconfig), 0o600))
	spec := cluster.Spec{
		Kind: cluster.Kubeconfig, Name: "adopted", HTTPPort: 8080, KubeconfigPath: path,
		RegistryPush: "127.0.0.1:5000", RegistryPull: "registry.example:5000",
	}
	m := &cluster.Manager{}
	_, err := m.Ensure(t.Context(), spec, nil)
	require.ErrorContains(t, err, "has no default storage class: mark one")

	client, err := kube.New([]byte(kubeconfig))
	require.NoError(t, err)
	require.NoError(t, client.Apply(t.Context(), kube.Set{Name: "test"}, []byte(`
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: { name: slow }
provisioner: example.com/slow
---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: { name: fast, annotations: { storageclass.kubernetes.io/is-default-class: "true" } }
provisioner: example.com/fast
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: { name: only }
spec: { controller: example.com/ingress }
`), nil))
	info, err := m.Ensure(t.Context(), spec, nil)
	require.NoError(t, err)
	require.True(t, info.Healthy)
	require.Equal(t, "fast", info.StorageClass)
	require.Equal(t, "only", info.IngressClass)
	require.Equal(t, "registry.example:5000", info.RegistryPull)
	require.Equal(t, kubeconfig, info.Kubeconfig)
	require.Equal(t, cluster.KubernetesVersion, info.KubernetesVersion)

	require.NoError(t, m.Destroy(t.Context(), spec, nil))
	_, err = client.Ready(t.Context())
	require.NoError(t, err, "down leaves it alone")
	stop()
	info, err = m.Read(t.Context(), spec)
	require.NoError(t, err)
	require.False(t, info.Healthy)
	require.Contains(t, info.Reason, "is not ready")
}
