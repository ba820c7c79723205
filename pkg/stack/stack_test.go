package stack_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/zclconf/go-cty/cty"

	"github.com/labctl/labctl/pkg/stack"
	"github.com/labctl/labctl/test/golden"
)

// good is a lab in which everything is right; each test changes some of its files.
var good = map[string]string{
	"lab.hcl": `lab "chat" {}

environment "local" {
  target = "local"
  vars   = { location = "laptop", api_port = 6443 }
}
`,
	"stacks/local/0-foundation/main.tf": `variable "name" { type = string }

variable "location" {
  type    = string
  default = "laptop"
}

locals {
  ports = { http = var.location == "x" ? 80 : 8080 }
}

output "name" { value = var.name }
output "ports" { value = local.ports }
`,
	"stacks/local/0-foundation/stack.hcl": `inputs = {
  name     = lab.name
  location = env.location
}
`,
	"stacks/local/1-cluster/main.tf": `variable "name" { type = string }
variable "port" { type = number }

output "kubeconfig" {
  value     = "k"
  sensitive = true
}

resource "lab_node" "this" {}

output "registry" { value = { push = "a", pull = "b" } }
output "node" { value = lab_node.this.address }
`,
	"stacks/local/1-cluster/stack.hcl": `inputs = {
  name = stack.foundation.name
  port = env.api_port
}
`,
	"stacks/local/5-release/stack.hcl": `image "auth" {
  source   = "services/auth"
  registry = stack.cluster.registry
}

release "chat" {
  kubeconfig = stack.cluster.kubeconfig
  chart      = "charts/chat"
  namespace  = "chat"
  values     = { images = { auth = image.auth } }
}
`,
	"services/auth/main.go":  "package main\n",
	"charts/chat/Chart.yaml": "name: chat\n",
}

// write makes a lab of good with the changes; a file changed to "-" is left out.
func write(t *testing.T, changes map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	files := map[string]string{}
	for name, content := range good {
		files[name] = content
	}
	for name, content := range changes {
		files[name] = content
	}
	for name, content := range files {
		if content == "-" {
			continue
		}
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	}
	return dir
}

func TestOpenGood(t *testing.T) {
	dir := write(t, nil)
	g, err := stack.Open(stack.Options{Dir: filepath.Join(dir, "stacks", "local")})
	require.NoError(t, err)
	require.Equal(t, "chat", g.Lab.Name)
	require.Equal(t, filepath.Join(dir, ".lab", "local"), g.Dir)
	var ids []string
	for _, s := range g.Stacks {
		ids = append(ids, s.ID)
	}
	require.Equal(t, []string{"0-foundation", "1-cluster", "5-release"}, ids)
	require.Equal(t, []string{"auth"}, g.Services())
	for _, ref := range []string{"1-cluster", "cluster", "1"} {
		s, err := g.Stack(ref)
		require.NoError(t, err)
		require.Equal(t, "1-cluster", s.ID)
	}
	_, err = g.Stack("clutser")
	require.ErrorContains(t, err, `Did you mean`)
	require.NoDirExists(t, g.Dir, "Open makes nothing")
}

// TestOpenThisRepository holds the lab's own stacks to the checks.
func TestOpenThisRepository(t *testing.T) {
	g, err := stack.Open(stack.Options{Dir: "."})
	require.NoError(t, err)
	require.Equal(t, []string{"auth", "gateway", "messaging", "presence", "groups", "frontend"}, g.Services())
	want := map[string][]string{
		"0-foundation": {"container", "location", "name", "operators", "resource_group", "storage_account", "suffix", "tags", "workspace"},
		"1-cluster": {"api_networks", "cluster_id", "dns_label", "endpoints_subnet", "ingress_class", "ingress_namespace", "ingress_networks", "kubeconfig", "network_id", "nodes_subnet", "oidc_issuer",
			"registry", "registry_id", "storage_class", "url"},
		"2-databases": {"ca_certificate", "event_hubs", "kafka_brokers", "kafka_passwords", "kafka_sasl", "kafka_tls", "kafka_users", "key_encryption_secret", "mongodb_uris", "mongodb_users", "namespace",
			"server_certificates", "server_keys", "shadow_kafka_passwords", "shadow_mongodb_uris"},
		"5-release": {"identities", "url"},
	}
	for id, outputs := range want {
		s, err := g.Stack(id)
		require.NoError(t, err)
		var have []string
		for name := range s.Outputs {
			have = append(have, name)
		}
		require.ElementsMatch(t, outputs, have, id)
	}
}

