package chat

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestAChatThatComesUp answers as an ingress does that learns the services' ways one by one.
func TestAChatThatComesUp(t *testing.T) {
	answers := []struct {
		status int
		body   string
	}{
		{502, "bad gateway"},
		{404, `{"error":{"code":"not_found","message":"no such path"}}`},
		{503, `{"error":{"code":"busy","message":"later"}}`},
		{200, `{"user":{"id":"1","name":"ada"},"session":"s","access_token":"a","access_expires_in":600,"refresh_token":"r","refresh_expires_in":600}`},
	}
	logins, logouts := 0, 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/api/auth/login":
			a := answers[min(logins, len(answers)-1)]
			logins++
			if json.Valid([]byte(a.body)) {
				w.Header().Set("Content-Type", "application/json")
			}
			w.WriteHeader(a.status)
			_, _ = w.Write([]byte(a.body))
		case "/api/auth/logout":
			logouts++
			w.WriteHeader(http.StatusNoContent)
		default:
			t.Errorf("asked for %s", r.URL.Path)
		}
	}))
	defer server.Close()
	require.NoError(t, EnsureDemoUsers(t.Context(), server.URL, []User{{Name: "ada", Password: "secret"}}))
	require.Equal(t, len(answers), logins)
	require.Equal(t, 1, logouts)
}

func TestARefusalIsNotTriedAgain(t *testing.T) {
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte(`{"error":{"code":"forbidden","message":"no"}}`))
	}))
	defer server.Close()
	require.ErrorContains(t, EnsureDemoUsers(t.Context(), server.URL, []User{{Name: "ada", Password: "secret"}}), "forbidden")
	require.Equal(t, 1, asked)
}
