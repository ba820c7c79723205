package charts

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/chart"
	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/stack"
)

func graph(t *testing.T, release string) *stack.Graph {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"lab.hcl":                        "lab \"demo\" {}\nenvironment \"local\" {\n  target = \"local\"\n}\n",
		"stacks/local/1-cluster/main.tf": "output \"kubeconfig\" { value = \"k\" }\nresource \"terraform_data\" \"x\" {}\noutput \"id\" { value = terraform_data.x.id }\n",
		"stacks/local/2-app/stack.hcl":   "release \"one\" {\n  kubeconfig = stack.cluster.kubeconfig\n  namespace  = \"demo\"\n" + release + "}\n",
	} {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	}
	require.NoError(t, os.CopyFS(filepath.Join(dir, "charts", "strict"), os.DirFS("../../chart/testdata/strict")))
	g, err := stack.Open(stack.Options{Dir: dir})
	require.NoError(t, err)
	return g
}

// What validate refuses is refused before anything is applied, with the exit code of a wrong configuration.
func TestRefuse(t *testing.T) {
	for _, tt := range []struct{ name, release, want string }{
		{"fits", "chart = \"charts/strict\"\nvalues = { host = \"a\" }\n", ""},
		{"a value that is missing", "chart = \"charts/strict\"\n", `charts/strict: error: values.schema.json: release "one": host: is required, and has no value`},
		{"a value that comes later", "chart = \"charts/strict\"\nvalues = { host = stack.cluster.id }\n", ""},
		{"a value that cannot be", "chart = \"charts/strict\"\nvalues = { hots = stack.cluster.id, host = stack.cluster.id, hosts = 1 }\n", `release "one": hosts: is not a value of this chart`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := Refuse(t.Context(), graph(t, tt.release), &chart.Store{Dir: t.TempDir()}, nil)
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tt.want)
			require.Equal(t, cli.ExitConfig, cli.Code(t.Context(), err))
		})
	}
}

// An offline check names what it could not look at; a repository that is away is no fault of the configuration.
func TestRemoteChartThatIsNotThere(t *testing.T) {
	g := graph(t, "chart = \"oci://127.0.0.1:1/charts/redis\"\nversion = \"1.0.0\"\n")
	found, err := Check(t.Context(), g, &chart.Store{Dir: t.TempDir(), Offline: true}, nil)
	require.NoError(t, err)
	require.Equal(t, []string{"oci://127.0.0.1:1/charts/redis"}, found.NotFetched)
	err = Refuse(t.Context(), g, &chart.Store{Dir: t.TempDir()}, nil)
	var fetch *chart.FetchError
	require.ErrorAs(t, err, &fetch)
	require.Equal(t, cli.ExitFailed, cli.Code(t.Context(), err))
}
