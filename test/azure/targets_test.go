package azure_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/zclconf/go-cty/cty"

	"github.com/labctl/labctl/pkg/provider"
	"github.com/labctl/labctl/pkg/stack"
)

// TestTheTargetsAreWiredAlike holds both targets to the same numbers and names, so that what is learned on the laptop is
// true in the cloud: the Azure stack of a local stack's number has the same name, and the same outputs of the same types
// and as sensitive, no fewer and no more.
func TestTheTargetsAreWiredAlike(t *testing.T) {
	types, err := provider.ResourceTypes()
	require.NoError(t, err)
	open := func(env string) *stack.Graph {
		g, err := stack.Open(stack.Options{File: "../../lab.hcl", Env: env, ResourceTypes: types})
		require.NoError(t, err)
		return g
	}
	outputs := func(g *stack.Graph, s *stack.Stack) map[string]string {
		out := map[string]string{}
		for name, o := range s.Outputs {
			require.NotEqual(t, cty.DynamicPseudoType, o.Type(), "%s of target %s: the type of %q is not known", s.ID, g.Env.Target, name)
			out[name] = fmt.Sprintf("%#v, sensitive: %t", o.Type(), o.Sensitive)
		}
		return out
	}
	local, azure := open("local"), open("staging")
	compared := 0
	for _, s := range local.Stacks {
		twin, err := azure.Stack(s.ID)
		require.NoError(t, err, "the same stacks on every target")
		want := outputs(azure, twin)
		require.Equal(t, want, outputs(local, s), "the outputs of %s on Azure (expected) and on the laptop (actual)", s.ID)
		compared += len(want)
	}
	require.Greater(t, compared, 10)
	for _, env := range []string{"prod", "technical"} {
		open(env)
	}
	require.True(t, open("prod").Env.Protected)
}

// TestTheIngressSaysWhoComes holds both targets to one way in: it names requests, and its word on who sent them counts.
func TestTheIngressSaysWhoComes(t *testing.T) {
	networks := cty.ListVal([]cty.Value{cty.StringVal("192.0.2.0/24")})
	filters := map[string]string{}
	for _, env := range []string{"local", "staging"} {
		g, err := stack.Open(stack.Options{File: "../../lab.hcl", Env: env})
		require.NoError(t, err)
		s, err := g.Stack("5-release")
		require.NoError(t, err)
		known := stack.Known{Outputs: map[string]map[string]cty.Value{}, Images: map[string]string{}}
		for _, other := range g.Stacks {
			known.Outputs[other.Name] = map[string]cty.Value{}
			for name := range other.Outputs {
				known.Outputs[other.Name][name] = cty.StringVal("x")
			}
			for _, i := range other.Images {
				known.Images[i.Name] = "x"
			}
		}
		known.Outputs["cluster"]["ingress_networks"] = networks
		i := slices.IndexFunc(s.Releases, func(r *stack.Release) bool { return r.Name == "chat" })
		values, err := g.Values(s, s.Releases[i], known)
		require.NoError(t, err)
		require.True(t, values.GetAttr("trustedProxies").RawEquals(networks), env)
		filters[env] = values.GetAttr("ingress").GetAttr("annotations").AsValueMap()["zalando.org/skipper-filter"].AsString()
	}
	require.Contains(t, filters["local"], "flowId")
	require.Equal(t, filters["local"], filters["staging"])

	for _, c := range []struct {
		cluster, own string // as in lab.hcl
		want         []string
	}{
		{"", "", []string{"10.42.0.0/16"}},
		{"kind", "", []string{"10.244.0.0/16"}},
		{"kubeconfig", "", nil},
		{"kubeconfig", "198.51.100.0/24", []string{"198.51.100.0/24"}},
	} {
		g, err := stack.Open(stack.Options{File: "../../lab.hcl"})
		require.NoError(t, err)
		if c.cluster != "" {
			g.Env.Vars["cluster"] = cty.StringVal(c.cluster)
		}
		if c.own != "" {
			g.Env.Vars["ingress_networks"] = cty.TupleVal([]cty.Value{cty.StringVal(c.own)})
		}
		s, err := g.Stack("1-cluster")
		require.NoError(t, err)
		in, _, err := g.PartialInputs(s, stack.Known{})
		require.NoError(t, err)
		var got []string
		for _, v := range in["ingress_networks"].AsValueSlice() {
			got = append(got, v.AsString())
		}
		require.Equal(t, c.want, got, c.cluster)
	}
}
