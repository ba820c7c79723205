package rollback

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
		cmd := NewCmdRollback(f, func(o *Options) error { got = o; return nil })
		cmd.SetArgs(args)
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
		return cmd.Execute()
	}
	require.NoError(t, try("prod", "1f2e3d4c", "--reason", "slow", "--confirm", "prod"))
	require.Equal(t, "prod", f.Env)
	require.Equal(t, Options{Factory: f, Revision: "1f2e3d4c", Reason: "slow", Confirm: "prod"}, *got)
	require.NoError(t, try("prod", "--undo", "--json"))
	require.True(t, got.Undo && got.JSON)
	require.ErrorContains(t, try("prod", "1f2e3d4c", "--undo"), "--undo takes no revision")
	require.Error(t, try())
}