func TestFind(t *testing.T) {
	_, err := stack.Open(stack.Options{Dir: t.TempDir()})
	require.ErrorIs(t, err, stack.ErrNoLab)
	_, err = stack.Open(stack.Options{File: filepath.Join(t.TempDir(), "lab.hcl")})
	require.ErrorIs(t, err, stack.ErrNoLab)
}

// TestSource is the way in which a test's own lab stands beside another: its own lab.hcl, the repository's stacks.
func TestSource(t *testing.T) {
	source, dir := write(t, nil), t.TempDir()
	file := filepath.Join(dir, "lab.hcl")
	require.NoError(t, os.WriteFile(file, []byte(`lab "other" {
  source = "`+source+`"
}
environment "local" {
  target = "local"
  vars   = { location = "here", api_port = 7443 }
}
`), 0o600))
	g, err := stack.Open(stack.Options{File: file})
	require.NoError(t, err)
	require.Equal(t, filepath.Join(dir, ".lab", "local"), g.Dir)
	require.Equal(t, source, g.Lab.Source)
	in, err := g.Inputs(g.Stacks[0], stack.Known{})
	require.NoError(t, err)
	require.Equal(t, "other", in["name"].AsString())
}

func TestBroken(t *testing.T) {
	const (
		lab        = "lab.hcl"
		foundation = "stacks/local/0-foundation/stack.hcl"
		cluster    = "stacks/local/1-cluster/stack.hcl"
		clusterTF  = "stacks/local/1-cluster/main.tf"
		release    = "stacks/local/5-release/stack.hcl"
	)
	edit := func(file, from, to string) map[string]string {
		if !strings.Contains(good[file], from) {
			t.Fatalf("%s does not hold %q", file, from)
		}
		return map[string]string{file: strings.Replace(good[file], from, to, 1)}
	}
	engine := func(requirement string) map[string]string {
		return edit(lab, "lab \"chat\" {}", "lab \"chat\" {\n  required_engine = \""+requirement+"\"\n}")
	}
	retry := func(attr string) map[string]string {
		return map[string]string{lab: good[lab] + "\nretry {\n  " + attr + "\n}\n"}
	}
	const nodes = `list(object({
    name = string
    size = number
    zone = optional(string, "1")
  }))`
	shaped := func(value, of string) map[string]string {
		return map[string]string{
			"stacks/local/3-more/main.tf":   "variable \"nodes\" {\n  type = " + of + "\n}\n",
			"stacks/local/3-more/stack.hcl": "inputs = {\n  nodes = " + value + "\n}\n",
		}
	}
	more := func(wiring string) map[string]string {
		return map[string]string{release: good[release] + "\n" + wiring}
	}
	for _, tc := range []struct {
		name    string
		env     string
		changes map[string]string
	}{
		{"syntax error", "", edit(cluster, "name = stack", "name = = stack")},
		{"unclosed brace", "", map[string]string{cluster: "inputs = {\n  name = lab.name\n"}},
		{"unknown stack", "", edit(cluster, "stack.foundation.name", "stack.fundation.name")},
		{"unknown output", "", edit(cluster, "stack.foundation.name", "stack.foundation.nmae")},
		{"stack without output", "", edit(cluster, "stack.foundation.name", "stack.foundation")},
		{"forward reference", "", edit(foundation, "lab.name", "stack.cluster.kubeconfig")},
		{"own output as input", "", edit(cluster, "stack.foundation.name", "stack.cluster.kubeconfig")},
		{"unknown environment variable", "", edit(cluster, "env.api_port", "env.apiport")},
		{"unknown lab attribute", "", edit(foundation, "lab.name", "lab.title")},
		{"unknown root", "", edit(foundation, "lab.name", "var.name")},
		{"required variable missing", "", edit(cluster, "  port = env.api_port\n", "")},
		{"no stack.hcl and required variables", "", map[string]string{cluster: "-"}},
		{"undeclared input", "", edit(cluster, "port = env", "prot = env")},
		{"input twice", "", edit(cluster, "port = env.api_port", "name = lab.name\n  port = env.api_port")},
		{"inputs not an object", "", map[string]string{cluster: "inputs = [lab.name]\n"}},
		{"inputs in a stack without terraform", "", edit(release, "image \"auth\"", "inputs = { a = 1 }\n\nimage \"auth\"")},
		{"unknown block", "", edit(release, "release \"chat\"", "relase \"chat\"")},
		{"unknown attribute", "", edit(release, "namespace  =", "name_space  =")},
		{"image without registry", "", edit(release, "  registry = stack.cluster.registry\n", "")},
		{"image source missing", "", edit(release, "services/auth", "services/atuh")},
		{"image source outside", "", edit(release, "services/auth", "../auth")},
		{"image source of an output", "", edit(release, `"services/auth"`, "stack.cluster.url")},
		{"unknown image", "", edit(release, "image.auth", "image.oauth")},
		{"image used in an input", "", edit(cluster, "stack.foundation.name", "image.auth")},
		{"image twice", "", map[string]string{"stacks/local/6-more/stack.hcl": "image \"auth\" {\n  source   = \"services/auth\"\n  registry = stack.cluster.registry\n}\n"}},
		{"release twice", "", map[string]string{release: good[release] + strings.SplitN(good[release], "\n\n", 2)[1]}},
		{"chart missing", "", edit(release, "charts/chat", "charts/caht")},
		{"chart without Chart.yaml", "", edit(release, "charts/chat", "services/auth")},
		{"bad namespace", "", edit(release, `namespace  = "chat"`, `namespace  = "Chat Room"`)},
		{"values not an object", "", edit(release, "{ images = { auth = image.auth } }", `"auth"`)},
		{"unknown function", "", edit(foundation, "lab.name", "upper(lab.name)")},
		{"wrong operand", "", edit(foundation, "lab.name", "lab.name + 1")},
		{"terraform syntax", "", edit(clusterTF, "value     = \"k\"", "value     = \"k")},
		{"variable twice", "", map[string]string{"stacks/local/1-cluster/more.tf": "variable \"port\" {}\n"}},
		{"number taken", "", map[string]string{"stacks/local/1-other/main.tf": ""}},
		{"name taken", "", map[string]string{"stacks/local/3-cluster/main.tf": ""}},
		{"bad stack name", "", map[string]string{"stacks/local/3_monitoring/main.tf": ""}},
		{"empty stack", "", map[string]string{"stacks/local/3-monitoring/README.md": ""}},
		{"no lab block", "", edit(lab, `lab "chat" {}`, "")},
		{"bad lab name", "", edit(lab, `lab "chat"`, `lab "My Chat"`)},
		{"source missing", "", edit(lab, `lab "chat" {}`, "lab \"chat\" {\n  source = \"../nowhere-at-all\"\n}")},
		{"no target", "", edit(lab, "target = \"local\"\n", "")},
		{"unknown target", "", edit(lab, `target = "local"`, `target = "azure"`)},
		{"unknown environment", "prod", nil},
		{"vars refer to something", "", edit(lab, `"laptop"`, "lab.name")},
		{"vars not an object", "", edit(lab, `{ location = "laptop", api_port = 6443 }`, `"laptop"`)},
		{"protected not a bool", "", edit(lab, "target = \"local\"\n", "target = \"local\"\n  protected = \"maybe\"\n")},
		{"no environment", "", map[string]string{lab: "lab \"chat\" {}\n"}},
		{"second lab block", "", map[string]string{lab: good[lab] + "lab \"more\" {}\n"}},
		{"environment twice", "", map[string]string{lab: good[lab] + "environment \"local\" {\n  target = \"local\"\n}\n"}},
		{"engine unknown", "", engine("terragrunt >= 1.6")},
		{"engine without version", "", engine("terraform >= one")},
		{"engine empty", "", engine("")},
		{"retry twice", "", map[string]string{lab: good[lab] + "retry {}\nretry {}\n"}},
		{"retry pattern", "", retry(`on = ["reset", "(half"]`)},
		{"retry of everything", "", retry(`on = [".*"]`)},
		{"retry too often", "", retry("attempts = 100")},
		{"retry without unit", "", retry("wait = 5")},
		{"retry back in time", "", retry(`wait = "-5s"`)},

		{"string for a number", "", edit(cluster, "env.api_port", "env.location")},
		{"list for a string", "", edit(foundation, "lab.name", "[lab.name]")},
		{"null for a required variable", "", map[string]string{
			cluster:   strings.Replace(good[cluster], "env.api_port", `lookup(env, "port", null)`, 1),
			clusterTF: strings.Replace(good[clusterTF], "{ type = number }", "{\n  type     = number\n  nullable = false\n}", 1),
		}},
		{"nested attribute of another type", "", shaped(`[{ size = 1, name = "a" }, { size = "big", name = "b" }]`, nodes)},
		{"nested attribute missing", "", shaped(`[{ size = 1 }]`, nodes)},
		{"nested attribute unknown", "", shaped(`[{ size = 1, name = "a", zoen = "1" }]`, nodes)},
		{"object for a list", "", shaped(`{ size = 1, name = "a" }`, nodes)},
		{"tuple too short", "", shaped(`["a"]`, "tuple([string, number])")},
		{"map of another type", "", shaped(`{ a = 1, b = [2] }`, "map(number)")},
		{"output of another type", "", edit(cluster, "env.api_port", "stack.foundation.ports")},
		{"output of an object without that attribute", "", edit(cluster, "env.api_port", "stack.foundation.ports.grpc")},
		{"output of a resource", "", edit(release, "registry = stack.cluster.registry", "registry = stack.cluster.node")},
		{"inside for", "", edit(cluster, "env.api_port", "[for p in [1] : stack.foundation.prots.http][0]")},
		{"inside a template", "", edit(foundation, "lab.name", `"${lab.name}-${env.locatoin}"`)},
		{"inside a conditional", "", edit(cluster, "env.api_port", "env.location == \"x\" ? 1 : stack.clutser.port")},
		{"inside try", "", edit(cluster, "env.api_port", "try(stack.foundation.prot, 1)")},
		{"inside lookup", "", edit(cluster, "env.api_port", `lookup(stack.foundation, "ports", 1)`)},
		{"splat of a stack", "", edit(cluster, "env.api_port", "stack.*.port[0]")},
		{"computed stack", "", edit(cluster, "env.api_port", "stack[lab.name].port")},
		{"type that is no type", "", edit(clusterTF, "type = number", "type = numbr")},
		{"type in quotes", "", edit(clusterTF, "type = number", `type = "number"`)},
		{"type without element", "", edit(clusterTF, "type = number", "type = set")},
		{"default of another type", "", edit(clusterTF, "{ type = number }", "{\n  type    = number\n  default = \"high\"\n}")},
		{"default refers to something", "", edit(clusterTF, "{ type = number }", "{\n  default = var.name\n}")},
		{"default null refused", "", edit(clusterTF, "{ type = number }", "{\n  default  = null\n  nullable = false\n}")},
		{"sensitive input", "", map[string]string{
			"stacks/local/3-more/main.tf":   "variable \"config\" { type = string }\n",
			"stacks/local/3-more/stack.hcl": "inputs = { config = \"a${stack.cluster.kubeconfig}\" }\n",
		}},
		{"sensitive registry", "", edit(release, "registry = stack.cluster.registry", `registry = { push = stack.cluster.kubeconfig, pull = "x" }`)},
		{"output twice", "", map[string]string{"stacks/local/1-cluster/more.tf": "output \"registry\" { value = 1 }\n"}},

		{"timeout without unit", "", more("timeout = 30\n")},
		{"timeout of an output", "", more("timeout = stack.cluster.url\n")},
		{"hook never", "", more("hook \"check\" {\n  when    = \"sometimes\"\n  command = [\"true\"]\n}\n")},
		{"hook on plan", "", more("hook \"check\" {\n  when    = \"before\"\n  on      = [\"plan\"]\n  command = [\"true\"]\n}\n")},
		{"hook without command", "", more("hook \"check\" {\n  when = \"before\"\n}\n")},
		{"hook command a string", "", more("hook \"check\" {\n  when    = \"before\"\n  command = \"./check.sh now\"\n}\n")},
		{"hook command empty", "", more("hook \"check\" {\n  when    = \"before\"\n  command = []\n}\n")},
		{"hook command sensitive", "", more("hook \"check\" {\n  when    = \"before\"\n  command = [\"kubectl\", stack.cluster.kubeconfig]\n}\n")},
		{"hook env not strings", "", more("hook \"check\" {\n  when    = \"before\"\n  command = [\"true\"]\n  env     = { PORTS = [1] }\n}\n")},
		{"hook before with own output", "", map[string]string{cluster: good[cluster] + "hook \"check\" {\n  when    = \"before\"\n  command = [\"curl\", stack.cluster.registry.push]\n}\n"}},
		{"hook twice", "", more(strings.Repeat("hook \"check\" {\n  when    = \"before\"\n  command = [\"true\"]\n}\n", 2))},
		{"backend remote", "", map[string]string{cluster: good[cluster] + "backend \"remote\" {}\n"}},
		{"backend unknown", "", map[string]string{cluster: good[cluster] + "backend \"azure\" {}\n"}},
		{"backend twice", "", map[string]string{cluster: good[cluster] + "backend \"local\" {}\nbackend \"s3\" {}\n"}},
		{"backend also in terraform", "", map[string]string{
			cluster:                             good[cluster] + "backend \"s3\" {\n  bucket = \"b\"\n}\n",
			"stacks/local/1-cluster/backend.tf": "terraform {\n  backend \"s3\" {}\n}\n",
		}},
		{"backend without terraform", "", more("backend \"s3\" {}\n")},
		{"backend of a later stack", "", map[string]string{foundation: good[foundation] + "backend \"s3\" {\n  bucket = stack.cluster.registry.push\n}\n"}},
		{"find without need", "", map[string]string{cluster: good[cluster] + "backend \"s3\" {\n  bucket = \"b\"\n  find   = { bucket = \"b\" }\n}\n"}},
		{"find incomplete", "", map[string]string{cluster: good[cluster] + "backend \"s3\" {\n  bucket = stack.cluster.registry.push\n  key    = stack.cluster.registry.pull\n  find   = { bucket = null, kye = \"k\" }\n}\n"}},
		{"find of an output", "", map[string]string{cluster: good[cluster] + "backend \"s3\" {\n  bucket = stack.cluster.registry.push\n  find   = { bucket = stack.cluster.registry.push }\n}\n"}},
		{"find not an object", "", map[string]string{cluster: good[cluster] + "backend \"s3\" {\n  bucket = stack.cluster.registry.push\n  find   = \"b\"\n}\n"}},
		{"image left out", "", edit(release, "image \"auth\" {\n", "image \"auth\" {\n  when     = env.location == \"cloud\"\n")},
		{"when of an output", "", edit(release, "image \"auth\" {\n", "image \"auth\" {\n  when     = stack.cluster.registry.push == \"\"\n")},
		{"when not a bool", "", edit(release, "image \"auth\" {\n", "image \"auth\" {\n  when     = \"often\"\n")},
		{"left out but wrong", "", edit(release, "= stack.cluster.kubeconfig", "= stack.clutser.kubeconfig\n  when       = false")},
		{"kubeconfig not a string", "", edit(release, "= stack.cluster.kubeconfig", "= stack.cluster.registry")},
		{"everything at once", "", map[string]string{
			foundation: "inputs = {\n  name = env.nam\n}\n",
			cluster:    "inputs = {\n  name = stack.foundation.naem\n}\n",
			release:    strings.Replace(good[release], "image.auth", "image.oauth", 1),
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := write(t, tc.changes)
			_, err := stack.Open(stack.Options{Dir: dir, Env: tc.env, ResourceTypes: map[string]cty.Type{
				"lab_node": cty.Object(map[string]cty.Type{"address": cty.String}),
			}})
			var config *stack.ConfigError
			require.True(t, errors.As(err, &config), "want a *ConfigError, have %v", err)
			text := strings.ReplaceAll(err.Error(), dir, "DIR") + "\n"
			golden.Equal(t, filepath.Join("broken", strings.ReplaceAll(tc.name, " ", "_")+".txt"), text)
		})
	}
}

