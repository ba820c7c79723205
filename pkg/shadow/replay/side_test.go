package replay_test

import (
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/shadow/exchange"
	"github.com/labctl/labctl/pkg/shadow/replay"
)

func TestBothSidesAreAskedTheSame(t *testing.T) {
	type question struct {
		method, target, host, body string
		header                     http.Header
	}
	asked := map[string]chan question{}
	side := func(name string) string {
		asked[name] = make(chan question, 1)
		return newSide(t, func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			asked[name] <- question{r.Method, r.RequestURI, r.Host, string(body), r.Header}
			w.Header().Set("Content-Type", "text/"+name)
			w.Header().Set("Set-Cookie", "secret=1")
			w.WriteHeader(http.StatusTeapot)
			_, _ = io.WriteString(w, name)
		})
	}
	var ms atomic.Int64
	c := newComparer(t, side("candidate"), side("baseline"), replay.Options{
		Methods: []string{http.MethodPost},
		Now:     func() time.Time { return time.UnixMilli(ms.Add(1)) },
	})
	live := exchange.Exchange{
		Request: exchange.Request{
			ID: "0123456789abcdef", Method: http.MethodPost, Target: "/a%2Fb//c?q=%20x&y", Host: "chat.example", Body: []byte("body"),
			Header: http.Header{
				"Authorization": {"Bearer t"}, "Accept": {"a", "b"}, "X-Shadow": {"live"}, "X-Request-Id": {"another-id"},
				"Connection": {"close, X-Hop"}, "X-Hop": {"1"}, "Te": {"trailers"}, "Transfer-Encoding": {"chunked"}, "Upgrade": {"x"},
				"Keep-Alive": {"1"}, "Proxy-Authorization": {"x"}, "Content-Length": {"99"}, "Expect": {"100-continue"}, "Host": {"elsewhere"},
			},
		},
		Answer:  exchange.Answer{Status: 200, Body: []byte("live")},
		Started: time.Unix(1, 2).UTC(), LatencyUS: 3,
	}
	c.give(t, live)
	r := <-c.results
	require.Equal(t, live, r.live)
	for name, answer := range map[string]replay.Answer{"candidate": r.candidate, "baseline": r.baseline} {
		require.NoError(t, answer.Err)
		require.Equal(t, http.StatusTeapot, answer.Status)
		require.Equal(t, http.Header{"Content-Type": {"text/" + name}}, answer.Header)
		require.Equal(t, name, string(answer.Body))
		require.Positive(t, answer.Latency)
		require.Equal(t, question{
			method: http.MethodPost, target: "/a%2Fb//c?q=%20x&y", host: "chat.example", body: "body",
			header: http.Header{
				"Authorization": {"Bearer t"}, "Accept": {"a", "b"}, "Content-Length": {"4"}, "X-Shadow": {name}, "X-Request-Id": {"0123456789abcdef"},
			},
		}, <-asked[name])
	}
}

// TestNobodyElseIsAsked: whatever an exchange or an answer says.
func TestNobodyElseIsAsked(t *testing.T) {
	elsewhere := newSide(t, func(http.ResponseWriter, *http.Request) { assert.Fail(t, "another host was asked") })
	host := strings.TrimPrefix(elsewhere, "http://")
	t.Setenv("HTTP_PROXY", elsewhere)
	redirects := newSide(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere, http.StatusFound) })
	c := newComparer(t, redirects, redirects, replay.Options{})
	targets := []string{"//" + host + "/", "/" + elsewhere, "/@" + host, "/..//" + host, "/%2f%2f" + host, "/\\\\" + host, "/?u=" + elsewhere}
	for _, target := range targets {
		e := get(target)
		e.Request.Host = host
		c.give(t, e)
		r := <-c.results
		for _, answer := range []replay.Answer{r.candidate, r.baseline} {
			require.NoError(t, answer.Err, target)
			require.Equal(t, http.StatusFound, answer.Status)
			require.Equal(t, elsewhere, answer.Header.Get("Location"))
		}
	}
	bad := get(elsewhere)
	c.give(t, bad)
	require.EqualValues(t, 1, c.Counts().BadLines)
}

