// Package azure_test checks what the Azure stacks install beside what Terraform makes, which tools/azure.sh tests.
package azure_test

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/labctl/labctl/pkg/chart"
)

const ingressChart = "../../stacks/azure/1-cluster/ingress"

const (
	dnsLabel = "service.beta.kubernetes.io/azure-dns-label-name"
	internal = "service.beta.kubernetes.io/azure-load-balancer-internal"
)

func TestIngressIsReachedAsTheLabIs(t *testing.T) {
	cases := []struct {
		name        string
		values      map[string]any
		annotations map[string]string // of the two that say where the address is
		port        int32
		args        []string
		volumes     int
	}{
		{
			name:        "a public name",
			values:      map[string]any{"dnsLabel": "chat-staging-abc123"},
			annotations: map[string]string{dnsLabel: "chat-staging-abc123"},
			port:        80, args: []string{"-address=:8080"},
		},
		{
			name:        "in the virtual network, where a label means nothing",
			values:      map[string]any{"dnsLabel": "chat-staging-abc123", "internal": true},
			annotations: map[string]string{internal: "true"},
			port:        80, args: []string{"-address=:8080"},
		},
		{
			name:   "with a certificate nothing is served in the clear",
			values: map[string]any{"tlsSecret": "chat-tls"},
			port:   443, args: []string{"-address=:8443", "-tls-cert=/etc/skipper/tls/tls.crt", "-tls-key=/etc/skipper/tls/tls.key"}, volumes: 1,
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			objects := render(t, c.values)
			service := one[corev1.Service](t, objects, "Service")
			got := map[string]string{}
			for _, name := range []string{dnsLabel, internal} {
				if v, ok := service.Annotations[name]; ok {
					got[name] = v
				}
			}
			if c.annotations == nil {
				c.annotations = map[string]string{}
			}
			require.Equal(t, c.annotations, got)
			require.Equal(t, corev1.ServiceTypeLoadBalancer, service.Spec.Type)
			require.Len(t, service.Spec.Ports, 1)
			require.Equal(t, c.port, service.Spec.Ports[0].Port)

			pod := one[appsv1.Deployment](t, objects, "Deployment").Spec.Template.Spec
			require.Subset(t, pod.Containers[0].Args, c.args)
			hsts := slices.ContainsFunc(pod.Containers[0].Args, func(a string) bool { return strings.Contains(a, "Strict-Transport-Security") })
			require.Equal(t, c.port == 443, hsts, "a browser must not be told of TLS where there is none")
			require.Contains(t, pod.Containers[0].Args, "-forwarded-headers=X-Forwarded-For", "or all clients have one address")
			require.Len(t, pod.Volumes, c.volumes)
			require.Contains(t, ports(pod), service.Spec.Ports[0].TargetPort.StrVal)
			require.Contains(t, ports(pod), pod.Containers[0].ReadinessProbe.HTTPGet.Port.StrVal)
		})
	}
}

func TestIngressMayDoWhatItMust(t *testing.T) {
	objects := render(t, map[string]any{"tlsSecret": "chat-tls"})
	for _, rule := range one[rbacv1.ClusterRole](t, objects, "ClusterRole").Rules {
		require.NotContains(t, rule.Resources, "secrets", "its certificate is mounted, so it needs no other secret")
		require.Subset(t, []string{"get", "list"}, rule.Verbs)
	}

	pod := one[appsv1.Deployment](t, objects, "Deployment").Spec.Template.Spec
	require.True(t, *pod.SecurityContext.RunAsNonRoot)
	require.Equal(t, corev1.SeccompProfileTypeRuntimeDefault, pod.SecurityContext.SeccompProfile.Type)
	for _, c := range pod.Containers {
		require.False(t, *c.SecurityContext.AllowPrivilegeEscalation)
		require.True(t, *c.SecurityContext.ReadOnlyRootFilesystem)
		require.Equal(t, []corev1.Capability{"ALL"}, c.SecurityContext.Capabilities.Drop)
		require.False(t, c.Resources.Limits.Memory().IsZero())
	}
}

func TestIngressClassIsTakenWhole(t *testing.T) {
	pod := one[appsv1.Deployment](t, render(t, map[string]any{"className": "lab.skipper"}), "Deployment").Spec.Template.Spec
	require.Contains(t, pod.Containers[0].Args, `-kubernetes-ingress-class=^lab\.skipper$`)
}

func render(t *testing.T, values map[string]any) []*unstructured.Unstructured {
	t.Helper()
	values["image"] = "registry.example.org/lab/ingress@sha256:" + strings.Repeat("a", 64)
	text, err := chart.Render(chart.Release{Name: "ingress", Namespace: "ingress", ChartDir: ingressChart, Values: values})
	require.NoError(t, err)
	var out []*unstructured.Unstructured
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader([]byte(text)), 4096)
	for {
		u := &unstructured.Unstructured{}
		err := decoder.Decode(u)
		if errors.Is(err, io.EOF) {
			return out
		}
		require.NoError(t, err)
		if len(u.Object) > 0 {
			out = append(out, u)
		}
	}
}

// one gives the only object of a kind.
func one[T any](t *testing.T, objects []*unstructured.Unstructured, kind string) T {
	t.Helper()
	var found []T
	for _, u := range objects {
		if u.GetKind() == kind {
			var o T
			require.NoError(t, runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &o))
			found = append(found, o)
		}
	}
	require.Len(t, found, 1, kind)
	return found[0]
}

func ports(pod corev1.PodSpec) []string {
	var out []string
	for _, p := range pod.Containers[0].Ports {
		out = append(out, p.Name)
	}
	return out
}
