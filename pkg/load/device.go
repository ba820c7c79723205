package load

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/labctl/labctl/services/client"
)

// device is one socket of a user and what it has shown. It reconnects and resumes as docs/protocol.md tells clients to.
type device struct {
	r    *runner
	user int

	mu      sync.Mutex
	s       *socket
	pending []int // messages without an answer, in the order of sending

	// Only the reader touches these, until it has ended.
	last          map[int]int64 // seq by room
	resumes       int           // answers until it has caught up for the first time
	log           []Entry
	stored, shown Histogram
}

// maxResume is how many conversations are in a resume.
const maxResume = 300

// open gives a socket that has said hello and asked for what it has missed.
func (d *device) open(ctx context.Context) (*socket, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	access, err := d.r.sessions[d.user].AccessToken(ctx)
	if err != nil {
		return nil, err
	}
	s, err := dial(ctx, d.r.address, "/ws")
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, s.close)
	defer stop()
	hello, err := json.Marshal(map[string]string{"type": "hello", "token": access})
	if err == nil {
		err = s.write(hello)
	}
	if err == nil {
		_, err = s.read()
	}
	if err != nil {
		s.close()
		return nil, err
	}
	var rooms []int
	for i := range d.last {
		rooms = append(rooms, i)
	}
	for chunk := range slices.Chunk(rooms, maxResume) {
		have := map[string]int64{}
		for _, i := range chunk {
			have[d.r.conversations[i]] = d.last[i]
		}
		frame, err := json.Marshal(map[string]any{"type": "resume", "id": "r", "have": have})
		if err == nil {
			err = s.write(frame)
		}
		if err != nil {
			s.close()
			return nil, err
		}
	}
	return s, nil
}

// live reads until ctx ends, over as many sockets as it takes.
func (d *device) live(ctx context.Context, s *socket) {
	for {
		d.r.open.Add(1)
		err := d.serve(ctx, s)
		d.r.open.Add(-1)
		if ctx.Err() != nil {
			return
		}
		d.r.broken.Add(1)
		_ = err // the next socket brings what this one did not
		pause := 100 * time.Millisecond
		for {
			if sleep(ctx, rand.N(pause)) != nil { //nolint:gosec // jitter
				return
			}
			if s, err = d.open(ctx); err == nil {
				break
			}
			pause = min(2*pause, 15*time.Second)
		}
	}
}

func (d *device) serve(ctx context.Context, s *socket) error {
	stop := context.AfterFunc(ctx, s.close)
	defer stop()
	defer s.close()
	d.mu.Lock()
	d.s = s
	again := slices.Clone(d.pending)
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		d.s = nil
		d.mu.Unlock()
	}()
	for _, i := range again {
		if err := s.write(d.frame(i, true)); err != nil {
			return err
		}
	}
	for {
		raw, err := s.read()
		if err != nil {
			return err
		}
		if err := d.handle(ctx, raw); err != nil {
			return err
		}
	}
}

// cut breaks the socket.
func (d *device) cut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.s != nil {
		d.s.close()
	}
}

// read says that the user has read what is in a room.
func (d *device) read(room int) {
	seq := d.r.top[room].Load()
	if seq == 0 {
		return
	}
	d.mu.Lock()
	s := d.s
	d.mu.Unlock()
	if s != nil {
		// Nobody waits for it, and a later one makes up for it.
		_ = s.write(fmt.Appendf(nil, `{"type":"read","conversation":%q,"seq":%d}`, d.r.conversations[room], seq))
	}
}

// send sends the i-th message, or leaves it to the next socket.
func (d *device) send(i int) {
	d.mu.Lock()
	d.pending = append(d.pending, i)
	s := d.s
	d.mu.Unlock()
	if s != nil && s.write(d.frame(i, false)) != nil {
		s.close()
	}
}

// frame is the i-th message. again: it may have been sent before.
func (d *device) frame(i int, again bool) []byte {
	s := &d.r.said[i]
	b := make([]byte, 0, 160+len(s.body))
	b = append(b, `{"type":"`...)
	switch s.does() {
	case Edit:
		b = append(b, `edit`...)
	case Reaction:
		b = append(b, `react`...)
	default:
		b = append(b, `send`...)
	}
	b = append(b, `","conversation":"`...)
	b = append(b, d.r.conversations[s.room]...)
	b = append(b, `","client_id":"`...)
	b = append(b, d.r.name...)
	b = append(b, '-')
	b = strconv.AppendInt(b, int64(i), 10)
	switch s.does() {
	case Reaction:
		b = append(b, `","on":true,"emoji":"`+Emoji...)
	default:
		b = append(append(b, `","body":"`...), s.body...)
	}
	b = append(b, '"')
	switch s.does() {
	case Reply:
		b = strconv.AppendInt(append(b, `,"reply_to":`...), s.seqOf.Load(), 10)
	case Edit, Reaction:
		b = strconv.AppendInt(append(b, `,"seq":`...), s.seqOf.Load(), 10)
	}
	if again {
		b = append(b, `,"again":true`...)
	}
	return append(b, '}')
}

var (
	messageFrame = []byte(`{"type":"message"`)
	seqField     = []byte(`"seq":`)
	idField      = []byte(`"client_id":"`)
)

