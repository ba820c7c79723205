// Package chaos lets everything go wrong that may, by a seed, while people talk, and then proves what docs/protocol.md promises: what was
// acknowledged is there, once, in one order on all devices, and nobody got what was not for them.
package chaos

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/load"
	"github.com/labctl/labctl/services/client"
)

// Lab is what faults are done to.
type Lab interface {
	Address() string
	Parts() []string
	// Kinds are the faults that can be done to it.
	Kinds() []Kind
	// Strike does a fault, waits for its time, and undoes it. It says at which step a Step met the part.
	Strike(ctx context.Context, f Fault) (met string, err error)
}

// archive is a Lab of which the database can be read.
type archive interface {
	Stored(ctx context.Context) ([]client.Message, error)
}

// Options are the options of Run.
type Options struct {
	// Address is the chat's. Lab, if any, is what can be broken of it; without one there are only the faults that clients make.
	Address  string
	Lab      Lab
	Seed     uint64
	Duration time.Duration // of the talking
	Every    time.Duration // between two faults, about
	Settle   time.Duration // how long the chat may take to be well again
	Rate     float64       // messages a second
	Kinds    []Kind        // all that can be done, if none are given
	Faults   []Fault       // instead of the seed's
	Key      []byte        // of the users' passwords
	Report   event.Report
}

// Struck is a fault that was done.
type Struck struct {
	Fault
	Met      string  `json:"met,omitempty"`
	Begin    float64 `json:"begin_s"`
	End      float64 `json:"end_s"`
	Recovery float64 `json:"recovery_ms"` // the longest that a message waited for its acknowledgement that was said meanwhile
	Error    string  `json:"error,omitempty"`
}

// Result is what a run has come to.
type Result struct {
	Seed        uint64       `json:"seed"`
	Seconds     float64      `json:"seconds"`
	Faults      []Struck     `json:"faults"`
	Stored      load.Latency `json:"stored"`
	RecoveryP50 float64      `json:"recovery_p50_ms"`
	RecoveryMax float64      `json:"recovery_max_ms"`
	Verdict     load.Verdict `json:"verdict"`
	Crashes     []string     `json:"crashes,omitempty"` // parts that ended by themselves
	Shadow      *Compared    `json:"shadow,omitempty"`
}

// ErrBroken says that the promise was not kept.
var ErrBroken = errors.New("the chat has broken its promise")

// The people of a run. The last two are guests: they are removed from the groups and come back, all the time.
const (
	people = 8
	guests = 2
	each   = 2 // devices
)

// run is one run.
type run struct {
	Options
	begin    time.Time
	name     string
	sessions [people][each]*client.Session
	devices  [people][each]*recorder
	groups   []string // owned by the first two
	direct   []string
	of       map[string][]int // conversation: its people

	mu       sync.Mutex
	said     []*said
	versions map[string]int64 // of groups, as confirmed
}

// recorder is a device and what it showed.
type recorder struct {
	*client.Device
	mu  sync.Mutex
	got []client.Message
}

