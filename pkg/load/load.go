// Package load puts a chat under a load that does not depend on its answers, measures from the time at which each message was due,
// and checks what came of it: what was acknowledged, what each device showed, and what history holds.
package load

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/services/client"
)

// Options are the options of Run.
type Options struct {
	Address string // of the chat: http://127.0.0.1:8090
	Sockets string // of a gateway, if not the same
	Users   int
	Devices int // sockets of each user
	Shape   Shape
	Mix     Mix     // of what people do; the zero Mix is texts
	Rate    float64 // of what all do in a second; 0: nothing, only connections
	// Duration is how long messages are sent for. Settle is how long the last ones may take after it.
	Duration, Settle time.Duration
	// Stop, if it is closed, ends the sending before Duration is over.
	Stop      <-chan struct{}
	Seed      uint64
	Key       []byte         // of the users' passwords
	Size      int            // bytes of a message's text, about
	Storm     bool           // break all sockets at once in the middle
	NoHistory bool           // do not read the history at the end
	PID       int            // of a gateway on this machine, to read its memory
	PIDs      map[string]int // of processes on this machine, by name, to read their processor time
	Report    event.Report
}

// Result is what a run has measured. Latencies count from the time at which a message was due, so a generator or a server
// that falls behind shows in them.
type Result struct {
	Seed        uint64  `json:"seed"`
	Rooms       string  `json:"rooms"`
	Users       int     `json:"users"`
	Connections int     `json:"connections"`
	Rate        float64 `json:"rate"`
	Seconds     float64 `json:"seconds"`

	Mix                string  `json:"mix"`
	Sent               int64   `json:"sent"`           // messages; the marks of what was read are not counted
	Stored             Latency `json:"stored"`         // due until the sending device has the acknowledgement
	Delivered          Latency `json:"delivered"`      // due until a device has it, of all devices
	Late               Latency `json:"late"`           // due until sent: how late the generator was
	LongestGap         float64 `json:"longest_gap_ms"` // between two deliveries, on whatever device
	StoredPerSecond    float64 `json:"stored_per_second"`
	DeliveredPerSecond float64 `json:"delivered_per_second"`

	Open        Latency `json:"open"` // socket and hello of a connection
	OpenSeconds float64 `json:"open_seconds"`
	Reconnects  int64   `json:"reconnects"`
	BackSeconds float64 `json:"back_seconds,omitempty"`       // from the storm until the last one is back
	Memory      float64 `json:"kib_per_connection,omitempty"` // of the process with PID, at the end

	// CPU is the seconds of processor time that each of PIDs, and the generator, used from the first message until the last was delivered.
	CPU map[string]float64 `json:"cpu_seconds,omitempty"`

	Verdict Verdict `json:"verdict"`
}

// runner is one run.
type runner struct {
	Options
	address       *url.URL // of the sockets
	name          string   // of the run: what its client ids begin with
	rooms         []room
	sessions      []*client.Session
	conversations []string
	base          []int64
	shownBefore   [][]Entry      // by room
	byName        map[string]int // conversations
	devices       []*device
	said          []said
	messages      int64          // of said
	top           []atomic.Int64 // the last acknowledged seq by room
	arrivals      []arrival
	begin         time.Time    // zero of all times; before the first socket, since each reads the clock
	began         atomic.Int64 // nanoseconds since begin: when sending began

	open, broken      atomic.Int64
	caughtUp          atomic.Int64 // devices
	answered, shown   atomic.Int64
	lastAck, lastShow atomic.Int64 // nanoseconds since begin
	gap               atomic.Int64 // nanoseconds; the longest between two deliveries

	mu      sync.Mutex
	other   map[int32]Message // what came that is not as it was said
	lastDue time.Duration     // what is due later is not sent
}

// said is a message of this run, or what a reader says. What is sent is known before, but for the seq of what it points to; the sending device's
// reader writes what it was told.
type said struct {
	arrival
	body     string
	edits    []string     // what other arrivals may make of it
	seqOf    atomic.Int64 // of its target, from the time of sending on
	acked    atomic.Int64 // its own seq, for those that point to it
	sent     time.Duration
	outcome  Outcome
	seq      int64
	answered time.Duration
}

// does gives what is sent. What points to a text that has no seq in time is a text itself.
func (s *said) does() Kind {
	if s.kind != Read && s.seqOf.Load() == 0 {
		return Text
	}
	return s.kind
}

