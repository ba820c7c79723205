package shadow

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/labctl/labctl/pkg/shadow/exchange"
	"github.com/labctl/labctl/pkg/shadow/join"
	"github.com/labctl/labctl/pkg/shadow/replay"
	"github.com/labctl/labctl/pkg/shadow/side"
)

// Replayer gives what takes the batches of the ingress and asks the sides at these addresses the same. Run runs it. It
// hands over the answers of all three sides at once, so requests need no join.
func (c *Comparer) Replayer(urls map[side.Side]string) (*replay.Replayer, error) {
	r, err := replay.New(replay.Options{Candidate: urls[side.Candidate], Baseline: urls[side.Baseline], Result: c.answered})
	if err != nil {
		return nil, fmt.Errorf("shadow of %s: %w", c.o.Service, err)
	}
	return r, nil
}

// answered takes the answers of the three sides to one request.
func (c *Comparer) answered(live exchange.Exchange, candidate, baseline replay.Answer) {
	said := replay.Answer{Status: live.Answer.Status, Header: exchange.AnswerHeader(live.Answer.Header), Body: live.Answer.Body}
	var results [side.Count]*join.Result
	for s, a := range [side.Count]replay.Answer{said, candidate, baseline} {
		var err error
		if results[s], err = c.result(live.Request, a); err != nil {
			c.fail(err)
			return
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests++
	// The id of the request finds it in logs and traces. A client may choose it, so the number tells requests apart.
	label := fmt.Sprintf("request %d (%s)", c.requests, live.Request.ID)
	if err := c.observe(label, results); err != nil {
		c.failed = err
	}
}

// answer is what is compared of an answer, and shown in examples. Of the request it has what was asked and no header,
// since that has a token.
type answer struct {
	Request string          `json:"request"`
	Error   string          `json:"error,omitempty"` // why there is no answer
	Status  int             `json:"status,omitempty"`
	Header  http.Header     `json:"header,omitempty"`
	Body    json.RawMessage `json:"body,omitempty"`
}

// result gives what a side made of a request.
func (c *Comparer) result(r exchange.Request, a replay.Answer) (*join.Result, error) {
	said := answer{Request: r.Method + " " + r.Target, Status: a.Status, Header: a.Header, Body: a.Body}
	if a.Err != nil {
		said.Error = reason(a.Err)
	}
	body, err := c.canonical(said)
	if err != nil { // the body is no JSON, or nested too deeply
		said.Body = text(a.Body)
		body, err = c.canonical(said)
	}
	if err != nil {
		return nil, fmt.Errorf("answer to %s: %w", kindOf(r), err)
	}
	return &join.Result{
		Kind: kindOf(r), Body: body, Latency: a.Latency, Error: a.Err != nil || a.Status >= http.StatusInternalServerError,
	}, nil
}

func (c *Comparer) canonical(a answer) ([]byte, error) {
	b, err := json.Marshal(a)
	if err != nil {
		return nil, err
	}
	return c.comparer.Canonical(b)
}

// reason says why a side has no answer, without addresses and times, which always differ.
func reason(err error) string {
	for _, known := range []error{replay.ErrTimeout, replay.ErrUnreachable, replay.ErrTooLarge} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return replay.ErrBroken.Error()
}

// text gives a body that is no JSON as a string of its characters, or of base64.
func text(body []byte) json.RawMessage {
	var v any = body
	if utf8.Valid(body) {
		v = string(body)
	}
	b, _ := json.Marshal(v) // of a string there is always one
	return b
}

const (
	// kindSegments is how many segments of a path name a kind.
	kindSegments = 5
	// longestWord is in bytes. Ids are longer.
	longestWord = 16
)

// kindOf names requests of one kind: by the method and the path, with * for each id. There are few kinds, so that each
// has enough results.
func kindOf(r exchange.Request) string {
	path, _, _ := strings.Cut(r.Target, "?")
	segments := strings.Split(strings.Trim(path, "/"), "/")
	segments = segments[:min(len(segments), kindSegments)]
	for i, s := range segments {
		if len(s) > longestWord || strings.Trim(s, "abcdefghijklmnopqrstuvwxyz-_") != "" {
			segments[i] = "*"
		}
	}
	return r.Method + " /" + strings.Join(segments, "/")
}

// sawRequests notes how many requests were not compared, by reason. What was lost by chance blocks a pass: nobody knows
// what it was. The others were left out for what they are, such as a change, or since the client went away.
func (c *Comparer) sawRequests(n replay.Counts) {
	left := maps.Clone(n.LeftOut)
	left[exchange.Method] += n.Refused
	left[exchange.Dropped] += n.Dropped + n.BadLines
	maps.DeleteFunc(left, func(_ string, n int64) bool { return n == 0 })
	c.mu.Lock()
	defer c.mu.Unlock()
	for reason, n := range c.leftOutBefore {
		left[reason] += n
	}
	c.monitor.Dropped(left[exchange.Dropped] - c.leftOut[exchange.Dropped])
	c.leftOut = left
}
