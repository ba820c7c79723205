package chart_test

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"helm.sh/helm/v3/pkg/chartutil"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/labctl/labctl/pkg/chart"
	"github.com/labctl/labctl/services/auth"
	"github.com/labctl/labctl/services/frontend"
	"github.com/labctl/labctl/services/gateway"
	"github.com/labctl/labctl/services/groups"
	"github.com/labctl/labctl/services/messaging"
	"github.com/labctl/labctl/services/presence"
	"github.com/labctl/labctl/test/golden"
)

const chartsDir = "../../charts"

// namespaces of the charts in the local lab.
var namespaces = map[string]string{"databases": "data", "chat": "chat"}

func given(t *testing.T, name, file string) map[string]any {
	t.Helper()
	values, err := chartutil.ReadValuesFile(filepath.Join(chartsDir, name, "ci", file+"-values.yaml"))
	require.NoError(t, err)
	return values
}

func described(t *testing.T, name, file string) chart.Release {
	return chart.Release{Name: name, Namespace: namespaces[name], ChartDir: filepath.Join(chartsDir, name), Values: given(t, name, file)}
}

func everyRendering(t *testing.T, check func(t *testing.T, name, file, text string)) {
	for _, name := range slices.Sorted(maps.Keys(namespaces)) {
		for _, file := range []string{"default", "all"} {
			t.Run(name+"/"+file, func(t *testing.T) {
				text, err := chart.Render(described(t, name, file))
				require.NoError(t, err)
				check(t, name, file, text)
			})
		}
	}
}

func TestRenderedObjects(t *testing.T) {
	everyRendering(t, func(t *testing.T, name, file, text string) {
		golden.Equal(t, name+"-"+file+".yaml", text)
	})
}

// decode reads a YAML stream as the API's own types and refuses fields that they do not have, or have twice.
func decode(t *testing.T, text string) []runtime.Object {
	t.Helper()
	codec := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	reader := yaml.NewYAMLReader(bufio.NewReader(strings.NewReader(text)))
	var out []runtime.Object
	for {
		doc, err := reader.Read()
		if err == io.EOF {
			return out
		}
		require.NoError(t, err)
		obj, _, err := codec.Decode(doc, nil, nil)
		require.NoError(t, err, "%s", doc)
		out = append(out, obj)
	}
}

func TestEveryObjectIsOneOfTheAPI(t *testing.T) {
	everyRendering(t, func(t *testing.T, _, _, text string) {
		require.NotEmpty(t, decode(t, text))
	})
}

// The pods must be let in by the pod security level "restricted", hold no token, and give their limits.
func TestPodsAreRestricted(t *testing.T) {
	everyRendering(t, func(t *testing.T, _, _, text string) {
		pods := 0
		for _, obj := range decode(t, text) {
			var spec corev1.PodSpec
			var name string
			switch o := obj.(type) {
			case *appsv1.Deployment:
				spec, name = o.Spec.Template.Spec, o.Name
			case *appsv1.StatefulSet:
				spec, name = o.Spec.Template.Spec, o.Name
			case *corev1.Pod:
				spec, name = o.Spec, o.Name
			default:
				continue
			}
			pods++
			t.Run(name, func(t *testing.T) {
				require.NotNil(t, spec.AutomountServiceAccountToken)
				require.False(t, *spec.AutomountServiceAccountToken)
				require.NotNil(t, spec.EnableServiceLinks)
				require.False(t, *spec.EnableServiceLinks)
				require.True(t, *spec.SecurityContext.RunAsNonRoot)
				require.EqualValues(t, 65532, *spec.SecurityContext.RunAsUser)
				require.Equal(t, corev1.SeccompProfileTypeRuntimeDefault, spec.SecurityContext.SeccompProfile.Type)
				for _, c := range spec.Containers {
					require.False(t, *c.SecurityContext.AllowPrivilegeEscalation)
					require.True(t, *c.SecurityContext.ReadOnlyRootFilesystem)
					require.Equal(t, []corev1.Capability{"ALL"}, c.SecurityContext.Capabilities.Drop)
					require.Empty(t, c.SecurityContext.Capabilities.Add)
					require.False(t, c.Resources.Limits.Memory().IsZero())
				}
			})
		}
		require.Positive(t, pods)
	})
}

