package check

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAskWants200(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" {
			http.Error(w, "starting: create topic users", http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	require.NoError(t, Ask(t.Context(), server.URL+"/readyz"))
	require.ErrorContains(t, Ask(t.Context(), server.URL+"/other"), "503 Service Unavailable: starting: create topic users")
	server.Close()
	require.Error(t, Ask(t.Context(), server.URL+"/readyz"))
}
