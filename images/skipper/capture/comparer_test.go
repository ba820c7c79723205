package capture_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/images/skipper/capture"
)

func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body) // a server reads no more of it once it answers
	_, _ = w.Write(body)
}

func post(t *testing.T, proxy *testProxy, body []byte) {
	t.Helper()
	res, err := proxy.Client().Post(proxy.URL, "text/plain", bytes.NewReader(body))
	if !assert.NoError(t, err) {
		return
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	assert.NoError(t, err)
	assert.Equal(t, http.StatusOK, res.StatusCode)
	assert.True(t, bytes.Equal(body, got), "the live answer of %d bytes has %d, and begins with %.100q", len(body), len(got), got)
}

// listen gives the address of a server that does as it is told with each connection. Without, it accepts none.
func listen(t *testing.T, serve func(net.Conn)) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	if serve != nil {
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				serve(conn)
			}
		}()
	}
	return "http://" + l.Addr().String()
}

// TestLiveNeedsNoComparer: live requests are answered, small and large, while the comparer does not even take the first.
// That they are all answered before it is let go shows that none waited for it.
func TestLiveNeedsNoComparer(t *testing.T) {
	backend := newBackend(t, echo)
	comparers := []struct {
		name string
		make func(t *testing.T, released <-chan struct{}) string
	}{
		{"hangs", func(t *testing.T, released <-chan struct{}) string {
			return newComparer(t, func(http.ResponseWriter) bool { <-released; return true }).URL
		}},
		{"hangs within its answer", func(t *testing.T, released <-chan struct{}) string {
			return newComparer(t, func(w http.ResponseWriter) bool {
				w.WriteHeader(http.StatusOK)
				_ = http.NewResponseController(w).Flush()
				<-released
				return false
			}).URL
		}},
		{"does not accept", func(t *testing.T, _ <-chan struct{}) string { return listen(t, nil) }},
		{"resets", func(t *testing.T, _ <-chan struct{}) string {
			return listen(t, func(conn net.Conn) {
				_ = conn.(*net.TCPConn).SetLinger(0)
				_ = conn.Close()
			})
		}},
		{"speaks no HTTP", func(t *testing.T, _ <-chan struct{}) string {
			return listen(t, func(conn net.Conn) {
				_, _ = io.WriteString(conn, "220 ready\r\n")
				_ = conn.Close()
			})
		}},
		{"refuses", func(t *testing.T, _ <-chan struct{}) string {
			return newComparer(t, func(w http.ResponseWriter) bool {
				http.Error(w, "no", http.StatusServiceUnavailable)
				return false
			}).URL
		}},
		{"is dead", func(t *testing.T, _ <-chan struct{}) string {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			require.NoError(t, l.Close())
			return "http://" + l.Addr().String()
		}},
	}
	for _, c := range comparers {
		t.Run(c.name, func(t *testing.T) {
			released := make(chan struct{})
			defer close(released)
			spec, _ := newFilter(capture.Options{Entries: 3, Timeout: time.Hour, Pause: time.Millisecond})
			proxy := newProxy(t, backend, spec, ` -> capture("`+c.make(t, released)+`", "service=test", "method=POST")`)
			for i := range 200 {
				post(t, proxy, []byte(fmt.Sprint("small ", i)))
			}
			post(t, proxy, bytes.Repeat([]byte("large "), 1<<20))
		})
	}
}

// TestDropsAreTold: whatever is lost, each request is an exchange or a count at the comparer in the end.
func TestDropsAreTold(t *testing.T) {
	backend := newBackend(t, echo)
	const requests = 50
	t.Run("a full queue", func(t *testing.T) {
		entered, released := make(chan struct{}, 2*requests), make(chan struct{})
		comparer := newComparer(t, func(http.ResponseWriter) bool {
			entered <- struct{}{}
			<-released
			return true
		})
		spec, counts := newFilter(capture.Options{Entries: 2, Timeout: time.Hour})
		proxy := newProxy(t, backend, spec, ` -> capture("`+comparer.URL+`", "service=test", "method=POST")`)
		post(t, proxy, []byte("first"))
		<-entered // the sender has it, and the queue is empty
		for range requests {
			post(t, proxy, []byte("x"))
		}
		counts.wait(t, "dropped", requests-2)
		close(released)
		counts.wait(t, "captured", 3)
		require.Len(t, comparer.got(), 3)
		require.Equal(t, map[string]int64{"dropped": requests - 2, "told": requests + 1}, comparer.leftOut.all())
	})
	t.Run("no memory", func(t *testing.T) {
		entered, released := make(chan struct{}, 2*requests), make(chan struct{})
		comparer := newComparer(t, func(http.ResponseWriter) bool {
			entered <- struct{}{}
			<-released
			return true
		})
		// An exchange is two bodies of 1000 bytes, and a head of less than 200.
		body := bytes.Repeat([]byte("x"), 1000)
		spec, counts := newFilter(capture.Options{Bytes: 4500, Timeout: time.Hour})
		proxy := newProxy(t, backend, spec, ` -> capture("`+comparer.URL+`", "service=test", "method=POST")`)
		post(t, proxy, body)
		<-entered
		for range requests {
			post(t, proxy, body)
		}
		counts.wait(t, "dropped", requests-1)
		close(released)
		counts.wait(t, "captured", 2)
		require.Equal(t, map[string]int64{"dropped": requests - 1, "told": requests + 1}, comparer.leftOut.all())
		for i := range requests { // all memory came back
			post(t, proxy, body)
			counts.wait(t, "captured", int64(3+i))
		}
	})
	t.Run("a comparer that comes back, and no further request", func(t *testing.T) {
		var batches atomic.Int64
		comparer := newComparer(t, func(w http.ResponseWriter) bool {
			if batches.Add(1) > 3 {
				return true
			}
			http.Error(w, "no", http.StatusServiceUnavailable)
			return false
		})
		spec, counts := newFilter(capture.Options{Pause: time.Millisecond})
		proxy := newProxy(t, backend, spec, ` -> capture("`+comparer.URL+`", "service=test", "method=POST")`)
		post(t, proxy, []byte("lost"))
		counts.wait(t, "dropped", 1)
		comparer.leftOut.wait(t, "told", 1)
		require.Equal(t, map[string]int64{"dropped": 1, "told": 1}, comparer.leftOut.all())
	})
	t.Run("a comparer that hangs", func(t *testing.T) {
		server := newBackend(t, func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		})
		spec, counts := newFilter(capture.Options{Timeout: time.Millisecond, Pause: time.Millisecond})
		proxy := newProxy(t, backend, spec, ` -> capture("`+server+`", "service=test", "method=POST")`)
		for i := range requests {
			post(t, proxy, []byte("x"))
			counts.wait(t, "dropped", int64(i+1))
		}
	})
	t.Run("requests at once", func(t *testing.T) {
		comparer := newComparer(t, nil)
		spec, _ := newFilter(capture.Options{Entries: 4, Bytes: 20_000, Timeout: time.Hour})
		proxy := newProxy(t, backend, spec, ` -> capture("`+comparer.URL+`", "service=test", "method=POST")`)
		var clients sync.WaitGroup
		for range 8 {
			clients.Go(func() {
				for i := range 8 {
					post(t, proxy, bytes.Repeat([]byte("x"), i*1000))
				}
			})
		}
		clients.Wait()
		post(t, proxy, []byte("takes the counts along"))
		comparer.leftOut.wait(t, "told", 8*8+1)
	})
}