func TestChatWiring(t *testing.T) {
	text, err := chart.Render(described(t, "chat", "all"))
	require.NoError(t, err)
	deployments, services, budgets := map[string]*appsv1.Deployment{}, map[string]*corev1.Service{}, map[string]bool{}
	secrets, accounts := map[string]*corev1.Secret{}, map[string]*corev1.ServiceAccount{}
	var ingress *networkingv1.Ingress
	for _, obj := range decode(t, text) {
		switch o := obj.(type) {
		case *appsv1.Deployment:
			deployments[o.Name] = o
		case *corev1.Service:
			services[o.Name] = o
		case *policyv1.PodDisruptionBudget:
			budgets[o.Name] = true
		case *networkingv1.Ingress:
			ingress = o
		case *corev1.Secret:
			secrets[o.Name] = o
		case *corev1.ServiceAccount:
			accounts[o.Name] = o
		}
	}
	require.Equal(t, []string{"auth", "frontend", "gateway", "groups", "messaging", "presence"}, slices.Sorted(maps.Keys(deployments)))

	t.Run("every service picks its deployment's pods and port", func(t *testing.T) {
		for name, d := range deployments {
			s := services[name]
			require.NotNil(t, s, name)
			require.Equal(t, d.Spec.Selector.MatchLabels, s.Spec.Selector, name)
			for k, v := range s.Spec.Selector {
				require.Equal(t, v, d.Spec.Template.Labels[k], name)
			}
			c := d.Spec.Template.Spec.Containers[0]
			require.Len(t, s.Spec.Ports, 2, name)
			for i, p := range s.Spec.Ports {
				require.Equal(t, p.TargetPort.StrVal, c.Ports[i].Name, name)
			}
			for _, p := range []*corev1.Probe{c.StartupProbe, c.ReadinessProbe, c.LivenessProbe} {
				require.Equal(t, "health", p.HTTPGet.Port.StrVal, name)
			}
			require.Zero(t, d.Spec.Strategy.RollingUpdate.MaxUnavailable.IntValue(), name)
		}
	})
	t.Run("the ingress sends each path to a service", func(t *testing.T) {
		paths := map[string]string{}
		for _, p := range ingress.Spec.Rules[0].HTTP.Paths {
			require.NotNil(t, services[p.Backend.Service.Name], p.Path)
			require.Equal(t, "http", p.Backend.Service.Port.Name, "health and metrics are for whoever runs the chat")
			paths[p.Path] = p.Backend.Service.Name
		}
		require.Equal(t, map[string]string{
			"/": "frontend", "/ws": "gateway", "/api/auth": "auth",
			"/api/groups": "groups", "/api/invitations": "groups", "/api/contacts": "groups", "/api/blocks": "groups",
			"/api/presence": "presence", "/api/conversations": "messaging", "/api/messages": "messaging",
		}, paths)
		require.Equal(t, "nginx", *ingress.Spec.IngressClassName)
		require.Equal(t, "chat.example.org", ingress.Spec.Rules[0].Host)
	})
	t.Run("a disruption budget stands only where there is more than one pod", func(t *testing.T) {
		require.Equal(t, map[string]bool{"gateway": true, "messaging": true}, budgets)
	})
	t.Run("a gateway that ends has time to let its connections go", func(t *testing.T) {
		spec := deployments["gateway"].Spec.Template.Spec
		require.Greater(t, *spec.TerminationGracePeriodSeconds, spec.Containers[0].Lifecycle.PreStop.Sleep.Seconds)
	})
	t.Run("each service that has data has its own database", func(t *testing.T) {
		for name, database := range map[string]string{"auth": "auth", "gateway": "", "messaging": "messaging", "presence": "presence", "groups": "groups"} {
			env := map[string]string{}
			for _, e := range deployments[name].Spec.Template.Spec.Containers[0].Env {
				env[e.Name] = e.Value
			}
			require.Equal(t, database, env["MONGODB_DATABASE"])
			require.Equal(t, "kafka-0.example.org:9093,kafka-1.example.org:9093", env["KAFKA_BROKERS"])
		}
	})
	t.Run("each service is given what it reads and nothing else, and the chart's own addresses", func(t *testing.T) {
		reads := map[string][]string{}
		for _, v := range auth.Variables() {
			reads["auth"] = append(reads["auth"], v.Name)
		}
		for _, v := range gateway.Variables() {
			reads["gateway"] = append(reads["gateway"], v.Name)
		}
		for _, v := range groups.Variables() {
			reads["groups"] = append(reads["groups"], v.Name)
		}
		for _, v := range messaging.Variables() {
			reads["messaging"] = append(reads["messaging"], v.Name)
		}
		for _, v := range presence.Variables() {
			reads["presence"] = append(reads["presence"], v.Name)
		}
		for _, v := range frontend.Variables() {
			reads["frontend"] = append(reads["frontend"], v.Name)
		}
		for name, d := range deployments {
			given := map[string]string{}
			for _, e := range d.Spec.Template.Spec.Containers[0].Env {
				require.Contains(t, reads[name], e.Name, name)
				given[e.Name] = e.Value
			}
			for _, to := range []string{"auth", "groups", "messaging"} {
				if variable := strings.ToUpper(to) + "_URL"; slices.Contains(reads[name], variable) {
					require.Equal(t, "http://"+to+":8080", given[variable], name)
				}
			}
			if slices.Contains(reads[name], "ALLOWED_ORIGINS") {
				require.Equal(t, "https://chat.example.org", given["ALLOWED_ORIGINS"], name)
			}
		}
	})
	t.Run("each service has its own password, and knows where to find the brokers' authority", func(t *testing.T) {
		for _, name := range []string{"auth", "gateway", "messaging", "presence", "groups"} {
			pod := deployments[name].Spec.Template.Spec
			env := map[string]corev1.EnvVar{}
			for _, e := range pod.Containers[0].Env {
				env[e.Name] = e
			}
			require.Equal(t, "SCRAM-SHA-512", env["KAFKA_SASL"].Value)
			require.Equal(t, "chat-kafka", env["KAFKA_PASSWORD"].ValueFrom.SecretKeyRef.Name)
			require.Equal(t, name, env["KAFKA_PASSWORD"].ValueFrom.SecretKeyRef.Key)
			require.Equal(t, "/kafka/ca.crt", env["KAFKA_TLS"].Value)
			require.Equal(t, "/kafka", pod.Containers[0].VolumeMounts[1].MountPath)
			require.Equal(t, "chat-kafka-ca", pod.Volumes[1].ConfigMap.Name)
			if name == "gateway" { // which has no database
				require.Len(t, pod.Volumes, 2)
				continue
			}
			require.Equal(t, "/mongodb", pod.Containers[0].VolumeMounts[2].MountPath)
			require.Equal(t, "chat-mongodb-ca", pod.Volumes[2].ConfigMap.Name)
		}
		frontend := deployments["frontend"].Spec.Template.Spec
		require.Empty(t, frontend.Volumes)
		for _, e := range frontend.Containers[0].Env {
			require.NotContains(t, e.Name, "KAFKA")
		}
		require.Equal(t, map[string][]byte{
			"auth": []byte("password-of-auth"), "gateway": []byte("password-of-gateway"), "messaging": []byte("password-of-messaging"),
			"presence": []byte("password-of-presence"), "groups": []byte("password-of-groups"),
		}, secrets["chat-kafka"].Data)
	})
	t.Run("each service has a token for each other that it asks, and those who are asked have what they ask for keys with", func(t *testing.T) {
		dir := ""
		for _, v := range auth.Variables() {
			if v.Name == "IDENTITY_DIR" {
				dir = v.Default
			}
		}
		for name, want := range map[string][]string{
			"auth":      {"ca.crt", "namespace", "token"},
			"gateway":   {"auth: chat/auth", "messaging: chat/messaging"},
			"messaging": {"auth: chat/auth", "ca.crt", "namespace", "token"},
			"presence":  {"auth: chat/auth", "groups: chat/groups", "messaging: chat/messaging"},
			"groups":    {"auth: chat/auth", "ca.crt", "namespace", "token"},
		} {
			pod := deployments[name].Spec.Template.Spec
			require.Equal(t, name, pod.ServiceAccountName)
			require.Equal(t, "identity", pod.Containers[0].VolumeMounts[0].Name)
			require.Equal(t, dir, pod.Containers[0].VolumeMounts[0].MountPath)
			var files []string
			for _, s := range pod.Volumes[0].Projected.Sources {
				switch {
				case s.ConfigMap != nil:
					files = append(files, s.ConfigMap.Items[0].Path)
				case s.DownwardAPI != nil:
					files = append(files, s.DownwardAPI.Items[0].Path)
				case s.ServiceAccountToken.Audience != "":
					files = append(files, s.ServiceAccountToken.Path+": "+s.ServiceAccountToken.Audience)
				default:
					files = append(files, s.ServiceAccountToken.Path)
				}
			}
			require.ElementsMatch(t, want, files, name)
		}
	})
	t.Run("a service that is an identity says so, and only such a one", func(t *testing.T) {
		for name, d := range deployments {
			_, marked := d.Spec.Template.Labels["azure.workload.identity/use"]
			require.Equal(t, name == "auth", marked, name)
			_, annotated := accounts[name].Annotations["azure.workload.identity/client-id"]
			require.Equal(t, name == "auth", annotated, name)
		}
	})
	t.Run("the connection string and passwords are in Secrets alone", func(t *testing.T) {
		require.NotContains(t, text, "correct-horse")
		require.NotContains(t, text, "password-of")
	})
	t.Run("a new connection string gives new pods to those that use it, and only those", func(t *testing.T) {
		r := described(t, "chat", "all")
		set(r.Values, "mongodb.uris.auth", "mongodb://other:27017")
		text, err := chart.Render(r)
		require.NoError(t, err)
		changed := []string{}
		for _, obj := range decode(t, text) {
			if d, ok := obj.(*appsv1.Deployment); ok && !maps.Equal(d.Spec.Template.Annotations, deployments[d.Name].Spec.Template.Annotations) {
				changed = append(changed, d.Name)
			}
		}
		require.ElementsMatch(t, []string{"auth", "gateway", "messaging", "presence", "groups"}, changed)
	})
}

