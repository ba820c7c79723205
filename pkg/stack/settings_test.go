package stack_test

import (
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/stretchr/testify/require"
	"github.com/zclconf/go-cty/cty"

	"github.com/labctl/labctl/pkg/stack"
)

func TestEngine(t *testing.T) {
	for _, tc := range []struct{ text, name, constraint string }{
		{"terraform >= 1.6", "terraform", ">= 1.6"},
		{"tofu~>1.8", "tofu", "~>1.8"},
		{">= 1.6, < 2.0", "", ">= 1.6, < 2.0"},
		{" terraform ", "terraform", ""},
		{"1.11.0", "", "1.11.0"},
	} {
		t.Run(tc.text, func(t *testing.T) {
			g, err := stack.Open(stack.Options{Dir: write(t, map[string]string{
				"lab.hcl": strings.Replace(good["lab.hcl"], "{}", "{\n  required_engine = \""+tc.text+"\"\n}", 1),
			})})
			require.NoError(t, err)
			require.Equal(t, tc.name, g.Lab.Engine.Name)
			require.Equal(t, tc.constraint, g.Lab.Engine.Constraint)
			require.Equal(t, tc.constraint == "", g.Lab.Engine.Constraints == nil)
			require.Equal(t, 2, g.Lab.Engine.Range.Start.Line)
		})
	}
	g, err := stack.Open(stack.Options{Dir: write(t, nil)})
	require.NoError(t, err)
	require.Nil(t, g.Lab.Engine)
}

func TestRetry(t *testing.T) {
	g, err := stack.Open(stack.Options{Dir: write(t, nil)})
	require.NoError(t, err)
	require.Equal(t, stack.Retry{Attempts: 3, Wait: 5 * time.Second}, g.Lab.Retry)

	g, err = stack.Open(stack.Options{Dir: write(t, map[string]string{
		"lab.hcl": good["lab.hcl"] + "retry {\n  on       = [\"(?i)quota .* exceeded\", \"reset\"]\n  attempts = 10\n  wait     = \"1m30s\"\n}\n",
	})})
	require.NoError(t, err)
	require.Equal(t, 10, g.Lab.Retry.Attempts)
	require.Equal(t, 90*time.Second, g.Lab.Retry.Wait)
	require.Len(t, g.Lab.Retry.On, 2)
	require.True(t, g.Lab.Retry.On[0].MatchString("QUOTA of cores EXCEEDED"))
}

func TestTimeout(t *testing.T) {
	g, err := stack.Open(stack.Options{Dir: write(t, map[string]string{
		"stacks/local/1-cluster/stack.hcl": good["stacks/local/1-cluster/stack.hcl"] + "timeout = lookup(env, \"patience\", \"30m\")\n",
	})})
	require.NoError(t, err)
	require.Zero(t, g.Stacks[0].Timeout)
	require.Equal(t, 30*time.Minute, g.Stacks[1].Timeout)
}

// wired is good with hooks, a backend and blocks that are left out.
func wired(t *testing.T) *stack.Graph {
	t.Helper()
	g, err := stack.Open(stack.Options{Dir: write(t, map[string]string{
		"stacks/local/1-cluster/stack.hcl": good["stacks/local/1-cluster/stack.hcl"] + `
hook "check" {
  when    = "before"
  on      = ["up", "down"]
  command = ["./check.sh", env.location, stack.foundation.ports.http]
}
hook "say" {
  when    = "after"
  command = ["say", "done"]
  env     = { KUBECONFIG_DATA = stack.cluster.kubeconfig, NONE = null, PORT = env.api_port }
}
backend "s3" {
  bucket = "state-${stack.foundation.name}"
  key    = lab.environment
  region = lookup(env, "region", null)
}
`,
		"stacks/local/0-foundation/stack.hcl": good["stacks/local/0-foundation/stack.hcl"] + "backend \"azurerm\" {\n  container_name = stack.foundation.name\n}\n",
		"stacks/local/5-release/stack.hcl": good["stacks/local/5-release/stack.hcl"] + `
image "debug" {
  when     = env.location != "laptop"
  source   = "services/auth"
  registry = stack.cluster.registry
}
image "auth" {
  when     = lab.environment == "prod"
  source   = "services/auth"
  registry = stack.cluster.registry
}
release "debug" {
  when       = env.location != "laptop"
  kubeconfig = stack.cluster.kubeconfig
  chart      = "charts/chat"
  namespace  = "chat"
  values     = { image = image.debug, url = stack.cluster.node }
}
`,
	})})
	require.NoError(t, err)
	return g
}

