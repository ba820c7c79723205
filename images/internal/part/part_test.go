package part

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCheckWants200(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" {
			http.Error(w, "starting: create topic users", http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	require.Equal(t, 0, Main("test", []string{"-check", server.URL + "/readyz"}, nil))
	require.Equal(t, 1, Main("test", []string{"-check", server.URL + "/other"}, nil))
}