// With tokens there is no password, and a password that is not given is asked for by its name.
func TestChatLogsInAsGiven(t *testing.T) {
	r := described(t, "chat", "default")
	set(r.Values, "kafka.sasl", "OAUTHBEARER")
	set(r.Values, "kafka.tls", "system")
	text, err := chart.Render(r)
	require.NoError(t, err)
	require.NotContains(t, text, "KAFKA_PASSWORD")
	require.NotContains(t, text, "chat-kafka")
	require.Contains(t, text, "OAUTHBEARER")

	set(r.Values, "kafka.sasl", "SCRAM-SHA-512")
	set(r.Values, "kafka.passwords", map[string]any{"auth": "a", "gateway": "b", "messaging": "c", "presence": "d"})
	_, err = chart.Render(r)
	require.ErrorContains(t, err, "kafka.passwords.groups is not set")
	set(r.Values, "kafka.sasl", "OAUTHBEARER")
	set(r.Values, "kafka.tls", "ca")
	_, err = chart.Render(r)
	require.ErrorContains(t, err, "kafka.caCerts is not set")
}

func TestNetworkPolicyForAnyIngress(t *testing.T) {
	r := described(t, "chat", "default")
	text, err := chart.Render(r)
	require.NoError(t, err)
	for _, obj := range decode(t, text) {
		if p, ok := obj.(*networkingv1.NetworkPolicy); ok && len(p.Spec.Ingress) > 0 {
			require.NotNil(t, p.Spec.Ingress[0].From[0].NamespaceSelector)
			require.Empty(t, p.Spec.Ingress[0].From[0].NamespaceSelector.MatchLabels)
			return
		}
	}
	t.Fatal("there is no NetworkPolicy that lets anybody in")
}

