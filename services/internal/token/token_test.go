package token

import (
	"context"
	"crypto/ed25519"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/stretchr/testify/require"
)

func signer(t *testing.T, id string) *Signer {
	t.Helper()
	seed, err := NewKey()
	require.NoError(t, err)
	s, err := NewSigner(id, seed)
	require.NoError(t, err)
	return s
}

func TestVerify(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	s, other := signer(t, "k1"), signer(t, "k1")
	claims := Claims{User: "u", Session: "s", Name: "n", Role: RoleModerator, Expires: now.Add(10 * time.Minute)}
	v := NewVerifier(func(context.Context) (jose.JSONWebKeySet, error) {
		return jose.JSONWebKeySet{Keys: []jose.JSONWebKey{s.Public()}}, nil
	}, func() time.Time { return now })
	sign := func(by *Signer, c Claims, at time.Time) string {
		raw, err := by.Sign(c, at)
		require.NoError(t, err)
		return raw
	}
	// hmacWith forges a token with the public key as the secret of another algorithm.
	hmacWith := func() string {
		k, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: jose.JSONWebKey{
			Key: []byte(s.key.Public().(ed25519.PublicKey)), KeyID: "k1"}}, nil)
		require.NoError(t, err)
		raw, err := jwt.Signed(k).Claims(jwt.Claims{Issuer: issuer, Subject: "u", Audience: jwt.Audience{audience}, Expiry: jwt.NewNumericDate(claims.Expires)}).
			Claims(map[string]any{"sid": "s", "role": RoleUser}).Serialize()
		require.NoError(t, err)
		return raw
	}
	custom := func(c jwt.Claims, sid, role string) string {
		raw, err := jwt.Signed(s.sig).Claims(c).Claims(map[string]any{"sid": sid, "role": role}).Serialize()
		require.NoError(t, err)
		return raw
	}
	full := jwt.Claims{Issuer: issuer, Subject: "u", Audience: jwt.Audience{audience}, Expiry: jwt.NewNumericDate(claims.Expires)}
	with := func(f func(*jwt.Claims)) jwt.Claims { c := full; f(&c); return c }

	got, err := v.Verify(t.Context(), sign(s, claims, now))
	require.NoError(t, err)
	require.Equal(t, claims.User, got.User)
	require.Equal(t, claims.Session, got.Session)
	require.Equal(t, claims.Name, got.Name)
	require.Equal(t, RoleModerator, got.Role)
	require.True(t, claims.Expires.Equal(got.Expires))

	good := sign(s, claims, now)
	for name, raw := range map[string]string{
		"empty":              "",
		"nonsense":           "a.b.c",
		"expired":            sign(s, Claims{User: "u", Session: "s", Role: RoleUser, Expires: now.Add(-time.Minute)}, now.Add(-time.Hour)),
		"not yet valid":      sign(s, claims, now.Add(time.Minute)),
		"another's key":      sign(other, claims, now),
		"unknown key":        sign(signer(t, "k2"), claims, now),
		"another algorithm":  hmacWith(),
		"no algorithm":       "eyJhbGciOiJub25lIn0." + strings.Split(good, ".")[1] + ".",
		"changed":            good[:len(good)-4] + "AAAA",
		"too long":           good + strings.Repeat("A", 5000),
		"another issuer":     custom(with(func(c *jwt.Claims) { c.Issuer = "x" }), "s", RoleUser),
		"another audience":   custom(with(func(c *jwt.Claims) { c.Audience = jwt.Audience{"x"} }), "s", RoleUser),
		"no expiry":          custom(with(func(c *jwt.Claims) { c.Expiry = nil }), "s", RoleUser),
		"no subject":         custom(with(func(c *jwt.Claims) { c.Subject = "" }), "s", RoleUser),
		"no session":         custom(full, "", RoleUser),
		"no role":            custom(full, "s", ""),
		"a role of its own":  custom(full, "s", "root"),
		"two keys":           `{"payload":"e30","signatures":[{"protected":"eyJhbGciOiJFZERTQSJ9","signature":"AAAA"},{"protected":"eyJhbGciOiJFZERTQSJ9","signature":"AAAA"}]}`,
		"JSON serialisation": `{"payload":"e30","protected":"eyJhbGciOiJFZERTQSJ9","signature":"AAAA"}`,
	} {
		_, err := v.Verify(t.Context(), raw)
		require.ErrorIs(t, err, ErrInvalid, name)
	}
	_, err = v.Verify(t.Context(), custom(full, "s", RoleUser))
	require.NoError(t, err, "what the others are made of is good")

	v.Refuse(func(session string) bool { return session == "s" })
	_, err = v.Verify(t.Context(), good)
	require.ErrorIs(t, err, ErrEnded)
}

// FuzzVerify looks for a token that is taken without having been signed, or that makes the parser panic.
func FuzzVerify(f *testing.F) {
	now := time.Unix(1_800_000_000, 0)
	seed, err := NewKey()
	require.NoError(f, err)
	s, err := NewSigner("k1", seed)
	require.NoError(f, err)
	good, err := s.Sign(Claims{User: "u", Session: "s", Role: RoleUser, Expires: now.Add(time.Minute)}, now)
	require.NoError(f, err)
	v := NewVerifier(func(context.Context) (jose.JSONWebKeySet, error) {
		return jose.JSONWebKeySet{Keys: []jose.JSONWebKey{s.Public()}}, nil
	}, func() time.Time { return now })
	parts := strings.Split(good, ".")
	for _, raw := range []string{good, "", "a.b.c", parts[0] + "." + parts[1] + ".", "eyJhbGciOiJub25lIn0." + parts[1] + ".", `{"payload":"e30"}`} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		c, err := v.Verify(t.Context(), raw)
		if err == nil {
			// The signature covers header and claims; the same bytes may be written in more than one way.
			require.Equal(t, parts[:2], strings.Split(raw, ".")[:2])
			require.Equal(t, "u", c.User)
			return
		}
		require.ErrorIs(t, err, ErrInvalid)
	})
}
