package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/labctl/labctl/pkg/argocd"
	"github.com/labctl/labctl/pkg/kube"
	"github.com/labctl/labctl/test/scope"
)

var applicationKind = schema.GroupVersionResource{Group: "argoproj.io", Version: "v1alpha1", Resource: "applications"}

// application is one whose chart is in the directory plain of the lab's repository.
const application = `
apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: { name: plain, finalizers: [resources-finalizer.argocd.argoproj.io] }
spec:
  project: default
  source: { repoURL: %s, path: plain, targetRevision: main }
  destination: { server: https://kubernetes.default.svc, namespace: plain }
  syncPolicy: { automated: { prune: true, selfHeal: true }, syncOptions: [CreateNamespace=true] }`

// argo is an Argo CD in a lab, and a working tree of the repository that it follows.
type argo struct {
	*testLab
	client       *kube.Client
	applications dynamic.ResourceInterface
	tree         string
}

func TestArgoCD(t *testing.T) {
	scope.SkipUnlessFull(t, "Argo CD is built, which takes minutes")
	l := newLab(t, "gitops {}")
	l.run("up", "foundation", "cluster", "argocd")
	g := &argo{testLab: l, client: l.kube(), tree: t.TempDir()}
	all, err := dynamic.NewForConfig(g.client.Config)
	require.NoError(t, err)
	g.applications = all.Resource(applicationKind).Namespace(argocd.Namespace)
	ctx, cancel := context.WithTimeout(t.Context(), upWithin)
	defer cancel()

	before, err := argocd.GitPassword(ctx, g.client, argocd.Writer)
	require.NoError(t, err)
	require.NoError(t, g.client.Core.AppsV1().Deployments(argocd.Namespace).Delete(ctx, "argocd-repo-server", metav1.DeleteOptions{}))
	out, code := l.try(ctx, "drift", "argocd")
	require.Equal(t, 2, code, out)
	require.Contains(t, out, "release argocd: deployment/argocd-repo-server in namespace argocd is missing")
	_, code, seen := l.interruptAt(`waiting for deployment/argocd-repo-server`, syscall.SIGKILL, "up", "argocd", "--json")
	require.True(t, seen)
	require.Equal(t, -1, code)
	l.run("up", "argocd")
	require.Contains(t, l.run("drift", "argocd"), "4-argocd: no drift")
	after, err := argocd.GitPassword(ctx, g.client, argocd.Writer)
	require.NoError(t, err)
	require.Equal(t, before, after, "a password that is in use stays")

	g.write("plain/Chart.yaml", "apiVersion: v2\nname: plain\nversion: 0.1.0\n")
	g.write("plain/values.yaml", "greeting: hello\n")
	g.write("plain/templates/words.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: words }\ndata: { greeting: {{ .Values.greeting | quote }} }\n")
	g.push(ctx, "the chart")
	require.NoError(t, g.client.Apply(ctx, kube.Set{Name: "e2e", Namespace: argocd.Namespace}, fmt.Appendf(nil, application, argocd.RepositoryURL), nil))
	g.eventually("Synced", "Healthy")
	g.greets("hello")

	g.write("plain/values.yaml", "greeting: good day\n")
	g.push(ctx, "another greeting")
	g.greets("good day")

	words := g.client.Core.CoreV1().ConfigMaps("plain")
	_, err = words.Patch(ctx, "words", types.MergePatchType, []byte(`{"data":{"greeting":"by hand"}}`), metav1.PatchOptions{})
	require.NoError(t, err)
	g.greets("good day")

	// What does not render is said with file and line, and what runs stays.
	g.write("plain/templates/broken.yaml", "{{ .Values.greeting | nofunction }}\n")
	g.push(ctx, "a mistake")
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		require.Contains(c, g.conditions(c), `(plain/templates/broken.yaml:1): function "nofunction" not defined`)
	}, time.Minute, 200*time.Millisecond)
	g.greets("good day")
	require.NoError(t, os.Remove(filepath.Join(g.tree, "plain/templates/broken.yaml")))
	g.push(ctx, "the repair")
	g.eventually("Synced", "Healthy")

	l.run("down", "argocd")
	_, err = words.Get(ctx, "words", metav1.GetOptions{})
	require.True(t, apierrors.IsNotFound(err), "what Argo CD made went with its application: %v", err)
	_, err = g.client.Core.CoreV1().Namespaces().Get(ctx, argocd.Namespace, metav1.GetOptions{})
	require.True(t, apierrors.IsNotFound(err), err)
	l.run("down", "argocd") // again, on nothing

	_, err = g.client.Core.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: argocd.Namespace}}, metav1.CreateOptions{})
	require.NoError(t, err)
	out, code = l.try(ctx, "up", "argocd")
	require.Equal(t, 1, code, out)
	require.Contains(t, out, "labctl did not make it")
	l.run("down", "argocd")
	_, err = g.client.Core.CoreV1().Namespaces().Get(ctx, argocd.Namespace, metav1.GetOptions{})
	require.NoError(t, err, "somebody else's stays")

	require.NoError(t, g.client.Core.CoreV1().Namespaces().Delete(ctx, argocd.Namespace, metav1.DeleteOptions{}))
	g.chat()
	l.run("down", "argocd")
	left, err := g.client.Core.AppsV1().Deployments("chat").List(ctx, metav1.ListOptions{})
	require.NoError(t, err)
	require.Empty(t, left.Items, "what Argo CD delivered went first")
}