func TestEvaluation(t *testing.T) {
	g, err := stack.Open(stack.Options{Dir: write(t, map[string]string{
		"stacks/local/1-cluster/stack.hcl": "inputs = {\n  name = stack.foundation.name\n  port = lookup(env, \"port\", env.api_port)\n}\n",
		"stacks/local/5-release/stack.hcl": strings.Replace(good["stacks/local/5-release/stack.hcl"], "image.auth }", `image.auth }, n = 2, f = 1.5, l = [true, null], s = "x-${stack.cluster.kubeconfig}"`, 1),
	})})
	require.NoError(t, err)
	cluster, release := g.Stacks[1], g.Stacks[2]

	_, err = g.Inputs(cluster, stack.Known{})
	require.ErrorIs(t, err, stack.ErrNotKnown)
	require.ErrorContains(t, err, "foundation")

	k := stack.Known{Images: map[string]string{}, Outputs: map[string]map[string]cty.Value{
		"foundation": {"name": cty.StringVal("s3cret").Mark(stack.Sensitive)},
		"cluster": {
			"kubeconfig": cty.StringVal("kube-secret").Mark(stack.Sensitive),
			"registry":   cty.ObjectVal(map[string]cty.Value{"push": cty.StringVal("p"), "pull": cty.StringVal("q")}),
		},
	}}
	in, err := g.Inputs(cluster, k)
	require.NoError(t, err)
	require.Equal(t, []string{"s3cret"}, stack.Secrets(in["name"]))
	require.Empty(t, stack.Secrets(in["port"]))
	text, err := stack.Text(in["port"])
	require.NoError(t, err)
	require.Equal(t, "6443", text)

	registry, err := g.Registry(release, release.Images[0], k)
	require.NoError(t, err)
	require.Equal(t, stack.Registry{Push: "p", Pull: "q"}, registry)
	_, err = g.Values(release, release.Releases[0], k)
	require.ErrorIs(t, err, stack.ErrNotKnown, "the image is not built")
	k.Images["auth"] = "q/lab/auth@sha256:1"
	values, err := g.Values(release, release.Releases[0], k)
	require.NoError(t, err)
	require.Equal(t, []string{"x-kube-secret"}, stack.Secrets(values), "a mark travels through a template")
	plain, err := stack.Plain(values)
	require.NoError(t, err)
	require.Equal(t, map[string]any{
		"images": map[string]any{"auth": "q/lab/auth@sha256:1"}, "n": int64(2), "f": 1.5, "l": []any{true, nil}, "s": "x-kube-secret",
	}, plain)
	kubeconfig, err := g.Kubeconfig(release, release.Releases[0], k)
	require.NoError(t, err)
	require.Equal(t, "kube-secret", kubeconfig)

	k.Outputs["cluster"]["registry"] = cty.StringVal("nonsense").Mark(stack.Sensitive)
	_, err = g.Registry(release, release.Images[0], k)
	var config *stack.ConfigError
	require.ErrorAs(t, err, &config)
	require.ErrorContains(t, err, "stacks/local/5-release/stack.hcl:3:14")
	require.NotContains(t, err.Error(), "nonsense")
	k.Outputs["cluster"]["kubeconfig"] = cty.NullVal(cty.String)
	_, err = g.Kubeconfig(release, release.Releases[0], k)
	require.ErrorContains(t, err, "kubeconfig is empty")
	require.ErrorAs(t, err, &config)
	require.ErrorIs(t, err, stack.ErrNotKnown, "down takes it for a cluster that is half gone")
}

