package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/stretchr/testify/require"
)

// cluster is what this package knows of one: the API, with TLS, and the files of a pod.
type cluster struct {
	*httptest.Server
	config Config
	keys   []jose.JSONWebKey
	asked  int
}

const issuer = "https://issuer.example"

func newCluster(t *testing.T, keys ...jose.JSONWebKey) *cluster {
	t.Helper()
	c := &cluster{keys: keys}
	c.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer for-the-api" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		c.asked++
		switch r.URL.Path {
		case "/.well-known/openid-configuration":
			_ = json.NewEncoder(w).Encode(map[string]string{"issuer": issuer, "jwks_uri": "https://elsewhere.example/keys"})
		case "/openid/v1/jwks":
			_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: c.keys})
		case "/moved/.well-known/openid-configuration":
			http.Redirect(w, r, "/.well-known/openid-configuration", http.StatusFound)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(c.Close)
	c.config = Config{Dir: t.TempDir(), Issuer: c.URL}
	c.write(t, "namespace", "chat")
	c.write(t, "token", "for-the-api\n")
	c.write(t, "ca.crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate().Raw})))
	return c
}

func (c *cluster) write(t *testing.T, name, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(c.config.Dir, name), []byte(text), 0o600))
}

// signer signs as a cluster does whose key has that id.
func signer(t *testing.T, id string) (sign func(jwt.Claims) string, public jose.JSONWebKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return signerOf(t, jose.ES256, key, id), jose.JSONWebKey{Key: key.Public(), KeyID: id, Algorithm: string(jose.ES256), Use: "sig"}
}

func signerOf(t *testing.T, algorithm jose.SignatureAlgorithm, key any, id string) func(jwt.Claims) string {
	t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: jose.JSONWebKey{Key: key, KeyID: id}}, nil)
	require.NoError(t, err)
	return func(c jwt.Claims) string {
		raw, err := jwt.Signed(s).Claims(c).Serialize()
		require.NoError(t, err)
		return raw
	}
}

func TestVerify(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	sign, public := signer(t, "k1")
	other, _ := signer(t, "k1")
	unknown, _ := signer(t, "k2")
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	byRSA := signerOf(t, jose.RS256, rsaKey, "k3")
	bySecret := signerOf(t, jose.HS256, []byte(strings.Repeat("s", 32)), "k4")
	c := newCluster(t, public,
		jose.JSONWebKey{Key: rsaKey.Public(), KeyID: "k3", Algorithm: string(jose.RS256), Use: "sig"},
		jose.JSONWebKey{Key: []byte(strings.Repeat("s", 32)), KeyID: "k4"})
	v := NewVerifier(c.config, "messaging", func() time.Time { return now })

	claims := func(change func(*jwt.Claims)) jwt.Claims {
		c := jwt.Claims{
			Issuer: issuer, Subject: "system:serviceaccount:chat:gateway", Audience: jwt.Audience{"chat/messaging"},
			IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(time.Hour)),
		}
		if change != nil {
			change(&c)
		}
		return c
	}
	for name, raw := range map[string]string{
		"as the embedded cluster signs": sign(claims(nil)),
		"as others sign":                byRSA(claims(nil)),
	} {
		t.Run(name, func(t *testing.T) {
			service, err := v.Verify(t.Context(), raw)
			require.NoError(t, err)
			require.Equal(t, "gateway", service)
		})
	}
	for name, raw := range map[string]string{
		"no token":                    "",
		"no JWT":                      "x.y.z",
		"another audience":            sign(claims(func(c *jwt.Claims) { c.Audience = jwt.Audience{"chat/auth"} })),
		"the API's audience":          sign(claims(func(c *jwt.Claims) { c.Audience = jwt.Audience{issuer} })),
		"no audience":                 sign(claims(func(c *jwt.Claims) { c.Audience = nil })),
		"another namespace":           sign(claims(func(c *jwt.Claims) { c.Subject = "system:serviceaccount:chat-2:gateway" })),
		"a namespace that begins so":  sign(claims(func(c *jwt.Claims) { c.Subject = "system:serviceaccount:chat" })),
		"no name":                     sign(claims(func(c *jwt.Claims) { c.Subject = "system:serviceaccount:chat:" })),
		"no service account":          sign(claims(func(c *jwt.Claims) { c.Subject = "gateway" })),
		"another issuer":              sign(claims(func(c *jwt.Claims) { c.Issuer = "https://other.example" })),
		"expired":                     sign(claims(func(c *jwt.Claims) { c.Expiry = jwt.NewNumericDate(now.Add(-6 * time.Second)) })),
		"not yet valid":               sign(claims(func(c *jwt.Claims) { c.NotBefore = jwt.NewNumericDate(now.Add(6 * time.Second)) })),
		"for ever":                    sign(claims(func(c *jwt.Claims) { c.Expiry = nil })),
		"an unknown key":              unknown(claims(nil)),
		"another key of the same id":  other(claims(nil)),
		"signed with a shared secret": bySecret(claims(nil)),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := v.Verify(t.Context(), raw)
			require.ErrorIs(t, err, ErrInvalid)
		})
	}
	require.Equal(t, 2, c.asked, "the keys are fetched once")
}

