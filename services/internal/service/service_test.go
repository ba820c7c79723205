package service

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	otel "go.opentelemetry.io/otel/trace"

	"github.com/labctl/labctl/services/internal/trace"
)

func TestFromEnv(t *testing.T) {
	env := map[string]string{"KAFKA_BROKERS": "a:1, b:2,", "MONGODB_URI": "mongodb://m", "ALLOWED_ORIGINS": "https://x"}
	s, err := FromEnv("gateway", func(k string) string { return env[k] })
	require.NoError(t, err)
	require.Equal(t, []string{"a:1", "b:2"}, s.Kafka.Brokers)
	require.Empty(t, s.Database, "it keeps no data")
	require.Equal(t, ":8080", s.Listen)
	require.Equal(t, []string{"https://x"}, s.AllowedOrigins)

	env = map[string]string{"LOG_LEVEL": "loud", "DRAIN_DELAY": "soon"}
	_, err = FromEnv("auth", func(k string) string { return env[k] })
	for _, name := range []string{"KAFKA_BROKERS", "MONGODB_URI", "LOG_LEVEL", "DRAIN_DELAY"} {
		require.ErrorContains(t, err, name, "all that is wrong is said at once")
	}
}

// A shadow that has anything in common with the live service does not start.
func TestShadowFromEnv(t *testing.T) {
	read := func(service string, more map[string]string) (Settings, error) {
		return FromEnv(service, func(k string) string {
			if v, ok := map[string]string{"KAFKA_BROKERS": "a:1", "MONGODB_URI": "mongodb://m"}[k]; ok {
				return v
			}
			return more[k]
		})
	}
	for _, v := range []string{"", "on"} {
		s, err := read("messaging", map[string]string{"SIDE_EFFECTS": v})
		require.NoError(t, err)
		require.False(t, s.Shadow)
	}
	_, err := read("messaging", map[string]string{"SIDE_EFFECTS": "no"})
	require.ErrorContains(t, err, `SIDE_EFFECTS is "no"`)
	_, err = read("messaging", map[string]string{"SIDE_EFFECTS": "off", "MONGODB_DATABASE": "messaging", "KAFKA_GROUP": "messaging"})
	for _, name := range []string{"KAFKA_WRITE_PREFIX", "MONGODB_DATABASE", "KAFKA_GROUP"} {
		require.ErrorContains(t, err, name)
	}
	own := map[string]string{"SIDE_EFFECTS": "off", "KAFKA_WRITE_PREFIX": "shadow.", "MONGODB_DATABASE": "shadow"}
	s, err := read("gateway", own)
	require.NoError(t, err, "it is in no group")
	require.True(t, s.Shadow)
	_, err = read("presence", own)
	require.ErrorContains(t, err, "KAFKA_GROUP is presence, which is the live one")
}

func TestCommand(t *testing.T) {
	commands := []Command[string]{
		{Name: "say", Run: func(_ context.Context, c string, args []string) (string, error) {
			return c + ": " + strings.Join(args, " "), nil
		}},
		{Name: "fail", Run: func(context.Context, string, []string) (string, error) { return "", errors.New("no") }},
	}
	for name, tc := range map[string]struct {
		args []string
		code int
		out  string
	}{
		"one that works":            {[]string{"say", "a", "b"}, 0, "config: a b\n"},
		"one that does not":         {[]string{"fail"}, 1, ""},
		"one that there is none of": {[]string{"sing"}, 3, ""},
	} {
		var out strings.Builder
		require.Equal(t, tc.code, command(t.Context(), slog.New(slog.DiscardHandler), &out, "config", tc.args, commands), name)
		require.Equal(t, tc.out, out.String(), name)
	}
}

func TestDecode(t *testing.T) {
	for name, tc := range map[string]struct {
		kind, body string
		status     int
		says       string
	}{
		"good":                {"application/json", `{"a":"b"}`, 0, ""},
		"with a charset":      {"application/json; charset=utf-8", `{"a":"b"}`, 0, ""},
		"white space":         {"application/json", ` {"a":"b"} ` + "\n", 0, ""},
		"no type":             {"", `{"a":"b"}`, 415, ""},
		"a form":              {"application/x-www-form-urlencoded", `{"a":"b"}`, 415, ""},
		"not JSON":            {"application/json", `{`, 400, ""},
		"empty":               {"application/json", ``, 400, ""},
		"an operator":         {"application/json", `{"a":{"$ne":""}}`, 400, ""},
		"an unknown name":     {"application/json", `{"x":"b"}`, 400, `"x"`},
		"two values":          {"application/json", `{"a":"b"}{}`, 400, ""},
		"too large":           {"application/json", `{"a":"` + strings.Repeat("x", MaxBody) + `"}`, 413, ""},
		"too much space":      {"application/json", `{"a":"b"}` + strings.Repeat(" ", MaxBody), 413, ""},
		"deep":                {"application/json", strings.Repeat(`{"a":`, 12_000), 400, "deeper than 16"},
		"null":                {"application/json", `null`, 400, "the body is null"},
		"a null":              {"application/json", `{"a":null}`, 400, "a is null"},
		"a null for a maybe":  {"application/json", `{"maybe":null}`, 400, "maybe is null"},
		"a null in a list":    {"application/json", `{"list":["x",null]}`, 400, "list[1] is null"},
		"a null after a null": {"application/json", `{"list":[null,null]}`, 400, "list[0] is null"},
		"a name twice":        {"application/json", `{"map":{"x":1,"x":2}}`, 400, "map.x is there twice"},
		"a null in a map":     {"application/json", `{"map":{"x":1,"y":null}}`, 400, "map.y is null"},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest("POST", "/", strings.NewReader(tc.body))
			r.Header.Set("Content-Type", tc.kind)
			var v struct {
				A     string           `json:"a"`
				Maybe *bool            `json:"maybe"`
				List  []string         `json:"list"`
				Map   map[string]int64 `json:"map"`
			}
			err := Decode(httptest.NewRecorder(), r, &v)
			if tc.status == 0 {
				require.NoError(t, err)
				return
			}
			var e *Error
			require.ErrorAs(t, err, &e)
			require.Equal(t, tc.status, e.Status)
			require.Contains(t, e.Message, tc.says)
		})
	}
}

