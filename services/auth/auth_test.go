package auth

import (
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/services/internal/limit"
	"github.com/labctl/labctl/services/internal/service"
	"github.com/labctl/labctl/services/internal/wire"
)

// What needs a database is tested where there is one (pkg/devlab).

func TestPasswords(t *testing.T) {
	h, err := newHasher(1, service.NewMetrics().Counter("x", "x"))
	require.NoError(t, err)
	stored, err := h.hash(t.Context(), "a", "name", "correct horse")
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(stored, "$argon2id$v=19$m=19456,t=2,p=1$"), stored)
	again, err := h.hash(t.Context(), "a", "name", "correct horse")
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
		got, err := h.check(t.Context(), "a", "name", tc.password, tc.stored)
		require.NoError(t, err, name)
		require.Equal(t, tc.want, got, name)
	}
	_, err = h.check(t.Context(), "a", "name", "x", "$argon2id$v=19$m=1,t=1,p=1$AAAA$AAAA")
	require.ErrorContains(t, err, "another form", "weaker parameters are not taken")
}

func TestHashesAreQueued(t *testing.T) {
	h, err := newHasher(1, service.NewMetrics().Counter("x", "x"))
	require.NoError(t, err)
	n := runtime.GOMAXPROCS(0)
	for range n { // as if all processors were at it
		require.NoError(t, h.bulkhead.acquire(t.Context(), "a", 0))
	}
	ended := make(chan error)
	for range 2 * n {
		go func() {
			_, err := h.hash(t.Context(), "a", "name", "correct horse")
			ended <- err
		}()
	}
	for range n {
		var e *service.Error
		require.ErrorAs(t, <-ended, &e, "one for each processor may wait")
		require.Equal(t, 503, e.Status)
		require.Positive(t, e.RetryAfter)
	}
	for range n {
		h.bulkhead.release()
	}
	for range n {
		require.NoError(t, <-ended)
	}
	require.Equal(t, n, h.bulkhead.free)
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
	env := map[string]string{"KAFKA_BROKERS": "b:1", "MONGODB_URI": "mongodb://m", "KEY_ENCRYPTION_SECRET": strings.Repeat("s", 32)}
	read := func() (Config, error) { return ConfigFromEnv(func(k string) string { return env[k] }) }
	for name, get := range map[string]func(Config) time.Duration{
		"KEY_LIFE": func(c Config) time.Duration { return c.KeyLife }, "SESSION_LIFE": func(c Config) time.Duration { return c.SessionLife },
	} {
		env[name] = "12h"
		c, err := read()
		require.NoError(t, err)
		require.Equal(t, 12*time.Hour, get(c))
		for _, bad := range []string{"1", "1s", "-1h", "soon"} {
			env[name] = bad
			_, err = read()
			require.ErrorContains(t, err, name, bad)
		}
		env[name] = ""
	}
	for rate, want := range map[string]limit.Rate{"": {PerSecond: 0.1, Burst: 100}, "2/3": {PerSecond: 2, Burst: 3}, "off": {}} {
		env["REGISTRATION_RATE"] = rate
		c, err := read()
		require.NoError(t, err)
		require.Equal(t, want, c.RegistrationRate, rate)
	}
	env["REGISTRATION_RATE"] = "often"
	_, err := read()
	require.ErrorContains(t, err, "REGISTRATION_RATE")
	env["KEY_ENCRYPTION_SECRET"] = "too-short"
	_, err = read()
	require.ErrorContains(t, err, "KEY_ENCRYPTION_SECRET has 9 characters")
	require.NotContains(t, err.Error(), "too-short")
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

func TestCommonPasswords(t *testing.T) {
	c, err := newCommonPasswords()
	require.NoError(t, err)
	require.Greater(t, len(c), 1000)
	for password, want := range map[string]string{
		"password": "most common", "PassWord1": "most common", "qwertyuiop": "most common", "12345678": "most common", "short": "8 to 128", "correct horse": "",
	} {
		if err := c.check(password); want == "" {
			require.NoError(t, err, password)
		} else {
			require.ErrorContains(t, err, want, password)
		}
	}
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