// Run makes the users and rooms, opens the sockets, sends, waits and checks.
func Run(ctx context.Context, o Options) (Result, error) {
	if err := o.check(); err != nil {
		return Result{}, fmt.Errorf("load: %w", err)
	}
	address, err := url.Parse(o.Address)
	if o.Sockets != "" && err == nil {
		address, err = url.Parse(o.Sockets)
	}
	if err != nil || address.Host == "" || (address.Scheme != "http" && address.Scheme != "https") {
		return Result{}, fmt.Errorf("load: %q is no address such as http://127.0.0.1:8090", o.Address)
	}
	rng := rand.New(rand.NewPCG(o.Seed, 0)) //nolint:gosec // a seed that is to be repeated
	r := &runner{Options: o, address: address, name: "r" + strconv.FormatInt(time.Now().UnixMilli(), 36), byName: map[string]int{}, other: map[int32]Message{}, lastDue: math.MaxInt64}
	r.rooms = o.Shape.rooms(o.Users, rng)
	r.conversations, r.base, r.shownBefore = make([]string, len(r.rooms)), make([]int64, len(r.rooms)), make([][]Entry, len(r.rooms))
	if o.Rate > 0 {
		r.arrivals = arrivals(rng, o.Shape, o.Mix, r.rooms, o.Devices, o.Rate, o.Duration)
	}
	c := client.New(o.Address)
	defer c.Close()
	if r.sessions, err = Enter(ctx, c, o.Key, o.Seed, o.Users, o.Report); err != nil {
		return Result{}, fmt.Errorf("load: %w", err)
	}
	if o.Rate > 0 {
		if err := r.settle(ctx); err != nil {
			return Result{}, fmt.Errorf("load: %w", err)
		}
	}
	return r.run(ctx)
}

func (r *runner) run(ctx context.Context) (Result, error) {
	res := Result{
		Seed: r.Seed, Rooms: r.Shape.String(), Users: r.Users, Connections: r.Users * r.Devices, Rate: r.Rate, Seconds: r.Duration.Seconds(), Mix: r.Mix.String(),
	}
	r.prepare()
	before, known := memory(r.PID)
	r.begin = time.Now()
	start := r.begin
	live, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	opened, err := r.connect(live, &running)
	if err != nil {
		return res, fmt.Errorf("load: %w", err)
	}
	res.Open, res.OpenSeconds = opened.Latency(), time.Since(start).Seconds()
	var storm errgroup.Group
	if r.Storm {
		storm.Go(func() error {
			if err := sleep(live, r.Duration/2); err != nil {
				return err
			}
			var err error
			res.BackSeconds, err = r.storm(live)
			return err
		})
	}
	idle := processors(r.watched())
	late, sent := r.send(ctx)
	res.Sent = r.messages
	if err := errors.Join(ctx.Err(), storm.Wait()); err != nil {
		return res, fmt.Errorf("load: %w", err)
	}
	r.wait(ctx, r.expected(sent))
	res.CPU = since(idle, processors(r.watched()))
	if after, ok := memory(r.PID); known && ok {
		res.Memory = float64(after-before) / float64(len(r.devices))
	}
	histories, err := r.histories(ctx)
	stop()
	running.Wait()
	if err != nil {
		return res, fmt.Errorf("load: %w", err)
	}
	r.said = r.said[:sent] // no device looks at it any more
	res.Late, res.Reconnects = late.Latency(), r.broken.Load()
	r.sum(&res)
	r.Report.Doing("checking %d messages on %d devices", len(r.said), len(r.devices))
	res.Verdict = Check(r.record(histories))
	return res, ctx.Err()
}

// prepare makes the messages and the devices.
func (r *runner) prepare() {
	for i, id := range r.conversations {
		if id != "" {
			r.byName[id] = i
		}
	}
	r.said = make([]said, len(r.arrivals))
	pad := strings.Repeat("x", max(r.Size-16, 0))
	for i, a := range r.arrivals {
		s := &r.said[i]
		s.arrival, s.body = a, "message "+strconv.Itoa(i)+" "+pad+"."
		if a.kind != Read {
			r.messages++
		}
		if a.kind == Edit {
			r.said[a.target].edits = append(r.said[a.target].edits, s.body)
		}
	}
	r.top = make([]atomic.Int64, len(r.rooms))
	of := make([][]int, r.Users)
	if r.Rate > 0 {
		for i, room := range r.rooms {
			for _, m := range room.members {
				of[m] = append(of[m], i)
			}
		}
	}
	for u := range r.Users {
		for range r.Devices {
			d := &device{r: r, user: u, last: map[int]int64{}}
			for _, i := range of[u] {
				d.last[i] = r.base[i]
				for _, e := range r.shownBefore[i] {
					d.last[i] = e.Seq
					d.log = append(d.log, e)
				}
			}
			if d.resumes = (len(d.last) + maxResume - 1) / maxResume; d.resumes == 0 {
				r.caughtUp.Add(1)
			}
			r.devices = append(r.devices, d)
		}
	}
}

