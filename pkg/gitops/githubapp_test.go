package gitops_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/gitops"
)

func TestAGitHubAppGetsATokenForItsStatement(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		statement, err := jwt.ParseSigned(r.Header.Get("Authorization")[len("Bearer "):], []jose.SignatureAlgorithm{jose.RS256})
		var claims jwt.Claims
		if err != nil || statement.Claims(key.Public(), &claims) != nil || r.URL.Path != "/api/v3/app/installations/42/access_tokens" || r.Method != http.MethodPost {
			w.WriteHeader(http.StatusUnauthorized)
			_ = json.NewEncoder(w).Encode(map[string]string{"message": "A JSON web token could not be decoded"})
			return
		}
		assert.NoError(t, claims.Validate(jwt.Expected{Issuer: "7", Time: now}))
		assert.LessOrEqual(t, claims.Expiry.Time().Sub(claims.IssuedAt.Time()), 10*time.Minute, "GitHub takes no longer ones")
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(map[string]string{"token": "ghs_secret"})
	}))
	defer server.Close()
	repository := server.URL + "/me/lab.git"
	for kind, block := range map[string]*pem.Block{
		"PKCS 1": {Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}, "PKCS 8": {Type: "PRIVATE KEY", Bytes: pkcs8},
	} {
		token, err := gitops.GitHubApp{ID: "7", Installation: "42", Key: pem.EncodeToMemory(block)}.Token(t.Context(), repository, now)
		require.NoError(t, err, kind)
		require.Equal(t, "ghs_secret", token)
	}
	app := gitops.GitHubApp{ID: "7", Installation: "43", Key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})}
	_, err = app.Token(t.Context(), repository, now)
	require.ErrorContains(t, err, "GitHub App 7, installation 43: 401 Unauthorized: A JSON web token could not be decoded")
	app.Key = []byte("x")
	_, err = app.Token(t.Context(), repository, now)
	require.ErrorContains(t, err, "key of the GitHub App: it is not PEM")
	for repository, want := range map[string]string{
		"https://github.com/me/lab.git": "https://api.github.com", "https://git.example.org/me/lab": "https://git.example.org/api/v3",
	} {
		api, err := app.API(repository)
		require.NoError(t, err)
		require.Equal(t, want, api)
	}
}
