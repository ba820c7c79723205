package service

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A client that begins a body and does not end it gets 408 and no longer holds a connection, whether a handler reads the body or not.
func TestBodyThatNeverEnds(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	mux := http.NewServeMux()
	mux.Handle("POST /api/read", Handle(func(w http.ResponseWriter, r *http.Request) error {
		var v struct {
			A string `json:"a"`
		}
		return Decode(w, r, &v)
	}))
	mux.Handle("POST /api/leave", Handle(func(http.ResponseWriter, *http.Request) error { return Unauthenticated("who are you?") }))
	s := Server{
		Settings: Settings{Listener: ln, Log: slog.New(slog.DiscardHandler)}, Name: "x", Handler: mux, Metrics: NewMetrics(),
		bodyTime: 100 * time.Millisecond,
	}
	ctx, stop := context.WithCancel(t.Context())
	started, ended := make(chan struct{}), make(chan error, 1)
	s.Start = func(context.Context) error { close(started); return nil }
	go func() { ended <- s.Run(ctx) }()
	<-started
	for path, want := range map[string]struct {
		status int
		says   string
	}{
		"/api/read":  {http.StatusRequestTimeout, `"code":"too_slow"`},
		"/api/leave": {http.StatusUnauthorized, `"code":"unauthenticated"`},
	} {
		for form, length := range map[string]string{"a known length": "Content-Length: 10\r\n\r\n", "chunks": "Transfer-Encoding: chunked\r\n\r\n5\r\n"} {
			t.Run(path+" "+form, func(t *testing.T) {
				c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", ln.Addr().String())
				require.NoError(t, err)
				defer func() { _ = c.Close() }()
				_, err = io.WriteString(c, "POST "+path+" HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"+length+`{"a`)
				require.NoError(t, err)
				in := bufio.NewReader(c)
				res, err := http.ReadResponse(in, nil)
				require.NoError(t, err)
				b, err := io.ReadAll(res.Body)
				require.NoError(t, err)
				require.NoError(t, res.Body.Close())
				require.Equal(t, want.status, res.StatusCode, string(b))
				require.Contains(t, string(b), want.says)
				_, err = in.ReadByte()
				require.ErrorIs(t, err, io.EOF, "the server hangs up")
			})
		}
	}
	stop()
	require.NoError(t, <-ended)
}

// The deadline is one of the body: work on a body that is there, and a request without one, may take as long as they need.
func TestDeadlineOfBodiesOnly(t *testing.T) {
	s := Server{Settings: Settings{Log: slog.New(slog.DiscardHandler)}, Metrics: NewMetrics()}
	for name, tc := range map[string]struct {
		body io.Reader
		want []bool // whether there is a deadline, each time that it is set
	}{
		"a body":  {strings.NewReader("{}"), []bool{true, false}},
		"no body": {http.NoBody, nil},
	} {
		w := &deadlines{ResponseWriter: httptest.NewRecorder()}
		s.instrument(func(w http.ResponseWriter, r *http.Request) {
			_, err := ReadBody(w, r)
			require.NoError(t, err)
		}).ServeHTTP(w, httptest.NewRequest("POST", "/", tc.body))
		require.Equal(t, tc.want, w.set, name)
	}
}

// deadlines notes the read deadlines that are set.
type deadlines struct {
	http.ResponseWriter
	set []bool
}

func (d *deadlines) SetReadDeadline(t time.Time) error {
	d.set = append(d.set, !t.IsZero())
	return nil
}