// connect opens all sockets, many at once, and gives how long each took. It returns when all devices know that they have missed nothing.
func (r *runner) connect(ctx context.Context, running *sync.WaitGroup) (*Histogram, error) {
	var mu sync.Mutex
	var all Histogram
	g, within := errgroup.WithContext(ctx)
	g.SetLimit(64)
	for i, d := range r.devices {
		g.Go(func() error {
			begin := time.Now()
			var s *socket
			err := Patiently(within, func() (err error) {
				s, err = d.open(within)
				return err
			})
			if err != nil {
				return fmt.Errorf("connect device %d: %w", i, err)
			}
			took := time.Since(begin)
			running.Go(func() { d.live(ctx, s) })
			mu.Lock()
			defer mu.Unlock()
			if all.Add(took); all.Count()%500 == 0 {
				r.Report.At(all.Count(), int64(len(r.devices)), "connecting")
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for r.caughtUp.Load() < int64(len(r.devices)) {
		r.Report.At(r.caughtUp.Load(), int64(len(r.devices)), "catching up")
		if err := sleep(ctx, 10*time.Millisecond); err != nil {
			return nil, err
		}
	}
	return &all, nil
}

// due gives when a message is to be sent, since begin. Whoever sends late, or waits for a socket, is late for its receivers.
func (r *runner) due(s *said) time.Duration { return time.Duration(r.began.Load()) + s.at }

// Sending is what is reported as soon as messages are sent.
const Sending = "sending"

// senders is how many goroutines send. Each waits for its own messages' times.
const senders = 4

// send sends what is due, and gives how late that was, and how many of the messages are sent.
func (r *runner) send(ctx context.Context) (lateness *Histogram, sent int) {
	r.began.Store(int64(time.Since(r.begin)))
	if len(r.said) == 0 {
		_ = sleep(ctx, r.Duration)
		return &Histogram{}, 0
	}
	sending, end := context.WithCancel(ctx)
	defer end()
	go func() {
		select {
		case <-sending.Done():
		case <-r.Stop:
			r.mu.Lock()
			r.lastDue = time.Since(r.begin)
			r.mu.Unlock()
			end()
		}
	}()
	late := make([]Histogram, senders)
	var wg sync.WaitGroup
	for k := range senders {
		wg.Go(func() {
			for i := k; i < len(r.said); i += senders {
				s := &r.said[i]
				due := r.due(s)
				if wait := due - time.Since(r.begin); wait > 0 && sleep(sending, wait) != nil && ctx.Err() != nil {
					return
				}
				if due > r.last() {
					return
				}
				if k == 0 && i%1000 == 0 {
					r.Report.At(int64(i), int64(len(r.said)), "%s", Sending)
				}
				s.sent = time.Since(r.begin)
				late[k].Add(s.sent - due)
				d := r.devices[r.rooms[s.room].members[s.sender]*r.Devices+s.device]
				switch s.kind {
				case Read:
					d.read(s.room)
					continue
				case Reply, Edit, Reaction:
					s.seqOf.Store(r.said[s.target].acked.Load())
				}
				d.send(i)
			}
		})
	}
	wg.Wait()
	for k := 1; k < senders; k++ {
		late[0].Merge(&late[k])
	}
	for sent < len(r.said) && r.due(&r.said[sent]) <= r.last() {
		sent++
	}
	for i := sent; i < len(r.said); i++ {
		if r.said[i].kind != Read {
			r.messages--
		}
	}
	return &late[0], sent
}

// last gives when the last message is due.
func (r *runner) last() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lastDue
}

// expected is how often the messages that are sent must be shown.
func (r *runner) expected(sent int) (n int64) {
	for i := range r.said[:sent] {
		if r.said[i].kind != Read {
			n += int64(len(r.rooms[r.said[i].room].members) * r.Devices)
		}
	}
	return n
}

// wait waits until everything is answered and shown, which is so often, or for Settle.
func (r *runner) wait(ctx context.Context, want int64) {
	ctx, cancel := context.WithTimeout(ctx, r.Settle)
	defer cancel()
	for r.answered.Load() < r.messages || r.shown.Load() < want {
		r.Report.At(r.shown.Load(), want, "waiting for the last deliveries")
		if sleep(ctx, 20*time.Millisecond) != nil {
			return
		}
	}
}

// storm breaks all sockets and gives the seconds until all are open again.
func (r *runner) storm(ctx context.Context) (float64, error) {
	r.Report.Doing("breaking all sockets")
	begin := time.Now()
	want := r.broken.Load() + int64(len(r.devices))
	for _, d := range r.devices {
		d.cut()
	}
	for r.broken.Load() < want || r.open.Load() < int64(len(r.devices)) {
		if err := sleep(ctx, 10*time.Millisecond); err != nil {
			return 0, err
		}
		if time.Since(begin) > 5*time.Minute {
			return 0, fmt.Errorf("after 5 minutes %d of %d sockets are back", r.open.Load(), len(r.devices))
		}
	}
	return time.Since(begin).Seconds(), nil
}

// sum fills in the latencies and rates.
func (r *runner) sum(res *Result) {
	var stored, shown Histogram
	for _, d := range r.devices {
		stored.Merge(&d.stored)
		shown.Merge(&d.shown)
	}
	res.Stored, res.Delivered = stored.Latency(), shown.Latency()
	res.LongestGap = float64(time.Duration(r.gap.Load()).Microseconds()) / 1000
	if t := time.Duration(r.lastAck.Load() - r.began.Load()).Seconds(); t > 0 {
		res.StoredPerSecond = float64(stored.Count()) / t
	}
	if t := time.Duration(r.lastShow.Load() - r.began.Load()).Seconds(); t > 0 {
		res.DeliveredPerSecond = float64(shown.Count()) / t
	}
}
