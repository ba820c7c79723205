package sockets

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/labctl/labctl/pkg/shadow/side"
	"github.com/labctl/labctl/services/mirror"
)

// socket is a client's socket that is mirrored, and the same at both copies. All but serve is guarded by the mu of its
// Sockets.
type socket struct {
	s    *Sockets
	name string
	conn net.Conn // to the live gateway

	copies [side.Count]*copied // live has none
	table  table
	hello  [side.Count]time.Time // when each side said its hello
	end    [side.Count]time.Time // when each side's socket ended
	from   time.Time             // what happens from then on counts; zero: not known yet
	begun  bool                  // that time has come
	wanted int                   // records that are looked for
	user   string                // from live's hello
	asked  []clientFrame         // before it
	gone   bool                  // it is shut
}

// maxPart is the size of the largest part in bytes.
const maxPart = 4 << 20

// serve takes the parts of the mirror until it ends.
func (m *socket) serve(conn net.Conn, r *bufio.Reader) {
	m.s.mu.Lock()
	m.conn = conn
	if m.gone {
		_ = conn.Close()
	}
	m.s.mu.Unlock()
	in := wsutil.Reader{Source: r, State: ws.StateServerSide, MaxFrameSize: maxPart, MaxMessageSize: maxPart}
	whole := false
	for {
		h, err := in.NextFrame()
		if err != nil {
			break
		}
		data, err := io.ReadAll(&in)
		if err != nil {
			break
		}
		if whole = h.OpCode == ws.OpClose; whole {
			break
		}
		if len(data) > 0 {
			m.take(data[0], data[1:])
		}
	}
	_ = conn.Close()
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	if !whole && !m.gone {
		m.s.counts.Broken++
	}
	m.ends(side.Live)
}

// take takes a part of the mirror.
func (m *socket) take(kind byte, data []byte) {
	switch kind {
	case mirror.Text:
		m.said(ws.OpText, data)
	case mirror.Binary:
		m.said(ws.OpBinary, data)
	case mirror.Gone:
		m.s.mu.Lock()
		defer m.s.mu.Unlock()
		m.ends(side.Live)
	case mirror.Told:
		for r := bytes.NewReader(data); ; {
			h, err := ws.ReadHeader(r)
			if err != nil || h.Length > int64(r.Len()) {
				return
			}
			payload := data[len(data)-r.Len():][:h.Length]
			_, _ = r.Seek(h.Length, io.SeekCurrent)
			switch h.OpCode {
			case ws.OpText, ws.OpBinary:
				m.told(side.Live, payload)
			case ws.OpClose:
				code, _ := ws.ParseCloseFrameData(payload)
				m.closed(side.Live, code, "")
			}
		}
	}
}

// said says to the copies what the client said.
func (m *socket) said(op ws.OpCode, data []byte) {
	var f clientFrame
	known := op == ws.OpText && json.Unmarshal(data, &f) == nil && f.leads()
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	for _, of := range copies() {
		if m.end[of].IsZero() && !m.copies[of].say(op, data) {
			m.closes(of, 0, "it does not read")
		}
	}
	switch {
	case !known:
	case m.user != "":
		m.want(f)
	case len(m.asked) < maxAsked:
		m.asked = append(m.asked, f)
	}
}

// maxAsked is how many frames a client may send before its hello is answered, and have them looked for in Kafka.
const maxAsked = 100

// want has the record be looked for that a frame leads to.
func (m *socket) want(f clientFrame) {
	if m.end != [side.Count]time.Time{} {
		return
	}
	m.s.want(f.id(m.user), m)
}

// told takes a frame of a side.
func (m *socket) told(of side.Side, data []byte) {
	f := identify(data)
	r := Result{Kind: f.kind, Body: jsonOf(data), Error: f.failed}
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	if m.gone {
		return
	}
	now := m.s.o.Now()
	if f.kind == helloKind && m.hello[of].IsZero() {
		m.greeted(of, f.user, now)
	}
	m.begin(now)
	if of != side.Live {
		switch {
		case f.kind == helloKind:
			r.Latency = now.Sub(m.copies[of].greeted)
		case !f.at.IsZero():
			r.Latency = max(now.Sub(f.at), 0)
		}
	}
	m.add(of, f, r, now)
}

// greeted notes that a side has said its hello.
func (m *socket) greeted(of side.Side, user string, now time.Time) {
	m.hello[of] = now
	if of == side.Live {
		if m.user = user; user == "" {
			return // no hello of the chat's
		}
		m.s.users[user]++
		for _, f := range m.asked {
			m.want(f)
		}
		m.asked = nil
	} else if !m.hello[side.Candidate].IsZero() && !m.hello[side.Baseline].IsZero() {
		m.from = now.Add(edge)
	}
}

// begin forgets frames that live alone can have sent, before the copies' sockets were open: so the n-th of one side is
// the n-th of all. Those that the chat may repeat stay known.
func (m *socket) begin(now time.Time) {
	if m.begun || m.from.IsZero() || now.Before(m.from) {
		return
	}
	m.begun = true
	open := m.from.Add(-edge)
	m.table.forget(func(e *entry) bool { return e.state == stateLeft && !e.repeats && e.first.Before(open) })
}

