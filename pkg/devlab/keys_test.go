package devlab

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/labctl/labctl/services/auth"
	"github.com/labctl/labctl/services/client"
)

// signingKey is a signing key. auth keeps its seed encrypted.
type signingKey struct {
	Kid  string `bson:"kid"`
	Seed []byte `bson:"seed"`
}

func (w *world) signingKeys() []signingKey {
	w.t.Helper()
	var ring struct {
		Keys []signingKey `bson:"keys"`
	}
	require.NoError(w.t, w.database("auth").Collection("settings").FindOne(w.t.Context(), bson.M{"_id": "signing-keys"}).Decode(&ring))
	key, err := hkdf.Key(sha256.New, []byte(w.lab.secret), nil, "signing seeds of auth", 32)
	require.NoError(w.t, err)
	block, err := aes.NewCipher(key)
	require.NoError(w.t, err)
	aead, err := cipher.NewGCMWithRandomNonce(block)
	require.NoError(w.t, err)
	for i, k := range ring.Keys {
		ring.Keys[i].Seed, err = aead.Open(nil, nil, k.Seed, []byte(k.Kid))
		require.NoError(w.t, err)
	}
	return ring.Keys
}

// kid gives the id of the key that signed a token.
func kid(t *testing.T, raw string) string {
	t.Helper()
	p, err := jwt.ParseSigned(raw, []jose.SignatureAlgorithm{jose.EdDSA})
	require.NoError(t, err)
	return p.Headers[0].KeyID
}

// published gives the key ids of the key set.
func (w *world) published() string {
	w.t.Helper()
	status, body := get(w.t, w.url+"/api/auth/jwks")
	require.Equal(w.t, 200, status)
	require.NotContains(w.t, body, `"d"`, "the private side")
	var l []string
	for _, m := range regexp.MustCompile(`"kid":"([^"]+)"`).FindAllStringSubmatch(body, -1) {
		l = append(l, m[1])
	}
	return strings.Join(l, " ")
}

func TestSigningKeysRotate(t *testing.T) {
	w := newWorld(t, "auth")
	ctx := t.Context()
	var c clock
	w.startAuth(func(o *auth.Config) { o.Now, o.KeyReload = c.now, 20*time.Millisecond })
	alice := w.user("alice")
	first, err := alice.AccessToken(ctx)
	require.NoError(t, err)
	keys := w.signingKeys()
	require.Len(t, keys, 2)
	require.Equal(t, keys[0].Kid, kid(t, first))
	require.Equal(t, keys[0].Kid+" "+keys[1].Kid, w.published(), "the next one is known before it signs")

	current, next, err := auth.RotateKeys(ctx, w.authConfig(), false)
	require.NoError(t, err)
	require.Equal(t, keys[1].Kid, current)
	want := keys[0].Kid + " " + current + " " + next
	eventually(t, "auth to notice", func() bool { return w.published() == want })
	require.NoError(t, alice.Refresh(ctx))
	second, err := alice.AccessToken(ctx)
	require.NoError(t, err)
	require.Equal(t, current, kid(t, second))
	for _, raw := range []string{first, second} {
		for _, path := range []string{"/api/auth/me", "/api/conversations", "/api/groups"} {
			status, _ := call(t, "GET", w.url+path, raw, "")
			require.Equal(t, 200, status, "%s: a key is kept for the tokens that it has signed", path)
		}
	}

	// A key has leaked: there is nothing left that it has signed.
	dropped, _, err := auth.RotateKeys(ctx, w.authConfig(), true)
	require.NoError(t, err)
	require.Equal(t, next, dropped)
	eventually(t, "the old keys to go", func() bool { return strings.HasPrefix(w.published(), next+" ") })
	require.Len(t, strings.Fields(w.published()), 2)
	for _, raw := range []string{first, second} {
		status, _ := call(t, "GET", w.url+"/api/auth/me", raw, "")
		require.Equal(t, 401, status)
	}
	require.NoError(t, alice.Refresh(ctx), "sessions go on")
	third, err := alice.AccessToken(ctx)
	require.NoError(t, err)
	require.Equal(t, next, kid(t, third))
	eventually(t, "messaging to learn of the new key", func() bool {
		status, _ := call(t, "GET", w.url+"/api/conversations", third, "")
		return status == 200
	})

	keys = w.signingKeys()
	c.forward(24*time.Hour - time.Minute)
	eventually(t, "the scheduled rotation", func() bool {
		c.forward(time.Second)
		return strings.HasPrefix(w.published(), keys[0].Kid+" "+keys[1].Kid+" ")
	})
	c.forward(24 * time.Hour)
	eventually(t, "the next one, and the key whose last token has expired to go", func() bool { return strings.HasPrefix(w.published(), keys[1].Kid+" ") })
}