// TestASideFails: this is an error of that side alone.
func TestASideFails(t *testing.T) {
	raw := func(serve func(net.Conn)) func(*testing.T) string {
		return func(t *testing.T) string {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			t.Cleanup(func() { _ = l.Close() })
			go func() {
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					go func() {
						_, _ = conn.Read(make([]byte, 4096)) // the request
						serve(conn)
					}()
				}
			}()
			return "http://" + l.Addr().String()
		}
	}
	hang := func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) } // until the other end closes
	cases := []struct {
		name string
		make func(*testing.T) string
		want error
		of   func(replay.SideCounts) int64
	}{
		{"hangs", raw(hang), replay.ErrTimeout, func(c replay.SideCounts) int64 { return c.Timeouts }},
		{"hangs within its answer", raw(func(conn net.Conn) {
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\none")
			hang(conn)
		}), replay.ErrTimeout, func(c replay.SideCounts) int64 { return c.Timeouts }},
		{"never comes to an end", raw(func(conn net.Conn) {
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
			for {
				if _, err := conn.Write(make([]byte, 4096)); err != nil {
					return
				}
			}
		}), replay.ErrTooLarge, func(c replay.SideCounts) int64 { return c.TooLarge }},
		{"has a huge header", raw(func(conn net.Conn) {
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nX: "+strings.Repeat("x", 1<<20)+"\r\n\r\n")
			hang(conn)
		}), replay.ErrBroken, func(c replay.SideCounts) int64 { return c.Broken }},
		{"breaks off", raw(func(conn net.Conn) {
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\none")
			_ = conn.Close()
		}), replay.ErrBroken, func(c replay.SideCounts) int64 { return c.Broken }},
		{"resets", raw(func(conn net.Conn) {
			_ = conn.(*net.TCPConn).SetLinger(0)
			_ = conn.Close()
		}), replay.ErrBroken, func(c replay.SideCounts) int64 { return c.Broken }},
		{"speaks no HTTP", raw(func(conn net.Conn) {
			_, _ = io.WriteString(conn, "220 ready\r\n")
			_ = conn.Close()
		}), replay.ErrBroken, func(c replay.SideCounts) int64 { return c.Broken }},
		{"switches protocols", raw(func(conn net.Conn) {
			_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
			hang(conn)
		}), replay.ErrBroken, func(c replay.SideCounts) int64 { return c.Broken }},
		{"is dead", func(t *testing.T) string {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			require.NoError(t, l.Close())
			return "http://" + l.Addr().String()
		}, replay.ErrUnreachable, func(c replay.SideCounts) int64 { return c.Unreachable }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			broken, good := c.make(t), says(t, "good")
			check := func(failed, other replay.Answer, counts, otherCounts replay.SideCounts) {
				t.Helper()
				require.ErrorIs(t, failed.Err, c.want)
				require.Zero(t, failed.Status)
				require.Empty(t, failed.Body)
				require.EqualValues(t, 1, c.of(counts))
				require.Zero(t, counts.Answered)
				require.NoError(t, other.Err)
				require.Equal(t, "good", string(other.Body))
				require.Equal(t, replay.SideCounts{Answered: 1}, otherCounts)
			}
			o := replay.Options{Timeout: time.Minute}
			if c.want == replay.ErrTimeout {
				o.Timeout = 5 * time.Second // enough for the other side on a busy machine
			}
			asCandidate := newComparer(t, broken, good, o)
			asBaseline := newComparer(t, good, broken, o)
			asCandidate.give(t, get("/"))
			asBaseline.give(t, get("/"))
			r := <-asCandidate.results
			check(r.candidate, r.baseline, asCandidate.Counts().Candidate, asCandidate.Counts().Baseline)
			r = <-asBaseline.results
			check(r.baseline, r.candidate, asBaseline.Counts().Baseline, asBaseline.Counts().Candidate)
		})
	}
}
