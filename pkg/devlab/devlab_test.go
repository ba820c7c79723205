package devlab

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/chat"
)

// begin runs the chat and gives its address once it works, and the function that stops it.
func begin(t *testing.T, o Options) (url string, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	urls, ended := make(chan string, 1), make(chan error, 1)
	o.Listen = anywhere
	o.Frontend = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "the page") })
	o.Ready = func(url string) { urls <- url }
	go func() { ended <- Run(ctx, o) }()
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			cancel()
			require.NoError(t, <-ended)
		}
	}
	t.Cleanup(stop)
	select {
	case url = <-urls:
	case err := <-ended:
		t.Fatalf("Run ends: %v", err)
	}
	return url, stop
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	b, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	return res.StatusCode, string(b)
}

// No other program gets a port between the time that its address is known and the start of its service.
func TestPortsAreKept(t *testing.T) {
	all := units()
	urls, err := listen(t.Context(), all)
	require.NoError(t, err)
	require.Len(t, urls, 2*len(all))
	for _, u := range all {
		defer u.on.service.Close()
		defer u.on.health.Close()
	}
	for name, url := range urls {
		_, err := net.Listen("tcp", strings.TrimPrefix(url, "http://"))
		require.ErrorIs(t, err, syscall.EADDRINUSE, name)
	}
}

func TestRun(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	demo := []chat.User{{Name: "alice", Password: "correct horse"}, {Name: "bob", Password: "battery staple"}}

	url, stop := begin(t, Options{Dir: dir})
	status, body := get(t, url+"/")
	require.Equal(t, 200, status)
	require.Equal(t, "the page", body)
	status, body = get(t, url+"/internal/users/x")
	require.Equal(t, "the page", body, "internal paths are not routed")
	require.Equal(t, 200, status)
	status, body = get(t, url+"/api/nothing")
	require.Equal(t, 404, status)
	require.Contains(t, body, "not_found")
	status, _ = get(t, url+"/api/conversations")
	require.Equal(t, 401, status)

	for range 2 { // the second time they are there
		require.NoError(t, chat.EnsureDemoUsers(ctx, url, demo))
	}
	d, err := chat.Deliver(ctx, url, demo[0], demo[1])
	require.NoError(t, err)
	require.Positive(t, d.Stored)
	require.Positive(t, d.Delivered)

	err = Run(ctx, Options{Dir: dir, Listen: anywhere})
	require.ErrorIs(t, err, ErrRunning)
	require.ErrorContains(t, err, url)
	ln, err := net.Listen("tcp", anywhere)
	require.NoError(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	require.ErrorContains(t, Run(ctx, Options{Dir: t.TempDir(), Listen: ln.Addr().String()}), "address already in use")
	stop()

	url, stop = begin(t, Options{Dir: dir})
	err = chat.EnsureDemoUsers(ctx, url, []chat.User{{Name: "alice", Password: "another password"}})
	require.ErrorContains(t, err, "another password", "alice is kept")
	_, err = chat.Deliver(ctx, url, demo[1], demo[0])
	require.NoError(t, err)
	stop()

	url, _ = begin(t, Options{Dir: dir, Fresh: true})
	require.NoError(t, chat.EnsureDemoUsers(ctx, url, []chat.User{{Name: "alice", Password: "another password"}}))
}
