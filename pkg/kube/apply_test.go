package kube_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/labctl/labctl/pkg/cluster/clustertest"
	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/kube"
)

var (
	kubeconfig string
	stop       = func() {}
)

func TestMain(m *testing.M) {
	code := m.Run()
	stop()
	os.Exit(code)
}

// api gives a client of a real API server, one for all tests of the package. No controller runs.
func api(t *testing.T) *kube.Client {
	t.Helper()
	if kubeconfig == "" {
		kubeconfig, stop = clustertest.Start(t)
	}
	return client(t)
}

// client gives one that knows nothing of what others have discovered.
func client(t *testing.T) *kube.Client {
	t.Helper()
	c, err := kube.New([]byte(kubeconfig))
	require.NoError(t, err)
	return c
}

func apply(t *testing.T, c *kube.Client, set kube.Set, report event.Report, manifests ...string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return c.Apply(ctx, set, []byte(strings.Join(manifests, "\n---\n")), report)
}

func configMap(name, value string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: { name: %s }\ndata: { key: %q }", name, value)
}

const (
	gardens = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: { name: %[1]s.labctl.test }
spec:
  group: labctl.test
  names: { plural: %[1]s, singular: %[2]s, kind: %[3]s }
  scope: Namespaced
  versions: [{ name: v1, served: true, storage: true, schema: { openAPIV3Schema: { type: object, x-kubernetes-preserve-unknown-fields: true } } }]`
	garden = `
apiVersion: labctl.test/v1
kind: %s
metadata: { name: eden }`
	namespace = "apiVersion: v1\nkind: Namespace\nmetadata: { name: %s }"
)

// names of the config maps in a namespace, but for the one that Kubernetes makes.
func names(t *testing.T, c *kube.Client, namespace string) []string {
	t.Helper()
	list, err := c.Core.CoreV1().ConfigMaps(namespace).List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	var out []string
	for _, m := range list.Items {
		if m.Name != "kube-root-ca.crt" {
			out = append(out, m.Name)
		}
	}
	slices.Sort(out)
	return out
}

func TestApplyPrunesTheSet(t *testing.T) {
	c := api(t)
	set, other := kube.Set{Name: "prune", Namespace: "prune"}, kube.Set{Name: "prune-other", Namespace: "prune"}
	ns := fmt.Sprintf(namespace, "prune")
	require.NoError(t, apply(t, c, set, nil, ns, configMap("a", "1"), configMap("b", "1"),
		"apiVersion: v1\nkind: ServiceAccount\nmetadata: { name: account }"))
	require.NoError(t, apply(t, c, other, nil, configMap("of-another-set", "1")))
	_, err := c.Core.CoreV1().ConfigMaps("prune").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "of-a-user"}}, metav1.CreateOptions{})
	require.NoError(t, err)

	// Another process: what the set had is known from the cluster alone. The last object of a kind goes, too.
	require.NoError(t, apply(t, client(t), set, nil, ns, configMap("b", "2"), configMap("c", "1")))
	require.Equal(t, []string{"b", "c", "of-a-user", "of-another-set"}, names(t, c, "prune"))
	_, err = c.Core.CoreV1().ServiceAccounts("prune").Get(t.Context(), "account", metav1.GetOptions{})
	require.True(t, apierrors.IsNotFound(err), err)
	b, err := c.Core.CoreV1().ConfigMaps("prune").Get(t.Context(), "b", metav1.GetOptions{})
	require.NoError(t, err)
	require.Equal(t, "2", b.Data["key"])
	parent, err := c.Core.CoreV1().ConfigMaps("kube-system").Get(t.Context(), "prune", metav1.GetOptions{})
	require.NoError(t, err)
	require.Equal(t, "ConfigMap,Namespace", parent.Annotations["applyset.kubernetes.io/contains-group-kinds"])
	require.Equal(t, parent.Labels["applyset.kubernetes.io/id"], b.Labels["applyset.kubernetes.io/part-of"])
}

// What a controller makes of a member, with the member's labels, is the controller's.
func TestApplyPrunesNothingOfAController(t *testing.T) {
	c := api(t)
	set := kube.Set{Name: "controlled", Namespace: "controlled"}
	manifests := []string{
		fmt.Sprintf(namespace, "controlled"),
		"apiVersion: v1\nkind: Service\nmetadata: { name: web }\nspec: { ports: [{ port: 80 }] }",
		"apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: { name: mine }\naddressType: IPv4\nendpoints: []",
	}
	require.NoError(t, apply(t, c, set, nil, manifests...))
	web, err := c.Core.CoreV1().Services("controlled").Get(t.Context(), "web", metav1.GetOptions{})
	require.NoError(t, err)
	slices := c.Core.DiscoveryV1().EndpointSlices("controlled")
	for name, owners := range map[string][]metav1.OwnerReference{
		"of-web": {*metav1.NewControllerRef(web, corev1.SchemeGroupVersion.WithKind("Service"))}, "no-longer-wanted": nil,
	} {
		_, err := slices.Create(t.Context(), &discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: web.Labels, OwnerReferences: owners}, AddressType: discoveryv1.AddressTypeIPv4,
		}, metav1.CreateOptions{})
		require.NoError(t, err)
	}
	require.NoError(t, apply(t, c, set, nil, manifests...))
	_, err = slices.Get(t.Context(), "of-web", metav1.GetOptions{})
	require.NoError(t, err)
	_, err = slices.Get(t.Context(), "no-longer-wanted", metav1.GetOptions{})
	require.True(t, apierrors.IsNotFound(err), err)
}

// What an apply that failed half-way made is in the set.
func TestApplyThatFailedIsPrunedByTheNext(t *testing.T) {
	c := api(t)
	set := kube.Set{Name: "half", Namespace: "half"}
	ns := fmt.Sprintf(namespace, "half")
	err := apply(t, c, set, nil, ns, "apiVersion: v1\nkind: ServiceAccount\nmetadata: { name: account }", "apiVersion: v1\nkind: Service\nmetadata: { name: refused }\nspec: { ports: [{ port: 99999 }] }")
	require.ErrorContains(t, err, "apply service/refused: ")
	require.ErrorContains(t, err, "99999")
	_, err = c.Core.CoreV1().ServiceAccounts("half").Get(t.Context(), "account", metav1.GetOptions{})
	require.NoError(t, err)
	require.NoError(t, apply(t, client(t), set, nil, ns, configMap("b", "1")))
	_, err = c.Core.CoreV1().ServiceAccounts("half").Get(t.Context(), "account", metav1.GetOptions{})
	require.True(t, apierrors.IsNotFound(err), err)
}

func TestApplyMakesKindsBeforeWhatIsOfThem(t *testing.T) {
	c := api(t)
	set := kube.Set{Name: "kinds", Namespace: "kinds"}
	definition := fmt.Sprintf(gardens, "gardens", "garden", "Garden")
	require.NoError(t, apply(t, c, set, nil, fmt.Sprintf(garden, "Garden"), configMap("early", "1"), definition, fmt.Sprintf(namespace, "kinds")))
	// The definition goes, and with it the last object of its kind.
	require.NoError(t, apply(t, client(t), set, nil, fmt.Sprintf(namespace, "kinds")))
}

// An operator brings its kinds after it has begun to run.
func TestApplyWaitsForAKindThatSomebodyElseBrings(t *testing.T) {
	c := api(t)
	brought := false
	report := func(e event.Event) {
		if !brought && e.Message == "applying configmap/after" { // all that does not need the kind comes before what does
			brought = true
			require.NoError(t, apply(t, client(t), kube.Set{Name: "operator"}, nil, fmt.Sprintf(gardens, "parks", "park", "Park")))
		}
	}
	require.NoError(t, apply(t, c, kube.Set{Name: "waits", Namespace: "default"}, report, fmt.Sprintf(garden, "Park"), configMap("after", "1")))
	require.True(t, brought)

	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	err := c.Apply(ctx, kube.Set{Name: "in-vain", Namespace: "default"}, fmt.Appendf(nil, garden, "Desert"), nil)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, `no matches for kind "Desert"`)
}

func TestApplyTakesBackWhatOthersChanged(t *testing.T) {
	c := api(t)
	set := kube.Set{Name: "taken", Namespace: "default"}
	require.NoError(t, apply(t, c, set, nil, configMap("taken", "1")))
	m, err := c.Core.CoreV1().ConfigMaps("default").Get(t.Context(), "taken", metav1.GetOptions{})
	require.NoError(t, err)
	m.Data["key"] = "by hand"
	_, err = c.Core.CoreV1().ConfigMaps("default").Update(t.Context(), m, metav1.UpdateOptions{FieldManager: "somebody"})
	require.NoError(t, err)
	require.NoError(t, apply(t, c, set, nil, configMap("taken", "1")))
	m, err = c.Core.CoreV1().ConfigMaps("default").Get(t.Context(), "taken", metav1.GetOptions{})
	require.NoError(t, err)
	require.Equal(t, "1", m.Data["key"])
}

// An object that is on its way out is waited for, and made again.
func TestApplyOutlivesADeletion(t *testing.T) {
	c := api(t)
	set := kube.Set{Name: "deleted", Namespace: "default"}
	held := strings.Replace(configMap("held", "1"), "name: held", `name: held, finalizers: ["labctl.test/held"]`, 1)
	require.NoError(t, apply(t, c, set, nil, held))
	maps := c.Core.CoreV1().ConfigMaps("default")
	require.NoError(t, maps.Delete(t.Context(), "held", metav1.DeleteOptions{}))

	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	err := c.Apply(ctx, set, []byte(held), nil)
	require.ErrorContains(t, err, "it is being deleted and waits for labctl.test/held")

	was, err := maps.Get(t.Context(), "held", metav1.GetOptions{})
	require.NoError(t, err)
	go func() {
		was.Finalizers = nil
		_, err := maps.Update(t.Context(), was, metav1.UpdateOptions{})
		if err != nil {
			t.Error(err)
		}
	}()
	require.NoError(t, apply(t, c, set, nil, configMap("held", "2")))
	now, err := maps.Get(t.Context(), "held", metav1.GetOptions{})
	require.NoError(t, err)
	require.NotEqual(t, was.UID, now.UID)
}

func TestApplyRefusesBeforeAnythingChanges(t *testing.T) {
	c := api(t)
	for name, tt := range map[string]struct{ manifests, want string }{
		"nothing":         {"# only a comment\n---\n", "the manifests have no object"},
		"no name":         {configMap("good", "1") + "\n---\napiVersion: v1\nkind: ConfigMap\n", `document 2 of the manifests: an object needs apiVersion, kind and metadata.name; it has "v1", "ConfigMap" and ""`},
		"no kind":         {"apiVersion: v1\nmetadata: { name: x }", `document 1 of the manifests: `},
		"no YAML":         {configMap("good", "1") + "\n---\n{a: [", "document 2 of the manifests: "},
		"twice":           {configMap("good", "1") + "\n---\n" + configMap("good", "2"), "documents 1 and 2 of the manifests are the same object, configmap/good"},
		"twice in a list": {"apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Secret, metadata: {name: s}}\n- {apiVersion: v1, kind: Secret, metadata: {name: s}}", "are the same object, secret/s"},
	} {
		t.Run(name, func(t *testing.T) {
			require.ErrorContains(t, apply(t, c, kube.Set{Name: "refused", Namespace: "default"}, nil, tt.manifests), tt.want)
			for _, namespace := range []string{"default", "kube-system"} {
				require.NotContains(t, names(t, c, namespace), "good")
				require.NotContains(t, names(t, c, namespace), "refused")
			}
		})
	}
	require.ErrorContains(t, apply(t, c, kube.Set{Name: "nowhere"}, nil, configMap("lost", "1")), "apply configmap/lost: it names no namespace")
	require.ErrorContains(t, apply(t, c, kube.Set{Name: "misfit", Namespace: "default"}, nil, strings.Replace(configMap("misfit", "1"), `"1"`, "1", 1)),
		"apply configmap/misfit: failed to create typed patch object")
	_, err := c.Core.CoreV1().ConfigMaps("kube-system").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "somebodys"}}, metav1.CreateOptions{})
	require.NoError(t, err)
	require.ErrorContains(t, apply(t, c, kube.Set{Name: "somebodys"}, nil, configMap("lost", "1")), "is no set of labctl's")
}

func TestApplyWaitsUntilAllIsReady(t *testing.T) {
	c := api(t)
	deployment := `
apiVersion: apps/v1
kind: Deployment
metadata: { name: never }
spec:
  selector: { matchLabels: { app: never } }
  template: { metadata: { labels: { app: never } }, spec: { containers: [{ name: never, image: example.invalid/never }] } }`
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	err := c.Apply(ctx, kube.Set{Name: "ready", Namespace: "default"}, []byte(deployment), nil)
	var e *kube.NotReadyError
	require.True(t, errors.As(err, &e), "%v", err)
	require.Equal(t, "deployment/never", e.Workload)
}

func TestDeleteTakesBackTheSet(t *testing.T) {
	c := api(t)
	set, other := kube.Set{Name: "taken", Namespace: "taken"}, kube.Set{Name: "taken-other", Namespace: "taken-other"}
	definition := fmt.Sprintf(gardens, "orchards", "orchard", "Orchard")
	require.NoError(t, apply(t, c, set, nil, definition, fmt.Sprintf(garden, "Orchard"), configMap("a", "1"), "apiVersion: v1\nkind: Namespace\nmetadata: { name: taken }"))
	require.NoError(t, apply(t, c, other, nil, fmt.Sprintf(namespace, "taken-other"), configMap("b", "1")))
	_, err := c.Core.CoreV1().ConfigMaps("taken").Patch(t.Context(), "a", types.MergePatchType, []byte(`{"metadata":{"finalizers":["labctl.test/held"]}}`), metav1.PatchOptions{})
	require.NoError(t, err)

	soon, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	err = c.Delete(soon, set, nil)
	require.ErrorContains(t, err, "there is still configmap/a in namespace taken and waits for labctl.test/held")
	_, err = c.Core.CoreV1().ConfigMaps("kube-system").Get(t.Context(), "taken", metav1.GetOptions{})
	require.NoError(t, err, "the set is known until all of it is gone")

	_, err = c.Core.CoreV1().ConfigMaps("taken").Patch(t.Context(), "a", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
	require.NoError(t, err)
	finalized := finalize(t, c, "taken")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.NoError(t, client(t).Delete(ctx, set, nil))
	require.NoError(t, <-finalized)
	_, err = c.Core.CoreV1().Namespaces().Get(t.Context(), "taken", metav1.GetOptions{})
	require.True(t, apierrors.IsNotFound(err), err)
	_, err = c.Core.CoreV1().ConfigMaps("kube-system").Get(t.Context(), "taken", metav1.GetOptions{})
	require.True(t, apierrors.IsNotFound(err), err)
	require.Equal(t, []string{"b"}, names(t, c, "taken-other"))
	require.NoError(t, c.Delete(ctx, set, nil), "again, on nothing")
	orchard := schema.GroupVersionKind{Group: "labctl.test", Version: "v1", Kind: "Orchard"}
	require.NoError(t, c.DeleteAll(ctx, orchard, "taken", nil, nil), "this client knew the kind, which is gone")
	require.NoError(t, client(t).DeleteAll(ctx, orchard, "taken", nil, nil), "a kind that nobody knows")
}

// finalize does once what the controller of namespaces does, which does not run here.
func finalize(t *testing.T, c *kube.Client, name string) <-chan error {
	t.Helper()
	done := make(chan error, 1)
	watching, err := c.Core.CoreV1().Namespaces().Watch(t.Context(), metav1.ListOptions{FieldSelector: "metadata.name=" + name})
	require.NoError(t, err)
	go func() {
		defer watching.Stop()
		for e := range watching.ResultChan() {
			ns, ok := e.Object.(*corev1.Namespace)
			if ok && ns.DeletionTimestamp != nil {
				ns.Spec.Finalizers = nil
				_, err := c.Core.CoreV1().Namespaces().Finalize(t.Context(), ns, metav1.UpdateOptions{})
				done <- err
				return
			}
		}
		done <- errors.New("the namespace was never deleted")
	}()
	return done
}

func TestCompareSaysWhatOthersChanged(t *testing.T) {
	c := api(t)
	set := kube.Set{Name: "compared", Namespace: "compared"}
	manifests := []string{fmt.Sprintf(namespace, "compared"), configMap("a", "1"), "apiVersion: v1\nkind: Service\nmetadata: { name: web }\nspec: { ports: [{ port: 80 }] }"}
	compare := func(manifests ...string) string {
		t.Helper()
		why, err := c.Compare(t.Context(), set, []byte(strings.Join(manifests, "\n---\n")))
		require.NoError(t, err)
		return why
	}
	require.Equal(t, "it is not there", compare(manifests...))
	require.NoError(t, apply(t, c, set, nil, manifests...))
	require.Empty(t, compare(manifests...), "what the API fills in is no difference")
	require.Equal(t, "configmap/a in namespace compared was changed", compare(manifests[0], configMap("a", "2")))
	require.Equal(t, "configmap/b in namespace compared is missing", compare(manifests[0], configMap("b", "1")))
	require.Equal(t, "garden/eden is missing, with its kind", compare(fmt.Sprintf(garden, "Garden")))

	maps := c.Core.CoreV1().ConfigMaps("compared")
	_, err := maps.Patch(t.Context(), "a", types.MergePatchType, []byte(`{"metadata":{"annotations":{"of":"another"}}}`), metav1.PatchOptions{FieldManager: "another"})
	require.NoError(t, err)
	require.Empty(t, compare(manifests...), "what others add is theirs")
	_, err = maps.Patch(t.Context(), "a", types.MergePatchType, []byte(`{"data":{"key":"by hand"}}`), metav1.PatchOptions{FieldManager: "another"})
	require.NoError(t, err)
	require.Equal(t, "configmap/a in namespace compared was changed", compare(manifests...))
}
