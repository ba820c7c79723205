package client

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"

	"github.com/labctl/labctl/services/internal/wire"
)

// ErrClosed is what a Device says after Close.
var ErrClosed = errors.New("the device is closed")

// Events are what a device tells. All are optional, are called one at a time, and must not block for long.
type Events struct {
	// Message is called once for each message, in order of seq within a conversation, without holes.
	Message func(Message)
	// Presence is called when someone came or went.
	Presence func(user string, online bool)
	// PresenceState is called then, too, and when someone leaves their devices (away) or is back.
	PresenceState func(user, state string)
	// Read is called when someone has read up to a seq.
	Read func(conversation, user string, seq int64)
	// Typing is called when someone begins or ends writing. An end may be lost; it is over after 6 s.
	Typing func(conversation, user string, on bool)
	// State is called when the socket opens (nil) or closes (why).
	State func(err error)
	// Frame is called for every frame as it comes, before anything else.
	Frame func(raw []byte)
}

// DeviceOptions are the options of Connect.
type DeviceOptions struct {
	Events
	// History: tell all messages from the beginning; else those that come from now on.
	History bool
	// Origin is sent as a browser would. Empty: none is sent.
	Origin string
}

// Device is a session's socket. It reconnects, resumes, and sends again what is not acknowledged, until it is closed or
// its session ends.
type Device struct {
	s      *Session
	o      DeviceOptions
	cancel context.CancelFunc
	ready  chan struct{} // the first hello has come and what there was has been taken in
	done   chan struct{}
	err    error           // why it ended; after done
	logs   map[string]*log // run's alone

	mu      sync.Mutex
	ws      *websocket.Conn
	away    bool
	waiting map[string]*waiting // by client id
	order   []string            // of waiting
}

// log is what a device holds of a conversation.
type log struct {
	last  int64
	early map[int64]Message // beyond a hole
}

type waiting struct {
	again  []byte // the frame, if the one before may have arrived
	result chan result
}

type result struct {
	message Message
	err     error
}

// Connect opens the session's socket and gives it once it is open: of what is sent from then on it misses nothing.
// It lives until Close, whatever becomes of ctx.
func (s *Session) Connect(ctx context.Context, o DeviceOptions) (*Device, error) {
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	d := &Device{
		s: s, o: o, cancel: cancel, ready: make(chan struct{}), done: make(chan struct{}),
		logs: map[string]*log{}, waiting: map[string]*waiting{},
	}
	go d.run(run)
	select {
	case <-d.ready:
		return d, nil
	case <-d.done:
		return nil, fmt.Errorf("connect %s: %w", s.User.Name, d.err)
	case <-ctx.Done():
		d.Close()
		return nil, fmt.Errorf("connect %s: %w", s.User.Name, ctx.Err())
	}
}

// Close ends the device.
func (d *Device) Close() {
	d.cancel()
	<-d.done
}

// Done is closed when the device has ended, by Close or because its session has.
func (d *Device) Done() <-chan struct{} { return d.done }

// Disconnect breaks the socket, as a network may. The device connects again.
func (d *Device) Disconnect() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ws != nil {
		_ = d.ws.CloseNow()
	}
}

// Send sends a message and waits until it is stored.
func (d *Device) Send(ctx context.Context, conversation, body string) (Message, error) {
	return d.SendAs(ctx, conversation, uuid.NewString(), body)
}

// SendAs is Send with a client id of one's own: sending the same again stores nothing twice.
func (d *Device) SendAs(ctx context.Context, conversation, clientID, body string) (Message, error) {
	return d.post(ctx, wire.ClientFrame{Type: wire.FrameSend, Conversation: conversation, ClientID: clientID, Body: body})
}

// post sends a frame with a client id and waits until what it says is stored.
func (d *Device) post(ctx context.Context, f wire.ClientFrame) (Message, error) {
	clientID := f.ClientID
	frame := wire.Encode(f)
	f.Again = true
	w := &waiting{result: make(chan result, 1), again: wire.Encode(f)}
	d.mu.Lock()
	if d.waiting[clientID] != nil {
		d.mu.Unlock()
		return Message{}, fmt.Errorf("%s: client id %s is on its way already", f.Type, clientID)
	}
	d.waiting[clientID] = w
	d.order = append(d.order, clientID)
	ws := d.ws
	d.mu.Unlock()
	if ws != nil {
		_ = d.write(ctx, ws, frame) // if it fails, the socket is gone, and the next one sends it
	}
	select {
	case r := <-w.result:
		return r.message, r.err
	case <-d.done:
		return Message{}, fmt.Errorf("%s: %w", f.Type, d.err)
	case <-ctx.Done():
		d.settle(clientID, result{})
		return Message{}, fmt.Errorf("%s in %s: not acknowledged: %w", f.Type, f.Conversation, ctx.Err())
	}
}

