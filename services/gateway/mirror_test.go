package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/services/internal/service"
	"github.com/labctl/labctl/services/internal/wire"
	"github.com/labctl/labctl/services/mirror"
)

// comparerOf is a comparer that takes sockets, and what it does with each.
func comparerOf(t *testing.T, take func(net.Conn, *http.Request)) (url string) {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		require.Equal(t, mirror.Path, r.URL.Path)
		if r.Header.Get("Upgrade") == "" {
			w.WriteHeader(http.StatusUpgradeRequired)
			return
		}
		conn, _, _, err := ws.UpgradeHTTP(r, w)
		if err != nil {
			return
		}
		t.Cleanup(func() { _ = conn.Close() })
		take(conn, r)
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

// mirrorsTo are mirrors that have looked for a comparer.
func mirrorsTo(t *testing.T, url string) *mirrors {
	t.Helper()
	m := newMirrors(Config{ShadowURL: url, Settings: service.Settings{Log: slog.New(slog.DiscardHandler)}}, service.NewMetrics())
	m.look(t.Context())
	return m
}

var mirrored = Config{Queue: 100000, WriteTimeout: time.Minute, Heartbeat: time.Hour, HeartbeatTimeout: time.Hour}

// A mirror has what the client said and what it was told, in their order, and how the socket ended.
func TestMirror(t *testing.T) {
	for name, tc := range map[string]struct {
		end  func(*conn, net.Conn)
		want []string
	}{
		"the gateway closes": {
			end:  func(c *conn, _ net.Conn) { c.close(wire.CloseSessionEnded, "the session has ended") },
			want: []string{"s close 4401", "whole"},
		},
		"the client closes": {
			end:  func(_ *conn, client net.Conn) { say(t, client, ws.NewCloseFrame(ws.NewCloseFrameBody(1000, ""))) },
			want: []string{"g", "s close 1000", "whole"},
		},
		"the client says what is no text": {
			end:  func(_ *conn, client net.Conn) { say(t, client, ws.NewBinaryFrame([]byte("binary"))) },
			want: []string{"b binary", "s close 1003", "whole"},
		},
		"the client goes away": {
			end:  func(_ *conn, client net.Conn) { _ = client.Close() },
			want: []string{"g"},
		},
		"the client says what is no WebSocket's": {
			end:  func(_ *conn, client net.Conn) { say(t, client, ws.NewFrame(ws.OpContinuation, true, nil)) },
			want: []string{"g", "s close 1002", "whole"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			parts := make(chan string, 100)
			url := comparerOf(t, func(conn net.Conn, r *http.Request) {
				require.Equal(t, "0123456789", r.Header.Get("X-Request-Id"))
				for {
					data, op, err := wsutil.ReadClientData(conn)
					if err != nil || op != ws.OpBinary {
						if errors.As(err, new(wsutil.ClosedError)) {
							parts <- "whole"
						}
						return
					}
					parts <- describePart(t, data)
				}
			})
			g, address, sockets := accepting(t, mirrored)
			g.mirrors = mirrorsTo(t, url)
			c, client := connect(t, address, sockets)
			say(t, client, ws.NewTextFrame([]byte(`{"type":"ping","id":"p"}`)))
			require.Equal(t, `{"type":"pong","id":"p"}`, string(next(t, client).Payload))
			tc.end(c, client)
			if slices.ContainsFunc(tc.want, func(p string) bool { return strings.HasPrefix(p, "s close") }) {
				closing(t, client)
				_ = client.Close()
			}
			for _, want := range append([]string{`t {"type":"ping","id":"p"}`, `s {"type":"pong","id":"p"}`}, tc.want...) {
				require.Equal(t, want, <-parts)
			}
		})
	}
}

func describePart(t *testing.T, data []byte) string {
	t.Helper()
	if data[0] != mirror.Told {
		return strings.TrimSpace(string(data[:1]) + " " + string(data[1:]))
	}
	frame := bytes.NewReader(data[1:])
	h, err := ws.ReadHeader(frame)
	require.NoError(t, err)
	payload, err := io.ReadAll(frame)
	require.NoError(t, err)
	require.Len(t, payload, int(h.Length))
	if h.OpCode == ws.OpClose {
		code, _ := ws.ParseCloseFrameData(payload)
		return fmt.Sprintf("s close %d", code)
	}
	return "s " + string(payload)
}

// Whatever a comparer does, live sockets get all that there is for them, and their mirrors end.
func TestLiveSocketsDoNotNoticeTheComparer(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // nobody answers
	require.NoError(t, err)
	t.Cleanup(func() { _ = silent.Close() })
	for name, url := range map[string]string{
		"it hangs":         comparerOf(t, func(net.Conn, *http.Request) {}),
		"it dies":          comparerOf(t, func(conn net.Conn, _ *http.Request) { _ = conn.Close() }),
		"it never answers": "http://" + silent.Addr().String(),
		"it is gone":       "http://127.0.0.1:1",
	} {
		t.Run(name, func(t *testing.T) {
			g, address, sockets := accepting(t, mirrored)
			g.mirrors = newMirrors(Config{ShadowURL: url, Settings: service.Settings{Log: slog.New(slog.DiscardHandler)}}, service.NewMetrics())
			g.mirrors.takes.Store(true) // it was there a moment ago
			g.mirrors.within = 100 * time.Millisecond
			c, client := connect(t, address, sockets)
			said := strings.Repeat("x", 16<<10)
			const frames = 3000 // more than the system keeps for a connection, and then more than may wait
			go func() {
				for range frames {
					c.enqueue([]byte(said))
				}
			}()
			for range frames {
				require.Len(t, next(t, client).Payload, len(said))
			}
			require.Eventually(t, func() bool { return testutil.ToFloat64(g.mirrors.broken) == 1 && g.mirrors.waiting.Load() == 0 }, time.Minute, time.Millisecond)
			require.Eventually(t, func() bool { return g.mirrors.open.Load() == 0 }, time.Minute, time.Millisecond)
			c.enqueue([]byte("on"))
			require.Equal(t, "on", string(next(t, client).Payload))
			require.EqualValues(t, 1, testutil.ToFloat64(g.mirrors.mirrored))
		})
	}
}

// A mirror for which too much waits ends, and gives back its room.
func TestAMirrorThatIsBehind(t *testing.T) {
	for name, tc := range map[string]struct{ frames, size int }{
		"by bytes":  {100, 1 << 20},
		"by frames": {4000, 4 << 10}, // less than mirrorBytes
	} {
		t.Run(name, func(t *testing.T) {
			open := make(chan net.Conn, 1)
			m := mirrorsTo(t, comparerOf(t, func(conn net.Conn, _ *http.Request) { open <- conn })) // which reads nothing
			m.within = time.Hour
			s := m.begin("0123456789")
			conn := <-open
			f := text(make([]byte, tc.size))
			for range tc.frames {
				s.told([]*frame{f})
			}
			require.EqualValues(t, 1, testutil.ToFloat64(m.broken))
			require.NoError(t, conn.Close())
			require.Eventually(t, func() bool { return m.open.Load() == 0 && m.waiting.Load() == 0 }, time.Minute, time.Millisecond)
			require.EqualValues(t, 1, testutil.ToFloat64(m.broken), "it ends once")
		})
	}
}

// Sockets are mirrored where a comparer takes them, and only so many at a time.
func TestWhatIsMirrored(t *testing.T) {
	open := make(chan net.Conn, 1)
	url := comparerOf(t, func(conn net.Conn, _ *http.Request) { open <- conn })
	m := mirrorsTo(t, url)
	require.EqualValues(t, 1, testutil.ToFloat64(m.there))
	one := m.begin("0123456789")
	require.NotNil(t, one)
	<-open
	m.open.Add(maxMirrors - 1)
	require.Nil(t, m.begin("0123456789"))
	require.EqualValues(t, 1, testutil.ToFloat64(m.leftOut))
	m.open.Add(1 - maxMirrors)
	one.end()
	require.Eventually(t, func() bool { return m.open.Load() == 0 }, time.Minute, time.Millisecond)
	require.Zero(t, testutil.ToFloat64(m.broken))

	busy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }))
	t.Cleanup(busy.Close)
	for _, url := range []string{busy.URL, "http://127.0.0.1:1"} {
		m.url = url
		m.look(t.Context())
		require.Nil(t, m.begin("0123456789"), url)
		require.Zero(t, testutil.ToFloat64(m.there))
	}
	require.Nil(t, newMirrors(Config{}, service.NewMetrics()))
	require.Nil(t, newMirrors(Config{ShadowURL: url, Settings: service.Settings{Shadow: true}}, service.NewMetrics()), "a shadow's sockets are nobody's traffic")
	m.takes.Store(true) // it was there a moment ago
	m.begin("0123456789")
	require.Eventually(t, func() bool { return testutil.ToFloat64(m.broken) == 1 }, time.Minute, time.Millisecond)
	var none *mirrors
	require.Nil(t, none.begin("0123456789"))
}

func TestShadowURL(t *testing.T) {
	for value, want := range map[string]string{"": "", "http://gateway-comparer:8080/": "http://gateway-comparer:8080"} {
		got, err := shadowURL(value)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for _, value := range []string{"gateway-comparer:8080", "https://gateway-comparer", "http://"} {
		_, err := shadowURL(value)
		require.ErrorContains(t, err, "SHADOW_URL is")
	}
}
