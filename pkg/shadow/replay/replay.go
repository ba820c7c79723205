// Package replay asks the candidate and the baseline of a shadow what the ingress saw asked, and gives their answers
// beside the live one.
//
// A GET that reads what is being written may differ by its moment alone. The baseline shows this noise, since it differs
// as often; and requests that name a message with at_least wait for it on all sides.
package replay

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/labctl/labctl/pkg/shadow/exchange"
)

// Options configure a Replayer. Those of zero have defaults.
type Options struct {
	Candidate string // its address, http://host:port
	Baseline  string // likewise
	// Result is called with the two answers to each exchange, by several goroutines at once, and must not wait for long:
	// exchanges wait meanwhile.
	Result func(live exchange.Exchange, candidate, baseline Answer)

	Methods  []string         // that are asked beside GET and HEAD; none
	InFlight int              // exchanges that are asked at once; 16
	Entries  int              // exchanges that may wait; 1000
	Bytes    int64            // of those that wait; 16 MiB
	Timeout  time.Duration    // for one answer, to its end; 10 s
	MaxBody  int64            // of one answer in bytes; 256 KiB
	MaxBatch int64            // of one batch in bytes; 8 MiB
	Now      func() time.Time // time.Now
}

// Answer is what one side said, or why there is no answer: then only Err and Latency are set.
type Answer struct {
	Status  int
	Header  http.Header   // what exchange.AnswerHeader selects
	Body    []byte        // as it was sent
	Latency time.Duration // until the header, or the error
	Err     error         // is ErrTimeout, ErrUnreachable, ErrTooLarge or ErrBroken
}

// Why a side has no answer.
var (
	ErrTimeout     = errors.New("no answer in time")
	ErrUnreachable = errors.New("no connection")
	ErrTooLarge    = errors.New("the answer is too large")
	ErrBroken      = errors.New("no whole answer")
)

// Counts are numbers since the start.
type Counts struct {
	Received  int64            // exchanges that the ingress handed over
	BadLines  int64            // of batches, which were skipped
	LeftOut   map[string]int64 // requests that the ingress did not hand over, by the reasons of package exchange
	Refused   int64            // exchanges with a method that is not asked
	Dropped   int64            // exchanges for which there was no room
	Candidate SideCounts
	Baseline  SideCounts
}

// SideCounts are the answers of one side.
type SideCounts struct {
	Answered, Timeouts, Unreachable, TooLarge, Broken int64
}

// Replayer asks both sides. Its handler fills a bounded queue, which Run empties.
type Replayer struct {
	o                   Options
	candidate, baseline side
	queue               chan exchange.Exchange
	bytes               atomic.Int64 // of what is in the queue
	began               time.Time

	mu     sync.Mutex
	counts Counts
}

// New makes a Replayer. Nothing is asked before Run.
func New(o Options) (*Replayer, error) {
	if o.InFlight == 0 {
		o.InFlight = 16
	}
	if o.Entries == 0 {
		o.Entries = 1000
	}
	if o.Bytes == 0 {
		o.Bytes = 16 << 20
	}
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
	if o.MaxBody == 0 {
		o.MaxBody = 256 << 10
	}
	if o.MaxBatch == 0 {
		o.MaxBatch = 8 << 20
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Methods = append([]string{http.MethodGet, http.MethodHead}, o.Methods...)
	r := &Replayer{o: o, queue: make(chan exchange.Exchange, o.Entries), began: o.Now(), counts: Counts{LeftOut: make(map[string]int64)}}
	for _, s := range []struct {
		side    *side
		name    string
		address string
		counts  *SideCounts
	}{
		{&r.candidate, "candidate", o.Candidate, &r.counts.Candidate},
		{&r.baseline, "baseline", o.Baseline, &r.counts.Baseline},
	} {
		u, err := url.Parse(s.address)
		if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			return nil, fmt.Errorf("the address of the %s is %q; it must be like http://host:port", s.name, s.address)
		}
		*s.side = side{name: s.name, scheme: u.Scheme, host: u.Host, o: o, transport: newTransport(o), counts: s.counts}
	}
	return r, nil
}

// Run asks what waits, and what comes, until ctx ends. What is asked just then has no result.
func (r *Replayer) Run(ctx context.Context) {
	var workers sync.WaitGroup
	for range r.o.InFlight {
		workers.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case e := <-r.queue:
					r.bytes.Add(-size(e))
					r.replay(ctx, e)
				}
			}
		})
	}
	workers.Wait()
	r.candidate.transport.CloseIdleConnections()
	r.baseline.transport.CloseIdleConnections()
}

// Counts gives the numbers so far.
func (r *Replayer) Counts() Counts {
	r.mu.Lock()
	defer r.mu.Unlock()
	counts := r.counts
	counts.LeftOut = maps.Clone(counts.LeftOut)
	return counts
}

// Handler takes the batches of the ingress: POST /exchanges. It never waits for a side.
func (r *Replayer) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+exchange.Path, func(w http.ResponseWriter, req *http.Request) {
		bad, err := exchange.Read(http.MaxBytesReader(w, req.Body, r.o.MaxBatch), r.Take)
		r.count(func(c *Counts) { c.BadLines += int64(bad) })
		if err != nil {
			http.Error(w, fmt.Sprintf("%v; a batch has at most %d bytes", err, r.o.MaxBatch), http.StatusBadRequest)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	return mux
}

// Take puts an exchange into the queue, or counts it. It never waits. What was left out since before this Replayer was
// there is counted apart, as nobody was there to take it.
func (r *Replayer) Take(l exchange.Line) {
	r.count(func(c *Counts) {
		for reason, n := range l.LeftOut {
			if !l.Since.IsZero() && l.Since.Before(r.began) {
				reason = exchange.Away
			}
			c.LeftOut[reason] += n
		}
	})
	if l.Exchange == nil {
		return
	}
	e := *l.Exchange
	r.count(func(c *Counts) { c.Received++ })
	if !slices.Contains(r.o.Methods, e.Request.Method) {
		r.count(func(c *Counts) { c.Refused++ })
		return
	}
	if r.bytes.Add(size(e)) <= r.o.Bytes {
		select {
		case r.queue <- e:
			return
		default:
		}
	}
	r.bytes.Add(-size(e))
	r.count(func(c *Counts) { c.Dropped++ })
}

func (r *Replayer) count(f func(*Counts)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(&r.counts)
}

// size is about what an exchange needs in memory.
func size(e exchange.Exchange) int64 {
	n := len(e.Request.Target) + len(e.Request.Body) + len(e.Answer.Body)
	for _, header := range []http.Header{e.Request.Header, e.Answer.Header} {
		for name, values := range header {
			n += len(name) + len(strings.Join(values, ""))
		}
	}
	return int64(n)
}

// replay asks both sides at once.
func (r *Replayer) replay(ctx context.Context, e exchange.Exchange) {
	var candidate, baseline Answer
	var sides sync.WaitGroup
	sides.Go(func() { candidate = r.candidate.ask(ctx, e.Request) })
	sides.Go(func() { baseline = r.baseline.ask(ctx, e.Request) })
	sides.Wait()
	if ctx.Err() != nil {
		return // the answers may have broken off for this
	}
	r.count(func(*Counts) {
		r.candidate.counts.add(candidate)
		r.baseline.counts.add(baseline)
	})
	r.o.Result(e, candidate, baseline)
}
