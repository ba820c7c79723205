package workload_test

import (
	"bufio"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
	syaml "sigs.k8s.io/yaml"

	"github.com/labctl/labctl/pkg/chart"
	"github.com/labctl/labctl/pkg/kube"
	"github.com/labctl/labctl/pkg/shadow/workload"
	"github.com/labctl/labctl/services/topics"
	"github.com/labctl/labctl/test/golden"
)

// filters are those of the live Ingress, as in stacks/*/5-release.
const filters = "flowId(`reuse`) -> readTimeout(`40s`)"

// release is the chat, behind Skipper, with the values of a file of the chart.
func release(t *testing.T, file string) chart.Release {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../../charts/chat/ci", file+"-values.yaml"))
	require.NoError(t, err)
	var values map[string]any
	require.NoError(t, syaml.Unmarshal(text, &values))
	values["ingress"] = map[string]any{
		"className": "skipper", "host": "chat.example.org", "tlsSecret": "chat-tls",
		"annotations": map[string]any{"zalando.org/skipper-filter": filters, "cert-manager.io/cluster-issuer": "of-the-lab"},
	}
	return chart.Release{Name: "chat", Namespace: "chat", ChartDir: "../../../charts/chat", Values: values}
}

// rendered gives the chat's objects.
func rendered(t *testing.T, r chart.Release) (all []runtime.Object) {
	t.Helper()
	text, err := chart.Render(r)
	require.NoError(t, err)
	return decode(t, text)
}

func decode(t *testing.T, text string) (all []runtime.Object) {
	t.Helper()
	reader := yaml.NewYAMLReader(bufio.NewReader(strings.NewReader(text)))
	for {
		doc, err := reader.Read()
		if err == io.EOF {
			return all
		}
		require.NoError(t, err)
		o, _, err := scheme.Codecs.UniversalDeserializer().Decode(doc, nil, nil)
		require.NoError(t, err, "%s", doc)
		all = append(all, o)
	}
}

// live finds a service among objects.
func live(objects []runtime.Object, service string) (l workload.Live) {
	for _, o := range objects {
		switch o := o.(type) {
		case *appsv1.Deployment:
			if o.Name == service {
				l.Deployment = *o
			}
		case *corev1.Service:
			if o.Name == service {
				l.Service = *o
			}
		case *networkingv1.NetworkPolicy:
			l.Policies = append(l.Policies, *o)
		case *networkingv1.Ingress:
			l.Ingresses = append(l.Ingresses, *o)
		}
	}
	return l
}

func options(service string) workload.Options {
	const digest = "@sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	return workload.Options{
		Service: service, CandidateImage: "localhost:5000/lab/" + service + digest, ComparerImage: "localhost:5000/lab/comparer" + digest,
		Owner: kube.Owner{Lab: "chat", Environment: "local", Stack: "5-release"},
	}
}

// shadow gives all objects of a shadow.
func shadow(t *testing.T, l workload.Live, service string) (all []runtime.Object) {
	t.Helper()
	for _, side := range topics.Sides() {
		objects, err := workload.Side(l, options(service), side)
		require.NoError(t, err)
		all = append(all, objects...)
	}
	comparer, err := workload.Comparer(l, options(service))
	require.NoError(t, err)
	ingresses, err := workload.Ingresses(l, options(service))
	require.NoError(t, err)
	return slices.Concat(all, comparer, ingresses)
}

// The objects of a shadow, as they come from the chart's.
func TestObjects(t *testing.T) {
	for _, tt := range []struct{ service, values string }{{"messaging", "all"}, {"gateway", "all"}, {"auth", "all"}, {"presence", "default"}} {
		t.Run(tt.service+"/"+tt.values, func(t *testing.T) {
			text, err := workload.Manifests(shadow(t, live(rendered(t, release(t, tt.values)), tt.service), tt.service))
			require.NoError(t, err)
			golden.Equal(t, tt.service+"-"+tt.values+".yaml", string(text))
		})
	}
}

// deployments gives those among objects, by name.
func deployments(objects []runtime.Object) map[string]*appsv1.Deployment {
	all := map[string]*appsv1.Deployment{}
	for _, o := range objects {
		if d, ok := o.(*appsv1.Deployment); ok {
			all[d.Name] = d
		}
	}
	return all
}

// env gives the variables of a Deployment's only container. One from a Secret is "secret/key".
func env(d *appsv1.Deployment) map[string]string {
	all := map[string]string{}
	for _, v := range d.Spec.Template.Spec.Containers[0].Env {
		all[v.Name] = v.Value
		if v.ValueFrom != nil {
			all[v.Name] = v.ValueFrom.SecretKeyRef.Name + "/" + v.ValueFrom.SecretKeyRef.Key
		}
	}
	return all
}

