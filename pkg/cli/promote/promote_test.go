package promote

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/iostreams"
)

func TestFlags(t *testing.T) {
	streams, _, _ := iostreams.Test()
	f := &cli.Factory{IO: streams}
	var got *Options
	try := func(args ...string) error {
		cmd := NewCmdPromote(f, func(o *Options) error { got = o; return nil })
		cmd.SetArgs(args)
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
		return cmd.Execute()
	}
	require.NoError(t, try("staging", "prod", "-y", "--confirm", "prod", "--json"))
	require.Equal(t, "prod", f.Env, "the one that changes")
	require.Equal(t, Options{Factory: f, From: "staging", To: "prod", Yes: true, Confirm: "prod", JSON: true}, *got)
	require.ErrorContains(t, try("prod", "prod"), "cannot be promoted to itself")
	require.ErrorContains(t, try("prod"), "needs TO")
}
