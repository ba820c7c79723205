package capture_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/images/skipper/capture"
)

const id = "0123456789abcdef"

// seen is a request as it came to the backend.
type seen struct {
	method, target, host, body string
	header                     http.Header
}

func zipped(t *testing.T, text string) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := io.WriteString(w, text)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.Bytes()
}

// service answers in all the ways that a proxy has to get through.
func service(t *testing.T, requests chan<- seen) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s := seen{method: r.Method, target: r.RequestURI, host: r.Host, header: r.Header}
		if r.URL.Path != "/refuse" {
			body, _ := io.ReadAll(r.Body)
			s.body = string(body)
		}
		requests <- s
		switch r.URL.Path {
		case "/empty":
			w.WriteHeader(http.StatusNoContent)
		case "/unchanged":
			w.Header().Set("ETag", `"1"`)
			w.WriteHeader(http.StatusNotModified)
		case "/redirect":
			w.Header().Set("Location", "/text")
			w.WriteHeader(http.StatusFound)
		case "/chunks":
			_, _ = io.WriteString(w, "one ")
			w.(http.Flusher).Flush()
			_, _ = io.WriteString(w, "two")
		case "/trailer":
			w.Header().Set("Trailer", "X-Sum")
			_, _ = io.WriteString(w, "sum")
			w.Header().Set("X-Sum", "1")
		case "/zipped":
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(zipped(t, "hello"))
		case "/echo":
			_, _ = io.WriteString(w, s.body)
		case "/exact":
			_, _ = w.Write(make([]byte, 64<<10))
		case "/large":
			_, _ = w.Write(make([]byte, 64<<10+1))
		case "/refuse":
			w.WriteHeader(http.StatusRequestEntityTooLarge)
		case "/broken":
			w.Header().Set("Content-Length", "10")
			_, _ = io.WriteString(w, "one")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		case "/broken-chunks":
			_, _ = io.WriteString(w, "one")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		case "/no-answer":
			panic(http.ErrAbortHandler)
		case "/events":
			w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
			_, _ = io.WriteString(w, "data: 1\n\n")
		case "/socket":
			conn, rw, err := w.(http.Hijacker).Hijack()
			if err != nil {
				panic(err)
			}
			defer conn.Close()
			_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
			line, _ := rw.ReadString('\n')
			_, _ = io.WriteString(conn, line)
		default:
			w.Header().Set("Set-Cookie", "secret=1")
			w.Header().Set("Cache-Control", "no-store")
			_, _ = io.WriteString(w, "hello")
		}
	}
}

var date = regexp.MustCompile(`Date: .*\r\n`)