// number reads the digits at the beginning of b.
func number(b []byte) (n int64) {
	for _, c := range b {
		if c < '0' || c > '9' {
			break
		}
		n = 10*n + int64(c-'0')
	}
	return n
}

// handle takes a frame in. Plain texts of this run are read without a JSON parser: of all that the generator does, this is done most.
func (d *device) handle(ctx context.Context, raw []byte) error {
	now := time.Since(d.r.begin)
	if bytes.HasPrefix(raw, messageFrame) {
		if i := bytes.Index(raw, idField); i >= 0 {
			id := raw[i+len(idField):]
			if rest, ours := bytes.CutPrefix(id, []byte(d.r.name)); ours && len(rest) > 1 {
				n := int(number(rest[1:]))
				at := bytes.Index(raw, seqField)
				if n < len(d.r.said) && d.r.said[n].seqOf.Load() == 0 && at >= 0 && at < i && bytes.Contains(raw, []byte(d.r.said[n].body)) &&
					bytes.Contains(raw[:at], []byte(d.r.conversations[d.r.said[n].room])) {
					return d.take(ctx, d.r.said[n].room, number(raw[at+len(seqField):]), int32(n), now)
				}
			}
		}
	}
	var f struct {
		Type     string          `json:"type"`
		Message  json.RawMessage `json:"message"`
		Retry    bool            `json:"retry"`
		ClientID string          `json:"client_id"`
		Behind   map[string]int64
	}
	if err := json.Unmarshal(raw, &f); err != nil {
		return err
	}
	switch f.Type {
	case "message":
		var m client.Message
		if err := json.Unmarshal(f.Message, &m); err != nil {
			return err
		}
		if room, ok := d.r.byName[m.Conversation]; ok {
			return d.take(ctx, room, m.Seq, d.r.number(m), now)
		}
	case "resumed":
		if d.resumes--; d.resumes == 0 {
			d.r.caughtUp.Add(1)
		}
		for id := range f.Behind {
			if room, ok := d.r.byName[id]; ok {
				if err := d.fill(ctx, room, 0); err != nil {
					return err
				}
			}
		}
	case "error":
		rest, ours := strings.CutPrefix(f.ClientID, d.r.name+"-")
		if !ours {
			if f.Retry {
				return closed{reason: "a resume that failed"}
			}
			return nil
		}
		i, err := strconv.Atoi(rest)
		if err != nil || i < 0 || i >= len(d.r.said) {
			return nil //nolint:nilerr // none of ours
		}
		if f.Retry {
			time.AfterFunc(time.Second, func() {
				d.mu.Lock()
				s := d.s
				d.mu.Unlock()
				if s != nil {
					_ = s.write(d.frame(i, true)) // or the next socket does
				}
			})
			return nil
		}
		d.answer(i, Refused, 0, now)
	}
	return nil
}

// take shows a message, once and in order; what is missing before it is fetched.
func (d *device) take(ctx context.Context, room int, seq int64, n int32, now time.Duration) error {
	last := d.last[room]
	if seq > last+1 {
		return d.fill(ctx, room, seq)
	}
	if seq > last {
		d.show(room, seq, n, now)
	}
	return nil
}

func (d *device) show(room int, seq int64, n int32, now time.Duration) {
	d.last[room] = seq
	d.log = append(d.log, Entry{Conversation: int32(room), Message: n, Seq: seq})
	if n < 0 {
		return
	}
	s := &d.r.said[n]
	d.shown.Add(now - d.r.due(s))
	d.r.shown.Add(1)
	d.r.delivered(now)
	members := d.r.rooms[s.room].members
	if d.r.devices[members[s.sender]*d.r.Devices+s.device] == d {
		d.answer(int(n), Stored, seq, now)
	}
}

// delivered notes that a device has shown a message.
func (r *runner) delivered(now time.Duration) {
	before := r.lastShow.Swap(int64(now))
	if before == 0 {
		return // the first one
	}
	for gap := int64(now) - before; ; {
		if longest := r.gap.Load(); gap <= longest || r.gap.CompareAndSwap(longest, gap) {
			return
		}
	}
}

// answer notes what the sender was told. The first answer counts.
func (d *device) answer(i int, o Outcome, seq int64, now time.Duration) {
	s := &d.r.said[i]
	if s.outcome != Unanswered {
		return
	}
	s.outcome, s.seq, s.answered = o, seq, now
	d.r.answered.Add(1)
	if o == Stored {
		s.acked.Store(seq)
		for top := &d.r.top[s.room]; ; {
			if was := top.Load(); was >= seq || top.CompareAndSwap(was, seq) {
				break
			}
		}
		d.stored.Add(now - d.r.due(s))
		d.r.lastAck.Store(int64(now))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if k := slices.Index(d.pending, i); k >= 0 {
		d.pending = slices.Delete(d.pending, k, k+1)
	}
}

// fill fetches what comes after the last that was shown, as far as the device was told that there is something. It is shown when it has come: before, something may have been sent that it has, too.
func (d *device) fill(ctx context.Context, room int, told int64) error {
	missing, err := d.r.sessions[d.user].HistoryAfter(ctx, d.r.conversations[room], d.last[room], told)
	if err != nil {
		return err
	}
	now := time.Since(d.r.begin)
	for _, m := range missing {
		d.show(room, m.Seq, d.r.number(m), now)
	}
	return nil
}
