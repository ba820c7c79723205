package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/labctl/labctl/services/internal/service"
	"github.com/labctl/labctl/services/mirror"
	"github.com/labctl/labctl/services/requestid"
)

const (
	// maxMirrors is how many sockets are mirrored at a time.
	maxMirrors = 256
	// mirrorQueue is how many parts may wait for each mirror, and mirrorBytes how many bytes may wait for all.
	mirrorQueue = 1024
	mirrorBytes = 16 << 20
	// mirrorTime is how long the comparer may take for a connection, for an answer, and for what waits.
	mirrorTime = 5 * time.Second
)

// mirrors hand sockets to the comparer of this gateway's shadow (docs/adr/0027-mirrored-sockets.md). No socket waits for its mirror, or fails for it.
// There is nil where nothing is mirrored.
type mirrors struct {
	url     string // of the comparer
	log     *slog.Logger
	client  *http.Client
	within  time.Duration // see mirrorTime
	takes   atomic.Bool   // the comparer takes sockets
	open    atomic.Int64  // mirrors
	waiting atomic.Int64  // bytes

	there    prometheus.Gauge
	mirrored prometheus.Counter
	leftOut  prometheus.Counter
	broken   prometheus.Counter
}

// newMirrors gives nil where nothing is to be mirrored. What a shadow does is nobody's traffic.
func newMirrors(c Config, m *service.Metrics) *mirrors {
	if c.ShadowURL == "" || c.Shadow {
		return nil
	}
	return &mirrors{
		url: c.ShadowURL + mirror.Path, log: c.Log,
		client:   &http.Client{Timeout: mirrorTime, Transport: &http.Transport{}},
		within:   mirrorTime,
		there:    m.Gauge("gateway_comparer", "1 while the comparer of a shadow takes sockets."),
		mirrored: m.Counter("gateway_mirrored_total", "Sockets that were mirrored to the comparer of a shadow."),
		leftOut:  m.Counter("gateway_mirrors_left_out_total", "Sockets that were not mirrored, since as many as may be were already."),
		broken:   m.Counter("gateway_mirrors_broken_total", "Mirrors that ended before their sockets: the comparer did not keep up, or went away."),
	}
}

// shadowURL reads where the comparer of a shadow would be. Empty: nowhere.
func shadowURL(value string) (string, error) {
	if value == "" {
		return "", nil
	}
	u, err := url.Parse(value)
	if err != nil || u.Scheme != "http" || u.Host == "" {
		return "", fmt.Errorf("SHADOW_URL is %q, which is no base address such as http://gateway-comparer:8080", value)
	}
	return strings.TrimSuffix(value, "/"), nil
}

// look asks whether there is a comparer that takes sockets. So no socket has to find out.
func (m *mirrors) look(ctx context.Context) {
	err := m.ask(ctx)
	before := m.takes.Swap(err == nil)
	switch {
	case err == nil && !before:
		m.there.Set(1)
		m.log.Info("sockets that open are mirrored to the comparer of a shadow")
	case err != nil && before:
		m.there.Set(0)
		m.log.Info("no more sockets are mirrored", "error", err)
	}
}

func (m *mirrors) ask(ctx context.Context) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, m.url, nil)
	if err != nil {
		return err
	}
	res, err := m.client.Do(r)
	if err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10)) // so that the connection is used again
	if err := res.Body.Close(); err != nil {
		return err
	}
	if res.StatusCode != http.StatusUpgradeRequired {
		return fmt.Errorf("%s: %s", m.url, res.Status)
	}
	return nil
}

// begin gives the mirror of a socket that opens. It is nil where there is no comparer, or no room.
func (m *mirrors) begin(request string) *socketMirror {
	if m == nil || !m.takes.Load() {
		return nil
	}
	if m.open.Add(1) > maxMirrors {
		m.open.Add(-1)
		m.leftOut.Inc()
		return nil
	}
	m.mirrored.Inc()
	s := &socketMirror{all: m, wake: make(chan struct{}, 1)}
	go s.run(request)
	return s
}

// socketMirror hands one socket to the comparer, over a WebSocket of its own. Its methods never wait, and do nothing where it is nil.
type socketMirror struct {
	all  *mirrors
	wake chan struct{}

	mu    sync.Mutex
	queue []part
	ended bool // the socket has
	over  bool // nothing is taken any more
}

// part is what a client said, or what it was told.
type part struct {
	kind byte
	data []byte
}

