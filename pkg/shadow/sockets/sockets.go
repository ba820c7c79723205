// Package sockets compares what the gateways of a shadow make of the sockets that the live one mirrors
// (docs/adr/0027-mirrored-sockets.md). For each there is one more socket at the candidate and one at the baseline, where
// the same is said as the live client says. What the three sides say to it is compared frame by frame, and what they give
// to Kafka record by record.
//
// There is no order by which a frame is known to be missing, so time decides: a side that has not come with it within
// Options.Wait lacks it. Meanwhile nothing is handed over that came later, so that what is missing is not known last.
//
// A copy's socket opens later than the live one, and the three do not end at once. So what happens at the edges does not
// count; Counts says how much that was.
package sockets

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/labctl/labctl/pkg/shadow/side"
	"github.com/labctl/labctl/services/mirror"
	"github.com/labctl/labctl/services/requestid"
)

// Options are those of New. Those of zero have defaults.
type Options struct {
	// Copies are the addresses of the candidate and the baseline: http://host:port.
	Copies map[side.Side]string
	// Kafka are the options of a client that may read the topic messages of all sides.
	Kafka []kgo.Opt
	// Result takes what the sides made of one frame or record; nil where a side has nothing. It must not wait.
	Result func(label string, results [side.Count]*Result)

	Wait    time.Duration    // for the other sides; 10 s
	Sockets int              // that are mirrored at once; 1024
	Bytes   int64            // of what waits for the other sides; 64 MiB
	Now     func() time.Time // time.Now
}

// edge is how far apart the sides may begin and end.
const edge = 2 * time.Second

// Counts are numbers since the start.
type Counts struct {
	Sockets int64 `json:"sockets"` // that were mirrored
	Open    int64 `json:"open"`    // that are
	Broken  int64 `json:"broken"`  // mirrors that broke off before their sockets ended
	Refused int64 `json:"refused"` // sockets for which there was no room
	Before  int64 `json:"before"`  // frames about what was before both copies had said their hello: not compared
	After   int64 `json:"after"`   // frames from around the end of a side's socket, which others lack: not compared
	// Repeated are frames that a side sent once more, as after a crash, and Late those that came after the wait.
	Repeated [side.Count]int64 `json:"repeated"`
	Late     [side.Count]int64 `json:"late"`
	Dropped  int64             `json:"dropped"` // frames and records for which there was no room
	Waiting  int64             `json:"waiting"` // results that are not compared yet, since a side lacks one
}

// Sockets compares the mirrored sockets of one shadow.
type Sockets struct {
	o     Options
	takes atomic.Bool

	mu      sync.Mutex
	open    map[*socket]struct{}
	users   map[string]int // how many mirrored sockets each user has
	records table
	queue   []*entry // of all tables, by their first, that are not handed over
	size    int64    // bytes of what is in it
	counts  Counts
	stopped bool

	serving sync.WaitGroup
}

// New makes a Sockets. It takes none before Run.
func New(o Options) (*Sockets, error) {
	if o.Wait == 0 {
		o.Wait = 10 * time.Second
	}
	if o.Sockets == 0 {
		o.Sockets = 1024
	}
	if o.Bytes == 0 {
		o.Bytes = 64 << 20
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	for _, s := range copies() {
		u, err := url.Parse(o.Copies[s])
		if err != nil || u.Host == "" || u.Scheme != "http" {
			return nil, fmt.Errorf("the address of the %s is %q; it must be like http://host:port", s, o.Copies[s])
		}
	}
	return &Sockets{o: o, open: map[*socket]struct{}{}, users: map[string]int{}, records: newTable()}, nil
}

// copies are the sides that get what the live client says.
func copies() []side.Side { return []side.Side{side.Candidate, side.Baseline} }

// Counts gives the numbers so far.
func (s *Sockets) Counts() Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.counts
	c.Open, c.Waiting = int64(len(s.open)), int64(len(s.queue))
	return c
}

// sweepEvery is the time between two looks at what has waited for long enough.
const sweepEvery = time.Second

// Run waits until both copies take sockets, and compares until ctx ends.
func (s *Sockets) Run(ctx context.Context) error {
	defer s.stop()
	for s.askCopies(ctx) != nil {
		if !pause(ctx) {
			return nil
		}
	}
	g, run := errgroup.WithContext(ctx)
	if s.o.Kafka != nil {
		r, err := s.openReader(ctx)
		for until := time.Now().Add(patience); err != nil; r, err = s.openReader(ctx) {
			if !pause(ctx) {
				return nil
			}
			if time.Now().After(until) {
				return err
			}
		}
		g.Go(func() error { return r.run(run) })
	}
	s.takes.Store(true)
	g.Go(func() error {
		tick := time.NewTicker(sweepEvery)
		defer tick.Stop()
		for {
			select {
			case <-run.Done():
				return nil
			case <-tick.C:
				s.sweep()
			}
		}
	})
	return g.Wait()
}

// stop ends all sockets. What waits is not compared any more.
func (s *Sockets) stop() {
	s.takes.Store(false)
	s.mu.Lock()
	s.stopped = true
	for m := range s.open {
		m.shut()
	}
	s.mu.Unlock()
	s.serving.Wait()
}