// Run talks, lets things go wrong, waits until all is well, and checks. The error is ErrBroken if the promise was not kept.
func Run(ctx context.Context, o Options) (Result, error) {
	if o.Address == "" && o.Lab != nil {
		o.Address = o.Lab.Address()
	}
	kinds, faults := o.Kinds, o.Faults
	if len(kinds) == 0 {
		kinds = Possible(o.Lab)
	}
	if faults == nil {
		var parts []string
		if o.Lab != nil {
			parts = o.Lab.Parts()
		}
		faults = Schedule(o.Seed, parts, kinds, o.Duration, o.Every)
	}
	r := &run{Options: o, name: "c" + strconv.FormatInt(time.Now().UnixMilli(), 36), of: map[string][]int{}, versions: map[string]int64{}}
	res := Result{Seed: o.Seed, Seconds: o.Duration.Seconds()}
	defer r.close()
	if err := r.gather(ctx); err != nil {
		return res, fmt.Errorf("chaos: %w", err)
	}
	r.begin = time.Now()
	talk, stop := context.WithTimeout(ctx, o.Duration)
	defer stop()
	late, cancel := context.WithTimeout(ctx, o.Duration+o.Settle)
	defer cancel()
	var talking, striking sync.WaitGroup
	talking.Go(func() { r.talk(talk, late) })
	for i := range r.groups {
		talking.Go(func() { r.guests(talk, late, i) })
	}
	res.Faults = make([]Struck, len(faults))
	for i, f := range faults {
		striking.Go(func() { res.Faults[i] = r.strike(talk, ctx, f) })
	}
	striking.Wait()
	talking.Wait()
	if ctx.Err() != nil {
		return res, ctx.Err()
	}
	r.Report.Doing("waiting until all is well again")
	settle, cancel := context.WithTimeout(ctx, o.Settle) // anew: one answer that never came has used the first up
	defer cancel()
	histories, err := r.histories(settle)
	if err != nil {
		return res, fmt.Errorf("chaos: the chat did not recover: %w", err)
	}
	r.wait(settle, histories)
	record, err := r.record(ctx, histories)
	if err != nil {
		return res, fmt.Errorf("chaos: %w", err)
	}
	res.Verdict = load.Check(record)
	r.recovery(&res)
	if c, ok := o.Lab.(interface {
		Compared(context.Context) (*Compared, error)
	}); ok {
		if res.Shadow, err = c.Compared(settle); err != nil {
			return res, fmt.Errorf("chaos: %w", err)
		}
	}
	if c, ok := o.Lab.(interface{ Crashes() []string }); ok {
		res.Crashes = c.Crashes()
	}
	if !res.Verdict.Kept() {
		return res, fmt.Errorf("seed %d: %w", o.Seed, ErrBroken)
	}
	return res, nil
}

func (r *run) close() {
	for _, of := range r.devices {
		for _, d := range of {
			if d != nil {
				d.Close()
			}
		}
	}
}

// gather logs the people in, makes their conversations and connects their devices.
func (r *run) gather(ctx context.Context) error {
	r.Report.Doing("gathering people")
	c := client.New(r.Address)
	defer c.Close()
	for k := range each {
		// Each device is a session, as in life.
		sessions, err := load.Enter(ctx, c, r.Key, r.Seed, people, r.Report)
		if err != nil {
			return err
		}
		for i, s := range sessions {
			r.sessions[i][k] = s
		}
	}
	id := func(i int) string { return r.sessions[i][0].User.ID }
	for g := range 2 {
		var members []string
		var of []int
		for i := range people {
			of = append(of, i)
			if i != g {
				members = append(members, id(i))
			}
		}
		var made client.Group
		err := load.Patiently(ctx, func() (err error) {
			made, err = r.sessions[g][0].CreateGroup(ctx, fmt.Sprintf("chaos %d/%d", r.Seed, g), members...)
			return err
		})
		if err != nil {
			return fmt.Errorf("make a group: %w", err)
		}
		r.groups = append(r.groups, made.ID)
		r.of[made.ID] = of
		r.versions[made.ID] = made.Version
	}
	for i := 0; i < people; i += 2 {
		dm := client.DirectID(id(i), id(i+1))
		r.direct = append(r.direct, dm)
		r.of[dm] = []int{i, i + 1}
	}
	var g errgroup.Group
	for i := range people {
		for k := range each {
			g.Go(func() error {
				d := &recorder{}
				var err error
				d.Device, err = r.sessions[i][k].Connect(ctx, client.DeviceOptions{History: true, Events: client.Events{Message: func(m client.Message) {
					d.mu.Lock()
					defer d.mu.Unlock()
					d.got = append(d.got, m)
				}}})
				if err == nil {
					r.devices[i][k] = d
				}
				return err
			})
		}
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return r.hear(ctx)
}

// hearTime is how long a chat that has just started may take to handle its first message.
const hearTime = 2 * time.Minute

// hear waits until of each group somebody's device has shown that it was made, so that messages are on their way when the faults begin.
// Whether all devices show all, is for the checker to say.
func (r *run) hear(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, hearTime)
	defer cancel()
	for _, id := range r.groups {
		heard := func(of [each]*recorder) bool {
			return slices.ContainsFunc(of[:], func(d *recorder) bool { return d.last(id) > 0 })
		}
		for !slices.ContainsFunc(r.devices[:], heard) {
			if sleep(ctx, 20*time.Millisecond) != nil {
				return fmt.Errorf("nobody ever heard of the group %s: %w", id, ctx.Err())
			}
		}
	}
	return nil
}

