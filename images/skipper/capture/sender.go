package capture

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// A batch has what waits, up to these bounds.
const (
	batchEntries = 100
	batchBytes   = 1 << 20
)

// queued is an exchange that waits, with its bytes of the budget.
type queued struct {
	exchange *Exchange
	size     int
}

// retries bounds how often a comparer that has gone is told of what it missed.
const retries = 60

// sender sends the exchanges for one comparer, a batch at a time. The live path only takes its lock for a moment.
type sender struct {
	o      Options
	to     comparer
	budget *budget
	client *http.Client

	mu      sync.Mutex
	queue   []queued
	left    map[string]int64 // left out since the last batch that was taken
	since   time.Time        // when the first of these was
	running bool
}

func newSender(o Options, to comparer) *sender {
	s := &sender{
		o: o, to: to, budget: &budget{}, left: make(map[string]int64),
		client: &http.Client{
			Timeout:       o.Timeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Transport: &http.Transport{ // of its own, so that live requests share nothing with it
				DialContext:     (&net.Dialer{Timeout: o.Timeout}).DialContext,
				IdleConnTimeout: 30 * time.Second,
			},
		},
	}
	s.budget.left.Store(o.Bytes)
	return s
}

// leaveOut counts a request that the comparer is not given.
func (s *sender) leaveOut(reason string) {
	s.mu.Lock()
	if len(s.left) == 0 {
		s.since = s.o.Now().UTC()
	}
	s.left[reason]++
	s.mu.Unlock()
	s.count(reason, 1)
}

func (s *sender) count(what string, n int64) {
	s.o.Count("capture."+s.to.service+"."+what, n)
}

// offer puts an exchange into the queue, or drops it.
func (s *sender) offer(q queued) {
	s.mu.Lock()
	full := len(s.queue) >= s.o.Entries
	if !full {
		s.queue = append(s.queue, q)
		if !s.running {
			s.running = true
			go s.run()
		}
	}
	s.mu.Unlock()
	if full {
		s.budget.give(q.size)
		s.leaveOut(dropped)
	}
}

// run sends until nothing waits. It is started when something does: Skipper closes filters only when it ends itself, so
// nothing else would stop it after the shadow has gone.
func (s *sender) run() {
	failures := 0
	for {
		batch, left, ok := s.take(failures)
		if !ok {
			return
		}
		err := s.send(batch, left)
		s.sent(batch, left, err)
		if err == nil {
			if failures > 0 {
				s.o.Log.Infof("capture: %s takes exchanges again", s.to.base)
			}
			failures = 0
			continue
		}
		if failures == 0 {
			s.o.Log.Warnf("capture: %s does not take exchanges, so they are dropped and counted until it does: %v", s.to.base, err)
		}
		failures++
		time.Sleep(s.o.Pause)
	}
}

// take gives the next batch, and the counts that go with it. A batch of counts alone is sent for lost exchanges: perhaps
// no request comes any more that would take them along.
func (s *sender) take(failures int) (batch []queued, left line, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, size := 0, 0
	for n < len(s.queue) && n < batchEntries && size < batchBytes {
		size += s.queue[n].size
		n++
	}
	if n == 0 && (s.left[dropped] == 0 || failures > retries) {
		s.running = false
		return nil, line{}, false
	}
	batch, left = slices.Clone(s.queue[:n]), line{LeftOut: s.left, Since: s.since}
	s.queue, s.left, s.since = slices.Delete(s.queue, 0, n), make(map[string]int64), time.Time{}
	return batch, left, true
}

// sent frees a batch and says what became of it.
func (s *sender) sent(batch []queued, left line, err error) {
	for _, q := range batch {
		s.budget.give(q.size)
	}
	n := int64(len(batch))
	switch {
	case n > 0 && err == nil:
		s.count("captured", n)
	case n > 0:
		s.count(dropped, n)
	}
	if err == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.since = left.Since; s.since.IsZero() {
		s.since = batch[0].exchange.Started
	}
	for reason, n := range left.LeftOut {
		s.left[reason] += n
	}
	s.left[dropped] += n
}

func (s *sender) send(batch []queued, left line) error {
	var body bytes.Buffer
	lines := json.NewEncoder(&body)
	lines.SetEscapeHTML(false)
	if len(left.LeftOut) > 0 {
		if err := lines.Encode(left); err != nil {
			return err
		}
	}
	for _, q := range batch {
		if err := lines.Encode(line{Exchange: q.exchange}); err != nil {
			return err
		}
	}
	req, err := http.NewRequest(http.MethodPost, s.to.base+exchangesPath, &body)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-ndjson")
	res, err := s.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, _ = io.CopyN(io.Discard, res.Body, 4<<10) // so that the connection can be used again
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("it answers %s", res.Status)
	}
	return nil
}
