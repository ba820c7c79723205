// Package shadow tries a version of a service on the live traffic: it compares what the version makes of it with what
// the live one makes of it, and says whether it may take its place. docs/adr/0026-shadows.md has the design.
//
//   - seed gives the shadow the live state to begin with;
//   - records reads what each side makes of the records of a topic, replay asks each side what the ingress was asked;
//   - sockets plays to each side what a mirrored client says to the live gateway;
//   - join puts what the three sides made of a record together, and compare says where results differ;
//   - verdict decides;
//   - Comparer, here, is all of that for one shadow, and keeps the evidence.
package shadow

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/labctl/labctl/pkg/shadow/compare"
	"github.com/labctl/labctl/pkg/shadow/join"
	"github.com/labctl/labctl/pkg/shadow/records"
	"github.com/labctl/labctl/pkg/shadow/side"
	"github.com/labctl/labctl/pkg/shadow/sockets"
	"github.com/labctl/labctl/pkg/shadow/verdict"
	"github.com/labctl/labctl/services/topics"
)

// About says what is tried, and by which measure.
type About struct {
	// Version says what the candidate is: an image, a commit, a working tree.
	Version string `json:"version"`
	// By is who began it, and At when.
	By string    `json:"by"`
	At time.Time `json:"at"`
	// Lifetime is how long it lives at most; 0 is for ever.
	Lifetime time.Duration `json:"lifetime,omitempty"`
	// Policy decides, and Rules say what may differ.
	Policy verdict.Policy `json:"policy"`
	Rules  compare.Rules  `json:"rules"`
}

// Tagged names a version that is built with build tags.
func Tagged(version string, tags []string) string {
	if len(tags) == 0 {
		return version
	}
	return version + " with the tags " + strings.Join(tags, ", ")
}

// Options are those of New.
type Options struct {
	// Service is the service.
	Service string
	About
	// Dir is for what does not fit into memory.
	Dir string
	// Now is the clock.
	Now func() time.Time
}

// shapesKept is how many shapes of differences are kept, each with an example. The others are counted.
const shapesKept = 100

// Comparer compares the sides of one shadow. Any number of goroutines may use it at once.
type Comparer struct {
	o        Options
	handled  string // the topic whose records the service handles
	comparer *compare.Comparer
	join     *join.Join       // calls joined, so it is not called with mu held
	mirrored *sockets.Sockets // of a gateway's shadow; calls said, so it is not called with mu held

	looking sync.Mutex // see look; taken before mu

	mu       sync.Mutex
	monitor  *verdict.Monitor
	shapes   *compare.Shapes
	intended int64            // results that differ only where they are meant to
	nothing  int64            // records that led to nothing on all sides
	requests int64            // results that are answers to requests
	leftOut  map[string]int64 // requests that were not compared, by the reasons of package exchange
	// leftOutBefore is what an earlier comparer of the shadow has counted of them.
	leftOutBefore map[string]int64
	sockets       sockets.Counts
	dropped       int64 // results for which there was no room, since this comparer began
	sides         [side.Count]SideFacts
	started       [side.Count]float64 // when the side's process started, in seconds since 1970; 0: not known
	over          bool                // the lifetime is over, so nothing is compared any more
	failed        error               // why nothing is compared any more
	unsaved       error               // why the last snapshot is not saved
}

// New makes the comparer of a shadow that begins.
func New(o Options) (*Comparer, error) {
	comparer, err := compare.New(o.Rules)
	if err != nil {
		return nil, fmt.Errorf("rules of the shadow of %s: %w", o.Service, err)
	}
	monitor, err := verdict.New(o.Policy)
	if err != nil {
		return nil, fmt.Errorf("shadow of %s: %w", o.Service, err)
	}
	for _, s := range side.All() {
		monitor.SetRestarts(s, 0)
	}
	handled, _ := topics.Shared(o.Service)
	c := &Comparer{o: o, handled: handled.Name, comparer: comparer, monitor: monitor, shapes: compare.NewShapes(shapesKept)}
	if c.join, err = join.New(join.Options{Dir: o.Dir, Emit: c.joined}); err != nil {
		return nil, fmt.Errorf("shadow of %s: %w", o.Service, err)
	}
	return c, nil
}

// Close removes what did not fit into memory. The evidence stays.
func (c *Comparer) Close() error { return c.join.Close() }

// Service is whose shadow it is.
func (c *Comparer) Service() string { return c.o.Service }

// Add takes a result of a side.
func (c *Comparer) Add(s side.Side, r records.Result) error {
	body, err := c.comparer.Canonical(r.Body)
	if err != nil {
		return fmt.Errorf("result of %s for partition %d, offset %d: %w", s, r.Partition, r.Offset, err)
	}
	return c.join.Add(s, join.Result{
		Key: join.Key{Stream: c.stream(r.Partition), Offset: r.Offset}, Kind: r.Kind, Body: body, Latency: r.Latency, Error: r.Dead,
	})
}

// Advance says that all results of a side and partition up to an offset have been added.
func (c *Comparer) Advance(s side.Side, partition int32, upTo int64) error {
	return c.join.Advance(s, c.stream(partition), upTo)
}

// stream names a partition, as the source of a record does.
func (c *Comparer) stream(partition int32) string {
	return c.handled + "/" + strconv.Itoa(int(partition))
}

// label names a record as its topic, partition and offset, as the header source does.
func label(k join.Key) string { return k.Stream + "/" + strconv.FormatInt(k.Offset, 10) }