func TestLookup(t *testing.T) {
	for _, tc := range []struct{ name, expr, want string }{
		{"set", `lookup(env, "location", "x")`, `"laptop"`},
		{"not set", `lookup(env, "cluster", "embedded")`, `"embedded"`},
		{"another type", `lookup(env, "api_port", null)`, `"6443"`}, // the variable is a string
		{"null", `lookup(env, "cluster", null)`, `null`},            // as terraform has it: the default is for what is not set
	} {
		t.Run(tc.name, func(t *testing.T) {
			g, err := stack.Open(stack.Options{Dir: write(t, map[string]string{
				"stacks/local/0-foundation/stack.hcl": "inputs = {\n  name     = lab.name\n  location = " + tc.expr + "\n}\n",
			})})
			require.NoError(t, err)
			in, err := g.Inputs(g.Stacks[0], stack.Known{})
			require.NoError(t, err)
			v, set := in["location"]
			require.Equal(t, tc.want != "", set)
			if set {
				b, err := stack.JSON(v)
				require.NoError(t, err)
				require.Equal(t, tc.want, string(b))
			}
		})
	}
}

func TestSensitiveVariable(t *testing.T) {
	g, err := stack.Open(stack.Options{Dir: write(t, map[string]string{
		"stacks/local/0-foundation/main.tf": "variable \"name\" { sensitive = true }\nvariable \"location\" { default = 1 }\noutput \"name\" { value = 1 }\n",
	})})
	require.NoError(t, err)
	in, err := g.Inputs(g.Stacks[0], stack.Known{})
	require.NoError(t, err)
	require.Equal(t, []string{"chat"}, stack.Secrets(in["name"]))
}