func TestDatabasesWiring(t *testing.T) {
	text, err := chart.Render(described(t, "databases", "all"))
	require.NoError(t, err)
	services, secrets := map[string]*corev1.Service{}, map[string]*corev1.Secret{}
	var sets []*appsv1.StatefulSet
	for _, obj := range decode(t, text) {
		switch o := obj.(type) {
		case *corev1.Service:
			services[o.Name] = o
		case *corev1.Secret:
			secrets[o.Name] = o
		case *appsv1.StatefulSet:
			sets = append(sets, o)
		}
	}
	require.Len(t, sets, 2)
	annotations := map[string]map[string]string{}
	for _, s := range sets {
		annotations[s.Name] = s.Spec.Template.Annotations
	}
	for _, s := range sets {
		require.EqualValues(t, 1, *s.Spec.Replicas)
		require.Equal(t, corev1.ClusterIPNone, services[s.Spec.ServiceName].Spec.ClusterIP)
		require.Equal(t, s.Spec.Selector.MatchLabels, services[s.Name].Spec.Selector)
		require.Equal(t, "managed-csi", *s.Spec.VolumeClaimTemplates[0].Spec.StorageClassName)
		require.Equal(t, appsv1.DeletePersistentVolumeClaimRetentionPolicyType, s.Spec.PersistentVolumeClaimRetentionPolicy.WhenDeleted)
		require.Equal(t, s.Spec.VolumeClaimTemplates[0].Name, s.Spec.Template.Spec.Containers[0].VolumeMounts[0].Name)
		env := map[string]string{}
		for _, e := range s.Spec.Template.Spec.Containers[0].Env {
			env[e.Name] = e.Value
		}
		require.Equal(t, "/data", env["DATA_DIR"])
		if s.Name == "kafka" {
			require.Equal(t, "kafka.data.svc.cluster.local:9092", env["ADVERTISED"])
		}
		for i, what := range []string{"users", "tls"} {
			require.Equal(t, "/"+what, env[strings.ToUpper(what)+"_DIR"])
			require.Contains(t, s.Spec.Template.Spec.Containers[0].VolumeMounts, corev1.VolumeMount{Name: what, MountPath: "/" + what, ReadOnly: true})
			require.Equal(t, what, s.Spec.Template.Spec.Volumes[i].Name)
			require.Equal(t, s.Name+"-"+what, s.Spec.Template.Spec.Volumes[i].Secret.SecretName)
		}
		shown := secrets[s.Name+"-tls"]
		require.Equal(t, corev1.SecretTypeTLS, shown.Type)
		require.Contains(t, string(shown.Data[corev1.TLSCertKey]), "BEGIN CERTIFICATE")
		require.Contains(t, string(shown.Data[corev1.TLSPrivateKeyKey]), "BEGIN PRIVATE KEY")
		for _, changed := range []string{"users.admin", "tls.certificate"} {
			r := described(t, "databases", "all")
			set(r.Values, s.Name+"."+changed, "-----BEGIN CERTIFICATE-----\nanother")
			text, err := chart.Render(r)
			require.NoError(t, err)
			for _, obj := range decode(t, text) {
				if o, ok := obj.(*appsv1.StatefulSet); ok {
					require.Equal(t, o.Name != s.Name, maps.Equal(o.Spec.Template.Annotations, annotations[o.Name]), "another one gives another pod, and only to its server")
				}
			}
		}
	}
	require.NotContains(t, text, "PRIVATE KEY", "it is in a Secret alone")

	// A server that is given no certificate has no TLS.
	text, err = chart.Render(described(t, "databases", "default"))
	require.NoError(t, err)
	require.NotContains(t, text, "tls")
}

