package status

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/zclconf/go-cty/cty"

	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/iostreams"
	"github.com/labctl/labctl/pkg/stack"
)

type states = map[string]map[string]cty.Value

func TestFindCluster(t *testing.T) {
	const (
		net        = "output \"id\" { value = \"net\" }\n"
		gives      = "output \"kubeconfig\" {\n  value     = \"\"\n  sensitive = true\n}\n"
		embedded   = "resource \"lab_cluster\" \"this\" {}\n"
		chart      = "apiVersion: v2\nname: shop\nversion: 1.0.0\n"
		release    = "release \"shop\" {\n  kubeconfig = stack.k8s.admin\n  chart      = \"charts/shop\"\n  namespace  = \"shop\"\n}\n"
		kubeconfig = "apiVersion: v1\nkind: Config\n"
	)
	secret := cty.StringVal(kubeconfig).Mark(stack.Sensitive)
	for _, tt := range []struct {
		name    string
		files   map[string]string
		outputs states
		want    access
	}{
		{
			"no cluster", map[string]string{"0-net/main.tf": net}, states{"net": {"id": cty.StringVal("net")}},
			access{missing: "no stack has an output called kubeconfig"},
		},
		{
			"not applied", map[string]string{"0-net/main.tf": net, "1-cluster/main.tf": gives}, states{"net": {"id": cty.StringVal("net")}},
			access{declared: true, missing: `stack "1-cluster", which gives its kubeconfig, is not applied yet`},
		},
		{
			"its output", map[string]string{"1-cluster/main.tf": gives}, states{"cluster": {"kubeconfig": secret}},
			access{declared: true, kubeconfig: kubeconfig, source: `output "kubeconfig" of stack "1-cluster"`},
		},
		{
			"an empty output of a target without a cluster", map[string]string{"1-cluster/main.tf": gives}, states{"cluster": {"kubeconfig": cty.StringVal("")}},
			access{missing: `output "kubeconfig" of stack "1-cluster" is empty`},
		},
		{
			"a null output", map[string]string{"1-cluster/main.tf": gives}, states{"cluster": {"kubeconfig": cty.NullVal(cty.String)}},
			access{missing: `output "kubeconfig" of stack "1-cluster" is empty`},
		},
		{
			"a null output that the state leaves out", map[string]string{"1-cluster/main.tf": gives}, states{"cluster": {}},
			access{missing: `output "kubeconfig" of stack "1-cluster" is empty`},
		},
		{
			"an empty output of a cluster", map[string]string{"1-cluster/main.tf": embedded + gives}, states{"cluster": {"kubeconfig": cty.StringVal("")}},
			access{declared: true, missing: `output "kubeconfig" of stack "1-cluster" is empty`},
		},
		{
			"no output of a cluster", map[string]string{"1-cluster/main.tf": embedded}, states{"cluster": {}},
			access{declared: true, missing: "no stack has an output called kubeconfig"},
		},
		{
			"a stack of another name", map[string]string{"0-net/main.tf": net, "1-aks/main.tf": gives}, states{"net": {}, "aks": {"kubeconfig": secret}},
			access{declared: true, kubeconfig: kubeconfig, source: `output "kubeconfig" of stack "1-aks"`},
		},
		{
			"the stack cluster comes first", map[string]string{"0-old/main.tf": gives, "1-cluster/main.tf": gives},
			states{"old": {"kubeconfig": cty.StringVal("old")}, "cluster": {"kubeconfig": secret}},
			access{declared: true, kubeconfig: kubeconfig, source: `output "kubeconfig" of stack "1-cluster"`},
		},
		{
			"a release", map[string]string{
				"1-k8s/main.tf": "output \"admin\" { value = \"\" }\n", "2-shop/stack.hcl": release, "../../charts/shop/Chart.yaml": chart,
			}, states{"k8s": {"admin": secret}},
			access{declared: true, kubeconfig: kubeconfig, source: `the kubeconfig of release "shop" of stack "2-shop"`},
		},
		{
			"a release without its cluster", map[string]string{
				"1-k8s/main.tf": "output \"admin\" { value = \"\" }\n", "2-shop/stack.hcl": release, "../../charts/shop/Chart.yaml": chart,
			}, states{},
			access{declared: true, missing: `the kubeconfig of release "shop" of stack "2-shop" is not known yet`},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := findCluster(graph(t, tt.files), tt.outputs)
			if got.kubeconfig != "" {
				got.missing = "" // not shown
			}
			require.Equal(t, tt.want, got)
		})
	}
}

// graph opens a lab with files below stacks/local.
func graph(t *testing.T, files map[string]string) *stack.Graph {
	t.Helper()
	dir := t.TempDir()
	write := func(path, content string) {
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	}
	write(filepath.Join(dir, "lab.hcl"), "lab \"plain\" {}\nenvironment \"local\" {\n  target = \"local\"\n}\n")
	for name, content := range files {
		write(filepath.Join(dir, "stacks", "local", name), content)
	}
	streams, _, _ := iostreams.Test()
	g, err := (&cli.Factory{IO: streams, WorkDir: dir}).Graph()
	require.NoError(t, err)
	return g
}
