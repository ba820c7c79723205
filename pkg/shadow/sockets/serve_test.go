package sockets

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/shadow/side"
	"github.com/labctl/labctl/services/mirror"
)

// copyOf is a gateway that starts when it is asked for the second time. It greets whoever says hello, repeats what else is said, and pings before each
// answer.
func copyOf(t *testing.T, header func(http.Header)) (address string) {
	t.Helper()
	var asked atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			status := http.StatusUpgradeRequired
			if asked.Add(1) == 1 {
				status = http.StatusServiceUnavailable
			}
			w.WriteHeader(status)
			return
		}
		require.NotEqual(t, 1, int(asked.Load()), "it has not started yet")
		header(r.Header)
		conn, _, _, err := ws.UpgradeHTTP(r, w)
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = conn.Close() }()
		for greeted := false; ; greeted = true {
			said, err := wsutil.ReadClientText(conn)
			if err != nil {
				return
			}
			if !greeted {
				said = []byte(`{"type":"hello","user":"ann"}`)
			}
			if strings.Contains(string(said), "close me") {
				_ = ws.WriteFrame(conn, ws.NewCloseFrame(ws.NewCloseFrameBody(4401, "")))
			}
			if ws.WriteFrame(conn, ws.NewPingFrame(nil)) != nil || wsutil.WriteServerText(conn, said) != nil {
				return
			}
		}
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

// part writes a part of a mirror.
func part(t *testing.T, conn net.Conn, kind byte, data []byte) {
	t.Helper()
	require.NoError(t, wsutil.WriteClientBinary(conn, append([]byte{kind}, data...)))
}

func told(text string) []byte { return ws.MustCompileFrame(ws.NewTextFrame([]byte(text))) }

// Each client's frame reaches both copies over sockets of their own, and what they say meets what live has said. Of the token nothing is handed over.
func TestMirror(t *testing.T) {
	var mu sync.Mutex
	headers := map[string]string{}
	note := func(h http.Header) {
		mu.Lock()
		defer mu.Unlock()
		headers[h.Get("X-Shadow")] = h.Get("X-Request-Id")
	}
	handed := make(chan string, 100)
	s, err := New(Options{
		Copies: map[side.Side]string{side.Candidate: copyOf(t, note), side.Baseline: copyOf(t, note)},
		Result: func(label string, results [side.Count]*Result) {
			handed <- label + ": " + describe(results)
		},
	})
	require.NoError(t, err)
	comparer := httptest.NewServer(s.Handler())
	t.Cleanup(comparer.Close)

	res, err := http.Get(comparer.URL + mirror.Path)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Equal(t, http.StatusServiceUnavailable, res.StatusCode, "nothing runs yet")
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	require.Eventually(t, s.takes.Load, time.Minute, time.Millisecond)
	res, err = http.Get(comparer.URL + mirror.Path)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Equal(t, http.StatusUpgradeRequired, res.StatusCode, "sockets are taken")

	dial := ws.Dialer{Header: ws.HandshakeHeaderHTTP{"X-Request-Id": {"0123456789"}}}
	conn, _, _, err := dial.Dial(t.Context(), "ws"+strings.TrimPrefix(comparer.URL, "http")+mirror.Path)
	require.NoError(t, err)
	part(t, conn, mirror.Text, []byte(`{"type":"hello","token":"the token"}`))
	part(t, conn, mirror.Told, told(`{"type":"hello","user":"ann"}`))
	require.Equal(t, "socket 1 (0123456789) hello/: same same same", <-handed)
	part(t, conn, mirror.Text, []byte(`{"type":"pong","id":"1"}`))
	part(t, conn, mirror.Told, append(ws.MustCompileFrame(ws.NewPingFrame(nil)), told(`{"type":"pong","id":"1"}`)...))
	require.Equal(t, "socket 1 (0123456789) pong/1: same same same", <-handed)
	part(t, conn, mirror.Text, []byte(`close me`))
	part(t, conn, mirror.Told, closeFrame(4401))
	require.Equal(t, "socket 1 (0123456789) close/: same same same", <-handed)
	require.Equal(t, map[string]string{"candidate": "0123456789", "baseline": "0123456789"}, headers)
	require.NoError(t, ws.WriteFrame(conn, ws.MaskFrame(ws.NewCloseFrame(nil))))
	require.Eventually(t, func() bool { return s.Counts().Open == 0 }, time.Minute, time.Millisecond)

	conn, _, _, err = ws.Dial(t.Context(), "ws"+strings.TrimPrefix(comparer.URL, "http")+mirror.Path)
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	require.Eventually(t, func() bool { return s.Counts().Broken == 1 }, time.Minute, time.Millisecond, "it breaks off")
	stop()
	require.NoError(t, <-ended)
	require.EqualValues(t, 2, s.Counts().Sockets)
}

// A copy that takes no sockets lacks the hello.
func TestACopyThatTakesNoSockets(t *testing.T) {
	f := newFake(t)
	closed := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(closed.Close)
	f.o.Copies = map[side.Side]string{side.Candidate: closed.URL, side.Baseline: copyOf(t, func(http.Header) {})}
	m := f.begin("request")
	f.serving.Done() // of its mirror
	m.take(mirror.Text, []byte(`{"type":"hello"}`))
	m.told(side.Live, []byte(`{"type":"hello","user":"ann"}`))
	require.Eventually(t, func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return !m.end[side.Candidate].IsZero() && !m.hello[side.Baseline].IsZero()
	}, time.Minute, time.Millisecond)
	f.pass(10 * time.Second)
	require.Equal(t, []string{"socket 1 (request) hello/: same - same"}, f.handed)
	f.stop()
}
