package auth

import (
	"bytes"
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

	second := first.rotate(ringKey{Kid: "c"}, now, keep, false)
	require.EqualValues(t, 2, second.Version)
	require.Equal(t, []string{"a", "b", "c"}, kids(second))
	require.Equal(t, "b", second.current().Kid, "the next one takes over")
	require.Equal(t, now.Add(keep), second.Keys[0].Until)

	third := second.rotate(ringKey{Kid: "d"}, now.Add(keep-1), keep, false)
	require.Equal(t, kids(second), kids(third)[:3], "a's tokens may still live")
	fourth := third.rotate(ringKey{Kid: "e"}, now.Add(keep), keep, false)
	require.NotContains(t, kids(fourth), "a", "and now they do not")
	require.Contains(t, kids(fourth), "b")

	dropped := third.rotate(ringKey{Kid: "e"}, now, keep, true)
	require.Equal(t, third.next().Kid, dropped.current().Kid)
	require.Len(t, dropped.Keys, 2)
	require.Len(t, third.Keys, 4, "the ring that it came from is as it was")
}

func TestSealer(t *testing.T) {
	s, err := newSealer("a secret that is long enough for this")
	require.NoError(t, err)
	other, err := newSealer("another one that is long enough, too")
	require.NoError(t, err)
	seed := bytes.Repeat([]byte("s"), 32)
	sealed := s.seal("a", seed)
	require.False(t, isPlain(sealed))
	require.True(t, isPlain(seed))
	require.NotContains(t, string(sealed), "sss")
	require.NotEqual(t, sealed, s.seal("a", seed), "each has a nonce of its own")
	got, err := s.unseal("a", sealed)
	require.NoError(t, err)
	require.Equal(t, seed, got)
	changed := bytes.Clone(sealed)
	changed[len(changed)-1] ^= 1
	for name, try := range map[string]func() ([]byte, error){
		"another secret": func() ([]byte, error) { return other.unseal("a", sealed) },
		"another key's":  func() ([]byte, error) { return s.unseal("b", sealed) },
		"changed":        func() ([]byte, error) { return s.unseal("a", changed) },
		"not encrypted":  func() ([]byte, error) { return s.unseal("a", seed) },
		"nothing":        func() ([]byte, error) { return s.unseal("a", nil) },
	} {
		_, err := try()
		require.ErrorContains(t, err, "KEY_ENCRYPTION_SECRET", name)
	}
}