func TestHooks(t *testing.T) {
	g := wired(t)
	s := g.Stacks[1]
	check, say := s.Hooks[0], s.Hooks[1]
	require.Equal(t, []string{"up", "down"}, sorted(check.On))
	require.Equal(t, []string{"up"}, say.On)
	require.Equal(t, "after", say.When)

	_, err := g.HookCommand(s, check, stack.Known{})
	require.ErrorIs(t, err, stack.ErrNotKnown)
	var missing *stack.NotKnownError
	require.ErrorAs(t, err, &missing)
	require.Equal(t, "ports", missing.Refs[0].Output)

	ports := cty.ObjectVal(map[string]cty.Value{"http": cty.NumberIntVal(80)})
	k := stack.Known{Outputs: map[string]map[string]cty.Value{
		"foundation": {"ports": ports}, "cluster": {"kubeconfig": cty.StringVal("k").Mark(stack.Sensitive)},
	}}
	command, err := g.HookCommand(s, check, k)
	require.NoError(t, err)
	require.Equal(t, []string{"./check.sh", "laptop", "80"}, command)
	env, sensitive, err := g.HookEnv(s, check, k)
	require.NoError(t, err)
	require.Empty(t, env)
	require.Empty(t, sensitive)
	env, sensitive, err = g.HookEnv(s, say, k)
	require.NoError(t, err)
	require.Equal(t, map[string]string{"KUBECONFIG_DATA": "k", "PORT": "6443"}, env, "a null leaves its variable out")
	require.Equal(t, []string{"k"}, sensitive, "a port is no secret")

	k.Outputs["foundation"]["ports"] = cty.ObjectVal(map[string]cty.Value{"http": cty.StringVal("hunter2").Mark(stack.Sensitive)})
	_, err = g.HookCommand(s, check, k)
	require.ErrorContains(t, err, "sensitive", "a state that says so, too, keeps a value out of a command")
	require.NotContains(t, err.Error(), "hunter2")
	k.Outputs["foundation"]["ports"] = cty.ObjectVal(map[string]cty.Value{"http": cty.NullVal(cty.String)})
	_, err = g.HookCommand(s, check, k)
	require.ErrorContains(t, err, "part 2 of the command is null")
}

func TestSensitiveVariablesOfHooks(t *testing.T) {
	g := wired(t)
	s := g.Stacks[1]
	h := s.Hooks[1]
	secret := func(v cty.Value) cty.Value { return v.Mark(stack.Sensitive) }
	for name, tc := range map[string]struct {
		env  string
		out  cty.Value // of stack cluster's output kubeconfig
		want []string
	}{
		"one of two":    {`{ A = stack.cluster.kubeconfig, B = "local" }`, secret(cty.StringVal("k")), []string{"k"}},
		"within a text": {`{ A = "--token=${stack.cluster.kubeconfig}" }`, secret(cty.StringVal("k")), []string{"--token=k"}},
		"a number":      {`{ A = stack.cluster.kubeconfig }`, secret(cty.NumberIntVal(4711)), []string{"4711"}},
		"all of it":     {`stack.cluster.kubeconfig`, secret(cty.MapVal(map[string]cty.Value{"A": cty.StringVal("k"), "B": cty.StringVal("l")})), []string{"k", "l"}},
		"a part":        {`stack.cluster.kubeconfig`, cty.ObjectVal(map[string]cty.Value{"A": secret(cty.StringVal("k")), "B": cty.StringVal("local")}), []string{"k"}},
		"a null":        {`{ A = stack.cluster.kubeconfig }`, secret(cty.NullVal(cty.String)), nil},
		"none":          {`{ A = stack.cluster.kubeconfig }`, cty.StringVal("k"), nil},
	} {
		t.Run(name, func(t *testing.T) {
			expr, diags := hclsyntax.ParseExpression([]byte(tc.env), "stack.hcl", hcl.InitialPos)
			require.Empty(t, diags)
			h.Env = expr
			_, sensitive, err := g.HookEnv(s, h, stack.Known{Outputs: map[string]map[string]cty.Value{"cluster": {"kubeconfig": tc.out}}})
			require.NoError(t, err)
			require.Equal(t, tc.want, sensitive)
		})
	}
}

func sorted(on []string) []string {
	if len(on) == 2 && on[0] == "down" {
		return []string{on[1], on[0]}
	}
	return on
}

func TestBackend(t *testing.T) {
	g := wired(t)
	foundation, cluster, release := g.Stacks[0], g.Stacks[1], g.Stacks[2]
	require.True(t, foundation.Backend.Own)
	require.False(t, cluster.Backend.Own)
	require.Equal(t, "s3", cluster.Backend.Type)

	config, err := g.BackendConfig(release, stack.Known{})
	require.NoError(t, err)
	require.Nil(t, config, "it has none")
	_, err = g.BackendConfig(cluster, stack.Known{})
	require.ErrorIs(t, err, stack.ErrNotKnown)
	config, err = g.BackendConfig(cluster, stack.Known{Outputs: map[string]map[string]cty.Value{"foundation": {"name": cty.StringVal("chat")}}})
	require.NoError(t, err)
	require.Equal(t, map[string]cty.Value{"bucket": cty.StringVal("state-chat"), "key": cty.StringVal("local")}, config)
}

func TestLeftOut(t *testing.T) {
	g := wired(t)
	s := g.Stacks[2]
	require.Len(t, s.Images, 1, "the second auth is for another environment")
	require.Equal(t, "auth", s.Images[0].Name)
	require.Len(t, s.Releases, 1)
	for _, w := range g.Warnings() {
		require.NotContains(t, w.String(), `"node"`, "what is left out here uses it elsewhere")
	}
}

func TestEdges(t *testing.T) {
	g := wired(t)
	require.Equal(t, []stack.Edge{
		{From: "0-foundation", To: "1-cluster", Output: "name", Kind: "input", Name: "name"},
		{From: "0-foundation", To: "1-cluster", Output: "ports", Kind: "hook", Name: "check"},
		{From: "0-foundation", To: "1-cluster", Output: "name", Kind: "backend", Name: "s3"},
		{From: "1-cluster", To: "5-release", Output: "registry", Kind: "image", Name: "auth"},
		{From: "1-cluster", To: "5-release", Output: "kubeconfig", Sensitive: true, Kind: "release", Name: "chat"},
	}, g.Edges(), "what a stack uses of itself is no edge")
}
