package presence

import (
	"math/rand/v2"
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
			u := newUser(wire.Lease{}, 0)
			for i, l := range tc.words {
				u.take(wire.Lease{Gateway: l.gateway, Devices: l.devices, Away: l.away, At: wire.At(second(l.at))}, int64(i), time.Minute, 30*time.Second)
			}
			u.pass(second(at))
			require.Equal(t, want, u.status("u").State, "%s, after %d s", name, at)
			require.Equal(t, want, u.status("u").at(second(at)), "%s, after %d s", name, at)
		}
	}
}

func TestDevices(t *testing.T) {
	start := time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)
	u := newUser(wire.Lease{}, 0)
	devices := func(at time.Time) map[string]string {
		u.pass(at)
		return u.status("u").Devices
	}
	u.take(wire.Lease{Gateway: "a", Devices: 3, Away: 2, Sessions: map[string]bool{"phone": true, "laptop": false}, At: wire.At(start)}, 1, time.Minute, 30*time.Second)
	u.take(wire.Lease{Gateway: "b", Devices: 2, Away: 1, Sessions: map[string]bool{"phone": false, "tablet": true}, At: wire.At(start.Add(time.Second))}, 2, time.Minute, 30*time.Second)
	require.Equal(t, map[string]string{"phone": wire.StateOnline, "laptop": wire.StateOnline, "tablet": wire.StateAway}, devices(start.Add(2*time.Second)))
	require.EqualValues(t, 2, u.newest)
	u.take(wire.Lease{Gateway: "a", At: wire.At(start.Add(-time.Second))}, 3, time.Minute, 30*time.Second)
	require.EqualValues(t, 2, u.newest, "a word that comes too late changes nothing")
	require.Equal(t, map[string]string{"phone": wire.StateOnline, "tablet": wire.StateAway}, devices(start.Add(time.Minute)), "a gateway has died")
}

// Whenever somebody looks, the same leases lead to the same changes, each because of the same lease.
func TestChangesFollowFromTheLeases(t *testing.T) {
	start := time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 0))
		var leases []wire.Lease
		for at := start; len(leases) < 30; at = at.Add([]time.Duration{0, 7, 20, 40}[r.IntN(4)] * time.Second) {
			devices := r.IntN(3)
			leases = append(leases, wire.Lease{Gateway: []string{"a", "b"}[r.IntN(2)], Devices: devices, Away: r.IntN(devices + 1), At: wire.At(at)})
		}
		changes := func(looks int) []change {
			u := newUser(leases[0], 0)
			for i, l := range leases {
				for range looks { // each somewhere between the lease before and this one
					u.pass(u.now.Add(time.Duration(r.Int64N(int64(max(1, l.At.Sub(u.now)))))))
				}
				u.take(l, int64(i), time.Minute, 30*time.Second)
			}
			u.pass(start.Add(time.Hour))
			return u.changes
		}
		want := changes(0)
		require.NotEmpty(t, want)
		require.Equal(t, want, changes(3), "seed %d", seed)
	}
}

// A lease is open until nothing can follow from it any more.
func TestOpenLeases(t *testing.T) {
	start := time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)
	take := func(u *user, at, devices, away int, source int64) {
		u.take(wire.Lease{Gateway: "a", Devices: devices, Away: away, At: wire.At(start.Add(time.Duration(at) * time.Second))}, source, time.Minute, 30*time.Second)
	}
	u := newUser(wire.Lease{}, 0)
	is := func(at int, told bool, want int64, why string) {
		t.Helper()
		u.pass(start.Add(time.Duration(at) * time.Second))
		if told {
			u.changes = nil
		}
		require.Equal(t, want, u.open(100), why)
	}
	take(u, 0, 1, 0, 10)
	is(0, true, 0, "what others know is not known")
	u.known = true
	is(0, true, 10, "it ends")
	take(u, 15, 1, 0, 11)
	is(15, true, 11, "it goes on")
	take(u, 20, 1, 1, 12)
	take(u, 30, 1, 1, 13)
	is(49, true, 12, "it says until when somebody is there")
	is(50, false, 12, "nobody has been told")
	is(50, true, 13, "it says until when somebody is away")
	is(90, false, 13, "nobody has been told")
	is(90, true, 100, "it is over")
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