// A side differs from the live one in what must differ, and in nothing else.
func TestWhatDiffers(t *testing.T) {
	objects := rendered(t, release(t, "all"))
	for _, service := range topics.Shadowed() {
		l := live(objects, service)
		was := env(&l.Deployment)
		all := deployments(shadow(t, l, service))
		for _, side := range topics.Sides() {
			d := all[service+"-"+side]
			require.NotNil(t, d, service)
			is := env(d)
			differ := map[string]string{}
			for name := range maps.Keys(is) {
				if is[name] != was[name] {
					differ[name] = is[name]
				}
			}
			want := map[string]string{
				"SIDE_EFFECTS": "off", "KAFKA_WRITE_PREFIX": side + "." + service + ".", "OTEL_SERVICE_NAME": d.Name,
				"KAFKA_USER": d.Name, "KAFKA_PASSWORD": "shadow-kafka/" + d.Name,
			}
			if service != "gateway" {
				want["MONGODB_URI"] = "shadow-mongodb/" + d.Name
			}
			if service == "messaging" || service == "presence" { // the others read the live one
				want["MONGODB_DATABASE"] = d.Name
			}
			if service == "messaging" || service == "presence" {
				want["KAFKA_GROUP"] = d.Name
			}
			require.Equal(t, want, differ, d.Name)
			for name := range was {
				require.Contains(t, is, name)
			}

			require.EqualValues(t, 1, *d.Spec.Replicas)
			template, image := l.Deployment.Spec.Template.DeepCopy(), l.Deployment.Spec.Template.Spec.Containers[0].Image
			if side == topics.Candidate {
				image = options(service).CandidateImage
			}
			require.Equal(t, image, d.Spec.Template.Spec.Containers[0].Image)
			template.Spec.Containers[0].Image, template.Spec.Containers[0].Env = image, d.Spec.Template.Spec.Containers[0].Env
			template.Spec.TopologySpreadConstraints = nil
			require.Equal(t, template.Spec, d.Spec.Template.Spec, "all else is as in the live one")
			require.Equal(t, template.Annotations, d.Spec.Template.Annotations)
		}
		is := env(all[service+"-comparer"])
		require.Equal(t, service, is["SERVICE"])
		require.Equal(t, "http://"+service+"-shadow:8080", is["CANDIDATE_URL"])
		require.Equal(t, "http://"+service+"-baseline:8080", is["BASELINE_URL"])
		if service == "auth" || service == "groups" {
			require.Empty(t, is["KAFKA_PASSWORD"]+is["MONGODB_URI"]+is["KAFKA_BROKERS"], "it compares requests alone")
		} else {
			require.Equal(t, "shadow-kafka/"+service+"-comparer", is["KAFKA_PASSWORD"])
		}
		if service == "messaging" || service == "presence" {
			require.Equal(t, "shadow-mongodb/"+service+"-comparer", is["MONGODB_URI"])
		}
		require.NotContains(t, is, "KEY_ENCRYPTION_SECRET")
	}
}

// All mirrored clients come to a copy of the gateway from the comparer's address.
func TestMirroredClientsAreNotLimitedByTheirAddress(t *testing.T) {
	l := live(rendered(t, release(t, "default")), "gateway")
	require.Equal(t, "2000/10000", env(&l.Deployment)["ADDRESS_RATE"])
	all := deployments(shadow(t, l, "gateway"))
	for _, side := range topics.Sides() {
		require.Equal(t, "off", env(all["gateway-"+side])["ADDRESS_RATE"])
	}
}