func (d *Device) write(ctx context.Context, ws *websocket.Conn, frame []byte) error {
	// A write whose context ends breaks the socket, so it is not the caller's.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return ws.Write(ctx, websocket.MessageText, frame)
}

func (d *Device) settle(clientID string, r result) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if w := d.waiting[clientID]; w != nil {
		delete(d.waiting, clientID)
		d.order = slices.DeleteFunc(d.order, func(id string) bool { return id == clientID })
		w.result <- r
	}
}

const (
	minPause = 500 * time.Millisecond
	maxPause = 15 * time.Second
)

func (d *Device) run(ctx context.Context) {
	defer close(d.done)
	defer d.cancel()
	pause := minPause
	first := true
	for {
		opened, err := d.live(ctx, first)
		first = first && !opened
		if d.o.State != nil && opened {
			d.o.State(err)
		}
		switch {
		case ctx.Err() != nil:
			d.err = ErrClosed
			return
		case IsCode(err, "session_ended"), websocket.CloseStatus(err) == wire.CloseSessionEnded:
			d.err = err
			return
		case first && !retryable(err):
			d.err = err
			return
		}
		wait := pause/2 + rand.N(pause) //nolint:gosec // jitter
		if s := websocket.CloseStatus(err); s == websocket.StatusServiceRestart || s == websocket.StatusGoingAway {
			wait = rand.N(100 * time.Millisecond) //nolint:gosec // jitter
		}
		pause = min(2*pause, maxPause)
		if opened {
			pause = minPause
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-t.C:
		}
		t.Stop()
	}
}

// retryable says whether a first connect may work a moment later.
func retryable(err error) bool {
	var e *Error
	return !errors.As(err, &e) || e.Status >= 500 || e.Status == http.StatusTooManyRequests
}

// live opens a socket and serves it to its end.
func (d *Device) live(ctx context.Context, first bool) (opened bool, err error) {
	dial, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	access, err := d.s.AccessToken(dial)
	if err != nil {
		return false, err
	}
	ws, err := d.s.c.Dial(dial, access, d.o.Origin)
	if err != nil {
		return false, err
	}
	defer func() { _ = ws.CloseNow() }()
	var hello wire.Hello
	raw, err := d.read(dial, ws)
	if websocket.CloseStatus(err) == wire.CloseBadToken {
		_, renew := d.s.token(dial, access) // for the next socket; where the session has ended, that is why
		return false, cmp.Or(renew, err)
	}
	if err != nil {
		return false, err
	}
	if err := json.Unmarshal(raw, &hello); err != nil || hello.Type != wire.FrameHello {
		return false, fmt.Errorf("the first frame is %.80q, not hello", raw)
	}
	have, err := d.catchUp(dial, first, hello.Position)
	if err != nil {
		return false, err
	}
	if err := d.announce(ctx, ws, first, have); err != nil {
		return true, err
	}
	defer func() {
		d.mu.Lock()
		d.ws = nil
		d.mu.Unlock()
	}()
	alive, dead := context.WithCancel(ctx)
	defer dead()
	go d.probe(alive, ws)
	for {
		raw, err := d.read(ctx, ws)
		if err != nil {
			if ctx.Err() != nil {
				_ = ws.Close(websocket.StatusNormalClosure, "")
			}
			return true, err
		}
		if err := d.handle(ctx, ws, raw); err != nil {
			return true, err
		}
	}
}

// How often a device asks whether the server is still there, and how long it waits for the answer. A proxy or a host
// that vanished closes nothing, and TCP alone would notice after minutes.
const (
	probeEvery  = 10 * time.Second
	probeWithin = 10 * time.Second
)

// probe breaks the socket once the server does not answer any more.
func (d *Device) probe(ctx context.Context, ws *websocket.Conn) {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		within, cancel := context.WithTimeout(ctx, probeWithin)
		err := ws.Ping(within)
		cancel()
		if err != nil {
			_ = ws.CloseNow() // ends the read, and with it the socket's life
			return
		}
	}
}