// strike does one fault at its time. Its begin and end are of the time of the run. A fault that has begun is undone in any case.
func (r *run) strike(talk, ctx context.Context, f Fault) Struck {
	s := Struck{Fault: f}
	if sleep(talk, time.Until(r.begin.Add(f.At))) != nil {
		s.Error = "not done: the run was over"
		return s
	}
	s.Begin = time.Since(r.begin).Seconds()
	r.Report.Doing("%s", f)
	var err error
	switch f.Kind {
	case Storm:
		for _, of := range r.devices {
			for _, d := range of {
				d.Disconnect()
			}
		}
	case Retry:
		err = r.retry(ctx)
	case Deaf:
		err = r.deaf(ctx, f)
	default:
		if r.Lab == nil {
			err = errors.New("there is no lab to do it to")
			break
		}
		s.Met, err = r.Lab.Strike(ctx, f)
	}
	if err != nil {
		s.Error = err.Error()
	}
	s.End = time.Since(r.begin).Seconds()
	return s
}

// retry sends the last messages again, each on the sender's other device.
func (r *run) retry(ctx context.Context) error {
	const last = 30
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	r.mu.Lock()
	again := slices.Clone(r.said[max(len(r.said)-last, 0):])
	r.mu.Unlock()
	var sending sync.WaitGroup
	for _, s := range again {
		sending.Go(func() {
			// The answer to a repetition is the first one's; whether it is stored once, the checker sees.
			_, _ = r.post(ctx, s, 1-s.device)
		})
	}
	sending.Wait()
	return nil
}

// deaf opens a socket that nobody reads, of a member of both groups.
func (r *run) deaf(ctx context.Context, f Fault) error {
	s := r.sessions[2][0]
	c := client.New(r.Address)
	defer c.Close()
	within, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var shut func() error
	err := load.Patiently(within, func() error { // what it needs may be away by another fault
		access, err := s.AccessToken(within)
		if err != nil {
			return err
		}
		ws, err := c.Dial(within, access, "")
		if err == nil {
			shut = ws.CloseNow
		}
		return err
	})
	if err != nil {
		return err
	}
	_ = sleep(ctx, f.Time)
	return shut()
}

// history is what one user was given of one conversation.
type history struct {
	person       int
	conversation string
	messages     []client.Message
}

// histories reads, as each person, all of their conversations.
func (r *run) histories(ctx context.Context) ([]history, error) {
	within, cancel := context.WithTimeout(ctx, load.Takeover)
	defer cancel()
	acked := map[string]int64{}
	for _, s := range r.said {
		acked[s.conversation] = max(acked[s.conversation], s.seq)
	}
	var all []history
	for _, id := range slices.Sorted(maps.Keys(r.of)) {
		for _, i := range r.of[id] {
			h := history{person: i, conversation: id}
			var err error
			if h.messages, err = load.HistoryWith(ctx, within, r.sessions[i][1], id, 0, acked[id]); err != nil && !client.IsCode(err, "not_found") {
				return nil, fmt.Errorf("read history: %w", err)
			}
			all = append(all, h)
		}
	}
	return all, nil
}