// pause waits a little. ok is false where ctx ends.
func pause(ctx context.Context) (ok bool) {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(sweepEvery / 4):
		return true
	}
}

// askCopies asks both copies where clients open sockets. One that starts yet is unavailable there.
func (s *Sockets) askCopies(ctx context.Context) error {
	client := &http.Client{Timeout: dialTime, Transport: &http.Transport{DisableKeepAlives: true}}
	for _, of := range copies() {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(s.o.Copies[of], "/")+socketPath, nil)
		if err != nil {
			return err
		}
		res, err := client.Do(r)
		if err != nil {
			return err
		}
		_ = res.Body.Close()
		if res.StatusCode >= http.StatusInternalServerError {
			return fmt.Errorf("the %s takes no sockets yet: %s", of, res.Status)
		}
	}
	return nil
}

// Handler takes mirrored sockets. Who asks without wanting one hears whether they are taken: 426 or 503.
//
//	GET /sockets
func (s *Sockets) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+mirror.Path, func(w http.ResponseWriter, r *http.Request) {
		if !s.takes.Load() {
			http.Error(w, "the copies take no sockets yet", http.StatusServiceUnavailable)
			return
		}
		if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
			http.Error(w, "this path is for WebSockets", http.StatusUpgradeRequired)
			return
		}
		m := s.begin(r.Header.Get(requestid.Header))
		if m == nil {
			http.Error(w, "as many sockets as may be are mirrored", http.StatusServiceUnavailable)
			return
		}
		defer s.serving.Done()
		conn, rw, _, err := ws.UpgradeHTTP(r, w)
		if err != nil {
			s.remove(m)
			return // it is answered
		}
		m.serve(conn, rw.Reader)
	})
	return mux
}

// begin makes room for a socket, and opens it at the copies. It gives nil where there is no room.
func (s *Sockets) begin(request string) *socket {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped || len(s.open) >= s.o.Sockets {
		s.counts.Refused++
		return nil
	}
	s.counts.Sockets++
	m := &socket{s: s, name: fmt.Sprintf("socket %d (%s)", s.counts.Sockets, request), table: newTable()}
	s.open[m] = struct{}{}
	s.serving.Add(1)
	for _, of := range copies() {
		m.copies[of] = newCopied(s.o.Copies[of], of, request, m)
		s.serving.Go(m.copies[of].run)
	}
	return m
}

func (s *Sockets) remove(m *socket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m.shut()
}

// sweep hands over what has waited for long enough.
func (s *Sockets) sweep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.o.Now()
	for m := range s.open {
		m.sweep(now)
	}
	for _, e := range s.records.order {
		if e.state == stateOpen && now.Sub(e.first) >= s.o.Wait {
			s.expireRecord(e)
		}
	}
	s.forget(&s.records, now)
}

// forget drops the entries of which nothing is to come.
func (s *Sockets) forget(t *table, now time.Time) {
	t.forget(func(e *entry) bool { return now.Sub(e.first) >= 2*s.o.Wait })
}

// add makes an entry. It gives nil where there is no room. The caller holds mu.
func (s *Sockets) add(t *table, kind, id string, now time.Time) *entry {
	if s.size+entrySize > s.o.Bytes {
		s.counts.Dropped++
		return nil
	}
	e := t.add(kind, id, now)
	e.size = entrySize
	s.size += e.size
	s.queue = append(s.queue, e)
	return e
}

// set gives an entry what a side made of it. The caller holds mu.
func (s *Sockets) set(e *entry, of side.Side, r Result, label func() string) {
	switch e.state {
	case stateLeft:
		e.has[of] = true
	case stateDone:
		e.has[of] = true
		s.counts.Late[of]++
	case stateOpen:
		s.grow(e, e.set(of, r))
		if e.isComplete() {
			s.hand(e, label())
		}
	}
}

func (s *Sockets) grow(e *entry, bytes int64) {
	e.size += bytes
	s.size += bytes
}

// hand has an entry compared, when all before it are.
func (s *Sockets) hand(e *entry, label string) {
	e.label = label
	if e.isSame() { // what it is says nothing then
		for _, r := range e.results {
			r.Body = nil
		}
		s.grow(e, entrySize-e.size)
	}
	s.close(e, stateDone)
}

// leave has an entry not be compared.
func (s *Sockets) leave(e *entry) {
	e.results = [side.Count]*Result{}
	s.grow(e, entrySize-e.size)
	s.close(e, stateLeft)
}

// close ends an entry, and hands over those whose turn it is. That an entry was there is known for some time.
func (s *Sockets) close(e *entry, as state) {
	if e.of != nil && e.state == stateOpen {
		e.of.wanted--
	}
	e.state = as
	for len(s.queue) > 0 && s.queue[0].state != stateOpen {
		first := s.queue[0]
		s.queue[0] = nil
		s.queue = s.queue[1:]
		if first.state == stateDone {
			s.o.Result(first.label, first.results)
		}
		first.results = [side.Count]*Result{}
		s.size -= first.size
	}
}
