package devlab

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/load"
)

// A load can be ended before its time. What was sent until then is checked, and nothing else is expected.
func TestLoadEndsEarly(t *testing.T) {
	w := newWorld(t)
	shape, err := load.ParseShape("rooms:10")
	require.NoError(t, err)
	stop := make(chan struct{})
	sending := 0
	res, err := load.Run(t.Context(), load.Options{
		Address: w.url, Shape: shape, Seed: 1, Key: []byte("the key of the users of a test"), Size: 50,
		Users: 20, Devices: 1, Mix: load.Chat, Rate: 200, Duration: time.Hour, Stop: stop, Settle: time.Minute,
		Report: func(e event.Event) {
			if e.Message == load.Sending {
				if sending++; sending == 2 { // the first is before the first message
					close(stop)
				}
			}
		},
	})
	require.NoError(t, err)
	require.True(t, res.Verdict.Kept(), "%+v", res.Verdict)
	require.Equal(t, res.Sent, res.Verdict.Acked)
	require.GreaterOrEqual(t, res.Verdict.Delivered, 10*res.Sent, "and that the groups were made")
	require.Greater(t, res.Sent, int64(500))
	require.Less(t, res.Sent, int64(100_000))
	require.Positive(t, res.LongestGap)
}
