package gateway

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/services/internal/bus"
)

// A socket that opens begins with what its user was told ahead in the last seconds, in order, and with nothing else.
func TestRecent(t *testing.T) {
	now := time.Now()
	r := &recent{now: func() time.Time { return now }}
	pass := func(ahead bool, frame string, users ...string) {
		record := bus.For("room", users, []byte(frame))
		if ahead {
			bus.Ahead(record)
		}
		delivered := false
		r.pass(record, func() { delivered = true })
		require.True(t, delivered)
	}
	begins := func(user string) (frames []string) {
		r.open(user, func(all [][]byte) {
			for _, f := range all {
				frames = append(frames, string(f))
			}
		})
		return frames
	}
	pass(true, "1", "ann", "bob")
	pass(false, "2", "ann", "bob")
	now = now.Add(bus.AheadTime)
	pass(true, "3", "bob")
	pass(true, "4", "ann")
	require.Equal(t, []string{"1", "4"}, begins("ann"))
	require.Equal(t, []string{"1", "3"}, begins("bob"))
	require.Empty(t, begins("cleo"))
	now = now.Add(time.Millisecond)
	require.Equal(t, []string{"4"}, begins("ann"))
	pass(false, "5", "ann")
	pass(true, "6", "ann")
	require.Equal(t, []string{"4", "6"}, begins("ann"))
	now = now.Add(2 * bus.AheadTime)
	pass(false, "7", "ann")
	require.Empty(t, r.told, "it keeps no more than it needs")
}
