package azure_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/zclconf/go-cty/cty"

	"github.com/labctl/labctl/pkg/provider"
	"github.com/labctl/labctl/pkg/stack"
)

// TestTheTargetsAreWiredAlike holds both targets to the same numbers, names and outputs, so that what is learned on the
// laptop is true in the cloud: every output of a local stack is an output of the Azure stack of the same number, of the
// same type and as sensitive.
func TestTheTargetsAreWiredAlike(t *testing.T) {
	types, err := provider.ResourceTypes()
	require.NoError(t, err)
	open := func(env string) *stack.Graph {
		g, err := stack.Open(stack.Options{File: "../../lab.hcl", Env: env, ResourceTypes: types})
		require.NoError(t, err)
		return g
	}
	local, azure := open("local"), open("staging")
	compared := 0
	for _, s := range local.Stacks {
		other, err := azure.Stack(s.ID)
		require.NoError(t, err, "the same stacks on every target")
		for name, output := range s.Outputs {
			twin := other.Outputs[name]
			require.NotNil(t, twin, "%s of stacks/azure gives no output %q", s.ID, name)
			require.NotEqual(t, cty.DynamicPseudoType, output.Type(), "%s: the type of local's %q is not known", s.ID, name)
			require.Equal(t, output.Type().FriendlyName(), twin.Type().FriendlyName(), "%s: the type of %q", s.ID, name)
			require.True(t, output.Type().Equals(twin.Type()), "%s: the type of %q", s.ID, name)
			require.Equal(t, output.Sensitive, twin.Sensitive, "%s: whether %q is sensitive", s.ID, name)
			compared++
		}
	}
	require.Greater(t, compared, 10)
	for _, env := range []string{"prod", "technical"} {
		open(env)
	}
	require.True(t, open("prod").Env.Protected)
}