func (g *argo) write(file, content string) {
	g.t.Helper()
	path := filepath.Join(g.tree, file)
	require.NoError(g.t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(g.t, os.WriteFile(path, []byte(content), 0o600))
}

// push commits the tree, sends it to the lab's Git server, and makes Argo CD look.
func (g *argo) push(ctx context.Context, message string) {
	g.t.Helper()
	password, err := argocd.GitPassword(ctx, g.client, argocd.Writer)
	require.NoError(g.t, err)
	address, stop, err := g.client.Forward(ctx, argocd.Namespace, "git", 80)
	require.NoError(g.t, err)
	defer stop()
	for _, args := range [][]string{
		{"init", "--quiet", "--initial-branch=main"}, {"add", "--all"}, {"commit", "--quiet", "--message", message},
		{"push", "--quiet", "http://" + address + "/lab.git", "main"},
	} {
		cmd := exec.CommandContext(ctx, "git", append([]string{
			"-c", "user.name=test", "-c", "user.email=test@labctl.test",
			"-c", `credential.helper=!f() { echo "username=writer"; echo "password=$PASSWORD"; }; f`,
		}, args...)...)
		cmd.Dir = g.tree
		cmd.Env = append(os.Environ(), "PASSWORD="+password, "GIT_TERMINAL_PROMPT=0", "no_proxy=*")
		out, err := cmd.CombinedOutput()
		require.NoError(g.t, err, "git %s\n%s", strings.Join(args, " "), out)
	}
	_, err = g.applications.Patch(ctx, "plain", types.MergePatchType, []byte(`{"metadata":{"annotations":{"argocd.argoproj.io/refresh":"normal"}}}`), metav1.PatchOptions{})
	if !apierrors.IsNotFound(err) { // the first push comes before it
		require.NoError(g.t, err)
	}
}

func (g *argo) eventually(sync, health string) {
	g.t.Helper()
	require.EventuallyWithT(g.t, func(c *assert.CollectT) {
		a, err := g.applications.Get(g.t.Context(), "plain", metav1.GetOptions{})
		require.NoError(c, err)
		for path, want := range map[string]string{"sync": sync, "health": health} {
			got, _, err := unstructured.NestedString(a.Object, "status", path, "status")
			require.NoError(c, err)
			require.Equal(c, want, got, g.conditions(c))
		}
	}, 3*time.Minute, 200*time.Millisecond)
}

// conditions are what Argo CD says that is wrong.
func (g *argo) conditions(c require.TestingT) string {
	a, err := g.applications.Get(g.t.Context(), "plain", metav1.GetOptions{})
	require.NoError(c, err)
	conditions, _, err := unstructured.NestedSlice(a.Object, "status", "conditions")
	require.NoError(c, err)
	return fmt.Sprint(conditions)
}

func (g *argo) greets(want string) {
	g.t.Helper()
	require.EventuallyWithT(g.t, func(c *assert.CollectT) {
		words, err := g.client.Core.CoreV1().ConfigMaps("plain").Get(g.t.Context(), "words", metav1.GetOptions{})
		require.NoError(c, err)
		require.Equal(c, want, words.Data["greeting"])
	}, time.Minute, 100*time.Millisecond)
}
