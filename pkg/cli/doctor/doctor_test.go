package doctor

import (
	"bytes"
	"context"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/doctor"
	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/iostreams"
)

func TestShow(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, show(&b, []doctor.Finding{
		{Name: "root", OK: true, Have: "user 0", Need: "root"},
		{Name: "containerd", Need: "1.6 or newer", Fix: []string{"apt-get install containerd"}, Packages: []string{"containerd"}},
		{Name: "port 80", Have: "taken by nginx (process 7)", Need: "to be free"},
	}))
	require.Equal(t, `✓ root        user 0
✗ containerd  missing
              needed: 1.6 or newer
              $ apt-get install containerd
✗ port 80     taken by nginx (process 7)
              needed: to be free
`, b.String())
}

// Whatever the machine, what cannot be fixed is told before the first command runs.
func TestFixEndsTheStepAsFailed(t *testing.T) {
	machine := doctor.Options{UID: 0, LookPath: exec.LookPath, Run: func(context.Context, event.Report, string, ...string) error {
		t.Error("a command was run")
		return nil
	}}
	var kinds []event.Kind
	err := fix(t.Context(), machine, []doctor.Finding{
		{Name: "port 80", Have: "taken", Need: "free"},
		{Name: "containerd", Packages: []string{"containerd"}},
	}, event.SinkFunc(func(e event.Event) { kinds = append(kinds, e.Kind) }))
	require.ErrorIs(t, err, doctor.ErrNotReady)
	require.Equal(t, cli.ExitMachine, cli.Code(t.Context(), err))
	require.Equal(t, []event.Kind{event.Started, event.Failed}, kinds)
}

func TestFlags(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		want Options
		err  string
	}{
		"none":    {nil, Options{For: "up"}, ""},
		"all":     {[]string{"--fix", "--for", "test", "--json"}, Options{Fix: true, For: "test", JSON: true}, ""},
		"unknown": {[]string{"--for", "tea"}, Options{}, "--for tea is unknown; use up, dev or test"},
	} {
		t.Run(name, func(t *testing.T) {
			streams, _, _ := iostreams.Test()
			var got Options
			cmd := NewCmdDoctor(&cli.Factory{IO: streams}, func(o *Options) error { got = *o; return nil })
			cmd.SilenceErrors, cmd.SilenceUsage = true, true
			cmd.SetArgs(tc.args)
			err := cmd.Execute()
			if tc.err != "" {
				require.EqualError(t, err, tc.err)
				return
			}
			require.NoError(t, err)
			got.Factory = nil
			require.Equal(t, tc.want, got)
		})
	}
}