func TestReadState(t *testing.T) {
	_, err := stack.ReadState(filepath.Join(t.TempDir(), "none"))
	require.ErrorIs(t, err, os.ErrNotExist)
	for _, tc := range []struct{ name, data, want string }{
		{"cut off", `{"version": 4, "ser`, "unexpected end"},
		{"old", `{"version": 3}`, "format version 3, want 4"},
		{"bad type", `{"version":4,"outputs":{"a":{"value":1,"type":"strin"}}}`, `type of output "a"`},
		{"value of another type", `{"version":4,"outputs":{"a":{"value":{"hidden":1},"type":"string","sensitive":true}}}`, "does not fit its type"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := stack.ParseState("s", []byte(tc.data))
			require.ErrorContains(t, err, tc.want)
			require.NotContains(t, err.Error(), "hidden")
		})
	}
	st, err := stack.ParseState("s", []byte(`{"version":4,"serial":7,"lineage":"l","outputs":{"a":{"value":["x"],"type":["list","string"]}},
		"resources":[{"mode":"data","type":"d","name":"d","instances":[{}]},
		{"module":"module.m","mode":"managed","type":"t","name":"n","instances":[{"index_key":"k","attributes":{}},{"index_key":0,"attributes":{}}]}]}`))
	require.NoError(t, err)
	require.Equal(t, uint64(7), st.Serial)
	require.True(t, st.Outputs["a"].RawEquals(cty.ListVal([]cty.Value{cty.StringVal("x")})))
	require.Equal(t, `module.m.t.n["k"]`, st.Resources[0].Address)
	require.Equal(t, `module.m.t.n[0]`, st.Resources[1].Address)
}
