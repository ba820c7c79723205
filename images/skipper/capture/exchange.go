package capture

import (
	"net/http"
	"slices"
	"time"
)

// These types are those of pkg/shadow/exchange in the main module, which says what they mean. The tests of both modules
// read the same batch.

// exchangesPath is where a comparer takes batches.
const exchangesPath = "/exchanges"

// Why a request is left out.
const (
	dropped    = "dropped"
	tooLarge   = "too_large"
	incomplete = "incomplete"
	method     = "method"
	excepted   = "excepted"
	upgrade    = "upgrade"
	stream     = "stream"
)

type line struct {
	LeftOut map[string]int64 `json:"left_out,omitempty"`
	Since   time.Time        `json:"since,omitzero"`
	*Exchange
}

// Exchange is a live request with the live answer. It is exported, or encoding/json could not read one that is embedded.
type Exchange struct {
	Request   request   `json:"request"`
	Answer    answer    `json:"answer"`
	Started   time.Time `json:"started"`
	LatencyUS int64     `json:"latency_us"`
}

type request struct {
	ID     string      `json:"id,omitempty"`
	Method string      `json:"method"`
	Target string      `json:"target"`
	Host   string      `json:"host"`
	Header http.Header `json:"header,omitempty"`
	Body   []byte      `json:"body,omitempty"`
}

type answer struct {
	Status int         `json:"status"`
	Header http.Header `json:"header,omitempty"`
	Body   []byte      `json:"body,omitempty"`
}

func requestHeader(h http.Header) http.Header {
	return selectHeader(h, "Accept", "Accept-Encoding", "Authorization", "Content-Type", "If-None-Match", "Range")
}

func answerHeader(h http.Header) http.Header {
	return selectHeader(h, "Allow", "Cache-Control", "Content-Encoding", "Content-Type", "Etag", "Location", "Retry-After", "Www-Authenticate")
}

func selectHeader(h http.Header, names ...string) http.Header {
	selected := http.Header{}
	for _, name := range names {
		if values := h.Values(name); len(values) > 0 {
			selected[name] = slices.Clone(values) // other filters go on with theirs
		}
	}
	return selected
}