// An earlier version kept the seeds as they are. They go on, and are encrypted.
func TestSeedsOfAnEarlierVersion(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	alice := w.user("alice")
	access, err := alice.AccessToken(ctx)
	require.NoError(t, err)
	keys := w.signingKeys()
	w.parts["auth"].stop()
	_, err = w.database("auth").Collection("settings").UpdateOne(ctx, bson.M{"_id": "signing-keys"}, bson.M{"$set": bson.M{"keys": keys}})
	require.NoError(t, err)
	w.start("auth")
	w.ready()
	require.Equal(t, keys, w.signingKeys(), "the same ones, encrypted")
	status, _ := call(t, "GET", w.url+"/api/auth/me", access, "")
	require.Equal(t, 200, status, "what they have signed is good")

	c := w.authConfig()
	c.KeyEncryptionSecret = strings.Repeat("x", 32)
	_, _, err = auth.RotateKeys(ctx, c, false)
	require.ErrorContains(t, err, "KEY_ENCRYPTION_SECRET")
	require.Equal(t, keys, w.signingKeys(), "nothing was changed")
}

// Two instances share keys and sessions: what the one gives the other takes, and of two that find it is time to rotate one does.
func TestTwoInstancesOfAuth(t *testing.T) {
	w := newWorld(t, "auth")
	ctx := t.Context()
	var c clock
	w.startAuth(func(o *auth.Config) { o.Now, o.KeyReload = c.now, 20*time.Millisecond })
	w.place(&unit{name: "auth-2", run: w.parts["auth"].unit.run})
	w.start("auth-2")
	w.ready()

	one, two := client.New(w.urls["auth"]), client.New(w.urls["auth-2"])
	t.Cleanup(one.Close)
	t.Cleanup(two.Close)
	s, err := one.Register(ctx, "alice", "correct horse", "")
	require.NoError(t, err)
	for range 5 {
		other, err := two.Resume(ctx, s.RefreshToken())
		require.NoError(t, err)
		_, err = other.Me(ctx)
		require.NoError(t, err)
		s, err = one.Resume(ctx, other.RefreshToken())
		require.NoError(t, err)
		_, err = s.Me(ctx)
		require.NoError(t, err)
		// The clock's look at the keys comes at any time between these.
		c.forward(24 * time.Hour)
	}
	eventually(t, "both to have the same keys", func() bool {
		_, a := call(t, "GET", w.urls["auth"]+"/api/auth/jwks", "", "")
		_, b := call(t, "GET", w.urls["auth-2"]+"/api/auth/jwks", "", "")
		return a == b
	})
	var ring struct {
		Version int `bson:"version"`
	}
	require.NoError(t, w.database("auth").Collection("settings").FindOne(ctx, bson.M{"_id": "signing-keys"}).Decode(&ring))
	require.LessOrEqual(t, ring.Version, 6, "no day has two rotations")

	require.NoError(t, s.Logout(ctx))
	_, err = two.Resume(ctx, s.RefreshToken())
	require.True(t, client.IsCode(err, "session_ended"), "%v", err)
}