// joined takes the results of the three sides for one record.
func (c *Comparer) joined(j join.Joined) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if j.Dropped { // sawDropped counts it
		return nil
	}
	if j.Same && j.Results[side.Live].Kind == "" {
		c.nothing++ // and no evidence: most leases only renew one, and would drown the others
		return nil
	}
	return c.observe(label(j.Key), j.Results)
}

// observe compares what the three sides made of a record, a request or a mirrored socket, and counts it. The caller holds mu.
func (c *Comparer) observe(label string, results [side.Count]*join.Result) error {
	live, candidate, baseline := results[side.Live], results[side.Candidate], results[side.Baseline]
	kind := ""
	for _, r := range results {
		if r != nil {
			kind = cmp.Or(r.Kind, kind) // of all the same where anything follows: the record's or the request's
		}
	}
	pair := verdict.Pair{
		Kind: kind, CandidateMissing: candidate == nil && live != nil, BaselineMissing: baseline == nil && live != nil,
	}
	if live != nil {
		pair.LiveError = live.Error
	}
	if candidate != nil {
		pair.CandidateError, pair.CandidateLatency = candidate.Error, candidate.Latency
	}
	if baseline != nil {
		pair.BaselineError, pair.BaselineLatency = baseline.Error, baseline.Latency
	}
	bodies := compare.Bodies{Live: body(live), Candidate: body(candidate), Baseline: body(baseline)}
	if !bytes.Equal(bodies.Live, bodies.Candidate) || !bytes.Equal(bodies.Live, bodies.Baseline) {
		contrast, err := c.comparer.Contrast(bodies.Live, bodies.Candidate, bodies.Baseline)
		if err != nil {
			return fmt.Errorf("compare the results for %s: %w", label, err)
		}
		pair.CandidateDiffers, pair.BaselineDiffers = len(contrast.Candidate) > 0, len(contrast.Baseline) > 0
		if pair.CandidateDiffers {
			c.shapes.Add(label, kind, contrast.Candidate, bodies)
		} else if len(contrast.Intended) > 0 {
			c.intended++
		}
	}
	c.monitor.Observe(pair)
	return nil
}

func body(r *join.Result) []byte {
	if r == nil {
		return nil
	}
	return r.Body
}

// sawFacts notes how far the sides have come.
func (c *Comparer) sawFacts(f records.Facts) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range side.All() {
		is := &c.sides[s]
		c.monitor.Dropped(f.Lost[s] - is.Lost)
		is.Lag, is.Lost, is.Repeated = f.Lag[s], f.Lost[s], f.Repeated[s]
		c.monitor.SetLag(s, max(0, is.Lag-f.Lag[side.Live])) // live may have records that are not done yet, too: open leases
	}
}

// restarts gives how often a side's process has ended so far.
func (c *Comparer) restarts(s side.Side) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sides[s].Restarts
}

// sawProcess notes what a side's process holds, and when it started: one that started again has ended before. restarts is
// how many there were before the process was asked. If it has ended since, the answer is that of the one before, which
// must not be taken for the next.
func (c *Comparer) sawProcess(s side.Side, restarts int, started float64, bytes int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sides[s].Restarts != restarts {
		return
	}
	if before := c.started[s]; before != 0 && started != before {
		c.restarted(s)
	}
	c.started[s] = started
	c.sides[s].Memory = bytes
	c.monitor.SetMemory(s, bytes)
}

// Ended says that a side's process has ended by itself. Who runs the process knows of it sooner, and why.
func (c *Comparer) Ended(s side.Side, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.sides[s].Ended = err.Error()
	}
	c.started[s] = 0 // the next one is known to be another
	c.restarted(s)
}

// restarted counts a restart. The caller holds mu.
func (c *Comparer) restarted(s side.Side) {
	c.sides[s].Restarts++
	c.monitor.SetRestarts(s, int64(c.sides[s].Restarts))
}

// fail says why nothing is compared any more.
func (c *Comparer) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failed = err
}

// saved says whether a snapshot is saved.
func (c *Comparer) saved(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unsaved = err
}

// look takes in what only counters tell: it asks one after the other, so that none is counted twice.
func (c *Comparer) look() {
	c.looking.Lock()
	defer c.looking.Unlock()
	c.sawDropped(c.join.Stats().Dropped)
	if c.mirrored != nil {
		c.sawSockets(c.mirrored.Counts())
	}
}

// sawDropped notes for how many results there was no room. Of some records there is none on any side, so that no join
// tells of them.
func (c *Comparer) sawDropped(n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.monitor.Dropped(n - c.dropped)
	c.dropped = n
}

// Evidence gives what is known now.
func (c *Comparer) Evidence() Evidence {
	c.look()
	c.mu.Lock()
	defer c.mu.Unlock()
	e := Evidence{
		Service: c.o.Service, Version: c.o.Version, By: c.o.By, Started: c.o.At, Ends: c.o.Ends(), At: c.o.Now(),
		Verdict: c.monitor.Verdict(), Sides: map[string]SideFacts{}, Differing: c.shapes.Clone(), Intended: c.intended,
		Nothing: c.nothing, Requests: c.requests, LeftOut: maps.Clone(c.leftOut), Rules: c.o.Rules,
	}
	if c.mirrored != nil {
		e.Sockets = new(c.sockets)
	}
	for _, s := range side.All() {
		e.Sides[s.String()] = c.sides[s]
	}
	if c.over {
		e.Ended = "the longest lifetime, " + Brief(c.o.Lifetime) + ", is over"
	}
	if c.failed != nil {
		e.Error = c.failed.Error()
	}
	if c.unsaved != nil {
		e.Unsaved = c.unsaved.Error()
	}
	return e
}
