// Package kind tests the clusters that kind makes with a real container engine. tools/kind.sh runs it: it needs a
// Docker that works, and a node image that this Docker has or can pull.
package kind

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/labctl/labctl/pkg/cluster/kind"
	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/kube"
)

// workload is an image of the lab's registry as a pod with a volume behind the ingress. The program is a registry of
// its own, because that writes to its volume and answers over HTTP.
const workload = `
apiVersion: v1
kind: Namespace
metadata: { name: test }
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: { name: data, namespace: test }
spec: { accessModes: [ReadWriteOnce], storageClassName: %[1]s, resources: { requests: { storage: 10Mi } } }
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: store, namespace: test }
spec:
  strategy: { type: Recreate }
  selector: { matchLabels: { app: store } }
  template:
    metadata: { labels: { app: store } }
    spec:
      enableServiceLinks: false
      containers:
        - name: store
          image: %[2]s
          command: [/bin/registry, serve, /config/config.yaml]
          env: [{ name: OTEL_TRACES_EXPORTER, value: none }]
          readinessProbe: { httpGet: { path: /v2/, port: 5000 }, periodSeconds: 1 }
          volumeMounts: [{ name: data, mountPath: /data }, { name: config, mountPath: /config }]
      volumes:
        - { name: data, persistentVolumeClaim: { claimName: data } }
        - { name: config, configMap: { name: store } }
---
apiVersion: v1
kind: ConfigMap
metadata: { name: store, namespace: test }
data:
  config.yaml: |
    version: 0.1
    storage: { filesystem: { rootdirectory: /data } }
    http: { addr: ":5000" }
---
apiVersion: v1
kind: Service
metadata: { name: store, namespace: test }
spec: { selector: { app: store }, ports: [{ port: 80, targetPort: 5000 }] }
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: { name: store, namespace: test }
spec:
  ingressClassName: %[3]s
  rules:
    - host: store.test
      http: { paths: [{ path: /, pathType: Prefix, backend: { service: { name: store, port: { number: 80 } } } }] }
`