func TestChartsAreClean(t *testing.T) {
	for name := range namespaces {
		problems, err := chart.Lint(filepath.Join(chartsDir, name))
		require.NoError(t, err)
		require.Empty(t, problems, name)
	}
}

func TestLintFindings(t *testing.T) {
	problems, err := chart.Lint("testdata/broken")
	require.NoError(t, err)
	require.NotEmpty(t, problems)
	text := fmt.Sprint(problems)
	require.Contains(t, text, "error: templates/")
	_, err = chart.Lint("testdata/none")
	require.NoError(t, err)
}

func set(values map[string]any, path string, v any) {
	keys := strings.Split(path, ".")
	for _, k := range keys[:len(keys)-1] {
		next, ok := values[k].(map[string]any)
		if !ok {
			next = map[string]any{}
			values[k] = next
		}
		values = next
	}
	values[keys[len(keys)-1]] = v
}

func TestRefusedValues(t *testing.T) {
	for _, tt := range []struct {
		name, chart, path string
		value             any
		want              string // path: message
	}{
		{"image without a digest", "chat", "images.auth", "localhost:5000/lab/auth:latest", `images.auth: "localhost:5000/lab/auth:latest" is not what it must be: A whole image reference with its digest`},
		{"image left out", "chat", "images.groups", "", "images.groups: is required, and is empty"},
		{"image null", "chat", "images.groups", nil, "images.groups: is required, and has no value"},
		{"unknown image", "chat", "images.autth", "x", "images.autth: is not a value of this chart; here there are auth, frontend, gateway, groups, messaging, presence"},
		{"unknown at the top", "chat", "ingres", map[string]any{}, "ingres: is not a value of this chart"},
		{"no brokers", "chat", "kafka.brokers", []string{}, "kafka.brokers: minItems: got 0, want 1"},
		{"a broker without a port", "chat", "kafka.brokers", []string{"a:1", "kafka"}, "kafka.brokers[1]: \"kafka\" does not match"},
		{"brokers as a string", "chat", "kafka.brokers", "a:1", "kafka.brokers: must be of type array, not string"},
		{"a log-in that is none", "chat", "kafka.sasl", "GSSAPI", "kafka.sasl: must be one of "},
		{"an authority that is none", "chat", "kafka.caCerts", "ca.crt", "kafka.caCerts: "},
		{"a password of nobody", "chat", "kafka.passwords", map[string]any{"frontend": "x"}, "kafka.passwords.frontend: is not a value of this chart"},
		{"an identity of nobody", "chat", "identities", map[string]any{"frontend": "x"}, "identities.frontend: is not a value of this chart"},
		{"a certificate without a key", "databases", "kafka.tls", map[string]any{"certificate": "-----BEGIN CERTIFICATE-----", "key": ""}, "kafka.tls.key: "},
		{"a key without a certificate", "databases", "mongodb.tls", map[string]any{"certificate": "", "key": "-----BEGIN PRIVATE KEY-----"}, "mongodb.tls.key: "},
		{"no authority of the database", "chat", "mongodb.caCerts", "/mongodb/ca.crt", "mongodb.caCerts: "},
		{"a short password", "databases", "kafka.users", map[string]any{"auth": "short"}, "kafka.users.auth: "},
		{"another kind of URI", "chat", "mongodb.uris.auth", "postgres://x", "mongodb.uris.auth: "},
		{"address with a path", "chat", "url", "http://127.0.0.1:8080/chat", "url: "},
		{"no replicas", "chat", "replicas.auth", 0, "replicas.auth: minimum: got 0, want 1"},
		{"half a replica", "chat", "replicas.auth", 1.5, "replicas.auth: must be of type integer, not number"},
		{"unknown level", "chat", "logLevel", "loud", "logLevel: must be one of debug, info, warn, error, not loud"},
		{"host in capitals", "chat", "ingress.host", "Chat.example.org", "ingress.host: "},
		{"annotation that is no string", "chat", "ingress.annotations", map[string]any{"a": 1}, "ingress.annotations.a: must be of type string, not number"},
		{"memory without sense", "chat", "resources.auth.limits.memory", "much", "resources.auth.limits.memory: "},
		{"what becomes of volumes", "databases", "whenDeleted", "Keep", "whenDeleted: must be one of Retain, Delete, not Keep"},
		{"size as a number", "databases", "kafka.storage", 2, "kafka.storage: must be of type string, not number"},
		{"unknown part", "databases", "redis", map[string]any{}, "redis: is not a value of this chart; here there are images, kafka, mongodb, networkPolicies, storageClass, whenDeleted"},
		{"class with a space", "databases", "storageClass", "a b", "storageClass: "},
		{"image without a digest", "databases", "images.kafka", "kafka", "images.kafka: "},
	} {
		t.Run(tt.chart+"/"+tt.name, func(t *testing.T) {
			r := described(t, tt.chart, "default")
			set(r.Values, tt.path, tt.value)
			_, err := chart.Render(r)
			var refused *chart.ValuesError
			require.ErrorAs(t, err, &refused)
			require.Len(t, refused.Problems, 1, "%v", err)
			require.Contains(t, err.Error(), tt.want)
		})
	}
}

