package exec

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/iostreams"
)

func TestArguments(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		want []string
		err  bool
	}{
		"with dashes":         {[]string{"cluster", "--", "plan", "-no-color", "--help"}, []string{"plan", "-no-color", "--help"}, false},
		"without":             {[]string{"cluster", "plan"}, []string{"plan"}, false},
		"nothing to do":       {[]string{"cluster"}, nil, true},
		"nothing after these": {[]string{"cluster", "--"}, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			streams, _, _ := iostreams.Test()
			var got *Options
			cmd := NewCmdExec(&cli.Factory{IO: streams}, func(o *Options) error { got = o; return nil })
			cmd.SilenceErrors, cmd.SilenceUsage = true, true
			cmd.SetArgs(tc.args)
			err := cmd.Execute()
			if tc.err {
				var usage *cli.UsageError
				require.ErrorAs(t, err, &usage)
				return
			}
			require.NoError(t, err)
			require.Equal(t, "cluster", got.Stack)
			require.Equal(t, tc.want, got.Args)
		})
	}
}
