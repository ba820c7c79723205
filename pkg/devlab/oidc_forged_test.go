package devlab

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/services/auth"
)

// forger is a provider that answers what a test wants: the ways in which a real one never errs.
type forger struct {
	t      *testing.T
	srv    *httptest.Server
	key    *rsa.PrivateKey
	login  url.Values // what the last login asked for
	issuer string     // as the discovery has it
	answer func(w http.ResponseWriter, good map[string]any)
}

func newForger(t *testing.T) *forger {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	f := &forger{t: t, key: key}
	mux := http.NewServeMux()
	f.srv = httptest.NewServer(mux)
	t.Cleanup(f.srv.Close)
	f.issuer = f.srv.URL
	write := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v)
	}
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		write(w, map[string]any{
			"issuer": f.issuer, "authorization_endpoint": f.srv.URL + "/auth", "token_endpoint": f.srv.URL + "/token", "jwks_uri": f.srv.URL + "/keys",
			"id_token_signing_alg_values_supported": []string{"RS256", "HS256", "none"},
		})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		write(w, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &key.PublicKey, KeyID: "k", Use: "sig", Algorithm: "RS256"}}})
	})
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		id, secret, _ := r.BasicAuth()
		sum := sha256.Sum256([]byte(r.FormValue("code_verifier")))
		if id != "chat" || secret != "secret" || r.FormValue("redirect_uri") != f.login.Get("redirect_uri") ||
			base64.RawURLEncoding.EncodeToString(sum[:]) != f.login.Get("code_challenge") {
			w.WriteHeader(http.StatusBadRequest)
			write(w, map[string]string{"error": "invalid_grant"})
			return
		}
		now := time.Now()
		f.answer(w, map[string]any{
			"iss": f.srv.URL, "aud": "chat", "sub": "somebody", "nonce": f.login.Get("nonce"), "preferred_username": "Some Body@x",
			"iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
		})
	})
	return f
}

// token answers with an ID token.
func token(w http.ResponseWriter, idToken string) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"access_token": "x", "token_type": "Bearer", "expires_in": 60, "id_token": idToken})
}

// A provider's ID token opens the chat only if everything in it is right. All others are made by the same key from the same claims, but for
// one thing.
func TestForgedIDTokens(t *testing.T) {
	w := newWorld(t, "auth")
	f := newForger(t)
	w.startAuth(func(o *auth.Config) {
		o.OIDC = auth.OIDC{Issuer: f.srv.URL, ClientID: "chat", ClientSecret: "secret", RedirectURL: w.url + "/api/auth/oidc/callback"}
	})
	try := func(answer func(http.ResponseWriter, map[string]any)) (key, value string, b *browser) {
		t.Helper()
		f.answer = answer
		b = w.browser()
		at, err := url.Parse(b.begin())
		require.NoError(t, err)
		f.login = at.Query()
		key, value = b.back(w.url + "/api/auth/oidc/callback?" + url.Values{"code": {"c"}, "state": {f.login.Get("state")}, "iss": {f.srv.URL}}.Encode())
		return key, value, b
	}
	sign := func(claims map[string]any) string { return forge(t, jose.RS256, f.key, "k", claims) }
	good := func(w http.ResponseWriter, claims map[string]any) { token(w, sign(claims)) }
	but := func(claim string, value any) func(http.ResponseWriter, map[string]any) {
		return func(w http.ResponseWriter, claims map[string]any) {
			claims[claim] = value
			if value == nil {
				delete(claims, claim)
			}
			token(w, sign(claims))
		}
	}
	key, code, b := try(good)
	require.Equal(t, "login", key, code)
	s, err := b.exchange(code)
	require.NoError(t, err)
	require.Equal(t, "Some-Body", s.User.Name)

	foreign, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	for name, answer := range map[string]func(http.ResponseWriter, map[string]any){
		"another login's nonce":        but("nonce", "x"),
		"no nonce":                     but("nonce", nil),
		"another issuer":               but("iss", "https://evil.example"),
		"no issuer":                    but("iss", nil),
		"another client's":             but("aud", "other"),
		"for several, and none is it":  but("aud", []string{"other", "third"}),
		"for several, by nobody":       but("aud", []string{"chat", "other"}),
		"by another client":            but("azp", "other"),
		"expired":                      but("exp", time.Now().Add(-10*time.Minute).Unix()),
		"no end":                       but("exp", nil),
		"nobody":                       but("sub", ""),
		"no subject":                   but("sub", nil),
		"somebody with a long subject": but("sub", strings.Repeat("x", 256)),
		"a subject that is an object":  but("sub", map[string]string{"$ne": ""}),
		"another's key":                func(w http.ResponseWriter, c map[string]any) { token(w, forge(t, jose.RS256, foreign, "k", c)) },
		"an unknown key":               func(w http.ResponseWriter, c map[string]any) { token(w, forge(t, jose.RS256, foreign, "other", c)) },
		"the secret as a key": func(w http.ResponseWriter, c map[string]any) {
			token(w, forge(t, jose.HS256, []byte(strings.Repeat("secret", 6)), "k", c))
		},
		"no algorithm": func(w http.ResponseWriter, c map[string]any) {
			part := strings.Split(sign(c), ".")[1]
			token(w, base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`))+"."+part+".")
		},
		"changed": func(w http.ResponseWriter, c map[string]any) {
			p := strings.Split(sign(c), ".")
			token(w, p[0]+"."+strings.Split(sign(map[string]any{"sub": "admin"}), ".")[1]+"."+p[2])
		},
		"nonsense":    func(w http.ResponseWriter, _ map[string]any) { token(w, "nonsense") },
		"none at all": func(w http.ResponseWriter, _ map[string]any) { token(w, "") },
		"a refusal": func(w http.ResponseWriter, _ map[string]any) {
			http.Error(w, `{"error":"invalid_grant"}`, http.StatusBadRequest)
		},
	} {
		key, code, _ := try(answer)
		require.Equal(t, "login_error=failed", key+"="+code, name)
	}
	for name, answer := range map[string]func(http.ResponseWriter, map[string]any){
		"a fault": func(w http.ResponseWriter, _ map[string]any) { http.Error(w, "x", http.StatusInternalServerError) },
		"endless": func(w http.ResponseWriter, _ map[string]any) { token(w, strings.Repeat("x", 2<<20)) },
	} {
		key, code, _ := try(answer)
		require.Equal(t, "login_error", key, name)
		require.Contains(t, []string{"unavailable", "failed"}, code, name)
	}
	key, code, b = try(good)
	require.Equal(t, "login", key, code)
	again, err := b.exchange(code)
	require.NoError(t, err)
	require.Equal(t, s.User, again.User)

	t.Run("an issuer that calls itself otherwise", func(t *testing.T) {
		f.issuer = "https://evil.example"
		w.parts["auth"].stop()
		w.start("auth")
		w.ready()
		require.Equal(t, "/#login_error=unavailable", w.browser().begin())
	})
}
