package azure_test

import (
	"fmt"
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
