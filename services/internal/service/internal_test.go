package service

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/services/internal/identity"
)

// Where the keys cannot be had nobody gets in, and it is not called the caller's fault.
func TestInternalWithoutKeys(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, nil)
	require.NoError(t, err)
	good, err := jwt.Signed(signer).Claims(jwt.Claims{Subject: "system:serviceaccount:chat:gateway"}).Serialize()
	require.NoError(t, err)

	var logged strings.Builder
	mux := http.NewServeMux()
	mux.Handle("GET /internal/x", Internal(Settings{Identity: identity.Config{Dir: t.TempDir(), Issuer: "http://127.0.0.1:1"}}.Callers("auth", time.Now),
		func(http.ResponseWriter, *http.Request) error { t.Error("somebody got in"); return nil }, "gateway"))
	s := &Server{Settings: Settings{Log: slog.New(slog.NewTextHandler(&logged, nil))}, Handler: mux, Metrics: NewMetrics()}
	started := make(chan struct{})
	close(started)
	for authorization, want := range map[string]int{"": 401, "Basic " + good: 401, "Bearer x": 401, "Bearer " + good: 503} {
		r := httptest.NewRequest("GET", "/internal/x", nil)
		r.Header.Set("Authorization", authorization)
		w := httptest.NewRecorder()
		s.routes(started).ServeHTTP(w, r)
		require.Equal(t, want, w.Code, authorization)
	}
	require.Contains(t, logged.String(), "refuses who does not prove to be a service")
	require.Contains(t, logged.String(), "get the keys of service accounts")
	require.NotContains(t, logged.String(), good)
}