func TestKeysCannotBeHad(t *testing.T) {
	sign, public := signer(t, "k1")
	raw := sign(jwt.Claims{
		Issuer: issuer, Subject: "system:serviceaccount:chat:gateway", Audience: jwt.Audience{"chat/auth"}, Expiry: jwt.NewNumericDate(time.Now().Add(time.Hour)),
	})
	for name, breakIt := range map[string]func(t *testing.T, c *cluster){
		"no token for the API":       func(t *testing.T, c *cluster) { require.NoError(t, os.Remove(filepath.Join(c.config.Dir, "token"))) },
		"an old token for the API":   func(t *testing.T, c *cluster) { c.write(t, "token", "old") },
		"no authority":               func(t *testing.T, c *cluster) { c.write(t, "ca.crt", "none") },
		"another authority":          func(t *testing.T, c *cluster) { c.config.Issuer = httptestElsewhere(t) },
		"no namespace":               func(t *testing.T, c *cluster) { c.write(t, "namespace", " \n") },
		"the API is down":            func(_ *testing.T, c *cluster) { c.Close() },
		"the API leads to elsewhere": func(_ *testing.T, c *cluster) { c.config.Issuer += "/moved" },
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, public)
			breakIt(t, c)
			_, err := NewVerifier(c.config, "auth", time.Now).Verify(t.Context(), raw)
			require.ErrorContains(t, err, "get the keys of service accounts")
			require.NotErrorIs(t, err, ErrInvalid, "it is not the caller's fault")
		})
	}
}

// httptestElsewhere gives the address of a server that the cluster's authority has never heard of. It fails the test if a token comes.
func httptestElsewhere(t *testing.T) string {
	t.Helper()
	other := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("an impostor was shown a token") }))
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	other.TLS = selfSigned(t, key)
	other.StartTLS()
	t.Cleanup(other.Close)
	return other.URL
}

// The kubelet renews a token in its file, and whoever asks shows the new one.
func TestTokenIsReadAnew(t *testing.T) {
	c := Config{Dir: t.TempDir()}
	_, err := c.Token("messaging")
	require.ErrorIs(t, err, os.ErrNotExist)
	for _, text := range []string{"first\n", "second"} {
		require.NoError(t, os.WriteFile(filepath.Join(c.Dir, "messaging"), []byte(text), 0o600))
		token, err := c.Token("messaging")
		require.NoError(t, err)
		require.Equal(t, strings.TrimSpace(text), token)
	}
}

func TestIssuerFromEnv(t *testing.T) {
	for set, want := range map[string]string{
		"":                         "https://kubernetes.default.svc",
		"https://api.example/":     "https://api.example",
		"http://127.0.0.1:8080":    "http://127.0.0.1:8080",
		"http://[::1]:8080":        "http://[::1]:8080",
		"http://api.example":       "",
		"http://127.0.0.1.example": "",
		"kubernetes.default.svc":   "",
		"https://":                 "",
	} {
		t.Run(set, func(t *testing.T) {
			got, err := IssuerFromEnv(func(string) string { return set })
			require.Equal(t, want, got)
			require.Equal(t, want == "", err != nil, err)
		})
	}
}

func selfSigned(t *testing.T, key *ecdsa.PrivateKey) *tls.Config {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}
