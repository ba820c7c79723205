package shadow

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/shadow/compare"
	"github.com/labctl/labctl/pkg/shadow/exchange"
	"github.com/labctl/labctl/pkg/shadow/records"
	"github.com/labctl/labctl/pkg/shadow/replay"
	"github.com/labctl/labctl/pkg/shadow/side"
	"github.com/labctl/labctl/pkg/shadow/verdict"
)

// said is an answer of a side in a test.
type said struct {
	status int
	body   string
}

// sides are a comparer that takes batches of the ingress, and the sides that it asks.
type sides struct {
	*Comparer
	requests *replay.Replayer
	answers  [side.Count]said
	urls     map[side.Side]string
}

// newSides gives sides that answer to any request what the test last said.
func newSides(t *testing.T) *sides {
	t.Helper()
	s := &sides{Comparer: newComparer(t, compare.Rules{}), urls: map[side.Side]string{}}
	for _, of := range []side.Side{side.Candidate, side.Baseline} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			assert.Equal(t, "Bearer secret-token", r.Header.Get("Authorization"), "who asks is the same")
			if s.answers[of].status == 0 {
				panic(http.ErrAbortHandler)
			}
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(s.answers[of].status)
			_, _ = fmt.Fprint(w, s.answers[of].body)
		}))
		t.Cleanup(srv.Close)
		s.urls[of] = srv.URL
	}
	var err error
	s.requests, err = s.Replayer(s.urls)
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { s.requests.Run(ctx) })
	t.Cleanup(func() {
		stop()
		running.Wait()
	})
	return s
}

// batch hands over lines, as the ingress does.
func (s *sides) batch(t *testing.T, lines ...exchange.Line) {
	t.Helper()
	var body bytes.Buffer
	for _, l := range lines {
		require.NoError(t, json.NewEncoder(&body).Encode(l))
	}
	w := httptest.NewRecorder()
	s.requests.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodPost, exchange.Path, &body))
	require.Equal(t, http.StatusNoContent, w.Code, w.Body.String())
}

// ask has live asked something, and the other sides after it, and waits until their answers are compared.
func (s *sides) ask(t *testing.T, target string, live, candidate, baseline said) {
	t.Helper()
	s.answers = [side.Count]said{live, candidate, baseline}
	before := s.Evidence().Requests
	s.batch(t, exchange.Line{Exchange: &exchange.Exchange{
		Request: exchange.Request{
			ID: "0123456789abcdef", Method: http.MethodGet, Target: target, Host: "chat.example", Header: http.Header{"Authorization": {"Bearer secret-token"}},
		},
		Answer: exchange.Answer{Status: live.status, Header: http.Header{"Content-Type": {"application/json"}, "Set-Cookie": {"secret-cookie"}}, Body: []byte(live.body)},
	}})
	require.Eventually(t, func() bool { return s.Evidence().Requests > before }, time.Minute, time.Millisecond)
}

// condition gives one of a verdict.
func condition(t *testing.T, e Evidence, name string) verdict.Condition {
	t.Helper()
	for _, c := range e.Verdict.Conditions {
		if c.Name == name && c.Kind == "" {
			return c
		}
	}
	t.Fatalf("there is no condition %s", name)
	return verdict.Condition{}
}

// Answers are compared by what they say, and whoever has none, or fails, differs.
func TestRequests(t *testing.T) {
	ok := said{200, `{"a": 1}`}
	for _, tt := range []struct {
		name                      string
		live, candidate, baseline said
		want                      string // the shape of the difference
		errors                    int    // of the candidate alone, less those of the baseline
	}{
		{"the same", ok, said{200, `{"a":1}`}, ok, "", 0},
		{"another body", ok, said{200, `{"a":2}`}, ok, "body.a changed", 0},
		{"noise", ok, said{200, `{"a":2}`}, said{200, `{"a":3}`}, "", 0},
		{"a refusal where live has none", ok, said{403, `{"a":1}`}, ok, "status changed", 0},
		{"no refusal where live has one", said{403, `{}`}, said{200, `{}`}, said{403, `{}`}, "status changed", 0},
		{"a failure", ok, said{500, `{"a":1}`}, ok, "status changed", 1},
		{"no answer", ok, said{}, ok, "body missing, error extra, header missing, status missing", 1},
		{"no answer of both", ok, said{}, said{}, "", 0},
		{"no answer of the baseline", ok, ok, said{}, "", -1},
		{"text", said{200, "hello"}, said{200, "hello\n"}, said{200, "hello"}, "body changed", 0},
		{"bytes", said{200, "\xff"}, said{200, "\xfe"}, said{200, "\xff"}, "body changed", 0},
		{"too deep for JSON", said{200, strings.Repeat("[", 200) + strings.Repeat("]", 200)}, ok, ok, "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSides(t)
			s.ask(t, "/api/messages", tt.live, tt.candidate, tt.baseline)
			e := s.Evidence()
			require.Empty(t, e.Error)
			require.EqualValues(t, 1, e.Verdict.Samples)
			if tt.want == "" {
				require.Empty(t, e.Differing.Shapes)
			} else {
				require.Len(t, e.Differing.Shapes, 1)
				require.Equal(t, "GET /api/messages: "+tt.want, e.Differing.Shapes[0].Shape)
			}
			require.InDelta(t, tt.errors, condition(t, e, "errors").Value, 1e-9)
		})
	}
}

