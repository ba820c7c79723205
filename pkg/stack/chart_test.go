package stack_test

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/stack"
)

func openRelease(t *testing.T, attributes string, files map[string]string) (*stack.Release, string, error) {
	t.Helper()
	changes := map[string]string{
		"stacks/local/5-release/stack.hcl": "release \"shop\" {\n  kubeconfig = stack.cluster.kubeconfig\n  namespace  = \"shop\"\n" + attributes + "}\n",
	}
	for name, content := range files {
		changes[name] = content
	}
	dir := write(t, changes)
	g, err := stack.Open(stack.Options{Dir: dir})
	if err != nil {
		return nil, dir, err
	}
	s, err := g.Stack("release")
	require.NoError(t, err)
	return s.Releases[0], dir, nil
}

func TestReleaseCharts(t *testing.T) {
	for _, tt := range []struct {
		name, attributes           string
		chart, repository, version string
	}{
		{"a registry", "chart = \"oci://registry.example.org/charts/redis\"\nversion = \"^1.2\"\n", "oci://registry.example.org/charts/redis", "", "^1.2"},
		{"a repository", "chart = \"redis\"\nrepository = \"https://charts.example.org/\"\nversion = \">= 1, < 3\"\n", "redis", "https://charts.example.org", ">= 1, < 3"},
		{"a registry as a repository", "chart = \"redis\"\nrepository = \"oci://registry.example.org/charts\"\n", "oci://registry.example.org/charts/redis", "", ""},
		{"an archive", "chart = \"charts/redis.tgz\"\n", "DIR/charts/redis.tgz", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rel, dir, err := openRelease(t, tt.attributes, map[string]string{"charts/redis.tgz": "x"})
			require.NoError(t, err)
			want := tt.chart
			if after, ok := filepathAfter(want); ok {
				want = filepath.Join(dir, after)
			}
			require.Equal(t, want, rel.Chart)
			require.Equal(t, tt.repository, rel.Repository)
			require.Equal(t, tt.version, rel.Version)
			require.Equal(t, filepath.Join(dir, "stacks/local/5-release/charts.lock.hcl"), rel.LockFile)
		})
	}
}

func filepathAfter(path string) (string, bool) {
	if len(path) > 4 && path[:4] == "DIR/" {
		return path[4:], true
	}
	return "", false
}

func TestReleaseAttributes(t *testing.T) {
	rel, dir, err := openRelease(t, `  chart        = "charts/chat"
  values_files = ["values/prod.yaml", "all.yaml"]
  values       = { a = null, b = stack.cluster.node, c = { d = 1, e = stack.cluster.node } }
  crds         = "upgrade"
  adopt        = true
`, map[string]string{"stacks/local/5-release/values/prod.yaml": "", "all.yaml": ""})
	require.NoError(t, err)
	require.Equal(t, []string{filepath.Join(dir, "stacks/local/5-release/values/prod.yaml"), filepath.Join(dir, "all.yaml")}, rel.ValuesFiles)
	require.True(t, rel.UpgradeCRDs)
	require.True(t, rel.Adopt)
	values, complete := rel.KnownValues()
	require.False(t, complete)
	require.Equal(t, map[string]any{"a": nil, "c": map[string]any{"d": int64(1)}}, values)
}

func TestReleaseOfABuiltin(t *testing.T) {
	dir := write(t, map[string]string{"stacks/local/5-release/stack.hcl": `
release "argocd" {
  kubeconfig = stack.cluster.kubeconfig
  chart      = "builtin://argocd"
  namespace  = "argocd"
  values     = { images = { argocd = "a", redis = "b", git = "c" } }
}
`})
	g, err := stack.Open(stack.Options{Dir: dir})
	require.NoError(t, err)
	s, err := g.Stack("release")
	require.NoError(t, err)
	require.Equal(t, "argocd", s.Releases[0].Builtin)
	require.Empty(t, s.Releases[0].Chart)
}

func TestReleaseRefusals(t *testing.T) {
	for _, tt := range []struct{ name, attributes, want string }{
		{"a version of a local chart", "chart = \"charts/chat\"\nversion = \"1.0.0\"\n", "a chart in the lab's source takes no version"},
		{"no version", "chart = \"oci://r.example.org/c\"\nversion = \"newest\"\n", `"newest" is no version`},
		{"two sources", "chart = \"oci://r.example.org/c\"\nrepository = \"https://r.example.org\"\n", "takes no repository"},
		{"no chart in a registry", "chart = \"oci://r.example.org\"\n", "names no chart in a registry"},
		{"no repository", "chart = \"redis\"\nrepository = \"charts.example.org\"\n", `"charts.example.org" is no chart repository`},
		{"a path in a repository", "chart = \"../redis\"\nrepository = \"https://r.example.org\"\n", `"../redis" is no name of a chart`},
		{"a file that is missing", "chart = \"charts/chat\"\nvalues_files = [\"prod.yaml\"]\n", `values_files: there is no file "prod.yaml"`},
		{"a file outside", "chart = \"charts/chat\"\nvalues_files = [\"../../../../../../../../../../etc/hostname\"]\n", "values_files: there is no file"},
		{"no such builtin", "chart = \"builtin://gitea\"\n", `labctl has no "gitea" to install`},
		{"another name", "chart = \"builtin://argocd\"\n", `a release of builtin://argocd cannot be called "shop"`},
		{"another namespace", "chart = \"builtin://argocd\"\n", `builtin://argocd is in the namespace argocd, not in "shop"`},
		{"a version of a builtin", "chart = \"builtin://argocd\"\nversion = \"2\"\n", "a release of builtin://argocd takes no version"},
		{"no values of a builtin", "chart = \"builtin://argocd\"\n", `release "shop" has no values`},
		{"a secret that is no text", "chart = \"builtin://secrets\"\nvalues = { a = { b = [] } }\n", `values["a"]["b"]`},
		{"applications of a builtin", "chart = \"builtin://secrets\"\nvalues = { a = { b = \"c\" } }\napplications = []\n", "takes no applications"},
		{"an image that is missing", "chart = \"builtin://argocd\"\nvalues = { images = { argocd = \"a\", redis = \"b\" } }\n", `values.images: the attribute "git" is missing`},
		{"crds", "chart = \"charts/chat\"\ncrds = \"always\"\n", `crds must be "install" or "upgrade", not "always"`},
		{"adopt", "chart = \"charts/chat\"\nadopt = \"often\"\n", "adopt"},
		{"a chart by output", "chart = stack.cluster.kubeconfig\n", "stack"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := openRelease(t, tt.attributes, nil)
			var config *stack.ConfigError
			require.True(t, errors.As(err, &config), "%v", err)
			require.ErrorContains(t, err, tt.want)
		})
	}
}
