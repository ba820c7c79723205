package ship

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/iostreams"
)

func TestKnown(t *testing.T) {
	services := []string{"auth", "gateway", "groups"}
	for name, tc := range map[string]struct {
		service string
		err     string
		next    []string
	}{
		"there is":      {service: "auth"},
		"meant another": {"gate", `there is no service "gate"; there are auth, gateway, groups`, []string{"labctl ship gateway"}},
		"nothing like":  {"x", `there is no service "x"; there are auth, gateway, groups`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			err := Known(services, tc.service, "labctl ship")
			if tc.err == "" {
				require.NoError(t, err)
				return
			}
			require.EqualError(t, err, tc.err)
			require.Equal(t, tc.next, cli.Explain(err).Next)
		})
	}
}

func TestFlags(t *testing.T) {
	streams, _, _ := iostreams.Test()
	var got *Options
	cmd := NewCmdShip(&cli.Factory{IO: streams}, func(o *Options) error { got = o; return nil })
	cmd.SetArgs([]string{"auth", "--json"})
	require.NoError(t, cmd.Execute())
	require.Equal(t, Options{Factory: got.Factory, Service: "auth", JSON: true}, *got)
}
