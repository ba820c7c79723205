package devlab

import (
	"net/http"
	"path"
	"strings"
	"sync/atomic"
	"time"

	"github.com/labctl/labctl/pkg/shadow/exchange"
	"github.com/labctl/labctl/services/requestid"
)

// requestMirror stands before the front, and does what the ingress's filter does in a cluster (docs/protocol.md, section 9): it
// copies the requests of a service that is tried, with the live answers. A live request never waits for it.
type requestMirror struct{ copies atomic.Pointer[copies] }

// copies say which requests are copied, and to whom.
type copies struct {
	routes, excepted []string
	take             func(exchange.Line)
}

// before gives the front with the mirror before it.
func (m *requestMirror) before(front http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		at := path.Clean("/" + r.URL.Path)
		c := m.copies.Load()
		switch {
		case c == nil || !isBelow(at, c.routes):
			front.ServeHTTP(w, r)
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			c.leaveOut(exchange.Method)
			front.ServeHTTP(w, r)
		case isBelow(at, c.excepted):
			c.leaveOut(exchange.Excepted)
			front.ServeHTTP(w, r)
		default:
			c.serve(front, w, r)
		}
	})
}

// isBelow says whether a path is one of those given, or below one.
func isBelow(at string, prefixes []string) bool {
	for _, prefix := range prefixes {
		if at == prefix || strings.HasPrefix(at, prefix+"/") {
			return true
		}
	}
	return false
}

func (c *copies) leaveOut(reason string) { c.take(exchange.Line{LeftOut: map[string]int64{reason: 1}}) }

// serve has the front answer, and copies the request, without a body that nobody reads of a GET, and the answer.
func (c *copies) serve(front http.Handler, w http.ResponseWriter, r *http.Request) {
	e := exchange.Exchange{
		Request: exchange.Request{Method: r.Method, Target: r.URL.RequestURI(), Host: r.Host, Header: exchange.RequestHeader(r.Header)},
		Started: time.Now().UTC(),
	}
	answer := &copiedAnswer{ResponseWriter: w}
	isWhole := false
	defer func() { // the front panics where the service or the client breaks off
		switch {
		case !isWhole || r.Context().Err() != nil:
			c.leaveOut(exchange.Incomplete)
		case answer.isTooLarge:
			c.leaveOut(exchange.TooLarge)
		default:
			e.Request.ID = w.Header().Get(requestid.Header)
			e.Answer = exchange.Answer{Status: answer.status, Header: exchange.AnswerHeader(w.Header()), Body: answer.body}
			e.LatencyUS = answer.at.Sub(e.Started).Microseconds()
			c.take(exchange.Line{Exchange: &e})
		}
	}()
	front.ServeHTTP(answer, r)
	isWhole = answer.status != 0
}

// copiedAnswer copies an answer while it is written.
type copiedAnswer struct {
	http.ResponseWriter
	status     int
	at         time.Time // of the header
	body       []byte
	isTooLarge bool
}

// Unwrap lets the front flush.
func (a *copiedAnswer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (a *copiedAnswer) WriteHeader(status int) {
	if status >= http.StatusOK && a.status == 0 {
		a.status, a.at = status, time.Now()
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *copiedAnswer) Write(b []byte) (int, error) {
	if a.status == 0 {
		a.WriteHeader(http.StatusOK)
	}
	switch {
	case a.isTooLarge:
	case len(a.body)+len(b) > exchange.MaxBody:
		a.body, a.isTooLarge = nil, true
	default:
		a.body = append(a.body, b...)
	}
	return a.ResponseWriter.Write(b)
}
