package frontend

import (
	"compress/gzip"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/services/internal/service"
)

func site() fstest.MapFS {
	return fstest.MapFS{
		".gitkeep":              {},
		"index.html":            {Data: []byte("<!doctype html><title>page</title>" + strings.Repeat("<p>", 200))},
		"favicon.svg":           {Data: []byte("<svg/>")},
		"assets/index-ab12.js":  {Data: []byte(strings.Repeat("console.log(1);", 100))},
		"assets/index-cd34.css": {Data: []byte("a{}")},
	}
}

func get(t *testing.T, h http.Handler, method, target string, header http.Header) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, target, nil)
	for name, values := range header {
		r.Header[name] = values
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func text(t *testing.T, response *http.Response) string {
	t.Helper()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return string(body)
}

func TestHandler(t *testing.T) {
	h := newHandler(site())
	for name, c := range map[string]struct {
		method, path string
		status       int
		contentType  string
		cache        string
		contains     string
	}{
		"the page":                       {"GET", "/", 200, "text/html; charset=utf-8", "no-cache", "<title>page"},
		"the page by its file name":      {"GET", "/index.html", 200, "text/html; charset=utf-8", "no-cache", "<title>page"},
		"an address of the page":         {"GET", "/c/dm%3Aa%3Ab", 200, "text/html; charset=utf-8", "no-cache", "<title>page"},
		"a hashed file, for ever":        {"GET", "/assets/index-ab12.js", 200, "text/javascript; charset=utf-8", "public, max-age=31536000, immutable", "console"},
		"a style":                        {"GET", "/assets/index-cd34.css", 200, "text/css; charset=utf-8", "public, max-age=31536000, immutable", "a{}"},
		"a file whose name stays":        {"GET", "/favicon.svg", 200, "image/svg+xml", "no-cache", "<svg/>"},
		"a hashed file of an older page": {"GET", "/assets/index-0000.js", 404, "text/plain; charset=utf-8", "no-store", "no such file"},
		"a file that is not there":       {"GET", "/robots.txt", 404, "text/plain; charset=utf-8", "no-store", "no such file"},
		"a hidden file":                  {"GET", "/.gitkeep", 404, "text/plain; charset=utf-8", "no-store", "no such file"},
		"a way out":                      {"GET", "/%2e%2e/%2e%2e/etc/passwd.txt", 404, "text/plain; charset=utf-8", "no-store", "no such file"},
		"another service's path":         {"GET", "/api/messages", 404, "text/plain; charset=utf-8", "no-store", "no such file"},
		"the gateway's path":             {"GET", "/ws", 404, "text/plain; charset=utf-8", "no-store", "no such file"},
		"a write":                        {"POST", "/", 405, "text/plain; charset=utf-8", "no-store", "POST"},
	} {
		t.Run(name, func(t *testing.T) {
			got := get(t, h, c.method, c.path, nil)
			require.Equal(t, c.status, got.StatusCode)
			require.Equal(t, c.contentType, got.Header.Get("Content-Type"))
			require.Equal(t, c.cache, got.Header.Get("Cache-Control"))
			require.Contains(t, text(t, got), c.contains)
		})
	}
}

func TestEveryAnswerIsGuarded(t *testing.T) {
	for name, h := range map[string]http.Handler{"built": newHandler(site()), "not built": newHandler(fstest.MapFS{})} {
		for _, path := range []string{"/", "/assets/index-ab12.js", "/nothing.txt"} {
			t.Run(name+path, func(t *testing.T) {
				header := get(t, h, "GET", path, nil).Header
				policy := header.Get("Content-Security-Policy")
				require.Contains(t, policy, "default-src 'none'")
				require.Contains(t, policy, "script-src 'self';")
				require.Contains(t, policy, "connect-src 'self';")
				require.Contains(t, policy, "frame-ancestors 'none'")
				require.NotContains(t, policy, "unsafe")
				require.Equal(t, "nosniff", header.Get("X-Content-Type-Options"))
				require.Equal(t, "DENY", header.Get("X-Frame-Options"))
				require.Equal(t, "same-origin", header.Get("Cross-Origin-Opener-Policy"))
				require.Equal(t, "same-origin", header.Get("Referrer-Policy"))
			})
		}
	}
}

func TestCompression(t *testing.T) {
	h := newHandler(site())
	for accept, zipped := range map[string]bool{
		"gzip": true, "br, gzip;q=0.5": true, "GZIP": true,
		"": false, "br": false, "gzip;q=0": false, "gzip; q=0.000": false,
	} {
		t.Run(accept, func(t *testing.T) {
			got := get(t, h, "GET", "/assets/index-ab12.js", http.Header{"Accept-Encoding": {accept}})
			require.Equal(t, "Accept-Encoding", got.Header.Get("Vary"))
			body := io.Reader(got.Body)
			if zipped {
				require.Equal(t, "gzip", got.Header.Get("Content-Encoding"))
				var err error
				body, err = gzip.NewReader(got.Body)
				require.NoError(t, err)
			} else {
				require.Empty(t, got.Header.Get("Content-Encoding"))
			}
			plain, err := io.ReadAll(body)
			require.NoError(t, err)
			require.Equal(t, site()["assets/index-ab12.js"].Data, plain)
		})
	}
	small := get(t, h, "GET", "/assets/index-cd34.css", http.Header{"Accept-Encoding": {"gzip"}})
	require.Empty(t, small.Header.Get("Content-Encoding"), "compressing three bytes makes them more")
}

func TestUnchangedFilesAreNotSentAgain(t *testing.T) {
	h := newHandler(site())
	etag := get(t, h, "GET", "/", nil).Header.Get("ETag")
	require.NotEmpty(t, etag)
	for _, header := range []string{etag, "W/" + etag, `"other", ` + etag, "*"} {
		got := get(t, h, "GET", "/", http.Header{"If-None-Match": {header}})
		require.Equal(t, http.StatusNotModified, got.StatusCode, header)
		require.Empty(t, text(t, got))
	}
	require.Equal(t, http.StatusOK, get(t, h, "GET", "/", http.Header{"If-None-Match": {`"other"`}}).StatusCode)
}

func TestWithoutAPage(t *testing.T) {
	h := newHandler(fstest.MapFS{".gitkeep": {}})
	got := get(t, h, "GET", "/", nil)
	require.Equal(t, http.StatusServiceUnavailable, got.StatusCode)
	require.Contains(t, text(t, got), "npm run build")
}

func TestRunServesUntilItsContextEnds(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	health, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- Run(ctx, Config{service.Settings{Listener: listener, HealthListener: health, Log: slog.New(slog.DiscardHandler)}})
	}()
	fetch := func(of net.Listener, path string) (int, string) {
		response, err := http.Get("http://" + of.Addr().String() + path)
		require.NoError(t, err)
		defer response.Body.Close()
		return response.StatusCode, text(t, response)
	}
	status, _ := fetch(health, "/livez")
	require.Equal(t, http.StatusOK, status)
	ready, body := fetch(health, "/readyz")
	for strings.Contains(body, "starting") {
		ready, body = fetch(health, "/readyz")
	}
	shown, _ := fetch(listener, "/")
	if built := Built(); built == nil {
		require.Equal(t, http.StatusOK, ready)
		require.Equal(t, http.StatusOK, shown)
	} else { // a fresh clone
		require.Equal(t, http.StatusServiceUnavailable, ready)
		require.Contains(t, body, "npm run build")
		require.Equal(t, http.StatusServiceUnavailable, shown)
	}
	_, public := fetch(listener, "/metrics")
	require.NotContains(t, public, "http_requests_total")
	_, metrics := fetch(health, "/metrics")
	require.Contains(t, metrics, `http_requests_total{method="GET",route="GET /"`)
	cancel()
	require.NoError(t, <-done)
}

func TestRunNamesTheAddressThatIsTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	err = Run(t.Context(), Config{service.Settings{Listen: taken.Addr().String(), Log: slog.New(slog.DiscardHandler)}})
	require.ErrorContains(t, err, taken.Addr().String())
}

func TestConfigFromEnv(t *testing.T) {
	env := func(m map[string]string) func(string) string { return func(k string) string { return m[k] } }
	c, err := ConfigFromEnv(env(nil))
	require.NoError(t, err)
	require.Equal(t, ":8080", c.Listen)
	require.NotNil(t, c.Log)
	c, err = ConfigFromEnv(env(map[string]string{"LISTEN": "127.0.0.1:1", "LOG_LEVEL": "debug", "DRAIN_DELAY": "3s"}))
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1:1", c.Listen)
	require.Equal(t, 3*time.Second, c.DrainDelay)
	require.True(t, c.Log.Enabled(t.Context(), slog.LevelDebug))
	for name, value := range map[string]string{"LOG_LEVEL": "loud", "DRAIN_DELAY": "-1s"} {
		_, err = ConfigFromEnv(env(map[string]string{name: value}))
		require.ErrorContains(t, err, name)
		require.ErrorContains(t, err, value)
	}
}
