package client_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/services/client"
)

// A proxy that nobody serves: what is below localhost must not go by it, and needs no name service.
func TestNamesBelowLocalhostAreThisMachine(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://proxy.invalid:3128")
	var host string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host = r.Host
		w.WriteHeader(http.StatusTeapot)
	}))
	defer server.Close()
	c := client.New(strings.Replace(server.URL, "127.0.0.1", "prod.localhost", 1))
	defer c.Close()
	_, err := c.Register(t.Context(), "ada", "a password of the test", "test")
	require.ErrorContains(t, err, "418")
	require.True(t, strings.HasPrefix(host, "prod.localhost:"), "the ingress chooses by the name: %q", host)
	conn, err := client.Dial(t.Context(), "tcp", strings.Replace(server.Listener.Addr().String(), "127.0.0.1", "prod.localhost", 1))
	require.NoError(t, err)
	require.NoError(t, conn.Close())
}
