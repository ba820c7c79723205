// Package exchange is the form in which the ingress hands live requests and their answers to the comparer of a shadow.
// docs/protocol.md (§ 9) describes it. images/skipper is a module of its own and has these types once more;
// testdata/batch.ndjson holds both to the same form.
package exchange

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Path is where a comparer takes batches: POST with lines of JSON.
const Path = "/exchanges"

// MaxBody is the longest body that is taken, in bytes.
const MaxBody = 64 << 10

// MaxLine is the longest line in bytes. The ingress takes bodies of at most MaxBody, and targets and headers of at most
// 16 KiB; base64 and JSON's escapes make them longer.
const MaxLine = 512 << 10

// What was left out, by reason. A request is counted once: as an exchange, or here.
const (
	Dropped    = "dropped"    // the queue was full, or the comparer did not take the batch (some of it, it may have)
	TooLarge   = "too_large"  // a body or the header is longer than what is taken
	Incomplete = "incomplete" // the service gave no whole answer, or the client went away before its end
	Method     = "method"     // not GET or HEAD, and not named by the filter
	Excepted   = "excepted"   // below a path that the filter leaves out, as those with passwords
	Upgrade    = "upgrade"    // a WebSocket
	Stream     = "stream"     // an answer without an end (text/event-stream)

	// Away is the reason of the comparer: whatever was left out since before it began, as while its pod was replaced.
	Away = "away"
)

// Line is one line of a batch: an exchange, or how many requests were left out since the batch before, by reason, and when
// the first of them was.
type Line struct {
	LeftOut map[string]int64 `json:"left_out,omitempty"`
	Since   time.Time        `json:"since,omitzero"`
	*Exchange
}

// Exchange is a live request with the live answer.
type Exchange struct {
	Request   Request   `json:"request"`
	Answer    Answer    `json:"answer"`
	Started   time.Time `json:"started"`    // when the ingress had the request's header
	LatencyUS int64     `json:"latency_us"` // microseconds from then to the answer's header
}

// Request is what the client asked. Its header has credentials: they are for asking again and must not be kept.
type Request struct {
	ID     string      `json:"id,omitempty"` // X-Request-Id. A client may choose it, so two requests may have the same
	Method string      `json:"method"`
	Target string      `json:"target"` // path and query
	Host   string      `json:"host"`
	Header http.Header `json:"header,omitempty"` // Accept, Accept-Encoding, Authorization, Content-Type, If-None-Match, Range
	Body   []byte      `json:"body,omitempty"`
}

// Answer is what the live service said, with its body as it was sent: Content-Encoding says whether it is compressed.
type Answer struct {
	Status int         `json:"status"`
	Header http.Header `json:"header,omitempty"` // those that AnswerHeader selects
	Body   []byte      `json:"body,omitempty"`
}

// RequestHeader selects what is asked again of a request's header.
func RequestHeader(h http.Header) http.Header {
	return selectHeader(h, "Accept", "Accept-Encoding", "Authorization", "Content-Type", "If-None-Match", "Range")
}

// AnswerHeader selects what is compared of an answer's header.
func AnswerHeader(h http.Header) http.Header {
	return selectHeader(h, "Allow", "Cache-Control", "Content-Encoding", "Content-Type", "Etag", "Location", "Retry-After", "Www-Authenticate")
}

// ExceptedPaths gives the paths of a service whose requests are not copied. A login with a provider changes something with
// each GET.
func ExceptedPaths(service string) []string {
	if service == "auth" {
		return []string{"/api/auth/oidc"}
	}
	return nil
}

func selectHeader(h http.Header, names ...string) http.Header {
	selected := http.Header{}
	for _, name := range names {
		if values := h.Values(name); len(values) > 0 {
			selected[name] = slices.Clone(values)
		}
	}
	return selected
}

// Read hands each line of a batch to take. A line that is none is skipped and counted in bad. The error is the reader's.
func Read(batch io.Reader, take func(Line)) (bad int, err error) {
	r := bufio.NewReaderSize(batch, MaxLine)
	for {
		text, err := r.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			bad++
			for errors.Is(err, bufio.ErrBufferFull) {
				_, err = r.ReadSlice('\n')
			}
		case len(bytes.TrimSpace(text)) == 0:
		case err != nil && !errors.Is(err, io.EOF):
			bad++ // the batch broke off within it
		default:
			line, malformed := parse(text)
			if malformed != nil {
				bad++
			} else {
				take(line)
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return bad, nil
		case err != nil:
			return bad, fmt.Errorf("read a batch of exchanges: %w", err)
		}
	}
}

func parse(text []byte) (Line, error) {
	var l Line
	if err := json.Unmarshal(text, &l); err != nil {
		return Line{}, err
	}
	e := l.Exchange
	switch {
	case e == nil && len(l.LeftOut) == 0:
		return Line{}, errors.New("neither an exchange nor what was left out")
	case e == nil:
		return l, nil
	case e.Request.Method == "" || !strings.HasPrefix(e.Request.Target, "/"):
		return Line{}, fmt.Errorf("%q %q is no request", e.Request.Method, e.Request.Target)
	case e.Answer.Status < 100 || e.Answer.Status > 599:
		return Line{}, fmt.Errorf("%d is no status", e.Answer.Status)
	}
	return l, nil
}
