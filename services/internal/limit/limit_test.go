package limit

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestParseRate(t *testing.T) {
	for s, want := range map[string]Rate{"off": {}, "200/1000": {200, 1000}, "0.5/1": {0.5, 1}} {
		got, err := ParseRate(s)
		require.NoError(t, err, s)
		require.Equal(t, want, got, s)
	}
	for _, bad := range []string{"", "200", "/", "a/b", "1/0", "0/1", "-1/1", "1/-1", "NaN/1", "Inf/1", "1/1.5", "1/2/3"} {
		_, err := ParseRate(bad)
		require.Error(t, err, bad)
	}
}

func TestBucket(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	b := NewBucket(Rate{PerSecond: 2, Burst: 3}, now)
	for range 3 {
		require.True(t, b.Take(now))
	}
	require.False(t, b.Take(now))
	now = now.Add(500 * time.Millisecond)
	require.True(t, b.Take(now))
	require.False(t, b.Take(now))
	off := NewBucket(Rate{}, now)
	for range 5 {
		require.True(t, off.Take(now))
	}
}

func TestBuckets(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	b := New(Rate{PerSecond: 2, Burst: 3}, func() time.Time { return now })
	take := func(key string) bool { _, ok := b.Take(key); return ok }
	for range 3 {
		require.True(t, take("a"))
	}
	wait, ok := b.Take("a")
	require.False(t, ok)
	require.Equal(t, 500*time.Millisecond, wait)
	require.True(t, take("b"), "each key has its own")

	now = now.Add(wait)
	require.True(t, take("a"))
	require.False(t, take("a"))
	b.Return("a")
	require.True(t, take("a"), "what was given back can be taken again")

	now = now.Add(time.Hour)
	for range 3 {
		require.True(t, take("a"))
	}
	require.False(t, take("a"), "no more than the burst is saved")
	require.Len(t, b.keys, 1, "full buckets are forgotten")
	for range 5 {
		b.Return("a")
	}
	require.Empty(t, b.keys, "what is given back fills no more than the bucket")
	b.Return("nobody")
	require.Empty(t, b.keys)
	now = now.Add(-time.Minute)
	require.True(t, take("a"), "a clock that goes back takes nothing away")

	wait, ok = b.TakeN("b", 3)
	require.True(t, ok, wait)
	now = now.Add(time.Second)
	wait, ok = b.TakeN("b", 3)
	require.False(t, ok)
	require.Equal(t, 500*time.Millisecond, wait)
	require.True(t, take("b"), "what was refused has taken nothing")
	require.True(t, take("b"))
	require.False(t, take("b"))
	b.ReturnN("b", 2)
	wait, ok = b.TakeN("b", 2)
	require.True(t, ok, wait)
	now = now.Add(time.Hour)
	wait, ok = b.TakeN("b", 1000)
	require.True(t, ok, "what is more than the burst takes all of it: %s", wait)
	require.False(t, take("b"))

	off := New(Rate{}, func() time.Time { return now })
	for range 1000 {
		_, ok := off.Take("a")
		require.True(t, ok)
	}
}
