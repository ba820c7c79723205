package stack_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/zclconf/go-cty/cty"

	"github.com/labctl/labctl/pkg/stack"
)

// lay writes a lab of good and gives its directory and a way to replace one of its files.
func lay(f *testing.F, changes map[string]string, name string) (dir string, put func(*testing.T, []byte)) {
	f.Helper()
	dir = f.TempDir()
	for file, content := range good {
		if with, ok := changes[file]; ok {
			content = with
		}
		path := filepath.Join(dir, file)
		require.NoError(f, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(f, os.WriteFile(path, []byte(content), 0o600))
	}
	return dir, func(t *testing.T, content []byte) {
		t.Helper()
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), content, 0o600))
	}
}

// held wants every error to be one about the configuration, and to say where.
func held(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	var config *stack.ConfigError
	require.True(t, errors.As(err, &config), "%v", err)
	require.NotEmpty(t, err.Error())
	for _, f := range config.Findings() {
		d := f.Diagnostic()
		require.NotEmpty(t, d.File, "%+v", d)
		require.NotEmpty(t, d.Code, "%+v", d)
		require.NotEmpty(t, d.Message, "%+v", d)
		require.GreaterOrEqual(t, d.Range.Start.Character, 0)
		require.GreaterOrEqual(t, d.Range.End.Line, d.Range.Start.Line)
		if d.Code != "unknown-environment" { // which is asked for on the command line
			require.Regexp(t, `^[^\n:]+:[0-9]+:[0-9]+: `, f.String())
		}
	}
}

// explore asks a graph for everything that it can be asked.
func explore(t *testing.T, g *stack.Graph) {
	t.Helper()
	g.Edges()
	for _, w := range g.Warnings() {
		require.NotEmpty(t, w.String())
	}
	for _, k := range []stack.Known{{}, {
		Images: map[string]string{"auth": "r/auth@sha256:1"},
		Outputs: map[string]map[string]cty.Value{
			"foundation": {"name": cty.StringVal("n"), "ports": cty.ObjectVal(map[string]cty.Value{"http": cty.NumberIntVal(80)})},
			"cluster": {"kubeconfig": cty.StringVal("k").Mark(stack.Sensitive), "node": cty.ListValEmpty(cty.String),
				"registry": cty.ObjectVal(map[string]cty.Value{"push": cty.StringVal("p"), "pull": cty.StringVal("q")})},
			"more": {},
		},
	}} {
		for _, s := range g.Stacks {
			ask := func(err error) {
				if !errors.Is(err, stack.ErrNotKnown) {
					held(t, err)
				}
			}
			_, err := g.Inputs(s, k)
			ask(err)
			_, err = g.BackendConfig(s, k)
			ask(err)
			for _, img := range s.Images {
				_, err = g.Registry(s, img, k)
				ask(err)
			}
			for _, rel := range s.Releases {
				_, err = g.Values(s, rel, k)
				ask(err)
				_, err = g.Kubeconfig(s, rel, k)
				ask(err)
			}
			for _, h := range s.Hooks {
				_, err = g.HookCommand(s, h, k)
				ask(err)
				_, _, err = g.HookEnv(s, h, k)
				ask(err)
			}
		}
	}
}

func FuzzLabHCL(f *testing.F) {
	dir, put := lay(f, nil, "lab.hcl")
	for _, seed := range []string{
		good["lab.hcl"],
		"lab \"a\" {\n  required_engine = \"tofu ~> 1.8\"\n  source = \".\"\n}\nretry {\n  on = [\"x(\", null]\n  attempts = 1e3\n  wait = \"5m\"\n}\nenvironment \"local\" {\n  target = \"local\"\n  protected = true\n  vars = { location = null, api_port = [1] }\n}\n",
		"lab {}\nenvironment \"local\" \"x\" {}\n", "lab \"a\" {", "\xef\xbb\xbflab \"\\u0000\" {}\r\n", "environment \"local\" {\n  vars = { for a in [1] : a => a }\n}\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		put(t, content)
		g, err := stack.Open(stack.Options{File: filepath.Join(dir, "lab.hcl")})
		held(t, err)
		if err == nil {
			explore(t, g)
		}
	})
}

func FuzzStackHCL(f *testing.F) {
	const module = `
variable "name" {
  type      = string
  sensitive = true
}
variable "port" { default = 1 }
variable "nodes" {
  type    = list(object({ size = number, zone = optional(string, "z"), tags = optional(map(string), {}) }))
  default = []
}
variable "set" {
  type     = set(tuple([string, bool]))
  nullable = false
  default  = []
}
output "kubeconfig" {
  value     = "k"
  sensitive = true
}
output "registry" { value = { push = "a", pull = "b" } }
output "node" { value = var.nodes }
`
	const file = "stacks/local/1-cluster/stack.hcl"
	dir, put := lay(f, map[string]string{"stacks/local/1-cluster/main.tf": module}, file)
	for _, seed := range []string{
		good[file],
		good["stacks/local/5-release/stack.hcl"],
		"inputs = {\n  name = stack.foundation.ports.http\n  nodes = [{ size = \"1\", tags = { a = null } }]\n  set = [[env.location, true]]\n}\n",
		"inputs = { name = [for k, v in stack.foundation.ports : \"${k}-${v}\" if v > 1]... }\n",
		"inputs = { name = try(lookup(env, \"x\", null), stack.foundation[\"name\"], lab.dir) }\ntimeout = \"5m\"\n",
		"hook \"a\" {\n  when = \"after\"\n  on = [\"up\"]\n  command = [\"a\", stack.cluster.registry.push]\n  env = { A = stack.cluster.kubeconfig }\n}\nbackend \"s3\" {\n  bucket = stack.cluster.registry\n}\n",
		"release \"x\" {\n  when = false\n  kubeconfig = \"\"\n  chart = \"charts/chat\"\n  namespace = \"n\"\n  values = image.auth\n}\nimage \"x\" {\n  when = env.api_port == 1\n  source = \".\"\n  registry = { push = 1, pull = 2 }\n}\n",
		"inputs = { (1) = 2, \"${lab.name}\" = 3, name = <<EOT\n%{ for x in [1] }${x}%{ endfor }\nEOT\n}\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		put(t, content)
		g, err := stack.Open(stack.Options{Dir: dir})
		held(t, err)
		if err == nil {
			explore(t, g)
		}
	})
}

func FuzzState(f *testing.F) {
	for _, seed := range []string{
		`{"version":4,"serial":7,"lineage":"l","outputs":{"a":{"value":["x"],"type":["list","string"]}},"resources":[{"mode":"managed","type":"t","name":"n","instances":[{"index_key":"k","attributes":{}}]}]}`,
		`{"version":4,"outputs":{"a":{"value":{"b":null},"type":["object",{"b":"dynamic"}],"sensitive":true}}}`,
		`{"version":4,"outputs":{"a":{"value":{"value":1,"type":"number"},"type":"dynamic"}}}`,
		`{"version":4,"outputs":{"a":{"value":[1,1],"type":["set","number"]},"b":{"value":[1],"type":["tuple",["string"]]},"c":{}}}`,
		`{"version":4,"resources":[{"mode":"managed","instances":[{"index_key":{"a":1e400}}]}]}`, `{"version":3}`, `null`, `[]`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		st, err := stack.ParseState("the.tfstate", content)
		if err != nil {
			require.ErrorContains(t, err, "read terraform state the.tfstate")
			return
		}
		for _, v := range st.Outputs {
			stack.Secrets(v)
			_, err := stack.Text(v)
			require.NoError(t, err)
			_, err = stack.JSON(v)
			require.NoError(t, err)
		}
	})
}
