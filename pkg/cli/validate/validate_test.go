package validate

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/iostreams"
	"github.com/labctl/labctl/pkg/stack"
)

// TestCharts reports an invalid chart in the same form as every other problem, once for all of its releases.
func TestCharts(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"lab.hcl":                        "lab \"demo\" {}\nenvironment \"local\" {\n  target = \"local\"\n}\n",
		"stacks/local/1-cluster/main.tf": "output \"kubeconfig\" { value = \"k\" }\n",
		"stacks/local/2-app/stack.hcl": `release "one" {
  kubeconfig = stack.cluster.kubeconfig
  chart      = "charts/demo"
  namespace  = "demo"
}
release "two" {
  kubeconfig = stack.cluster.kubeconfig
  chart      = "charts/demo"
  namespace  = "demo"
}
`,
		"charts/demo/Chart.yaml":            "apiVersion: v2\nname: demo\nversion: 0.1.0\n",
		"charts/demo/values.yaml":           "",
		"charts/demo/templates/broken.yaml": "name: {{ .Values.name | upper\n",
	} {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	}
	streams, out, _ := iostreams.Test()
	err := run(t.Context(), &Options{Factory: &cli.Factory{IO: streams, WorkDir: dir}, JSON: true})
	require.Equal(t, cli.ExitConfig, cli.Code(t.Context(), err))
	var found []stack.Diagnostic
	require.NoError(t, json.Unmarshal(out.Bytes(), &found))
	require.Len(t, found, 1)
	require.Equal(t, "chart", found[0].Code)
	require.Equal(t, 1, found[0].Severity)
	require.Contains(t, found[0].File, "charts/demo/")

	streams, out, stderr := iostreams.Test()
	err = run(t.Context(), &Options{Factory: &cli.Factory{IO: streams, WorkDir: dir}})
	require.ErrorContains(t, err, "the charts are not valid")
	require.Empty(t, out.String())
	require.Empty(t, stderr.String())
}
