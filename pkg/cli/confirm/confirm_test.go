package confirm_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/cli/confirm"
	"github.com/labctl/labctl/pkg/iostreams"
)

func TestAProtectedEnvironmentWantsItsName(t *testing.T) {
	for name, tc := range map[string]struct {
		unprotected, stdinTerminal, stderrTerminal bool
		given, typed                               string
		asks                                       bool
		want                                       string // part of the error; "" means none
	}{
		"not protected":               {unprotected: true, stdinTerminal: true},
		"by flag":                     {given: "prod"},
		"by another name":             {given: "local", typed: "prod\n", stdinTerminal: true, want: `--confirm names the environment "local"`},
		"typed":                       {stdinTerminal: true, stderrTerminal: true, typed: "prod\n", asks: true},
		"typed, stderr to a file":     {stdinTerminal: true, typed: "prod\n", asks: true},
		"typed without an end":        {stdinTerminal: true, typed: "prod", asks: true},
		"typed wrongly":               {stdinTerminal: true, typed: "yes\n", asks: true, want: "was not confirmed"},
		"nothing typed":               {stdinTerminal: true, asks: true, want: "was not confirmed"},
		"piped, stderr is a terminal": {stderrTerminal: true, typed: "prod\n", want: "was not confirmed"},
		"piped":                       {typed: "prod\n", want: "was not confirmed"},
	} {
		t.Run(name, func(t *testing.T) {
			streams, _, stderr := iostreams.Test()
			streams.In, streams.Interactive, streams.Terminal = strings.NewReader(tc.typed), tc.stdinTerminal, tc.stderrTerminal
			err := confirm.Protected(&cli.Factory{IO: streams, Args: []string{"down", "-e", "prod", "--confirm=local"}}, "take it down", "prod", !tc.unprotected, tc.given)
			if tc.want == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, tc.want)
				require.Equal(t, []string{"labctl down -e prod --confirm prod"}, cli.Explain(err).Next)
			}
			require.Equal(t, tc.asks, strings.Contains(stderr.String(), "Type its name to take it down"))
		})
	}
}