// Dial opens a socket and says hello with an access token. It is for those who want the bare frames; a Device is more.
func (c *Client) Dial(ctx context.Context, access, origin string) (*websocket.Conn, error) {
	address := "ws" + strings.TrimPrefix(c.base, "http") + "/ws"
	header := http.Header{}
	if origin != "" {
		header.Set("Origin", origin)
	}
	ws, res, err := websocket.Dial(ctx, address, &websocket.DialOptions{HTTPClient: c.sockets, HTTPHeader: header})
	if err == nil {
		ws.SetReadLimit(1 << 20)
		if err := ws.Write(ctx, websocket.MessageText, wire.Encode(wire.ClientFrame{Type: wire.FrameHello, Token: access})); err != nil {
			_ = ws.CloseNow() // broken already
			return nil, fmt.Errorf("open the socket: %w", err)
		}
		return ws, nil
	}
	if res != nil && res.StatusCode >= 400 {
		e := &Error{Status: res.StatusCode, Code: "http", Message: "open the socket: " + res.Status}
		var body struct {
			Error Error `json:"error"`
		}
		if res.Body != nil && json.NewDecoder(res.Body).Decode(&body) == nil && body.Error.Code != "" {
			e.Code, e.Message = body.Error.Code, body.Error.Message
		}
		return nil, e
	}
	return nil, fmt.Errorf("open the socket: %w", err)
}

func (d *Device) read(ctx context.Context, ws *websocket.Conn) ([]byte, error) {
	_, raw, err := ws.Read(ctx)
	if err == nil && d.o.Frame != nil {
		d.o.Frame(raw)
	}
	return raw, err
}

// catchUp learns which conversations there are. It gives what to resume.
func (d *Device) catchUp(ctx context.Context, first bool, position string) (have map[string]int64, err error) {
	list, err := d.s.conversations(ctx, position)
	if err != nil {
		return nil, err
	}
	have = map[string]int64{}
	for _, c := range list {
		l := d.logs[c.ID]
		if l == nil {
			l = &log{last: c.FirstSeq - 1, early: map[int64]Message{}}
			if first && !d.o.History {
				l.last = c.LastSeq
			}
			d.logs[c.ID] = l
		}
		d.skip(l, c.FirstSeq) // who was removed and is back missed what was said between, and will not see it
		if c.LastSeq > l.last {
			have[c.ID] = l.last
		}
	}
	return have, nil
}

// announce makes the socket the device's, resumes and sends what waits.
func (d *Device) announce(ctx context.Context, ws *websocket.Conn, first bool, have map[string]int64) error {
	d.mu.Lock()
	d.ws = ws
	var frames [][]byte
	if d.away {
		frames = append(frames, awayFrame(true))
	}
	for _, id := range d.order {
		frames = append(frames, d.waiting[id].again)
	}
	d.mu.Unlock()
	if d.o.State != nil {
		d.o.State(nil)
	}
	if first {
		close(d.ready)
	}
	ids := slices.Sorted(maps.Keys(have))
	for i, chunk := range slices.Collect(slices.Chunk(ids, wire.MaxResume)) {
		part := map[string]int64{}
		for _, id := range chunk {
			part[id] = have[id]
		}
		if err := d.write(ctx, ws, wire.Encode(wire.ClientFrame{Type: wire.FrameResume, ID: fmt.Sprint(i), Have: part})); err != nil {
			return err
		}
	}
	for _, f := range frames {
		if err := d.write(ctx, ws, f); err != nil {
			return err
		}
	}
	return nil
}