func TestRefusalNamesEveryValueAndNoSecret(t *testing.T) {
	r := described(t, "chat", "default")
	r.Values["url"] = "nowhere"
	set(r.Values, "mongodb.uris.groups", "hunter2-but-no-uri")
	r.Sensitive = []string{"hunter2-but-no-uri"}
	_, err := chart.Render(r)
	var refused *chart.ValuesError
	require.ErrorAs(t, err, &refused)
	require.Len(t, refused.Problems, 2)
	require.NotContains(t, err.Error(), "hunter2")
	require.NotContains(t, fmt.Sprint(refused.Problems), "hunter2")
}

func TestHash(t *testing.T) {
	base, err := chart.Hash(described(t, "chat", "default"))
	require.NoError(t, err)
	for _, tt := range []struct {
		name   string
		change func(dir string, r *chart.Release)
		same   bool
	}{
		{"nothing", func(string, *chart.Release) {}, true},
		{"a value", func(_ string, r *chart.Release) { r.Values["logLevel"] = "debug" }, false},
		{"a template", func(dir string, _ *chart.Release) { add(t, filepath.Join(dir, "templates", "new.yaml")) }, false},
		{"the README", func(dir string, _ *chart.Release) { add(t, filepath.Join(dir, "README.md")) }, true},
		{"values for lint", func(dir string, _ *chart.Release) { add(t, filepath.Join(dir, "ci", "default-values.yaml")) }, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := described(t, "chat", "default")
			dir := filepath.Join(t.TempDir(), "chat")
			require.NoError(t, os.CopyFS(dir, os.DirFS(r.ChartDir)))
			r.ChartDir = dir
			tt.change(dir, &r)
			got, err := chart.Hash(r)
			require.NoError(t, err)
			require.Equal(t, tt.same, got == base)
		})
	}
	t.Run("a number in another type is the same", func(t *testing.T) {
		var all []string
		for _, n := range []any{2, int64(2), 2.0} {
			r := described(t, "chat", "default")
			set(r.Values, "replicas.auth", n)
			h, err := chart.Hash(r)
			require.NoError(t, err)
			all = append(all, h)
		}
		require.Len(t, slices.Compact(all), 1)
	})
}

