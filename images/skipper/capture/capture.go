// Package capture is a filter for Skipper that copies requests and their live answers to the comparer of a shadow. A
// live request never waits for it: bodies are copied while they stream through, a bounded queue takes the copies, and
// what the comparer does not take in time is dropped and counted.
//
// In the annotation zalando.org/skipper-filter it stands last, so that requests have their ids, and answers are seen as
// the service gave them:
//
//	… -> copyRequestHeader(`X-Flow-Id`, `X-Request-Id`) ->
//	capture("http://messaging-comparer.chat.svc:8080", "service=messaging", "path=/api/messages")
//
// The first argument is the comparer's address. The others may come in any order, all but service more than once:
//
//	service=messaging       the name in the metrics; else the comparer's host
//	path=/api/messages      only requests below this path are looked at; else all
//	method=POST             requests with this method, too; else GET and HEAD alone
//	except=/api/auth/login  no requests below this path: those that carry passwords and refresh tokens
package capture

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/zalando/skipper/filters"
)

// Options are what the filters of a proxy have in common. Those of zero have defaults.
type Options struct {
	Log   logrus.FieldLogger         // required
	Count func(key string, by int64) // adds to a counter; required
	Now   func() time.Time           // time.Now

	Entries int           // exchanges that may wait for one comparer; 1000
	Bytes   int64         // of all copies for one comparer, from their first byte until they are sent; 16 MiB
	Timeout time.Duration // for the comparer to take a batch; 5 s
	Pause   time.Duration // after a batch that it did not take; 1 s
}

type spec struct {
	o Options

	mu      sync.Mutex
	senders map[comparer]*sender
}

// comparer is what filters with one sender have in common.
type comparer struct {
	base    string
	service string
}

// New gives the filter.
func New(o Options) filters.Spec {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Entries == 0 {
		o.Entries = 1000
	}
	if o.Bytes == 0 {
		o.Bytes = 16 << 20
	}
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Second
	}
	if o.Pause == 0 {
		o.Pause = time.Second
	}
	return &spec{o: o, senders: make(map[comparer]*sender)}
}

func (s *spec) Name() string { return "capture" }

// CreateFilter never fails. Skipper does not serve a route whose filter cannot be made, so a wrong argument would take
// a live service away. Such a filter does nothing, and the log says why.
func (s *spec) CreateFilter(args []any) (filters.Filter, error) {
	f, err := parse(args)
	if err != nil {
		s.o.Log.Errorf("the filter capture(%v) copies nothing: %v; correct it in the Ingress's annotation zalando.org/skipper-filter", args, err)
		return idle{}, nil
	}
	f.now, f.sender = s.o.Now, s.sender(f.comparer)
	return f, nil
}

// sender gives the comparer's sender. Each change of any route makes all filters anew, so it belongs to none of them.
func (s *spec) sender(to comparer) *sender {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.senders[to] == nil {
		s.senders[to] = newSender(s.o, to)
	}
	return s.senders[to]
}

// idle is a filter that does nothing.
type idle struct{}

func (idle) Request(filters.FilterContext)  {}
func (idle) Response(filters.FilterContext) {}

type filter struct {
	comparer
	paths, except []string
	methods       map[string]bool

	now    func() time.Time
	sender *sender
}

func parse(args []any) (*filter, error) {
	f := &filter{methods: map[string]bool{http.MethodGet: true, http.MethodHead: true}}
	for i, arg := range args {
		text, ok := arg.(string)
		if !ok {
			return nil, fmt.Errorf("argument %d is %v, and not a string", i+1, arg)
		}
		if i == 0 {
			u, err := url.Parse(text)
			if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
				return nil, fmt.Errorf("the first argument is %q, and not the address of a comparer, such as http://messaging-comparer.chat.svc:8080", text)
			}
			f.base, f.service = strings.TrimSuffix(text, "/"), u.Hostname()
			continue
		}
		name, value, _ := strings.Cut(text, "=")
		switch {
		case value == "":
			return nil, fmt.Errorf("argument %d is %q, and not name=value", i+1, text)
		case name == "service":
			f.service = value
		case name == "path":
			f.paths = append(f.paths, path.Clean(value))
		case name == "except":
			f.except = append(f.except, path.Clean(value))
		case name == "method":
			f.methods[value] = true
		default:
			return nil, fmt.Errorf("argument %d is %q; it can be service=, path=, method= or except=", i+1, text)
		}
	}
	if f.base == "" {
		return nil, errors.New("the address of the comparer is missing")
	}
	return f, nil
}

// Request begins a copy of the request.
func (f *filter) Request(ctx filters.FilterContext) {
	r := ctx.Request()
	at := path.Clean("/" + r.URL.Path)
	switch {
	case len(f.paths) > 0 && !below(at, f.paths):
		return // another service's, so it is not left out
	case isUpgrade(r):
		f.sender.leaveOut(upgrade)
		return
	case !f.methods[r.Method]:
		f.sender.leaveOut(method)
		return
	case below(at, f.except):
		f.sender.leaveOut(excepted)
		return
	}
	id := r.Header.Get("X-Request-Id")
	if id == "" {
		id = r.Header.Get("X-Flow-Id")
	}
	p := &pending{
		sender: f.sender,
		exchange: Exchange{
			Request: request{ID: id, Method: r.Method, Target: r.URL.RequestURI(), Host: r.Host, Header: requestHeader(r.Header)},
			Started: f.now().UTC(),
		},
		request: copied{budget: f.sender.budget, length: r.ContentLength},
		answer:  copied{budget: f.sender.budget, length: -1}, // only its end says that it is whole
	}
	p.request.addHead(p.exchange.Request.Header, id, r.Method, p.exchange.Request.Target, r.Host)
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		p.request.whole = true // Skipper takes no body for another one
	} else {
		r.Body = &tee{ReadCloser: r.Body, copy: &p.request}
	}
	// The context ends with the live request, also with one that has no answer, or only a part of one.
	p.stop = context.AfterFunc(r.Context(), func() { p.end(incomplete) })
	ctx.StateBag()[f.key()] = p
}

// Response begins the copy of the answer. As the last filter it is the first to see it.
func (f *filter) Response(ctx filters.FilterContext) {
	p, ok := ctx.StateBag()[f.key()].(*pending)
	if !ok {
		return
	}
	r := ctx.Response()
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case r.ProtoMajor == 0: // another filter made it
		p.finish(incomplete)
	case media == "text/event-stream":
		p.finish(stream)
	default:
		p.exchange.Answer = answer{Status: r.StatusCode, Header: answerHeader(r.Header)}
		p.exchange.LatencyUS = f.now().Sub(p.exchange.Started).Microseconds()
		p.answer.addHead(p.exchange.Answer.Header)
		r.Body = &tee{ReadCloser: r.Body, copy: &p.answer, finish: p.finish}
	}
}

func (f *filter) key() string { return "capture " + f.base + " " + f.service }

// below says whether a path is one of those given, or below one.
func below(at string, prefixes []string) bool {
	for _, prefix := range prefixes {
		if at == prefix || strings.HasPrefix(at, strings.TrimSuffix(prefix, "/")+"/") {
			return true
		}
	}
	return false
}

func isUpgrade(r *http.Request) bool {
	for _, value := range r.Header.Values("Connection") {
		if strings.Contains(strings.ToLower(value), "upgrade") {
			return true // as Skipper reads it
		}
	}
	return false
}
