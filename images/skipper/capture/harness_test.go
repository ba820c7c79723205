package capture_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/require"
	"github.com/zalando/skipper/eskip"
	"github.com/zalando/skipper/filters"
	"github.com/zalando/skipper/filters/builtin"
	"github.com/zalando/skipper/proxy"
	"github.com/zalando/skipper/proxy/proxytest"
	"github.com/zalando/skipper/routing"
	"github.com/zalando/skipper/routing/testdataclient"

	"github.com/labctl/labctl/images/skipper/capture"
)

// patience is for what would not come at all.
const patience = time.Minute

// annotation is the lab's own, which gives requests their ids.
const annotation = "copyRequestHeader(`X-Request-Id`, `X-Flow-Id`) -> flowId(`reuse`) -> copyRequestHeader(`X-Flow-Id`, `X-Request-Id`) -> readTimeout(`40s`)"

// counters can be waited for.
type counters struct {
	mu      sync.Mutex
	of      map[string]int64
	changed chan struct{}
}

func newCounters() *counters {
	return &counters{of: make(map[string]int64), changed: make(chan struct{})}
}

func (c *counters) add(key string, by int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.of[key] += by
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *counters) all() map[string]int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.of)
}

// wait returns once the counter has come to n.
func (c *counters) wait(t *testing.T, key string, n int64) {
	t.Helper()
	late := time.After(patience)
	for {
		c.mu.Lock()
		got, changed := c.of[key], c.changed
		c.mu.Unlock()
		if got >= n {
			require.Equal(t, n, got, key)
			return
		}
		select {
		case <-changed:
		case <-late:
			t.Fatalf("%s does not come to %d; the counters are %v", key, n, c.all())
		}
	}
}

// exchangeOf is a line of a batch as a comparer reads it, by the documented names.
type exchangeOf struct {
	LeftOut map[string]int64 `json:"left_out"`
	Request struct {
		ID, Method, Target, Host string
		Header                   http.Header
		Body                     []byte
	}
	Answer struct {
		Status int
		Header http.Header
		Body   []byte
	}
	Started   time.Time
	LatencyUS int64 `json:"latency_us"`
}

// comparer takes batches and keeps what it was given.
type comparer struct {
	*httptest.Server
	before  func(http.ResponseWriter) bool // false: it has answered already
	leftOut *counters                      // and "told", of the exchanges and all others together

	mu        sync.Mutex
	exchanges []exchangeOf
}

func newComparer(t *testing.T, before func(http.ResponseWriter) bool) *comparer {
	c := &comparer{before: before, leftOut: newCounters()}
	c.Server = httptest.NewServer(c)
	t.Cleanup(c.Close)
	return c
}

