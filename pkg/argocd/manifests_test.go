package argocd_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/labctl/labctl/pkg/argocd"
	"github.com/labctl/labctl/pkg/gobuild"
)

var images = argocd.Settings{IngressClass: "skipper", ArgoCD: "localhost:5000/lab/argocd@sha256:1", Redis: "localhost:5000/lab/redis@sha256:2", Git: "localhost:5000/lab/git@sha256:3"}

// official gives the manifests of the module that images/argocd is built of.
func official(t *testing.T) []byte {
	t.Helper()
	dir, err := gobuild.ModuleDir(t.Context(), "Argo CD's manifests", "../../images/argocd", "github.com/argoproj/argo-cd/v2", nil)
	require.NoError(t, err)
	b, err := os.ReadFile(filepath.Join(dir, "manifests/install.yaml"))
	require.NoError(t, err)
	return b
}

func TestManifestsAreThoseOfALab(t *testing.T) {
	out, err := argocd.Manifests(official(t), images)
	require.NoError(t, err)
	kinds := map[string][]string{}
	for i, document := range strings.Split(string(out), "\n---\n") {
		var o unstructured.Unstructured
		require.NoError(t, yaml.Unmarshal([]byte(document), &o.Object))
		if i == 0 {
			require.Equal(t, "Namespace argocd", o.GetKind()+" "+o.GetName(), "what is in it comes after it")
		}
		kinds[o.GetKind()] = append(kinds[o.GetKind()], o.GetName())
		var pods corev1.PodSpec
		switch o.GetKind() {
		case "Deployment":
			var d appsv1.Deployment
			require.NoError(t, runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &d))
			pods = d.Spec.Template.Spec
		case "StatefulSet":
			var s appsv1.StatefulSet
			require.NoError(t, runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &s))
			pods = s.Spec.Template.Spec
		case "ConfigMap":
			data, _, err := unstructured.NestedStringMap(o.Object, "data")
			require.NoError(t, err)
			switch o.GetName() {
			case "argocd-cm":
				require.Equal(t, "annotation", data["application.resourceTrackingMethod"])
				require.NotEqual(t, "app.kubernetes.io/instance", data["application.instanceLabelKey"], "the default")
				require.NotEmpty(t, data["application.instanceLabelKey"])
				require.Contains(t, data["resource.customizations.health.argoproj.io_Application"], "obj.status.sync")
			case "argocd-cmd-params-cm":
				require.Equal(t, "true", data["server.insecure"])
			}
		}
		for _, c := range slices.Concat(pods.InitContainers, pods.Containers) {
			want := images.ArgoCD
			switch c.Name {
			case "redis":
				want = images.Redis
			case "git":
				want = images.Git
			}
			require.Equal(t, want, c.Image, "container %s of %s", c.Name, o.GetName())
			require.NotEqual(t, corev1.PullAlways, c.ImagePullPolicy, "a digest is always the same")
		}
	}
	require.ElementsMatch(t, []string{"applications.argoproj.io", "applicationsets.argoproj.io", "appprojects.argoproj.io"}, kinds["CustomResourceDefinition"])
	require.ElementsMatch(t, []string{"argocd-applicationset-controller", "argocd-redis", "argocd-repo-server", "argocd-server"}, kinds["Deployment"])
	require.ElementsMatch(t, []string{"argocd-application-controller", "git"}, kinds["StatefulSet"])
	require.Equal(t, []string{"git"}, kinds["Ingress"])
	for kind, names := range kinds {
		for _, name := range names {
			require.NotContains(t, name, "dex", kind)
			require.NotContains(t, name, "notifications", kind)
		}
	}
}

func TestOtherManifestsAreRefused(t *testing.T) {
	deployment := "apiVersion: apps/v1\nkind: Deployment\nmetadata: { name: x }\nspec: { template: { spec: { containers: [{ name: c, image: \"example.test/other:1\" }] } } }\n"
	for manifests, want := range map[string]string{
		deployment:              "Deployment x of Argo CD's manifests: container c has the image example.test/other:1",
		"kind: [":               "read Argo CD's manifests",
		"kind: X\nmetadata: {}": "not the manifests of an Argo CD that this labctl knows",
	} {
		_, err := argocd.Manifests([]byte(manifests), images)
		require.ErrorContains(t, err, want)
	}
}