func TestClusterFromItsMakingToItsEnd(t *testing.T) {
	l := newLab(t)
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	_, err := l.cluster.Read(t.Context(), l.o)
	require.ErrorIs(t, err, kind.ErrGone)

	said := l.ensure()
	require.Contains(t, said, "loading image registry into the node")
	info, err := os.Stat(kind.KubeconfigPath(l.o.Dir))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	require.NoFileExists(t, os.Getenv("KUBECONFIG"), "the user's own kubeconfig was touched")
	require.Regexp(t, `^v1\.\d+\.\d+`, l.read().KubernetesVersion)
	container := l.docker("inspect", "--format", "{{.Id}}", l.node())

	t.Run("everything is on the loopback address", func(t *testing.T) {
		var ports map[string][]struct{ HostIP, HostPort string }
		require.NoError(t, json.Unmarshal([]byte(l.docker("inspect", "--format", "{{json .NetworkSettings.Ports}}", l.node())), &ports))
		published := map[string]string{}
		for inside, bindings := range ports {
			for _, b := range bindings {
				require.Equal(t, "127.0.0.1", b.HostIP, inside)
				published[inside] = b.HostPort
			}
		}
		require.Equal(t, map[string]string{
			"6443/tcp": fmt.Sprint(l.o.APIPort), "80/tcp": fmt.Sprint(l.o.HTTPPort), "5000/tcp": fmt.Sprint(l.o.RegistryPort),
		}, published)
	})

	img, err := l.images.image(t.Context(), "registry", nil)
	require.NoError(t, err)
	digest, err := l.images.builder.Push(t.Context(), img, fmt.Sprintf("127.0.0.1:%d/lab/store", l.o.RegistryPort), nil)
	require.NoError(t, err)
	works := func() {
		t.Helper()
		l.get(l.o.RegistryPort, "", "/v2/lab/store/manifests/"+digest)
		l.get(l.o.HTTPPort, "store.test", "/v2/")
	}
	t.Run("an image of the registry runs, with a volume, behind the ingress", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		defer cancel()
		client := l.client()
		manifests := fmt.Appendf(nil, workload, kind.StorageClass, kind.RegistryPull+"/lab/store@"+digest, kind.IngressClass)
		require.NoError(t, client.Apply(ctx, kube.Set{Name: "test"}, manifests, l.report))
		works()
		// The node's own resolver is pointed at the cluster's name service for one question.
		service, err := client.Core.CoreV1().Services("test").Get(ctx, "store", metav1.GetOptions{})
		require.NoError(t, err)
		names, err := client.Core.CoreV1().Services("kube-system").Get(ctx, "kube-dns", metav1.GetOptions{})
		require.NoError(t, err)
		question := "echo nameserver " + names.Spec.ClusterIP + " >/tmp/resolv.conf && mount --bind /tmp/resolv.conf /etc/resolv.conf && " +
			"getent hosts store.test.svc.cluster.local"
		require.EventuallyWithT(t, func(t *assert.CollectT) { // kube-proxy learns of the name service's pods a moment after the API
			answer, err := exec.Command("docker", "exec", "--privileged", l.node(), "unshare", "--mount", "sh", "-c", question).Output()
			require.NoError(t, err)
			require.Equal(t, []string{service.Spec.ClusterIP, "store.test.svc.cluster.local"}, strings.Fields(string(answer)))
		}, 20*time.Second, 500*time.Millisecond)

		class, err := client.DefaultIngressClass(ctx)
		require.NoError(t, err)
		require.Equal(t, kind.IngressClass, class)
		class, err = client.DefaultStorageClass(ctx)
		require.NoError(t, err)
		require.Equal(t, kind.StorageClass, class)
	})
	t.Run("the kubelet is told of old control groups", func(t *testing.T) {
		config := l.docker("exec", l.node(), "cat", "/var/lib/kubelet/config.yaml")
		if l.docker("info", "--format", "{{.CgroupVersion}}") == "1" {
			require.Contains(t, config, "failCgroupV1: false")
		} else {
			require.NotContains(t, config, "failCgroupV1")
		}
	})
	t.Run("nothing is done where nothing is to do", func(t *testing.T) {
		said := l.ensure()
		require.NotContains(t, said, "loading")
		require.NotContains(t, said, "starting")
		require.Equal(t, container, l.docker("inspect", "--format", "{{.Id}}", l.node()))
	})
	t.Run("a stopped node is started again and has kept its data", func(t *testing.T) {
		l.docker("stop", l.node())
		state := l.read()
		require.False(t, state.Healthy)
		require.Contains(t, state.Reason, "is exited")
		said := l.ensure()
		require.Contains(t, said, "starting the node "+l.node())
		require.NotContains(t, said, "loading")
		require.Equal(t, container, l.docker("inspect", "--format", "{{.Id}}", l.node()))
		works()
	})
	t.Run("a killed node too", func(t *testing.T) {
		l.docker("kill", l.node())
		l.ensure()
		works()
	})
	t.Run("a paused node is woken", func(t *testing.T) {
		l.docker("pause", l.node())
		require.Contains(t, l.read().Reason, "is paused")
		l.ensure()
		works()
	})
	t.Run("what was removed comes back", func(t *testing.T) {
		l.docker("exec", l.node(), "kubectl", "--kubeconfig=/etc/kubernetes/admin.conf", "delete", "deployment", "--namespace=ingress", "skipper", "--wait")
		require.Equal(t, "the ingress is missing", l.read().Reason)
		require.NoError(t, os.Remove(kind.KubeconfigPath(l.o.Dir)))
		require.Equal(t, "its kubeconfig is gone", l.read().Reason)
		l.ensure()
		works()
	})
	t.Run("parts of other sources are replaced", func(t *testing.T) {
		l.o.Sources = "others"
		require.Contains(t, l.read().Reason, "other sources")
		l.ensure()
	})
	t.Run("a port cannot be changed", func(t *testing.T) {
		other := l.o
		other.HTTPPort++
		require.ErrorIs(t, l.cluster.Ensure(t.Context(), other, nil), kind.ErrFixed)
		require.Equal(t, container, l.docker("inspect", "--format", "{{.Id}}", l.node()))
	})
	t.Run("a lab of the same name in another directory is another", func(t *testing.T) {
		other := newLab(t)
		require.NoError(t, other.cluster.Destroy(t.Context(), other.o, nil))
		require.True(t, l.read().Healthy)

		// A creation that is cancelled in its middle leaves nothing.
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		err := other.cluster.Ensure(ctx, other.o, func(e event.Event) {
			other.report(e)
			if strings.HasPrefix(e.Message, "Starting control-plane") {
				cancel()
			}
		})
		require.ErrorIs(t, err, context.Canceled)
		require.Empty(t, other.docker("ps", "--all", "--quiet", "--filter", "name="+other.node()))
		_, err = other.cluster.Read(t.Context(), other.o)
		require.ErrorIs(t, err, kind.ErrGone)

		// The other's ports are taken.
		other.o.HTTPPort = l.o.HTTPPort
		taken := new(kind.PortTakenError)
		require.ErrorAs(t, other.cluster.Ensure(t.Context(), other.o, nil), &taken)
		require.Equal(t, l.o.HTTPPort, taken.Port)
		require.True(t, l.read().Healthy)
	})
	t.Run("a half-made cluster is made anew", func(t *testing.T) {
		path := filepath.Join(l.o.Dir, "kind.json")
		content, err := os.ReadFile(path)
		require.NoError(t, err)
		var record map[string]any
		require.NoError(t, json.Unmarshal(content, &record))
		require.Equal(t, container, record["container"])
		delete(record, "container")
		content, err = json.Marshal(record)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(path, content, 0o600))
		require.Equal(t, "it was not finished", l.read().Reason)
		require.Contains(t, l.ensure(), "removing a cluster whose making was interrupted")
		require.NotEqual(t, container, l.docker("inspect", "--format", "{{.Id}}", l.node()))
	})
	t.Run("nothing is left", func(t *testing.T) {
		alone := len(strings.Fields(l.docker("ps", "--all", "--quiet", "--filter", "network=kind"))) == 1
		volumes := l.docker("inspect", "--format", "{{range .Mounts}}{{.Name}} {{end}}", l.node())
		require.NotEmpty(t, strings.Fields(volumes))
		require.NoError(t, l.cluster.Destroy(t.Context(), l.o, l.report))
		require.Empty(t, l.docker("ps", "--all", "--quiet", "--filter", "name="+l.node()))
		if networks := l.docker("network", "ls", "--quiet", "--filter", "name=^kind$"); alone {
			require.Empty(t, networks)
		} else {
			require.NotEmpty(t, networks, "it is in use by another cluster")
		}
		kept := strings.Fields(l.docker("volume", "ls", "--quiet"))
		for _, volume := range strings.Fields(volumes) {
			require.NotContains(t, kept, volume)
		}
		require.NoDirExists(t, l.o.Dir)
		_, err := l.cluster.Read(t.Context(), l.o)
		require.ErrorIs(t, err, kind.ErrGone)
		require.NoError(t, l.cluster.Destroy(t.Context(), l.o, l.report), "a second time")
		for _, port := range []int{l.o.APIPort, l.o.HTTPPort, l.o.RegistryPort} {
			listener, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
			require.NoError(t, err)
			require.NoError(t, listener.Close())
		}
	})
}
