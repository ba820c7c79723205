package kind

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/labctl/labctl/test/golden"
)

func TestConfiguration(t *testing.T) {
	o := Options{Name: "lab", Dir: "/home/ada/lab/.lab/local/cluster", APIPort: 6445, HTTPPort: 8080, RegistryPort: 5050}
	for name, c := range map[string]struct {
		image    string
		cgroupV1 bool
	}{
		"mirror.yaml":    {image: "mirror.test/kindest/node:v1.34.3"},
		"cgroup-v1.yaml": {image: "kindest/node:v1.34.3", cgroupV1: true},
	} {
		t.Run(name, func(t *testing.T) {
			o.NodeImage = c.image
			got, err := yaml.Marshal(configuration(o, c.cgroupV1))
			require.NoError(t, err)
			golden.Equal(t, name, string(got))
		})
	}
}

func TestWithoutANameTheLibrarysImageIsTaken(t *testing.T) {
	require.Regexp(t, `^kindest/node:v1\.\d+\.\d+@sha256:[0-9a-f]{64}$`, configuration(Options{}, false).Nodes[0].Image)
}

func TestClusterNames(t *testing.T) {
	long := strings.Repeat("a", 32)
	require.Equal(t, ClusterName("lab", "/a/cluster"), ClusterName("lab", "/a/cluster/"))
	require.NotEqual(t, ClusterName("lab", "/a/cluster"), ClusterName("lab", "/b/cluster"), "two labs of one name meet")
	require.NotEqual(t, ClusterName("lab", "/a/cluster"), ClusterName("other", "/a/cluster"))
	require.LessOrEqual(t, len(nodeName(Options{Name: long, Dir: "/a"})), 63, "it is a host's name")
}

func TestOptionsThatCannotBe(t *testing.T) {
	valid := Options{Name: "lab", Dir: "/cluster", APIPort: 1, HTTPPort: 2, RegistryPort: 65535}
	require.NoError(t, valid.check())
	for name, c := range map[string]struct {
		change func(*Options)
		says   string
	}{
		"no name":       {func(o *Options) { o.Name = "" }, `cluster name ""`},
		"capitals":      {func(o *Options) { o.Name = "Lab" }, `cluster name "Lab"`},
		"too long":      {func(o *Options) { o.Name = strings.Repeat("a", 33) }, "1 to 32"},
		"relative":      {func(o *Options) { o.Dir = "cluster" }, "not absolute"},
		"no port":       {func(o *Options) { o.HTTPPort = 0 }, "port 0 for the chat"},
		"port too high": {func(o *Options) { o.APIPort = 65536 }, "port 65536 for the Kubernetes API"},
		"port twice":    {func(o *Options) { o.HTTPPort = 1 }, "given both to the Kubernetes API (api_port) and to the chat (http_port)"},
	} {
		t.Run(name, func(t *testing.T) {
			o := valid
			c.change(&o)
			require.ErrorContains(t, o.check(), c.says)
			require.ErrorContains(t, (&Cluster{}).Ensure(t.Context(), o, nil), c.says)
			_, err := (&Cluster{}).Read(t.Context(), o)
			require.ErrorContains(t, err, c.says)
			require.ErrorContains(t, (&Cluster{}).Destroy(t.Context(), o, nil), c.says)
		})
	}
}

func TestReference(t *testing.T) {
	ref, err := reference("skipper", "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")
	require.NoError(t, err)
	require.Equal(t, "localhost/lab/skipper:0123456789ab", ref)
	for _, digest := range []string{"", "sha256:", "sha256:0123", "latest"} {
		_, err := reference("skipper", digest)
		require.ErrorContains(t, err, "is no digest", digest)
	}
}

func TestManifests(t *testing.T) {
	rendered, err := manifests(map[string]string{imageRegistry: "localhost/lab/registry:aaaaaaaaaaaa", imageIngress: "localhost/lab/skipper:bbbbbbbbbbbb"})
	require.NoError(t, err)
	for _, document := range strings.Split(string(rendered), "\n---\n") {
		var object map[string]any
		require.NoError(t, yaml.UnmarshalStrict([]byte(document), &object), document)
		require.NotEmpty(t, object["kind"], document)
	}
	golden.Equal(t, "manifests.yaml", string(rendered))
}

func TestOtherSourcesAreOtherParts(t *testing.T) {
	require.NotEmpty(t, partsOf(Options{}))
	require.NotEqual(t, partsOf(Options{Sources: "a"}), partsOf(Options{Sources: "b"}))
}