// TestLiveIsTheSame: with the filter, client and service see to the byte what they see without it.
func TestLiveIsTheSame(t *testing.T) {
	requests := make(chan seen, 1)
	backend := newBackend(t, service(t, requests))
	comparer := newComparer(t, nil)
	spec, counts := newFilter(capture.Options{})
	plain := newProxy(t, backend, spec, "")
	captured := newProxy(t, backend, spec, ` -> capture("`+comparer.URL+`", "service=test", "method=POST", "except=/login", "except=/api/secret/")`)

	const rest = " HTTP/1.1\nHost: chat.example\nConnection: close\nX-Request-Id: " + id + "\n"
	get := func(path string) string { return "GET " + path + rest + "\n" }
	text := http.Header{"Content-Type": {"text/plain; charset=utf-8"}}
	cases := []struct {
		name          string
		request, then string
		leftOut       string      // why; else the exchange is as follows
		asked         string      // the body
		header        http.Header // of the request
		status        int
		answerHeader  http.Header
		answered      string
	}{
		{name: "text", request: "GET /a%2Fb?q=%20x&y=<z>" + rest + "Authorization: Bearer t\nCookie: secret=1\nAccept: text/plain\nX-Other: 1\n\n",
			header: http.Header{"Authorization": {"Bearer t"}, "Accept": {"text/plain"}},
			status: 200, answerHeader: http.Header{"Content-Type": text["Content-Type"], "Cache-Control": {"no-store"}}, answered: "hello"},
		{name: "HEAD", request: "HEAD /chunks" + rest + "\n", status: 200, answerHeader: text},
		{name: "no content", request: get("/empty"), status: 204},
		{name: "not modified", request: "GET /unchanged" + rest + "If-None-Match: \"1\"\n\n", header: http.Header{"If-None-Match": {`"1"`}},
			status: 304, answerHeader: http.Header{"Etag": {`"1"`}}},
		{name: "redirect", request: get("/redirect"), status: 302, answerHeader: http.Header{"Location": {"/text"}}},
		{name: "chunks", request: get("/chunks"), status: 200, answerHeader: text, answered: "one two"},
		{name: "HTTP/1.0", request: "GET /chunks HTTP/1.0\nHost: chat.example\nX-Request-Id: " + id + "\n\n", status: 200, answerHeader: text, answered: "one two"},
		{name: "a trailer", request: get("/trailer"), status: 200, answerHeader: text, answered: "sum"},
		{name: "compressed", request: "GET /zipped" + rest + "Accept-Encoding: gzip\n\n", header: http.Header{"Accept-Encoding": {"gzip"}},
			status: 200, answerHeader: http.Header{"Content-Encoding": {"gzip"}}, answered: string(zipped(t, "hello"))},
		{name: "a body", request: "POST /echo" + rest + "Content-Length: 3\n\nabc", asked: "abc", status: 200, answerHeader: text, answered: "abc"},
		{name: "a body in chunks", request: "POST /echo" + rest + "Transfer-Encoding: chunked\n\n3\nabc\n2\nde\n0\n\n", asked: "abcde", status: 200, answerHeader: text, answered: "abcde"},
		{name: "a body that waits for 100", request: "POST /echo" + rest + "Expect: 100-continue\nContent-Length: 3\n\n", then: "abc",
			asked: "abc", status: 200, answerHeader: text, answered: "abc"},
		{name: "no body", request: "POST /echo" + rest + "Content-Length: 0\n\n", status: 200},
		{name: "the longest answer", request: get("/exact"), status: 200, answerHeader: http.Header{"Content-Type": {"application/octet-stream"}}, answered: string(make([]byte, 64<<10))},

		{name: "a body that is refused unread", request: "POST /refuse" + rest + "Expect: 100-continue\nContent-Length: 3\n\n", leftOut: "incomplete"},
		{name: "the service breaks off", request: get("/broken"), leftOut: "incomplete"},
		{name: "the service breaks off between chunks", request: get("/broken-chunks"), leftOut: "incomplete"},
		{name: "the service gives no answer", request: get("/no-answer"), leftOut: "incomplete"},
		{name: "an answer too large", request: get("/large"), leftOut: "too_large"},
		{name: "a body too large", request: "POST /text" + rest + "Content-Length: 65537\n\n" + strings.Repeat("x", 65537), leftOut: "too_large"},
		{name: "a header too large", request: "GET /text" + rest + "Accept: " + strings.Repeat("x", 16<<10) + "\n\n", leftOut: "too_large"},
		{name: "events", request: get("/events"), leftOut: "stream"},
		{name: "a socket", request: "GET /socket HTTP/1.1\nHost: chat.example\nX-Request-Id: " + id + "\nConnection: keep-alive, Upgrade\nUpgrade: echo\n\n", then: "ping\n", leftOut: "upgrade"},
		{name: "another method", request: "DELETE /text" + rest + "\n", leftOut: "method"},
		{name: "a path with secrets", request: "POST /login" + rest + "Content-Length: 2\n\npw", leftOut: "excepted"},
		{name: "below a path with secrets", request: "POST /api/../api//secret/x" + rest + "Content-Length: 2\n\npw", leftOut: "excepted"},
	}
	reasons := map[string]int64{}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			want := date.ReplaceAllString(talk(t, plain, c.request, c.then), "")
			wantSeen := <-requests
			got := date.ReplaceAllString(talk(t, captured, c.request, c.then), "")
			gotSeen := <-requests
			require.Equal(t, want, got, "what the client sees")
			require.Equal(t, wantSeen, gotSeen, "what the service sees")
			require.NotContains(t, want, "HTTP/1.1 404", "the case is not tried")

			reason := c.leftOut
			if reason == "" {
				reason = "captured"
			}
			reasons[reason]++
			counts.wait(t, reason, reasons[reason])
			if c.leftOut != "" {
				return
			}
			exchanges := comparer.got()
			require.Len(t, exchanges, 1)
			e := exchanges[0]
			require.Equal(t, id, e.Request.ID)
			require.Equal(t, wantSeen.method, e.Request.Method)
			require.Equal(t, wantSeen.target, e.Request.Target)
			require.Equal(t, "chat.example", e.Request.Host)
			require.Equal(t, c.header, e.Request.Header)
			require.Equal(t, c.asked, string(e.Request.Body))
			require.Equal(t, c.status, e.Answer.Status)
			require.Equal(t, c.answerHeader, e.Answer.Header)
			require.Equal(t, c.answered, string(e.Answer.Body))
			require.False(t, e.Started.IsZero())
			require.EqualValues(t, 1000, e.LatencyUS)
		})
	}

	talk(t, captured, get("/text"), "")
	<-requests
	counts.wait(t, "captured", reasons["captured"]+1)
	delete(reasons, "captured")
	reasons["told"] = int64(len(cases)) + 1
	require.Equal(t, reasons, comparer.leftOut.all(), "each batch says what was left out before it")
}