// No live object takes the shadow's pods for its own, and no tool takes the shadow's objects for its own.
func TestNothingLiveKnowsTheShadow(t *testing.T) {
	objects := rendered(t, release(t, "all"))
	for _, service := range topics.Shadowed() {
		l := live(objects, service)
		// As Helm and Argo CD leave it.
		l.Deployment.Annotations = map[string]string{
			"meta.helm.sh/release-name": "chat", "argocd.argoproj.io/tracking-id": "chat:apps/Deployment:chat/" + service, "deployment.kubernetes.io/revision": "3",
		}
		l.Deployment.Labels["helm.sh/chart"], l.Deployment.Labels["argocd.argoproj.io/instance"] = "chat-1", "chat"
		l.Deployment.Spec.Template.Labels["helm.sh/chart"] = "chat-1"
		l.Deployment.UID, l.Deployment.ResourceVersion, l.Deployment.Generation = "u", "7", 4
		l.Deployment.Status.Replicas = 2
		l.Deployment.Spec.Template.Labels["injected.example.org/by"] = "a webhook"

		made := shadow(t, l, service)
		for _, d := range deployments(made) {
			pod := labels.Set(d.Spec.Template.Labels)
			require.Equal(t, service, pod[workload.Label])
			require.Equal(t, "chat", pod["app.kubernetes.io/part-of"], "by which the chat closes all its pods")
			require.Equal(t, d.Name != service+"-comparer", pod["injected.example.org/by"] != "", "the sides are what the live pods are to others")
			require.NotContains(t, pod, "helm.sh/chart")
			for _, o := range objects {
				switch o := o.(type) {
				case *corev1.Service:
					require.False(t, labels.SelectorFromSet(o.Spec.Selector).Matches(pod), "service %s selects %s", o.Name, d.Name)
				case *appsv1.Deployment:
					require.False(t, labels.SelectorFromSet(o.Spec.Selector.MatchLabels).Matches(pod), "deployment %s selects %s", o.Name, d.Name)
				case *policyv1.PodDisruptionBudget:
					require.False(t, labels.SelectorFromSet(o.Spec.Selector.MatchLabels).Matches(pod), "disruption budget %s selects %s", o.Name, d.Name)
				case *networkingv1.NetworkPolicy:
					if o.Name != "chat-default-deny" {
						require.False(t, labels.SelectorFromSet(o.Spec.PodSelector.MatchLabels).Matches(pod), "policy %s selects %s", o.Name, d.Name)
					}
				}
			}
		}
		taken := map[string]bool{}
		for _, o := range objects {
			taken[key(t, o)] = true
		}
		text, err := workload.Manifests(made)
		require.NoError(t, err)
		require.NotContains(t, string(text), "status:")
		for _, o := range decode(t, string(text)) {
			m, err := meta.Accessor(o)
			require.NoError(t, err)
			require.False(t, taken[key(t, o)], "%s is there already", key(t, o))
			taken[key(t, o)] = true
			require.Equal(t, map[string]string{
				"app.kubernetes.io/name": m.GetLabels()["app.kubernetes.io/name"], "app.kubernetes.io/part-of": "chat", workload.Label: service,
				"labctl/lab": "chat", "labctl/environment": "local", "labctl/stack": "5-release",
			}, m.GetLabels())
			if _, ingress := o.(*networkingv1.Ingress); !ingress {
				require.Empty(t, m.GetAnnotations())
			}
			require.Empty(t, m.GetUID())
			require.Empty(t, m.GetResourceVersion())
		}
	}
}

// key tells objects apart.
func key(t *testing.T, o runtime.Object) string {
	m, err := meta.Accessor(o)
	require.NoError(t, err)
	return o.GetObjectKind().GroupVersionKind().Kind + "/" + m.GetName()
}

func TestWhatCannotBeShadowed(t *testing.T) {
	for _, tt := range []struct {
		name, service string
		change        func(*workload.Live)
		want          string
	}{
		{"the page", "frontend", func(*workload.Live) {}, "frontend can have no shadow; auth, gateway, groups, messaging, presence can"},
		{"tokens", "messaging", func(l *workload.Live) {
			env := l.Deployment.Spec.Template.Spec.Containers[0].Env
			env[slices.IndexFunc(env, func(v corev1.EnvVar) bool { return v.Name == "KAFKA_SASL" })].Value = "OAUTHBEARER"
		}, "managed databases have no users for shadows"},
		{"containers of which none is known", "messaging", func(l *workload.Live) {
			spec := &l.Deployment.Spec.Template.Spec
			spec.Containers[0].Name = "main"
			spec.Containers = append(spec.Containers, corev1.Container{Name: "proxy"})
		}, "several containers and none called messaging"},
		{"no port", "messaging", func(l *workload.Live) { l.Service.Spec.Ports = nil }, "service messaging has no port"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := live(rendered(t, release(t, "all")), tt.service)
			tt.change(&l)
			_, err := workload.Side(l, options(tt.service), topics.Candidate)
			require.ErrorContains(t, err, tt.want)
			_, err = workload.Comparer(l, options(tt.service))
			require.ErrorContains(t, err, tt.want)
			if tt.name == "tokens" {
				return // no matter of an Ingress
			}
			_, err = workload.Ingresses(l, options(tt.service))
			require.ErrorContains(t, err, tt.want)
		})
	}
}

// A container beside the service's, such as a sidecar that a webhook has put there, stays as it is.
func TestSidecar(t *testing.T) {
	l := live(rendered(t, release(t, "all")), "messaging")
	sidecar := corev1.Container{Name: "proxy", Image: "proxy", Env: []corev1.EnvVar{{Name: "KAFKA_SASL", Value: "SCRAM-SHA-512"}}}
	l.Deployment.Spec.Template.Spec.Containers = append([]corev1.Container{sidecar}, l.Deployment.Spec.Template.Spec.Containers...)
	objects, err := workload.Side(l, options("messaging"), topics.Candidate)
	require.NoError(t, err)
	containers := deployments(objects)["messaging-shadow"].Spec.Template.Spec.Containers
	require.Equal(t, sidecar, containers[0])
	require.Equal(t, options("messaging").CandidateImage, containers[1].Image)
}
