package gateway

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	otel "go.opentelemetry.io/otel/trace"

	"github.com/labctl/labctl/services/internal/limit"
	"github.com/labctl/labctl/services/internal/service"
	"github.com/labctl/labctl/services/internal/trace"
	"github.com/labctl/labctl/services/internal/wire"
)

// conn is one device's socket.
type conn struct {
	g       *gateway
	ws      *websocket.Conn
	id      string
	user    string
	session string
	address string
	frames  *limit.Buckets // of this connection; it has one key

	away atomic.Bool // its client says that nobody is there

	said chan struct{} // closed when the client has sent its first frame

	early [][]byte // to be written after the hello

	out  chan *frame // what came from Kafka and answers; a client that lets it fill up is closed
	bulk chan []byte // answers to resume, which wait for the client

	cut    func() // ends the connection at once
	once   sync.Once
	done   chan struct{} // closed by close
	code   websocket.StatusCode
	reason string
	last   []byte        // written before the close, if not nil
	gone   chan struct{} // closed when nothing of it is left
}

// frame is one on its way to a client. It is small and pointed to, since the place of each that might wait is there for every socket.
type frame struct {
	data []byte
	span otel.Span // of its delivery; nil: it is not traced
}

// end ends the span, if there is one. why says in few words why the frame was not written; empty: it was.
func (f *frame) end(why string) {
	if f.span == nil {
		return
	}
	if why != "" {
		trace.Fail(f.span, why)
	}
	f.span.End()
}

// socket upgrades to a WebSocket and serves it until it closes.
func (g *gateway) socket(w http.ResponseWriter, r *http.Request) error {
	if !g.allowed(r) {
		return &service.Error{Status: http.StatusForbidden, Code: "bad_origin",
			Message: fmt.Sprintf("pages of %q may not connect; ALLOWED_ORIGINS of the gateway can name it", r.Header.Get("Origin"))}
	}
	address := g.Address(r)
	if wait, ok := g.byAddress.Take(address); !ok {
		g.flooding.Inc()
		return service.Busy("too much at once from this address", wait)
	}
	if g.draining.Load() {
		return service.Unavailable("this gateway", nil)
	}
	if err := handshake(w, r); err != nil {
		return err
	}
	t, err := g.tickets.redeem(r.Context(), r.URL.Query().Get("ticket"))
	if err == nil && g.ended.Has(t.Session) {
		err = errTicket
	}
	switch {
	case errors.Is(err, errTicket):
		return &service.Error{Status: http.StatusUnauthorized, Code: "bad_ticket", Message: err.Error() + "; ask for a new one"}
	case err != nil:
		return service.Unavailable("the database", err)
	}
	if wait, ok := g.byUser.Take(t.User); !ok {
		g.flooding.Inc()
		return service.Busy("too much at once from this user", wait)
	}
	under := &hijack{ResponseWriter: w}
	ws, err := websocket.Accept(under, r, &websocket.AcceptOptions{
		InsecureSkipVerify: true, // the Origin is checked above
		CompressionMode:    websocket.CompressionDisabled,
	})
	if err != nil {
		g.Log.Debug("no upgrade", "error", err)
		return nil // Accept has answered
	}
	ws.SetReadLimit(wire.MaxFrame)
	c := &conn{
		g: g, ws: ws, cut: func() { _ = under.conn.Close() }, id: wire.NewID(), user: t.User, session: t.Session, address: address,
		frames: limit.New(g.ConnectionRate, g.Now), said: make(chan struct{}),
		out: make(chan *frame, g.Queue), bulk: make(chan []byte), done: make(chan struct{}), gone: make(chan struct{}),
	}
	// A socket lives for hours, and what happens on it is no part of its beginning.
	trace.Upgraded(r)
	c.serve(trace.Without(context.WithoutCancel(r.Context())))
	return nil
}

// handshake says why no socket can be made of a request. websocket.Accept would say it too, but not in JSON, and when the ticket is used up.
func handshake(w http.ResponseWriter, r *http.Request) error {
	keys := r.Header.Values("Sec-Websocket-Key")
	switch {
	case !r.ProtoAtLeast(1, 1) || !lists(r.Header, "Connection", "upgrade") || !lists(r.Header, "Upgrade", "websocket"):
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "websocket")
		return &service.Error{Status: http.StatusUpgradeRequired, Code: "bad_request", Message: "this path is for WebSockets"}
	case r.Header.Get("Sec-Websocket-Version") != "13":
		w.Header().Set("Sec-Websocket-Version", "13")
		return service.BadRequest("Sec-WebSocket-Version must be 13")
	case len(keys) != 1:
		return service.BadRequest("there must be one Sec-WebSocket-Key")
	}
	if b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(keys[0])); err != nil || len(b) != 16 {
		return service.BadRequest("Sec-WebSocket-Key must be 16 bytes in base64")
	}
	return nil
}

// lists says whether a header, which is a list, has that word.
func lists(h http.Header, name, word string) bool {
	for v := range strings.SplitSeq(strings.Join(h.Values(name), ","), ",") {
		if strings.EqualFold(strings.TrimSpace(v), word) {
			return true
		}
	}
	return false
}

