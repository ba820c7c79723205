package presence

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/services/internal/wire"
)

// What follows from the leases of a user's gateways, at times in seconds: a minute of life and 30 s of grace.
func TestStates(t *testing.T) {
	const online, away, offline = wire.StateOnline, wire.StateAway, wire.StateOffline
	type word struct {
		at            int
		gateway       string
		devices, away int
	}
	for name, tc := range map[string]struct {
		words []word
		want  map[int]string // by the time of asking
	}{
		"nobody":                        {nil, map[int]string{0: offline}},
		"one comes and stays":           {[]word{{0, "a", 1, 0}, {15, "a", 1, 0}}, map[int]string{15: online, 74: online, 75: offline}},
		"one comes and goes":            {[]word{{0, "a", 1, 0}, {10, "a", 0, 0}}, map[int]string{10: online, 39: online, 40: offline}},
		"going is not told twice":       {[]word{{0, "a", 1, 0}, {10, "a", 0, 0}, {25, "a", 0, 0}}, map[int]string{39: online, 40: offline}},
		"a reload":                      {[]word{{0, "a", 1, 0}, {10, "a", 0, 0}, {39, "a", 1, 0}}, map[int]string{39: online, 98: online}},
		"a reload elsewhere":            {[]word{{0, "a", 1, 0}, {10, "a", 0, 0}, {39, "b", 1, 0}}, map[int]string{39: online, 41: online, 98: online}},
		"one is left":                   {[]word{{0, "a", 1, 0}, {10, "a", 1, 1}, {25, "a", 1, 1}}, map[int]string{39: online, 40: away, 84: away, 85: offline}},
		"one is left for a moment":      {[]word{{0, "a", 1, 0}, {10, "a", 1, 1}, {39, "a", 1, 0}}, map[int]string{39: online, 98: online}},
		"one comes back":                {[]word{{0, "a", 1, 0}, {10, "a", 1, 1}, {55, "a", 1, 0}}, map[int]string{55: online}},
		"one is left and goes":          {[]word{{0, "a", 1, 0}, {10, "a", 1, 1}, {40, "a", 1, 1}, {45, "a", 0, 0}}, map[int]string{45: away, 74: away, 75: offline}},
		"nobody was ever there":         {[]word{{0, "a", 1, 1}}, map[int]string{0: away, 59: away, 60: offline}},
		"of two one is left":            {[]word{{0, "a", 2, 1}}, map[int]string{59: online}},
		"of two the used one goes":      {[]word{{0, "a", 2, 1}, {10, "a", 1, 1}}, map[int]string{39: online, 40: away}},
		"two gateways, one left":        {[]word{{0, "a", 1, 1}, {0, "b", 1, 0}}, map[int]string{59: online}},
		"two gateways, both left":       {[]word{{0, "a", 1, 1}, {0, "b", 1, 1}}, map[int]string{59: away}},
		"a gateway dies":                {[]word{{0, "a", 1, 0}, {20, "b", 1, 1}}, map[int]string{59: online, 60: away}},
		"an older word that comes late": {[]word{{10, "a", 1, 0}, {0, "a", 0, 0}}, map[int]string{41: online}},
		"one that is long over":         {[]word{{0, "a", 1, 0}, {500, "a", 0, 0}}, map[int]string{500: offline}},
	} {
		start := time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)
		second := func(n int) time.Time { return start.Add(time.Duration(n) * time.Second) }
		for at, want := range tc.want {
			u := &user{leases: map[string]lease{}}
			for _, l := range tc.words {
				u.take(wire.Lease{Gateway: l.gateway, Devices: l.devices, Away: l.away, At: wire.At(second(l.at))}, "", time.Minute, 30*time.Second)
			}
			require.Equal(t, want, u.status("u", second(at)).State, "%s, after %d s", name, at)
		}
	}
}

func TestDevices(t *testing.T) {
	u := &user{leases: map[string]lease{}}
	start := time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)
	u.take(wire.Lease{Gateway: "a", Devices: 3, Away: 2, Sessions: map[string]bool{"phone": true, "laptop": false}, At: wire.At(start)}, "presence/0/1", time.Minute, 30*time.Second)
	u.take(wire.Lease{Gateway: "b", Devices: 2, Away: 1, Sessions: map[string]bool{"phone": false, "tablet": true}, At: wire.At(start.Add(time.Second))}, "presence/0/2", time.Minute, 30*time.Second)
	require.Equal(t, map[string]string{"phone": wire.StateOnline, "laptop": wire.StateOnline, "tablet": wire.StateAway}, u.status("u", start.Add(2*time.Second)).Devices)
	require.Equal(t, "presence/0/2", u.status("u", start.Add(2*time.Second)).Source)
	u.take(wire.Lease{Gateway: "a", At: wire.At(start.Add(-time.Second))}, "presence/0/3", time.Minute, 30*time.Second)
	require.Equal(t, "presence/0/2", u.status("u", start.Add(2*time.Second)).Source, "a word that comes too late changes nothing")
	require.Equal(t, map[string]string{"phone": wire.StateOnline, "tablet": wire.StateAway}, u.status("u", start.Add(time.Minute)).Devices, "a gateway has died")
}

// Of a partition whose last records retention has taken, the clock says when it was read to its end.
func TestCatchUp(t *testing.T) {
	start := time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)
	s := &shard{assigned: start, end: -1}
	require.False(t, s.catchUp(start.Add(time.Hour)), "its end is not known")
	s.end = 5
	require.False(t, s.catchUp(start.Add(catchUpTime)))
	require.True(t, s.catchUp(start.Add(catchUpTime+1)))
	require.True(t, s.catchUp(start), "once and for all")
	require.True(t, (&shard{assigned: start, end: 5, next: 5}).catchUp(start))
}
