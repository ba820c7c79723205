package auth

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func kids(r ring) (l []string) {
	for _, k := range r.Keys {
		l = append(l, k.Kid)
	}
	return l
}

func TestRingRotates(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	const keep = 11 * time.Minute
	first := ring{ID: ringID, Version: 1, Since: now, Keys: []ringKey{{Kid: "a", Seed: make([]byte, 32)}, {Kid: "b", Seed: make([]byte, 32)}}}

	second, err := first.rotate(now, keep, false)
	require.NoError(t, err)
	require.EqualValues(t, 2, second.Version)
	require.Equal(t, []string{"a", "b"}, kids(second)[:2])
	require.Equal(t, "b", second.current().Kid, "the next one takes over")
	require.NotContains(t, []string{"a", "b"}, second.next().Kid)
	require.Len(t, second.next().Seed, 32)
	require.Equal(t, now.Add(keep), second.Keys[0].Until)

	third, err := second.rotate(now.Add(keep-1), keep, false)
	require.NoError(t, err)
	require.Equal(t, kids(second), kids(third)[:3], "a's tokens may still live")
	fourth, err := third.rotate(now.Add(keep), keep, false)
	require.NoError(t, err)
	require.NotContains(t, kids(fourth), "a", "and now they do not")
	require.Contains(t, kids(fourth), "b")

	dropped, err := third.rotate(now, keep, true)
	require.NoError(t, err)
	require.Equal(t, third.next().Kid, dropped.current().Kid)
	require.Len(t, dropped.Keys, 2)
	require.Len(t, third.Keys, 4, "the ring that it came from is as it was")
}
