package chaos

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// link is the network from one instance to the broker or the database: a proxy that can be slow, cut, and that can see each
// request, so that a fault can strike at a certain step of the instance's work.
type link struct {
	ln      net.Listener
	targets []string // any of them does, as with a Service of Kubernetes
	kind    protocol

	mu    sync.Mutex
	conns map[net.Conn]struct{}
	cut   bool
	delay time.Duration
	trap  *trap
	gone  bool
	wg    sync.WaitGroup

	// tamper, in tests, changes answers of the broker as a service that is broken would make of them.
	tamper func(request kmsg.Request, answer kmsg.Response)
}

type protocol int

const (
	anyProtocol protocol = iota
	kafkaProtocol
	mongoProtocol
)

// trap strikes at the n-th request that does something, before it is passed on or after it was done and before its answer.
type trap struct {
	after  int
	done   bool // strike when the request was done
	strike func(step string)
}

func newLink(ctx context.Context, kind protocol, targets ...string) (*link, error) {
	l, err := listen(ctx, kind, targets...)
	if err == nil {
		l.open()
	}
	return l, err
}

// listen makes a link that takes no connections before it is opened.
func listen(ctx context.Context, kind protocol, targets ...string) (*link, error) {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for a link: %w", err)
	}
	return &link{ln: ln, targets: targets, kind: kind, conns: map[net.Conn]struct{}{}}, nil
}

func (l *link) open() { l.wg.Go(l.accept) }

func (l *link) addr() string { return l.ln.Addr().String() }

func (l *link) close() {
	l.mu.Lock()
	l.gone = true
	_ = l.ln.Close()
	l.mu.Unlock()
	l.sever()
	l.wg.Wait()
}

// sever breaks all connections.
func (l *link) sever() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		_ = c.Close()
	}
}

// setCut cuts the link, or mends it. A cut link breaks what is open, and passes nothing of what is opened.
func (l *link) setCut(cut bool) {
	l.mu.Lock()
	l.cut = cut
	l.mu.Unlock()
	l.sever()
}

// setDelay makes each request that much later.
func (l *link) setDelay(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.delay = d
}

func (l *link) arm(t *trap) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.trap = t
}

func (l *link) state() (cut bool, delay time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cut, l.delay
}

// step tells the trap of a request, and gives whom to call when it strikes now.
func (l *link) step(name string, done bool) func() {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.trap
	if t == nil || name == "" || t.done != done {
		return nil
	}
	if t.after--; t.after > 0 {
		return nil
	}
	l.trap = nil
	return func() { t.strike(name) }
}

func (l *link) accept() {
	for {
		c, err := l.ln.Accept()
		if err != nil {
			return
		}
		l.wg.Go(func() { l.serve(c) })
	}
}

func (l *link) add(c net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone {
		_ = c.Close()
		return false
	}
	l.conns[c] = struct{}{}
	return true
}

func (l *link) remove(c net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
	_ = c.Close()
}

func (l *link) serve(client net.Conn) {
	if !l.add(client) {
		return
	}
	defer l.remove(client)
	if cut, _ := l.state(); cut {
		return
	}
	server := l.dial()
	if server == nil || !l.add(server) {
		return
	}
	defer l.remove(server)
	s := &session{link: l, open: map[int32]request{}}
	var wg sync.WaitGroup
	pass := func(from, to net.Conn, size func(io.Reader) ([]byte, error), see func([]byte) ([]byte, error)) {
		defer func() { _, _ = from.Close(), to.Close() }()
		for {
			message, err := size(from)
			if err != nil {
				return
			}
			cut, delay := l.state()
			time.Sleep(delay) // a slow network; the message is under way
			if cut {
				return
			}
			if message, err = see(message); err != nil {
				return
			}
			if _, err := to.Write(message); err != nil {
				return
			}
		}
	}
	as := func(b []byte) ([]byte, error) { return b, nil }
	size, ask, answer := someBytes, as, as
	switch l.kind {
	case kafkaProtocol:
		size, ask, answer = kafkaMessage, s.kafkaRequest, s.kafkaAnswer
	case mongoProtocol:
		size, ask, answer = mongoMessage, s.mongoRequest, s.mongoAnswer
	}
	wg.Go(func() { pass(client, server, size, ask) })
	wg.Go(func() { pass(server, client, size, answer) })
	wg.Wait()
}

// dial connects to the first target that takes it, beginning at a random one.
func (l *link) dial() net.Conn {
	for _, i := range rand.Perm(len(l.targets)) { //nolint:gosec // no secret
		if c, err := net.DialTimeout("tcp", l.targets[i], 5*time.Second); err == nil {
			return c
		}
	}
	return nil
}

// session is one connection.
type session struct {
	*link
	mu   sync.Mutex
	open map[int32]request // by correlation or request id
}

type request struct {
	name    string
	key     int16
	version int16
	body    kmsg.Request // where the answer is tampered with
}

const maxPassed = 128 << 20

func someBytes(r io.Reader) ([]byte, error) {
	b := make([]byte, 16<<10)
	n, err := r.Read(b)
	return b[:n], err
}

func kafkaMessage(r io.Reader) ([]byte, error) { return sized(r, 4, binary.BigEndian.Uint32, 4) }

func mongoMessage(r io.Reader) ([]byte, error) { return sized(r, 4, binary.LittleEndian.Uint32, 0) }

// sized reads a message that begins with its length, which counts what stands behind the first own bytes.
func sized(r io.Reader, head int, length func([]byte) uint32, own int) ([]byte, error) {
	b := make([]byte, head)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, err
	}
	n := int(length(b)) + own
	if n < head || n > maxPassed {
		return nil, fmt.Errorf("a message of %d bytes", n)
	}
	b = append(b, make([]byte, n-head)...)
	_, err := io.ReadFull(r, b[head:])
	return b, err
}

