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
	"github.com/labctl/labctl/pkg/lab"
	"github.com/labctl/labctl/pkg/stack"
)

type states map[string]map[string]cty.Value

func (s states) Outputs(context.Context) (map[string]map[string]cty.Value, error) { return s, nil }

func (s states) Steps() ([]lab.Step, error) {
	return []lab.Step{{Name: "0-foundation", State: lab.Pending}, {Name: "1-cluster", State: lab.Pending}}, nil
}

// done are states that are empty, of stacks that were applied.
type done struct{ states }

func (done) Steps() ([]lab.Step, error) {
	return []lab.Step{{Name: "0-foundation", State: lab.Done}, {Name: "1-cluster", State: lab.Done}, {Name: "2-empty", State: lab.Done}}, nil
}

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

func execute(t *testing.T, s Reader, args ...string) (string, error) {
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

func TestNumbersKeepTheirDigits(t *testing.T) {
	third := cty.MustParseNumberVal("0.33333333333333333333333333333333333333333333333333333333333333333333333333333335")
	s := states{"foundation": {"name": cty.MustParseNumberVal("12345678901234567890123")}, "cluster": {
		"note": cty.MustParseNumberVal("0.1"), "url": third, "ports": cty.ListVal([]cty.Value{third}), "none": cty.MustParseNumberVal("1e30"),
	}}
	out, err := execute(t, s, "--json")
	require.NoError(t, err)
	require.Equal(t, `{
  "cluster": {
    "none": 1000000000000000000000000000000,
    "note": 0.1,
    "ports": [
      0.33333333333333333333333333333333333333333333333333333333333333333333333333333335
    ],
    "url": 0.33333333333333333333333333333333333333333333333333333333333333333333333333333335
  },
  "foundation": {
    "name": 12345678901234567890123
  }
}
`, out)
	out, err = execute(t, s, "cluster", "url")
	require.NoError(t, err)
	require.Equal(t, third.AsBigFloat().Text('f', -1)+"\n", out)
}

func TestNull(t *testing.T) {
	s := states{"foundation": {"name": cty.StringVal("chat")}, "cluster": {"none": cty.NullVal(cty.DynamicPseudoType), "url": cty.NullVal(cty.String)}}
	out, err := execute(t, s, "--json")
	require.NoError(t, err)
	require.JSONEq(t, `{"foundation": {"name": "chat"}, "cluster": {"none": null, "url": null}}`, out)
	out, err = execute(t, s, "cluster")
	require.NoError(t, err)
	require.Equal(t, "STACK    OUTPUT  VALUE\ncluster  none    null\ncluster  url     null\n", out)
	out, err = execute(t, s, "cluster", "none")
	require.NoError(t, err)
	require.Equal(t, "null\n", out)
	out, err = execute(t, s, "--shell")
	require.NoError(t, err)
	require.Equal(t, "export LAB_FOUNDATION_NAME='chat'\n", out)
}

// Stacks without outputs are no error: those that declare none, and those of which every output is null, which terraform's
// state leaves out.
func TestNoOutputs(t *testing.T) {
	for _, tt := range []struct {
		name   string
		reader Reader
		args   []string
		want   string
	}{
		{"JSON of one stack", up(), []string{"--json", "empty"}, "{}\n"},
		{"JSON of one stack of a lab that is not up", states{}, []string{"--json", "empty"}, "{}\n"},
		{"one stack", up(), []string{"empty"}, "Stack \"empty\" has no outputs.\n"},
		{"shell of one stack", up(), []string{"--shell", "empty"}, ""},
		{"JSON", done{states{}}, []string{"--json"}, "{}\n"},
		{"table", done{states{}}, nil, "The stacks have no outputs.\n"},
		{"shell", done{states{}}, []string{"--shell"}, ""},
		{"states without outputs", states{"foundation": {}, "cluster": {}, "empty": {}}, []string{"--json"}, "{}\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, err := execute(t, tt.reader, tt.args...)
			require.NoError(t, err)
			require.Equal(t, tt.want, out)
		})
	}
}

func TestShellNamesThatCollide(t *testing.T) {
	text := cty.StringVal("x")
	rows := func(more ...row) []row {
		return append([]row{{stack: "web", name: "url", text: "x"}, {stack: "web", name: "api_url", text: "x"}}, more...)
	}
	for _, tt := range []struct {
		name string
		more []row
		want string
	}{
		{"no collision", nil, ""},
		{"two spellings", []row{{stack: "web", name: "api-url"}}, `output "api_url" of stack "web" and output "api-url" of stack "web" both become the shell variable LAB_WEB_API_URL`},
		{"upper case", []row{{stack: "web", name: "URL"}}, `output "url" of stack "web" and output "URL" of stack "web" both become the shell variable LAB_WEB_URL`},
		{"two stacks", []row{{stack: "web-api", name: "url"}}, `output "api_url" of stack "web" and output "url" of stack "web-api" both become the shell variable LAB_WEB_API_URL`},
		{"a hidden value is not printed", []row{{stack: "web", name: "URL", hidden: true}}, ""},
		{"null is not printed", []row{{stack: "web", name: "URL", null: true}}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, err := shell(rows(tt.more...))
			if tt.want == "" {
				require.NoError(t, err)
				require.Equal(t, "export LAB_WEB_URL='x'\nexport LAB_WEB_API_URL='x'\n", out)
				return
			}
			require.ErrorContains(t, err, tt.want)
			require.Empty(t, out)
		})
	}
	out, err := execute(t, states{"foundation": {"name": text}, "cluster": {"a-b": text, "a_b": text}}, "--shell")
	require.ErrorContains(t, err, "LAB_CLUSTER_A_B")
	require.Empty(t, out)
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
		{"two formats", up(), []string{"--json", "--shell"}, "cannot be used together"},
		{"three arguments", up(), []string{"a", "b", "c"}, `takes a stack and an output, and not "c"`},
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

type unreadable struct{ states }

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
