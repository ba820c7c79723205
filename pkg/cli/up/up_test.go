package up

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/cli/app"
	"github.com/labctl/labctl/pkg/iostreams"
	"github.com/labctl/labctl/pkg/lab"
)

func TestWelcome(t *testing.T) {
	users := []app.DemoUser{{Name: "ada", Password: "p1"}, {Name: "grace", Password: "p2"}}
	require.Equal(t, `The lab is up, and a test message was delivered.

  chat    http://127.0.0.1:8080
  user    ada      password p1
  user    grace    password p2

Try:
  bin/labctl open            open the chat; log in as one of them, and in a private window as the other
  bin/labctl status          show the lab's status
  bin/labctl ship messaging  change a service, then roll it out
  bin/labctl down            destroy the lab`, welcome((&cli.Factory{Program: "bin/labctl"}).Line, "http://127.0.0.1:8080", users, true))
	require.Contains(t, welcome((&cli.Factory{}).Line, "u", users, false), "there was nothing to do")
}

func TestFlags(t *testing.T) {
	streams, _, _ := iostreams.Test()
	f := &cli.Factory{IO: streams}
	var got *Options
	run := func(args ...string) error {
		cmd := NewCmdUp(f, func(o *Options) error { got = o; return nil })
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
		cmd.SetArgs(args)
		return cmd.Execute()
	}
	require.NoError(t, run("--json", "--from-source"))
	require.True(t, got.JSON)
	require.True(t, f.FromSource)

	require.NoError(t, run("cluster", "2", "--skip", "a,b", "-p", "4", "--fail-fast", "--affected", "--why", "--report", "junit=out.xml"))
	var o lab.Options
	got.Choice.Apply(&o)
	require.Equal(t, lab.Selection{Stacks: []string{"cluster", "2"}, Skip: []string{"a", "b"}}, o.Selection)
	require.Equal(t, 4, o.Parallel)
	require.True(t, o.FailFast)
	require.True(t, got.Affected)
	require.True(t, got.Why)
	require.Equal(t, "junit=out.xml", got.Report.String())

	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"--report", "xml"}, "use json, junit, md"},
		{[]string{"--json", "--report", "md"}, "--report md=FILE"},
		{[]string{"--plan", "p", "cluster"}, "--plan already selects the stacks"},
		{[]string{"--parallel", "100"}, "use a number from 1 to 64"},
	} {
		require.ErrorContains(t, run(tc.args...), tc.want)
	}
}
