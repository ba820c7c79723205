package tool

import (
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/cli"
)

func TestLabctlsFlagsStandBeforeTheTool(t *testing.T) {
	for name, tt := range map[string]struct {
		line, args []string
		env        string
	}{
		"nothing":                    {line: []string{"kubectl"}},
		"the tool's own flags":       {line: []string{"kubectl", "-n", "chat", "get", "pods", "--env", "x"}, args: []string{"-n", "chat", "get", "pods", "--env", "x"}},
		"help is the tool's":         {line: []string{"kubectl", "--help"}, args: []string{"--help"}},
		"a leading --":               {line: []string{"kubectl", "--", "get", "--", "x"}, args: []string{"get", "--", "x"}},
		"an environment":             {line: []string{"-e", "staging", "kubectl", "-e", "x"}, args: []string{"-e", "x"}, env: "staging"},
		"an environment in one word": {line: []string{"--env=staging", "--verbose", "kubectl", "get"}, args: []string{"get"}, env: "staging"},
		"an environment of its name": {line: []string{"--env", "kubectl", "kubectl", "get", "kubectl"}, args: []string{"get", "kubectl"}, env: "kubectl"},
	} {
		t.Run(name, func(t *testing.T) {
			f := &cli.Factory{Args: tt.line}
			var got *Call
			root := &cobra.Command{Use: "labctl", SilenceErrors: true, SilenceUsage: true}
			root.PersistentFlags().StringVarP(&f.Env, "env", "e", "", "")
			root.PersistentFlags().BoolVar(&f.Verbose, "verbose", false, "")
			root.AddCommand(NewCmdKubectl(f, func(c *Call) error { got = c; return nil }))
			root.SetArgs(tt.line)
			require.NoError(t, root.Execute())
			require.Equal(t, "kubectl", got.Name)
			require.Equal(t, append([]string{}, tt.args...), append([]string{}, got.Args...))
			require.Equal(t, tt.env, f.Env)
		})
	}
	_, _, err := divide(pflag.NewFlagSet("", pflag.ContinueOnError), "helm", []string{"kubectl"})
	require.Error(t, err)
}

func TestSuggestionsAreTheTools(t *testing.T) {
	names, directive := suggestions([]byte("pods\tshort name: po\nnodes\n:4\n"))
	require.Equal(t, []string{"pods\tshort name: po", "nodes"}, names)
	require.Equal(t, cobra.ShellCompDirectiveNoFileComp, directive)
	names, directive = suggestions([]byte("an error"))
	require.Empty(t, names)
	require.Equal(t, cobra.ShellCompDirectiveNoFileComp, directive)
}