// handle takes one frame in.
func (d *Device) handle(ctx context.Context, ws *websocket.Conn, raw []byte) error {
	var f struct {
		Type         string           `json:"type"`
		Message      json.RawMessage  `json:"message"`
		Code         string           `json:"code"`
		Retry        bool             `json:"retry"`
		ClientID     string           `json:"client_id"`
		Conversation string           `json:"conversation"`
		User         string           `json:"user"`
		Online       bool             `json:"online"`
		State        string           `json:"state"`
		Seq          int64            `json:"seq"`
		Position     string           `json:"position"`
		On           bool             `json:"on"`
		Behind       map[string]int64 `json:"behind"`
	}
	if err := json.Unmarshal(raw, &f); err != nil {
		return fmt.Errorf("a frame that is no JSON object: %w", err)
	}
	switch f.Type {
	case wire.FrameMessage:
		var m Message
		if err := json.Unmarshal(f.Message, &m); err != nil {
			return fmt.Errorf("a message frame: %w", err)
		}
		return d.take(ctx, m)
	case wire.FrameResumed:
		for id := range f.Behind {
			if err := d.fill(ctx, id); err != nil {
				return err
			}
		}
	case wire.FrameRead:
		if f.User == d.s.User.ID {
			d.s.hearRead(f.Conversation, f.Position)
		}
		if d.o.Read != nil {
			d.o.Read(f.Conversation, f.User, f.Seq)
		}
	case wire.FrameTyping:
		if d.o.Typing != nil {
			d.o.Typing(f.Conversation, f.User, f.On)
		}
	case wire.FramePresence:
		if d.o.Presence != nil {
			d.o.Presence(f.User, f.Online)
		}
		if d.o.PresenceState != nil {
			d.o.PresenceState(f.User, f.State)
		}
	case wire.FrameError:
		var text string
		_ = json.Unmarshal(f.Message, &text) // an error without a text is one still
		if f.ClientID == "" {
			if f.Retry { // resume did not work: begin again
				return &Error{Code: f.Code, Message: text}
			}
			return nil
		}
		if !f.Retry {
			d.settle(f.ClientID, result{err: &Error{Code: f.Code, Message: text}})
			return nil
		}
		d.mu.Lock()
		w := d.waiting[f.ClientID]
		d.mu.Unlock()
		if w != nil {
			time.AfterFunc(time.Second, func() { _ = d.write(ctx, ws, w.again) }) // or the next socket sends it
		}
	}
	return nil
}

// take takes a message in, and tells it when all before it have been told.
func (d *Device) take(ctx context.Context, m Message) error {
	d.s.hear(m.Conversation, m.Seq)
	l := d.logs[m.Conversation]
	if l == nil { // new since the list was read
		d.acknowledge(m) // who sent it need not wait for the conversation to be stored
		c, err := d.s.Conversation(ctx, m.Conversation)
		if IsCode(err, "not_found") { // and gone again
			return nil
		}
		if err != nil {
			return err
		}
		l = &log{last: c.FirstSeq - 1, early: map[int64]Message{}}
		d.logs[m.Conversation] = l
	}
	// Added again after a removal: what is between is not for this user.
	if m.Event != nil && (m.Event.Type == wire.MemberAdded || m.Event.Type == wire.Created) && slices.Contains(m.Event.Users, d.s.User.ID) {
		d.skip(l, m.Seq)
	}
	if m.Seq > l.last+1 {
		l.early[m.Seq] = m
		return d.fill(ctx, m.Conversation)
	}
	d.tell(l, m)
	return nil
}

func (d *Device) tell(l *log, m Message) {
	for ok := true; ok; m, ok = l.early[l.last+1] {
		delete(l.early, m.Seq)
		if m.Seq == l.last+1 {
			l.last = m.Seq
			if d.o.Message != nil {
				d.o.Message(m)
			}
		}
		d.acknowledge(m)
	}
}

// acknowledge lets the one who waits for a message of this user know that it is stored.
func (d *Device) acknowledge(m Message) {
	if m.Sender == d.s.User.ID {
		d.settle(m.ClientID, result{message: m})
	}
}

// skip goes to a seq before which nothing is for this user any more. What has come by the socket was.
func (d *Device) skip(l *log, to int64) {
	for _, seq := range slices.Sorted(maps.Keys(l.early)) {
		if m, ok := l.early[seq]; ok && seq < to {
			l.last = max(l.last, seq-1)
			d.tell(l, m)
		}
	}
	l.last = max(l.last, to-1)
}

// fill fetches what is missing of a conversation.
func (d *Device) fill(ctx context.Context, id string) error {
	l := d.logs[id]
	if l == nil {
		return nil
	}
	missing, err := d.s.HistoryAfter(ctx, id, l.last, 0)
	if IsCode(err, "not_found") { // removed meanwhile: what came by the socket is all there is
		for seq := range maps.Clone(l.early) {
			d.skip(l, seq+1)
		}
		return nil
	}
	if err != nil {
		return err
	}
	for _, m := range missing {
		d.skip(l, m.Seq) // history has no holes but those that are not for this user
		d.tell(l, m)
	}
	return nil
}