// TestBodiesStream: each part arrives before the next is sent.
func TestBodiesStream(t *testing.T) {
	parts := []string{"one", "two", "six"}
	arrived := make(chan string)
	next := func(r io.Reader) {
		part := make([]byte, 3)
		_, err := io.ReadFull(r, part)
		assert.NoError(t, err)
		arrived <- string(part)
	}
	backend := newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		for range parts {
			next(r.Body)
		}
		_, err := r.Body.Read(make([]byte, 1))
		assert.Equal(t, io.EOF, err)
		for _, part := range parts {
			_, _ = io.WriteString(w, part)
			w.(http.Flusher).Flush()
			assert.Equal(t, part, <-arrived)
		}
	})
	comparer := newComparer(t, nil)
	spec, counts := newFilter(capture.Options{})
	proxy := newProxy(t, backend, spec, ` -> capture("`+comparer.URL+`", "service=test", "method=POST")`)

	reader, writer := io.Pipe()
	go func() {
		for _, part := range parts {
			_, _ = io.WriteString(writer, part)
			assert.Equal(t, part, <-arrived)
		}
		_ = writer.Close()
	}()
	res, err := proxy.Client().Post(proxy.URL, "text/plain", reader)
	require.NoError(t, err)
	defer res.Body.Close()
	for range parts {
		next(res.Body)
	}
	rest, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.Empty(t, rest)

	counts.wait(t, "captured", 1)
	exchanges := comparer.got()
	require.Len(t, exchanges, 1)
	require.Equal(t, "onetwosix", string(exchanges[0].Request.Body))
	require.Equal(t, "onetwosix", string(exchanges[0].Answer.Body))
}

// TestClientGoesAway: what the client did not wait for is no live answer.
func TestClientGoesAway(t *testing.T) {
	gone := make(chan struct{})
	backend := newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/begun" {
			_, _ = io.WriteString(w, "one")
			w.(http.Flusher).Flush()
		}
		gone <- struct{}{}
		<-r.Context().Done() // Skipper takes it back
		gone <- struct{}{}
	})
	comparer := newComparer(t, nil)
	spec, counts := newFilter(capture.Options{})
	proxy := newProxy(t, backend, spec, ` -> capture("`+comparer.URL+`", "service=test")`)
	for i, path := range []string{"/begun", "/not-begun"} {
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-gone
			cancel()
		}()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, proxy.URL+path, nil)
		require.NoError(t, err)
		res, err := proxy.Client().Do(req)
		if err == nil {
			_, err = io.ReadAll(res.Body)
			_ = res.Body.Close()
		}
		require.ErrorIs(t, err, context.Canceled)
		<-gone
		counts.wait(t, "incomplete", int64(i+1))
	}
	require.Empty(t, comparer.got())
}