func (c *comparer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if c.before != nil && !c.before(w) {
		return
	}
	if r.Method != http.MethodPost || r.URL.Path != "/exchanges" || r.Header.Get("Content-Type") != "application/x-ndjson" {
		http.Error(w, "not a batch", http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for d := json.NewDecoder(r.Body); ; {
		var line exchangeOf
		if err := d.Decode(&line); err == io.EOF {
			break
		} else if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		for reason, n := range line.LeftOut {
			c.leftOut.add(reason, n)
			c.leftOut.add("told", n)
		}
		if line.Request.Method != "" {
			c.exchanges = append(c.exchanges, line)
			c.leftOut.add("told", 1)
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

// got gives the exchanges that came since it was asked last.
func (c *comparer) got() []exchangeOf {
	c.mu.Lock()
	defer c.mu.Unlock()
	exchanges := c.exchanges
	c.exchanges = nil
	return exchanges
}

// clock is a millisecond later each time.
func clock() func() time.Time {
	var ms atomic.Int64
	return func() time.Time { return time.UnixMilli(1_000_000 + ms.Add(1)) }
}

func newFilter(o capture.Options) (filters.Spec, *counters) {
	c := newCounters()
	log := logrus.New()
	log.SetOutput(io.Discard)
	o.Log, o.Now = log, clock()
	o.Count = func(key string, by int64) { c.add(strings.TrimPrefix(key, "capture.test."), by) }
	return capture.New(o), c
}

// testProxy is Skipper with the lab's own settings.
type testProxy struct {
	*proxytest.TestProxy
	routes  *testdataclient.Client
	applied int
}

func newProxy(t testing.TB, backend string, spec filters.Spec, filter string) *testProxy {
	t.Helper()
	registry := builtin.MakeRegistry()
	registry.Register(spec)
	routes := testdataclient.New(eskip.MustParse(fmt.Sprintf(`* -> %s%s -> "%s"`, annotation, filter, backend)))
	t.Cleanup(routes.Close)
	p := &testProxy{routes: routes, applied: 1, TestProxy: proxytest.Config{
		RoutingOptions: routing.Options{FilterRegistry: registry, DataClients: []routing.DataClient{routes}, PollTimeout: 10 * time.Millisecond},
		ProxyParams:    proxy.Params{Flags: proxy.PreserveHost, ExperimentalUpgrade: true, AccessLogDisabled: true, CloseIdleConnsPeriod: -time.Second},
	}.Create()}
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

// change adds a route.
func (p *testProxy) change(t *testing.T, route string) {
	t.Helper()
	require.NoError(t, p.routes.UpdateDoc(route, nil))
	p.applied++
	require.NoError(t, p.Log.WaitForN("route settings applied", p.applied, patience))
}

func newBackend(t testing.TB, h http.HandlerFunc) string {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// talk sends a request as it is and gives all that comes back. What comes then is sent after the first empty line.
func talk(t *testing.T, proxy *testProxy, request, then string) string {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(proxy.URL, "http://"))
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	_, err = io.WriteString(conn, strings.ReplaceAll(request, "\n", "\r\n"))
	require.NoError(t, err)
	r := bufio.NewReader(conn)
	var all strings.Builder
	for then != "" {
		line, err := r.ReadString('\n')
		require.NoError(t, err, all.String())
		all.WriteString(line)
		if line == "\r\n" {
			_, err := io.WriteString(conn, then)
			require.NoError(t, err)
			break
		}
	}
	_, err = io.Copy(&all, r)
	require.NoError(t, err)
	return joined(all.String())
}

// joined gives an answer with its chunks as one. Where a body is cut into chunks depends on when a proxy reads it, and means
// nothing (RFC 9112, section 7.1). What is cut off stays as it is.
func joined(answer string) string {
	const chunked = "Transfer-Encoding: chunked\r\n"
	at := strings.Index(answer, chunked)
	if at < 0 {
		return answer
	}
	end := strings.Index(answer[at:], "\r\n\r\n")
	if end < 0 {
		return answer
	}
	begin := at + end + len("\r\n\r\n")
	rest, body := answer[begin:], ""
	for {
		size, after, _ := strings.Cut(rest, "\r\n")
		n, err := strconv.ParseUint(size, 16, 32)
		if err != nil || n == 0 || len(after) < int(n)+len("\r\n") {
			break
		}
		body, rest = body+after[:n], after[int(n)+len("\r\n"):]
	}
	return answer[:begin] + body + "\r\n" + rest
}

func TestJoined(t *testing.T) {
	const head = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
	const tail = "0\r\nX-Sum: 1\r\n\r\n"
	require.Equal(t, joined(head+"7\r\none two\r\n"+tail), joined(head+"4\r\none \r\n3\r\ntwo\r\n"+tail))
	require.NotEqual(t, joined(head+"3\r\none\r\n"+tail), joined(head+"3\r\none\r\n"), "one is cut off")
	require.NotEqual(t, joined(head+"3\r\none\r\n"), joined(head+"3\r\non"))
	require.Equal(t, "HTTP/1.1 204 No Content\r\n\r\n", joined("HTTP/1.1 204 No Content\r\n\r\n"))
}