// TestComparerCannotRedirect: exchanges go to nobody else.
func TestComparerCannotRedirect(t *testing.T) {
	elsewhere := newComparer(t, func(http.ResponseWriter) bool {
		assert.Fail(t, "exchanges were sent elsewhere")
		return true
	})
	comparer := newComparer(t, func(w http.ResponseWriter) bool {
		w.Header().Set("Location", elsewhere.URL+"/exchanges")
		w.WriteHeader(http.StatusTemporaryRedirect)
		return false
	})
	spec, counts := newFilter(capture.Options{Pause: time.Hour})
	proxy := newProxy(t, newBackend(t, echo), spec, ` -> capture("`+comparer.URL+`", "service=test", "method=POST")`)
	post(t, proxy, []byte("x"))
	counts.wait(t, "dropped", 1)
}

// TestPaths: one Ingress has the paths of all services.
func TestPaths(t *testing.T) {
	comparer := newComparer(t, nil)
	spec, counts := newFilter(capture.Options{})
	proxy := newProxy(t, newBackend(t, echo), spec, ` -> capture("`+comparer.URL+`/", "service=test", "path=/api/messages", "path=/api/conversations/")`)
	var want []string
	for _, target := range []string{"/api/messages", "/api/messages/search?q=1", "/api/conversations", "/api/messagesx", "/", "/api/auth/me"} {
		_, _, err := proxy.Client().GetBody(proxy.URL + target)
		require.NoError(t, err)
		if strings.HasPrefix(target, "/api/") && target != "/api/messagesx" && target != "/api/auth/me" {
			want = append(want, target)
			counts.wait(t, "captured", int64(len(want)))
		}
	}
	var got []string
	for _, e := range comparer.got() {
		got = append(got, e.Request.Target)
		require.Len(t, e.Request.ID, 16, "the ingress gives an id to a request without")
	}
	require.Equal(t, want, got)
	require.Equal(t, map[string]int64{"told": int64(len(want))}, comparer.leftOut.all(), "what is another service's is not left out")
}

// TestWrongArguments: Skipper drops a route whose filter cannot be made, which would take a live service away.
func TestWrongArguments(t *testing.T) {
	backend := newBackend(t, echo)
	for _, args := range []string{``, `1`, `"shadow:8080"`, `"ftp://shadow"`, `"http://shadow", "POST"`, `"http://shadow", "method="`, `"http://shadow", "methods=POST"`, `"http://shadow", 1`} {
		t.Run(args, func(t *testing.T) {
			spec, counts := newFilter(capture.Options{})
			proxy := newProxy(t, backend, spec, ` -> capture(`+args+`)`)
			post(t, proxy, []byte("x"))
			require.Empty(t, counts.all())
		})
	}
}

// TestRoutesChange: Skipper makes all filters anew when any route changes. What waits for the comparer lives on.
func TestRoutesChange(t *testing.T) {
	entered, released := make(chan struct{}, 9), make(chan struct{})
	comparer := newComparer(t, func(http.ResponseWriter) bool {
		entered <- struct{}{}
		<-released
		return true
	})
	spec, counts := newFilter(capture.Options{Entries: 1, Timeout: time.Hour})
	filter := ` -> capture("` + comparer.URL + `", "service=test", "method=POST")`
	backend := newBackend(t, echo)
	proxy := newProxy(t, backend, spec, filter)
	post(t, proxy, []byte("sent"))
	<-entered
	post(t, proxy, []byte("queued"))
	proxy.change(t, `other: Path("/other")`+filter+` -> "`+backend+`"`)
	post(t, proxy, []byte("finds the queue full"))
	counts.wait(t, "dropped", 1)
	close(released)
	counts.wait(t, "captured", 2)
}
