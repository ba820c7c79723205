package open

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/iostreams"
)

func TestBrowser(t *testing.T) {
	for name, tc := range map[string]struct {
		goos string
		env  map[string]string
		want string
	}{
		"a server has none": {"linux", nil, ""},
		"X":                 {"linux", map[string]string{"DISPLAY": ":0"}, "xdg-open"},
		"Wayland":           {"linux", map[string]string{"WAYLAND_DISPLAY": "wayland-0"}, "xdg-open"},
		"macOS":             {"darwin", nil, "open"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, tc.want, browser(tc.goos, func(name string) string { return tc.env[name] }))
		})
	}
}

func TestFlags(t *testing.T) {
	streams, _, _ := iostreams.Test()
	var got *Options
	cmd := NewCmdOpen(&cli.Factory{IO: streams}, func(o *Options) error { got = o; return nil })
	cmd.SetArgs([]string{"--print"})
	require.NoError(t, cmd.Execute())
	require.True(t, got.Print)
}