func add(t *testing.T, file string) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	_, err = f.WriteString("\n# one more line\n")
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

// The tables of the charts' READMEs name values that are there, and leave none out.
func TestREADMEsNameTheValues(t *testing.T) {
	code := regexp.MustCompile("`([A-Za-z.]+)`")
	for name := range namespaces {
		t.Run(name, func(t *testing.T) {
			values, err := chartutil.ReadValuesFile(filepath.Join(chartsDir, name, "values.yaml"))
			require.NoError(t, err)
			text, err := os.ReadFile(filepath.Join(chartsDir, name, "README.md"))
			require.NoError(t, err)
			_, table, _ := strings.Cut(string(text), "| Value |")
			table, _, _ = strings.Cut(table, "\n\n")
			named := map[string]bool{}
			for _, row := range strings.Split(table, "\n")[2:] {
				for _, m := range code.FindAllStringSubmatch(strings.Split(row, "|")[1], -1) {
					named[m[1]] = true
					top, rest, nested := strings.Cut(m[1], ".")
					require.Contains(t, values, top)
					if nested {
						require.Contains(t, values[top], rest)
					}
				}
			}
			for top, v := range values {
				under, nested := v.(map[string]any)
				if !nested {
					require.True(t, named[top], top)
					continue
				}
				for key := range under {
					if strings.Contains(table, "`"+top+".auth` …") {
						continue // one row for the six
					}
					require.True(t, named[top+"."+key], top+"."+key)
				}
			}
		})
	}
}

// The parts of the chat are together the whole chat, each object once and the same, so that Argo CD can take over what Helm made, and
// give it back, without a new pod.
func TestChatsPartsAreTheWhole(t *testing.T) {
	for _, file := range []string{"default", "all", "parts"} {
		t.Run(file, func(t *testing.T) {
			documents := func(part string) []string {
				r := described(t, "chat", file)
				r.Values["part"] = part
				text, err := chart.Render(r)
				require.NoError(t, err)
				var out []string
				for _, d := range strings.Split(text, "---\n") {
					if d = strings.TrimSpace(d); d != "" && !strings.Contains(d, "helm.sh/hook: test") {
						out = append(out, d)
					}
				}
				return out
			}
			var parts []string
			for _, part := range []string{"auth", "gateway", "messaging", "presence", "groups", "frontend", "shared"} {
				of := documents(part)
				require.NotEmpty(t, of, part)
				parts = append(parts, of...)
			}
			require.ElementsMatch(t, documents(""), parts)
		})
	}
}

func TestChatTakesSecretsThatExist(t *testing.T) {
	r := described(t, "chat", "parts")
	r.Values["part"] = ""
	text, err := chart.Render(r)
	require.NoError(t, err)
	require.NotContains(t, text, "kind: Secret")
	require.Contains(t, text, "name: kafka\n")
	require.Contains(t, text, "name: mongodb-presence\n")

	checksum := regexp.MustCompile("checksum/secret: .*")
	before := checksum.FindString(text)
	require.NotEmpty(t, before)
	r.Values["secretsVersion"] = "another"
	text, err = chart.Render(r)
	require.NoError(t, err)
	require.NotEqual(t, before, checksum.FindString(text), "a pod reads a Secret only when it starts")

	set(r.Values, "mongodb.uris.auth", "mongodb://two.example.org")
	_, err = chart.Render(r)
	require.ErrorContains(t, err, "mongodb.uris.auth")
}