// hijack keeps the connection beneath a socket, which alone can be cut while the socket is being closed.
type hijack struct {
	http.ResponseWriter
	conn net.Conn
}

func (h *hijack) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	h.conn = conn
	return conn, rw, err
}

// serve runs the socket. The hello is queued before the hub knows the socket, and written after: so it is the
// first frame, and whoever has read it misses nothing from then on.
func (c *conn) serve(ctx context.Context) {
	defer close(c.gone)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g := c.g
	c.enqueue(wire.Encode(wire.Hello{
		Type: wire.FrameHello, User: c.user, Session: c.session, Connection: c.id,
		Heartbeat: int(g.Heartbeat.Seconds()), MaxFrame: wire.MaxFrame,
	}))
	g.recent.open(c.user, func(frames [][]byte) {
		c.early = frames
		g.hub.add(c)
	})
	if g.ended.Has(c.session) { // its end may have come before the hub knew the socket
		c.close(wire.CloseSessionEnded, "the session has ended")
	} else if g.draining.Load() { // drain may have listed the sockets just before
		c.close(1012, "the gateway stops; connect again")
	}
	g.connections.Inc()
	g.announce(c.user)
	var wg sync.WaitGroup
	wg.Go(func() { c.write(ctx) })
	c.read(ctx)
	c.close(websocket.StatusNormalClosure, "")
	wg.Wait()
	g.hub.remove(c)
	g.connections.Dec()
	g.announce(c.user)
}

// close asks the socket to end with that code. The first call counts; it does not wait.
func (c *conn) close(code websocket.StatusCode, reason string) { c.closeAfter(nil, code, reason) }

// closeAfter is close, with a last frame that says why.
func (c *conn) closeAfter(last []byte, code websocket.StatusCode, reason string) {
	c.once.Do(func() {
		c.last, c.code, c.reason = last, code, reason
		close(c.done)
		within := closeTime
		if code == wire.CloseSessionEnded {
			within = endTime
		}
		time.AfterFunc(within, c.cut)
	})
}

// closeTime is how long a client may take to read what it still gets and to answer the close; then the connection is cut. One
// whose session has ended gets less: within 2 s it is gone. It is not listened to in that time.
const (
	closeTime = 5 * time.Second
	endTime   = 1500 * time.Millisecond
)

// enqueue queues a frame. A client whose queue is full is closed; it reconnects and resumes.
func (c *conn) enqueue(data []byte) bool { return c.put(&frame{data: data}) }

func (c *conn) put(f *frame) bool {
	select {
	case <-c.done:
		f.end("closed")
		return false
	default:
	}
	select {
	case c.out <- f:
		return true
	default:
		f.end("too slow")
		c.g.slow.Inc()
		c.close(wire.CloseTooSlow, "too slow: too many frames wait to be read")
		return false
	}
}

// write sends frames and pings until the socket is to close, then closes it.
func (c *conn) write(ctx context.Context) {
	// The client speaks first: there are proxies (Skipper 0.22 is one) that lose what a server sends right behind its
	// answer to the upgrade.
	first := time.NewTimer(c.g.HeartbeatTimeout)
	defer first.Stop()
	select {
	case <-c.said:
	case <-c.done:
	case <-first.C:
		c.close(wire.CloseNoHeartbeat, "the client said no hello")
	}
	tick := time.NewTicker(c.g.Heartbeat)
	defer tick.Stop()
	send := func(data []byte) bool {
		ctx, cancel := context.WithTimeout(ctx, c.g.WriteTimeout)
		defer cancel()
		if err := c.ws.Write(ctx, websocket.MessageText, data); err != nil {
			c.close(wire.CloseTooSlow, "too slow: a frame was not read in time")
			return false
		}
		return true
	}
	defer func() {
		for {
			select {
			case f := <-c.out:
				f.end("closed")
			default:
				return
			}
		}
	}()
	if len(c.early) > 0 {
		hello := <-c.out
		for _, data := range append([][]byte{hello.data}, c.early...) {
			select {
			case <-c.done:
			default:
				send(data)
			}
		}
		c.early = nil
	}
	for {
		select {
		case <-c.done:
			if c.last != nil {
				send(c.last)
			}
			// Close waits for the client's answer, and ends the read.
			_ = c.ws.Close(c.code, c.reason)
			return
		default:
		}
		select {
		case <-c.done:
		case f := <-c.out:
			if send(f.data) {
				f.end("")
			} else {
				f.end("not written")
			}
		case frame := <-c.bulk:
			send(frame)
		case <-tick.C:
			go func() { // the answer takes a round trip, for which no frame should wait
				ctx, cancel := context.WithTimeout(ctx, c.g.HeartbeatTimeout)
				defer cancel()
				if c.ws.Ping(ctx) != nil {
					c.close(wire.CloseNoHeartbeat, "no answer to ping")
				}
			}()
		}
	}
}