// wait waits until each device has shown the last message of each history of its user, or ctx ends.
func (r *run) wait(ctx context.Context, histories []history) {
	for _, h := range histories {
		if len(h.messages) == 0 {
			continue
		}
		want := h.messages[len(h.messages)-1].Seq
		for _, d := range r.devices[h.person] {
			for d.last(h.conversation) < want {
				if sleep(ctx, 20*time.Millisecond) != nil {
					return
				}
			}
		}
	}
}

func (d *recorder) last(conversation string) (seq int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, m := range d.got {
		if m.Conversation == conversation {
			seq = m.Seq
		}
	}
	return seq
}

// record puts together what the checker looks at.
func (r *run) record(ctx context.Context, histories []history) (*load.Record, error) {
	rec := &load.Record{}
	byID, edits := map[string]*said{}, map[*said][]string{}
	for _, s := range r.said {
		byID[s.clientID] = s
		if s.kind == load.Edit {
			edits[s.target] = append(edits[s.target], s.body)
		}
	}
	entry := func(m client.Message) load.Entry {
		as := load.MessageOf(m)
		if s := byID[m.ClientID]; s != nil {
			as = load.Recognize(m, s.message(), edits[s], true) // guests see of some changes only that there was one
		}
		return load.Entry{Conversation: rec.Conversation(m.Conversation), Message: rec.Number(as), Seq: m.Seq}
	}
	ours := func(m client.Message) bool { return r.of[m.Conversation] != nil }
	for i := range people {
		s := r.sessions[i][0]
		for k, d := range r.devices[i] {
			l := load.Log{Name: fmt.Sprintf("device %d of %s", k, s.User.Name), User: s.User.ID}
			d.mu.Lock()
			for _, m := range d.got {
				if ours(m) {
					l.Entries = append(l.Entries, entry(m))
				}
			}
			d.mu.Unlock()
			rec.Devices = append(rec.Devices, l)
		}
	}
	for _, h := range histories {
		s := r.sessions[h.person][0]
		l := load.History{Log: load.Log{Name: s.User.Name, User: s.User.ID}, Conversation: rec.Conversation(h.conversation)}
		for _, m := range h.messages {
			l.Entries = append(l.Entries, entry(m))
		}
		rec.Histories = append(rec.Histories, l)
	}
	for _, s := range r.said {
		guest := s.person >= people-guests && slices.Contains(r.groups, s.conversation)
		rec.Said = append(rec.Said, load.Said{Message: rec.Number(s.message()), Outcome: s.outcome, Seq: s.seq, At: s.at, Answered: s.answered, Guest: guest})
	}
	for id, v := range r.versions {
		rec.Changes = append(rec.Changes, load.Change{Conversation: rec.Conversation(id), Version: v})
	}
	if a, ok := r.Lab.(archive); ok {
		stored, err := a.Stored(ctx)
		if err != nil {
			return nil, err
		}
		rec.Store = &load.Log{Name: "mongodb"}
		for _, m := range stored {
			if ours(m) {
				rec.Store.Entries = append(rec.Store.Entries, entry(m))
			}
		}
	}
	return rec, nil
}

// recovery says how long people had to wait.
func (r *run) recovery(res *Result) {
	var stored load.Histogram
	for _, s := range r.said {
		if s.outcome == load.Stored {
			stored.Add(s.answered - s.at)
		}
	}
	res.Stored = stored.Latency()
	var waits []float64
	for i := range res.Faults {
		f := &res.Faults[i]
		if f.Error != "" {
			continue
		}
		for _, s := range r.said {
			if at := s.at.Seconds(); at >= f.Begin && at <= f.End+0.5 && s.outcome == load.Stored {
				f.Recovery = max(f.Recovery, float64((s.answered - s.at).Milliseconds()))
			}
		}
		waits = append(waits, f.Recovery)
	}
	if len(waits) > 0 {
		slices.Sort(waits)
		res.RecoveryP50, res.RecoveryMax = waits[len(waits)/2], waits[len(waits)-1]
	}
}