func TestServer(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	health, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	startable, tried := make(chan struct{}), false
	var order []string
	mux := http.NewServeMux()
	mux.Handle("GET /api/x", Handle(func(w http.ResponseWriter, _ *http.Request) error { return Write(w, 200, "x") }))
	mux.Handle("GET /api/secret", Handle(func(http.ResponseWriter, *http.Request) error { return errors.New("a secret cause") }))
	mux.Handle("GET /api/panic", Handle(func(http.ResponseWriter, *http.Request) error { panic("secret") }))
	unready := errors.New("not yet")
	ready := make(chan error, 1)
	s := Server{
		Settings: Settings{Listener: ln, HealthListener: health, Log: slog.New(slog.DiscardHandler)}, Name: "x", Handler: mux, Metrics: NewMetrics(),
		Start: func(ctx context.Context) error {
			if !tried {
				tried = true
				return errors.New("the broker is down")
			}
			select {
			case <-startable:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		},
		Ready: func(context.Context) error { return <-ready },
		Work:  func(ctx context.Context) error { <-ctx.Done(); order = append(order, "work ends"); return ctx.Err() },
		Drain: func(context.Context) { order = append(order, "drain") },
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	ask := func(of net.Listener, path string) (int, string, http.Header) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+of.Addr().String()+path, nil)
		require.NoError(t, err)
		req.Header.Set("X-Request-Id", "request-1")
		res, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		b, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		return res.StatusCode, string(b), res.Header
	}
	get := func(path string) (int, string, http.Header) { return ask(ln, path) }
	status := func(path string) int { s, _, _ := get(path); return s }

	code, _, _ := ask(health, "/livez")
	require.Equal(t, 200, code)
	for { // until the first try of the start is over
		code, body, _ := ask(health, "/readyz")
		require.Equal(t, 503, code)
		if body == "starting: the broker is down\n" {
			break
		}
	}
	require.Equal(t, 503, status("/api/x"))
	close(startable)
	for status("/api/x") == 503 { //nolint:revive // until the start is over
	}
	ready <- unready
	code, body, _ := ask(health, "/readyz")
	require.Equal(t, 503, code)
	require.Contains(t, body, "not yet")
	ready <- nil
	code, _, _ = ask(health, "/readyz")
	require.Equal(t, 200, code)
	for _, path := range []string{"/livez", "/readyz", "/metrics"} {
		require.Equal(t, 404, status(path), "clients are not told of %s", path)
	}

	code, body, header := get("/api/x")
	require.Equal(t, 200, code)
	require.Equal(t, "\"x\"\n", body)
	require.Equal(t, "request-1", header.Get("X-Request-Id"))
	code, body, _ = get("/api/secret")
	require.Equal(t, 500, code)
	require.NotContains(t, body, "secret cause")
	code, body, _ = get("/api/panic")
	require.Equal(t, 500, code)
	require.NotContains(t, body, "secret")
	code, body, _ = get("/api/none")
	require.Equal(t, 404, code)
	require.JSONEq(t, `{"error":{"code":"not_found","message":"no such path"}}`, body)
	res, err := http.Post("http://"+ln.Addr().String()+"/api/x", "", nil)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Equal(t, 405, res.StatusCode)
	require.Contains(t, res.Header.Get("Allow"), "GET")
	_, body, _ = ask(health, "/metrics")
	require.Contains(t, body, `http_requests_total{method="GET",route="GET /api/x",status="200"}`)

	http.DefaultClient.CloseIdleConnections()
	cancel()
	require.NoError(t, <-ended)
	require.Equal(t, []string{"drain", "work ends"}, order)
}

// A line of the log about a request leads to its trace.
func TestTraceInLog(t *testing.T) {
	metrics := NewMetrics()
	c, err := trace.FromEnv("x", func(k string) string {
		return map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:0"}[k] // nobody is there
	})
	require.NoError(t, err)
	tracer, err := trace.Open(c, slog.New(slog.DiscardHandler), metrics)
	require.NoError(t, err)
	t.Cleanup(tracer.Close)
	for _, tt := range []*trace.Tracer{tracer, nil} {
		var out strings.Builder
		s := Server{Settings: Settings{Log: slog.New(slog.NewTextHandler(&out, nil))}, Metrics: metrics, Tracer: tt}
		var id string
		h := s.instrument(func(w http.ResponseWriter, r *http.Request) {
			id = otel.SpanContextFromContext(r.Context()).TraceID().String()
			WriteError(w, r, errors.New("a cause"))
		})
		r := httptest.NewRequest("GET", "/api/x", nil)
		r.Header.Set("X-Request-Id", "request-1")
		h.ServeHTTP(httptest.NewRecorder(), r)
		require.Contains(t, out.String(), "request=request-1")
		if tt == nil {
			require.NotContains(t, out.String(), "trace_id")
		} else {
			require.Contains(t, out.String(), "request=request-1 trace_id="+id)
		}
	}
}
