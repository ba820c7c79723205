package auth

import (
	"context"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/services/internal/service"
	"github.com/labctl/labctl/services/internal/wire"
)

// What needs a database is tested where there is one (pkg/devlab).

func TestPasswords(t *testing.T) {
	h, err := newHasher(1, service.NewMetrics().Counter("x", "x"))
	require.NoError(t, err)
	stored, err := h.hash(t.Context(), "correct horse")
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(stored, "$argon2id$v=19$m=19456,t=2,p=1$"), stored)
	again, err := h.hash(t.Context(), "correct horse")
	require.NoError(t, err)
	require.NotEqual(t, stored, again, "each has a salt of its own")
	for name, tc := range map[string]struct {
		password, stored string
		want             bool
	}{
		"right":                      {"correct horse", stored, true},
		"wrong":                      {"wrong horse", stored, false},
		"no such user":               {"correct horse", "", false},
		"no such user, and no words": {"", "", false},
	} {
		got, err := h.check(t.Context(), tc.password, tc.stored)
		require.NoError(t, err, name)
		require.Equal(t, tc.want, got, name)
	}
	_, err = h.check(t.Context(), "x", "$argon2id$v=19$m=1,t=1,p=1$AAAA$AAAA")
	require.ErrorContains(t, err, "another form", "weaker parameters are not taken")
}

func TestHashesAreQueued(t *testing.T) {
	h, err := newHasher(2, service.NewMetrics().Counter("x", "x"))
	require.NoError(t, err)
	n := int64(runtime.GOMAXPROCS(0))
	require.True(t, h.places.TryAcquire(3*n), "one for each turn and two for each who waits")
	_, err = h.check(t.Context(), "correct horse", "")
	var e *service.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, 503, e.Status)
	require.Positive(t, e.RetryAfter)
	h.places.Release(3 * n)

	require.NoError(t, h.turns.Acquire(t.Context(), n)) // as if all processors were at it
	ended := make(chan error)
	for range 3 * n {
		go func() {
			_, err := h.hash(t.Context(), "correct horse")
			ended <- err
		}()
	}
	h.turns.Release(n)
	for range 3 * n {
		require.NoError(t, <-ended, "who waits gets a turn")
	}

	require.NoError(t, h.turns.Acquire(t.Context(), n))
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = h.hash(gone, "correct horse")
	require.ErrorIs(t, err, context.Canceled, "who goes away keeps no place")
	require.True(t, h.places.TryAcquire(3*n))
}

func TestCommandsWantTheirArguments(t *testing.T) {
	for _, c := range Commands() {
		for _, args := range [][]string{{"-x"}, {"a", "b", "c"}} {
			_, err := c.Run(t.Context(), Config{}, args)
			require.ErrorContains(t, err, "usage: auth "+c.Name, "%v", args)
		}
	}
}

func TestConfig(t *testing.T) {
	env := map[string]string{"KAFKA_BROKERS": "b:1", "MONGODB_URI": "mongodb://m", "KEY_LIFE": "12h"}
	c, err := ConfigFromEnv(func(k string) string { return env[k] })
	require.NoError(t, err)
	require.Equal(t, 12*time.Hour, c.KeyLife)
	for _, bad := range []string{"1", "1s", "-1h", "soon"} {
		env["KEY_LIFE"] = bad
		_, err = ConfigFromEnv(func(k string) string { return env[k] })
		require.ErrorContains(t, err, "KEY_LIFE", bad)
	}
}

func TestNames(t *testing.T) {
	for name, good := range map[string]bool{
		"al": true, "Alice.B_c-9": true, "9lives": true, strings.Repeat("a", 32): true,
		"": false, "a": false, strings.Repeat("a", 33): false, ".hidden": false, "-x": false, "a b": false, "ал": false, "a$": false, "a\x00": false, "a/b": false,
	} {
		require.Equal(t, good, checkName(name) == nil, "%q", name)
	}
	require.Error(t, checkPassword("1234567"))
	require.NoError(t, checkPassword("12345678"))
	require.NoError(t, checkPassword(strings.Repeat("é", 128)))
	require.Error(t, checkPassword(strings.Repeat("é", 129)))
	require.Error(t, checkPassword("12345678\xff"))
}

// FuzzRefreshToken holds that what is taken for a refresh token names a session that there may be.
func FuzzRefreshToken(f *testing.F) {
	s := session{ID: wire.NewID(), Gen: 7, Secret: []byte("secret")}
	for _, raw := range []string{s.refreshToken(), "", "..", s.ID + ".-1.x", s.ID + ".9223372036854775808.x", "{" + s.ID + "}.1.x", s.ID + ".1", s.ID + ".1.x.y"} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		id, gen, ok := parseRefreshToken(raw)
		require.Equal(t, ok, wire.ValidID(id))
		require.Equal(t, ok, gen > 0)
	})
}