// said hands on what the client said. The data must not change any more.
func (s *socketMirror) said(op ws.OpCode, data []byte) {
	switch {
	case s == nil:
	case op == ws.OpText:
		s.add(part{mirror.Text, data})
	default:
		s.add(part{mirror.Binary, data})
	}
}

// told hands on frames that are written to the client.
func (s *socketMirror) told(frames []*frame) {
	if s == nil {
		return
	}
	for _, f := range frames {
		s.add(part{mirror.Told, f.data})
	}
}

// gone says that the client has closed the socket, or that its connection has ended.
func (s *socketMirror) gone() {
	if s != nil {
		s.add(part{kind: mirror.Gone})
	}
}

// end says that the socket has ended.
func (s *socketMirror) end() {
	if s == nil {
		return
	}
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	s.kick()
}

func (s *socketMirror) kick() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// add queues a part. A mirror without room for it ends: what would follow made no sense.
func (s *socketMirror) add(p part) {
	s.mu.Lock()
	if !s.over {
		s.queue = append(s.queue, p)
		if s.all.waiting.Add(int64(len(p.data))) > mirrorBytes || len(s.queue) > mirrorQueue {
			s.drop()
		}
	}
	s.mu.Unlock()
	s.kick()
}

// drop ends the mirror before the socket. The caller holds mu.
func (s *socketMirror) drop() {
	for _, p := range s.queue {
		s.all.waiting.Add(-int64(len(p.data)))
	}
	s.queue, s.over = nil, true
	s.all.broken.Inc()
}

// next waits for parts. There are none more after the last, and after drop.
func (s *socketMirror) next() (parts []part, last bool) {
	for {
		s.mu.Lock()
		parts, last = s.queue, s.ended || s.over
		s.queue = nil
		s.mu.Unlock()
		if len(parts) > 0 || last {
			return parts, last
		}
		<-s.wake
	}
}

// run writes to the comparer until the socket has ended, or the mirror.
func (s *socketMirror) run(request string) {
	defer s.all.open.Add(-1)
	if err := s.relay(request); err != nil {
		s.all.log.Debug("a mirror ends before its socket", "error", err)
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.over {
			s.drop()
		}
	}
}

var errNoRoom = errors.New("the comparer did not keep up")

func (s *socketMirror) relay(request string) error {
	dial := ws.Dialer{Timeout: s.all.within, Header: ws.HandshakeHeaderHTTP{requestid.Header: {request}}}
	conn, _, _, err := dial.Dial(context.Background(), "ws"+strings.TrimPrefix(s.all.url, "http"))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	for {
		parts, last := s.next()
		err := writeParts(conn, s.all.within, parts)
		for _, p := range parts {
			s.all.waiting.Add(-int64(len(p.data)))
		}
		switch {
		case err != nil:
			return err
		case last:
			return s.finish(conn)
		}
	}
}

// finish ends the mirror of a socket that has ended, and says so to the comparer. A mirror that had to end before just breaks off.
func (s *socketMirror) finish(conn net.Conn) error {
	s.mu.Lock()
	dropped := s.over
	s.over = true
	s.mu.Unlock()
	if dropped {
		return errNoRoom
	}
	if err := conn.SetWriteDeadline(time.Now().Add(s.all.within)); err != nil {
		return err
	}
	_, err := conn.Write(ws.MustCompileFrame(ws.MaskFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusNormalClosure, "")))))
	return err
}

// writeParts writes each part as a binary message. Its mask is zero, so that frames that were compiled for all are written as they are: masks protect
// proxies from pages, and there is no page here.
func writeParts(conn net.Conn, within time.Duration, parts []part) error {
	if len(parts) == 0 {
		return nil
	}
	var heads bytes.Buffer
	var ends []int
	for _, p := range parts {
		h := ws.Header{Fin: true, OpCode: ws.OpBinary, Masked: true, Length: int64(1 + len(p.data))}
		if err := ws.WriteHeader(&heads, h); err != nil {
			return err
		}
		heads.WriteByte(p.kind)
		ends = append(ends, heads.Len())
	}
	var out net.Buffers
	begin := 0
	for i, p := range parts {
		out = append(out, heads.Bytes()[begin:ends[i]], p.data)
		begin = ends[i]
	}
	if err := conn.SetWriteDeadline(time.Now().Add(within)); err != nil {
		return err
	}
	_, err := out.WriteTo(conn)
	return err
}
