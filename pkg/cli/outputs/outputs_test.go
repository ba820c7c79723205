package outputs

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/zclconf/go-cty/cty"

	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/iostreams"
	"github.com/labctl/labctl/pkg/stack"
)

type states map[string]map[string]cty.Value

func (s states) Outputs(context.Context) (map[string]map[string]cty.Value, error) { return s, nil }

// awkward is a value that a shell would like to misread.
const awkward = "it's $HOME `id` \"q\" \\ !\nsecond line"

func up() states {
	return states{
		"foundation": {"name": cty.StringVal("chat")},
		"cluster": {
			"url":        cty.StringVal("http://127.0.0.1:8080/?a=1&b=2"),
			"kubeconfig": cty.StringVal("a: secret\n").Mark(stack.Sensitive),
			"registry":   cty.ObjectVal(map[string]cty.Value{"push": cty.StringVal("p"), "token": cty.StringVal("hunter2").Mark(stack.Sensitive)}),
			"ports":      cty.ListVal([]cty.Value{cty.NumberIntVal(80)}),
			"note":       cty.StringVal(awkward),
			"later":      cty.StringVal("not sensitive in the state"),
		},
	}
}

func execute(t *testing.T, s states, args ...string) (string, error) {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"lab.hcl":                           "lab \"chat\" {}\nenvironment \"local\" {\n  target = \"local\"\n}\n",
		"stacks/local/0-foundation/main.tf": "output \"name\" { value = 1 }\n",
		"stacks/local/1-cluster/main.tf": `output "url" { value = 1 }
output "kubeconfig" { value = 1 }
output "registry" { value = 1 }
output "ports" { value = 1 }
output "note" { value = 1 }
output "none" { value = null }
output "later" {
  value     = 1
  sensitive = true
}
`,
		"stacks/local/2-empty/main.tf": "",
	} {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	}
	streams, out, _ := iostreams.Test()
	f := &cli.Factory{IO: streams, WorkDir: dir}
	cmd := NewCmdOutputs(f, func(o *Options) error {
		o.Open = func() (*stack.Graph, Reader, error) {
			g, err := f.Graph()
			return g, s, err
		}
		return run(t.Context(), o)
	})
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs(args)
	err := cmd.Execute()
	return out.String(), err
}

func TestTable(t *testing.T) {
	out, err := execute(t, up())
	require.NoError(t, err)
	require.Equal(t, `STACK       OUTPUT      VALUE
foundation  name        chat
cluster     kubeconfig  (sensitive)
cluster     later       (sensitive)
cluster     note        it's $HOME `+"`id`"+` "q" \ ! …
cluster     ports       [80]
cluster     registry    (sensitive)
cluster     url         http://127.0.0.1:8080/?a=1&b=2
`, out)
	out, err = execute(t, up(), "0-foundation")
	require.NoError(t, err)
	require.Equal(t, "STACK       OUTPUT  VALUE\nfoundation  name    chat\n", out)
}

func TestByName(t *testing.T) {
	for name, want := range map[string]string{
		"kubeconfig": "a: secret\n",
		"url":        "http://127.0.0.1:8080/?a=1&b=2\n",
		"note":       awkward + "\n",
		"registry":   `{"push":"p","token":"hunter2"}` + "\n",
	} {
		out, err := execute(t, up(), "cluster", name)
		require.NoError(t, err)
		require.Equal(t, want, out)
	}
}

func TestJSON(t *testing.T) {
	out, err := execute(t, up(), "--json")
	require.NoError(t, err)
	require.JSONEq(t, `{"foundation": {"name": "chat"}, "cluster": {"url": "http://127.0.0.1:8080/?a=1&b=2", "kubeconfig": null, "later": null,
		"registry": null, "ports": [80], "note": `+quoted(t, awkward)+`}}`, out)
	require.Contains(t, out, "a=1&b=2", "an address stays readable")
	out, err = execute(t, up(), "--json", "cluster", "kubeconfig")
	require.NoError(t, err)
	require.JSONEq(t, `{"cluster": {"kubeconfig": "a: secret\n"}}`, out)
}

func quoted(t *testing.T, s string) string {
	t.Helper()
	b, err := json.Marshal(s)
	require.NoError(t, err)
	return string(b)
}

// TestShell lets a shell read what is meant for it.
func TestShell(t *testing.T) {
	out, err := execute(t, up(), "--shell")
	require.NoError(t, err)
	require.NotContains(t, out, "sensitive")
	require.NotContains(t, out, "KUBECONFIG")
	require.Contains(t, out, "export LAB_CLUSTER_PORTS='[80]'\n")
	said, err := exec.Command("sh", "-c", out+`printf '%s|%s' "$LAB_CLUSTER_NOTE" "$LAB_FOUNDATION_NAME"`).Output()
	require.NoError(t, err)
	require.Equal(t, awkward+"|chat", string(said))

	out, err = execute(t, up(), "--shell", "1", "kubeconfig")
	require.NoError(t, err)
	require.Equal(t, "export LAB_CLUSTER_KUBECONFIG='a: secret\n'\n", out)
}

func TestVariable(t *testing.T) {
	require.Equal(t, "LAB_MY_STACK_API_PORT2", variable(row{stack: "my-stack", name: "api_port2"}))
}

func TestNothingToPrint(t *testing.T) {
	for _, tc := range []struct {
		name   string
		states states
		args   []string
		want   string
	}{
		{"not up", states{}, nil, "the lab is not up"},
		{"no such stack", up(), []string{"clutser"}, `Did you mean "cluster"`},
		{"no such output", up(), []string{"cluster", "nmae"}, `stack "1-cluster" has no output "nmae"; it has kubeconfig, later, none`},
		{"a stack without outputs", up(), []string{"empty", "x"}, `it has none`},
		{"null", up(), []string{"cluster", "none"}, `output "none" of stack "cluster" has no value`},
		{"not applied", states{"foundation": up()["foundation"]}, []string{"cluster"}, `stack "cluster" has no outputs yet`},
		{"empty states", states{"foundation": {}}, nil, "no stack has outputs yet"},
		{"two formats", up(), []string{"--json", "--shell"}, "exclude each other"},
		{"three arguments", up(), []string{"a", "b", "c"}, `does not know what to do with "c"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			out, err := execute(t, tc.states, tc.args...)
			require.ErrorContains(t, err, tc.want)
			require.Empty(t, out)
		})
	}
}

func TestComplete(t *testing.T) {
	f := &cli.Factory{WorkDir: "."}
	require.Contains(t, complete(f, nil), "cluster")
	require.Contains(t, complete(f, []string{"cluster"}), "kubeconfig")
	require.Empty(t, complete(f, []string{"cluster", "url"}))
	require.Empty(t, complete(f, []string{"nothing"}))
}

type unreadable struct{}

func (unreadable) Outputs(context.Context) (map[string]map[string]cty.Value, error) {
	return nil, errors.New("read terraform state: cut off")
}

func TestUnreadable(t *testing.T) {
	f := &cli.Factory{WorkDir: "."}
	err := run(t.Context(), &Options{Factory: f, Open: func() (*stack.Graph, Reader, error) {
		g, err := f.Graph()
		return g, unreadable{}, err
	}})
	require.ErrorContains(t, err, "cut off")
}