var errStruck = errors.New("a fault has struck")

// note remembers a request, and strikes before it if it is to.
func (s *session) note(id int32, r request) error {
	if strike := s.step(r.name, false); strike != nil {
		strike()
		return errStruck
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open[id] = r
	return nil
}

// settle gives the request of an answer, and strikes after it if it is to.
func (s *session) settle(id int32) (request, error) {
	s.mu.Lock()
	r := s.open[id]
	delete(s.open, id)
	s.mu.Unlock()
	if strike := s.step(r.name, true); strike != nil {
		strike()
		return r, errStruck
	}
	return r, nil
}

// Requests that are no step of anybody's work.
var idle = map[int16]bool{
	int16(kmsg.Fetch): true, int16(kmsg.Heartbeat): true, int16(kmsg.ApiVersions): true, int16(kmsg.Metadata): true, int16(kmsg.ListOffsets): true,
	int16(kmsg.SASLHandshake): true, int16(kmsg.SASLAuthenticate): true, int16(kmsg.GetTelemetrySubscriptions): true, int16(kmsg.PushTelemetry): true,
}

func (s *session) kafkaRequest(b []byte) ([]byte, error) {
	if len(b) < 12 {
		return b, nil
	}
	r := request{key: int16(binary.BigEndian.Uint16(b[4:])), version: int16(binary.BigEndian.Uint16(b[6:]))}
	if !idle[r.key] {
		r.name = "kafka " + kmsg.NameForKey(r.key)
	}
	if s.tamper != nil {
		r.body = kafkaBody(b, r)
	}
	return b, s.note(int32(binary.BigEndian.Uint32(b[8:])), r)
}

// kafkaBody reads a request of which the answer may be tampered with.
func kafkaBody(b []byte, r request) kmsg.Request {
	req := kmsg.RequestForKey(r.key)
	if req == nil || len(b) < 14 {
		return nil
	}
	req.SetVersion(r.version)
	at := 14 + max(int(int16(binary.BigEndian.Uint16(b[12:]))), 0) // behind the client's id
	if req.IsFlexible() {
		at++ // no tags
	}
	if at > len(b) || req.ReadFrom(b[at:]) != nil {
		return nil
	}
	return req
}

// kafkaAnswer puts this link in the place of the broker, which tells clients where it is itself.
func (s *session) kafkaAnswer(b []byte) ([]byte, error) {
	if len(b) < 8 {
		return b, nil
	}
	r, err := s.settle(int32(binary.BigEndian.Uint32(b[4:])))
	if err != nil {
		return nil, err
	}
	redirected := r.key == int16(kmsg.Metadata) || r.key == int16(kmsg.FindCoordinator)
	tampered := r.body != nil && (redirected || r.key == int16(kmsg.Produce) || r.key == int16(kmsg.Fetch) || r.key == int16(kmsg.OffsetFetch))
	if !redirected && !tampered {
		return b, nil
	}
	answer := kmsg.ResponseForKey(r.key)
	answer.SetVersion(r.version)
	head := 8
	if answer.IsFlexible() {
		head++ // no tags
	}
	if len(b) < head || answer.ReadFrom(b[head:]) != nil {
		return nil, fmt.Errorf("an answer to %s that cannot be read", kmsg.NameForKey(r.key))
	}
	host, port := s.host()
	switch a := answer.(type) {
	case *kmsg.MetadataResponse:
		for i := range a.Brokers {
			a.Brokers[i].Host, a.Brokers[i].Port = host, port
		}
	case *kmsg.FindCoordinatorResponse:
		a.Host, a.Port = host, port
		for i := range a.Coordinators {
			a.Coordinators[i].Host, a.Coordinators[i].Port = host, port
		}
	}
	if tampered {
		s.tamper(r.body, answer)
	}
	out := answer.AppendTo(append([]byte(nil), b[:head]...))
	binary.BigEndian.PutUint32(out, uint32(len(out)-4))
	return out, nil
}

func (l *link) host() (string, int32) {
	a, ok := l.ln.Addr().(*net.TCPAddr)
	if !ok {
		return "", 0
	}
	return a.IP.String(), int32(a.Port)
}

// Commands of the database that are no step of anybody's work.
var quiet = map[string]bool{"hello": true, "saslStart": true, "saslContinue": true, "isMaster": true, "ismaster": true, "ping": true, "endSessions": true, "find": true, "create": true}

func (s *session) mongoRequest(b []byte) ([]byte, error) {
	if len(b) < 16 {
		return b, nil
	}
	return b, s.note(int32(binary.LittleEndian.Uint32(b[4:])), request{name: command(b)})
}

func (s *session) mongoAnswer(b []byte) ([]byte, error) {
	if len(b) < 16 {
		return b, nil
	}
	_, err := s.settle(int32(binary.LittleEndian.Uint32(b[8:])))
	return b, err
}

// command gives what a request asks for, such as "mongodb insert messages": the first field of its document.
func command(b []byte) string {
	const opMsg = 2013
	if binary.LittleEndian.Uint32(b[12:]) != opMsg || len(b) < 16+4+1+4+1 || b[20] != 0 {
		return ""
	}
	field := b[25:]
	kind := field[0]
	name, value, ok := bytes.Cut(field[1:], []byte{0})
	if !ok || quiet[string(name)] {
		return ""
	}
	step := "mongodb " + string(name)
	if kind == 0x02 && len(value) > 4 {
		if collection, _, ok := bytes.Cut(value[4:], []byte{0}); ok {
			step += " " + strings.ToValidUTF8(string(collection), "?")
		}
	}
	return step
}