// An example shows what was asked, and nothing by which somebody else could ask it.
func TestNoTokenInTheEvidence(t *testing.T) {
	s := newSides(t)
	s.ask(t, "/api/messages/search?q=cake", said{200, `{"a":1}`}, said{200, `{"a":2}`}, said{200, `{"a":1}`})
	text, err := json.Marshal(s.Evidence())
	require.NoError(t, err)
	require.Contains(t, string(text), "GET /api/messages/search?q=cake")
	require.Contains(t, string(text), "request 1 (0123456789abcdef)")
	require.NotContains(t, string(text), "secret")
	e := s.Evidence()
	text, err = json.Marshal(e.Differing.WithoutExamples())
	require.NoError(t, err)
	require.NotContains(t, string(text), "cake", "what people search for is theirs, as what they say")
}

// What was lost by chance blocks a pass, what is left out for what it is does not, and all is told.
func TestLeftOut(t *testing.T) {
	s := newSides(t)
	s.batch(t, exchange.Line{LeftOut: map[string]int64{exchange.Method: 3, exchange.Excepted: 2, exchange.Incomplete: 1}})
	s.batch(t, exchange.Line{Exchange: &exchange.Exchange{
		Request: exchange.Request{Method: http.MethodPost, Target: "/api/groups"}, Answer: exchange.Answer{Status: http.StatusCreated},
	}})
	s.sawRequests(s.requests.Counts())
	e := s.Evidence()
	require.Equal(t, map[string]int64{exchange.Method: 4, exchange.Excepted: 2, exchange.Incomplete: 1}, e.LeftOut)
	require.Equal(t, verdict.Pass, condition(t, e, "dropped").State)

	s.batch(t, exchange.Line{LeftOut: map[string]int64{exchange.Dropped: 2}})
	for range 2 {
		s.sawRequests(s.requests.Counts())
	}
	e = s.Evidence()
	require.EqualValues(t, 2, e.LeftOut[exchange.Dropped])
	require.Equal(t, verdict.Inconclusive, condition(t, e, "dropped").State)
	require.InDelta(t, 2, condition(t, e, "dropped").Value, 1e-9, "counted once")
}

func TestKindOf(t *testing.T) {
	for target, want := range map[string]string{
		"/api/messages/search?q=a":                                 "GET /api/messages/search",
		"/api/conversations":                                       "GET /api/conversations",
		"/api/conversations/dm:ab:cd/messages":                     "GET /api/conversations/*/messages",
		"/api/groups/0b7c2f/members/7/more":                        "GET /api/groups/*/members/*",
		"/api/auth/users/abcdefghijklmnopqrstuvwxyzabcdef/profile": "GET /api/auth/users/*/profile",
		"/": "GET /",
	} {
		require.Equal(t, want, kindOf(exchange.Request{Method: http.MethodGet, Target: target}))
	}
}

// A comparer that goes on where another stopped knows how many requests that one has compared, and left out.
func TestRequestsOfBefore(t *testing.T) {
	first, ok := newSides(t), said{200, `{}`}
	first.ask(t, "/api/messages", ok, ok, ok)
	first.batch(t, exchange.Line{LeftOut: map[string]int64{exchange.Method: 3, exchange.Dropped: 1}})
	first.sawRequests(first.requests.Counts())
	saved, err := first.snapshot(records.Position{First: map[int32]int64{}})
	require.NoError(t, err)

	second := newSides(t)
	_, known, err := second.resume(saved)
	require.NoError(t, err)
	require.True(t, known)
	second.batch(t, exchange.Line{LeftOut: map[string]int64{exchange.Method: 2}})
	for range 2 {
		second.sawRequests(second.requests.Counts())
	}
	second.ask(t, "/api/messages", ok, ok, ok)
	e := second.Evidence()
	require.EqualValues(t, 2, e.Requests)
	require.Equal(t, map[string]int64{exchange.Method: 5, exchange.Dropped: 1}, e.LeftOut)
	require.InDelta(t, 1, condition(t, e, "dropped").Value, 1e-9, "counted once")
}