// add takes what a side said.
func (m *socket) add(of side.Side, f frame, r Result, now time.Time) {
	e := m.table.find(f.kind, f.id, func(e *entry) bool { return f.repeats || !e.has[of] })
	if e != nil && e.has[of] {
		m.s.counts.Repeated[of]++
		return
	}
	if e == nil {
		if m.isOver(f.kind) {
			m.s.counts.After++
			return
		}
		if e = m.s.add(&m.table, f.kind, f.id, now); e == nil {
			return
		}
		e.repeats = f.repeats
		if !m.counts(f, now) {
			m.s.counts.Before++
			m.s.leave(e)
		}
	}
	m.s.set(e, of, r, func() string { return m.label(e) })
}

// isOver says that a side's socket has ended, so that it cannot come with a frame of this kind. But a copy that takes no
// sockets lacks the hello, and how the sides end is compared.
func (m *socket) isOver(kind string) bool {
	switch kind {
	case closeKind:
		return false
	case helloKind:
		return !m.end[side.Live].IsZero()
	}
	return m.hasEnded()
}

// counts says whether a frame is about something that happened when both copies' sockets were open.
func (m *socket) counts(f frame, now time.Time) bool {
	switch {
	case f.answer || f.kind == closeKind:
		return true
	case m.from.IsZero():
		return false
	case f.at.IsZero():
		return !now.Before(m.from)
	}
	return !f.at.Before(m.from)
}

func (m *socket) label(e *entry) string { return m.name + " " + key(e.kind, e.id) }

func (m *socket) hasEnded() bool { return m.end != [side.Count]time.Time{} }

// closed takes how a side ends its socket: with a code, or why without one.
func (m *socket) closed(of side.Side, code ws.StatusCode, why string) {
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	m.closes(of, code, why)
}

// fails takes that a copy takes no socket. Then it lacks the hello, and that is enough.
func (m *socket) fails(of side.Side) {
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	m.ends(of)
}

// isOfTheSocket says whether a close follows from what the client said on this socket. Not so those of a gateway that stops
// or lacks a part (1001, 1012, 1013), of a client that does not answer pings or read (4408, 4409), and of limits, which
// count what the same user says elsewhere (4429).
func isOfTheSocket(code ws.StatusCode) bool {
	return !slices.Contains([]ws.StatusCode{ws.StatusGoingAway, 1012, 1013, 4408, 4409, 4429}, code)
}

func (m *socket) closes(of side.Side, code ws.StatusCode, why string) {
	if m.gone || !m.end[of].IsZero() {
		return
	}
	if of != side.Live || isOfTheSocket(code) {
		body := fmt.Sprintf(`{"code":%d}`, code)
		if why != "" {
			body = fmt.Sprintf(`{"error":%q}`, why)
		}
		now := m.s.o.Now()
		f := frame{kind: closeKind}
		// Where the client left, the copies' sockets end for that.
		if e := m.table.find(f.kind, f.id, func(e *entry) bool { return !e.has[of] }); e != nil || m.end[side.Live].IsZero() {
			m.add(of, f, Result{Kind: closeKind, Body: []byte(body)}, now)
		}
	}
	m.ends(of)
}

// ends notes that a side's socket has ended. What it lacks by then, it will never have.
func (m *socket) ends(of side.Side) {
	if m.gone || !m.end[of].IsZero() {
		return
	}
	m.end[of] = m.s.o.Now()
	for _, e := range m.table.order {
		if e.state == stateOpen && m.excused(e) {
			m.s.counts.After++
			m.s.leave(e)
		}
	}
}

// excused says that an entry lacks a side whose socket ended about when the entry came, or before. No copy need lack the
// hello.
func (m *socket) excused(e *entry) bool {
	for _, of := range side.All() {
		if e.kind == helloKind && of != side.Live {
			continue
		}
		if !e.has[of] && !m.end[of].IsZero() && e.first.After(m.end[of].Add(-edge)) {
			return true
		}
	}
	return false
}

// sweep hands over what has waited for long enough, and shuts a socket that has ended.
func (m *socket) sweep(now time.Time) {
	m.begin(now)
	open := 0
	for _, e := range m.table.order {
		if e.state != stateOpen {
			continue
		}
		if now.Sub(e.first) >= m.s.o.Wait {
			m.s.hand(e, m.label(e))
		} else {
			open++
		}
	}
	m.s.forget(&m.table, now)
	if m.hasEnded() && open+m.wanted == 0 {
		m.shut()
	}
}

// shut ends the socket on all sides.
func (m *socket) shut() {
	if m.gone {
		return
	}
	m.gone = true
	if m.conn != nil {
		_ = m.conn.Close()
	}
	for _, of := range copies() {
		m.copies[of].stop()
	}
	for _, e := range m.table.order {
		if e.state == stateOpen {
			m.s.leave(e)
		}
	}
	if m.user != "" {
		if m.s.users[m.user]--; m.s.users[m.user] == 0 {
			delete(m.s.users, m.user)
		}
	}
	delete(m.s.open, m)
}
