package gateway

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"
	otel "go.opentelemetry.io/otel/trace"

	"github.com/labctl/labctl/services/internal/limit"
	"github.com/labctl/labctl/services/internal/service"
	"github.com/labctl/labctl/services/internal/token"
	"github.com/labctl/labctl/services/internal/trace"
	"github.com/labctl/labctl/services/internal/wire"
)

// conn is one device's socket. At rest it costs a reading goroutine, a timer and what is here: a gateway has many, and most are silent.
type conn struct {
	g       *gateway
	socket  *socket
	id      string
	address string
	frames  limit.Bucket // of this connection; used by its reader
	mirror  *socketMirror

	// What the client's hello has told, and what was passed on before it. Nobody but the reader knows the socket until then.
	user, session, position string

	away atomic.Bool // its client says that nobody is there

	mu      sync.Mutex
	opened  bool        // the hello has come
	writing bool        // a goroutine writes, or ends the socket
	queue   []*frame    // what came from Kafka and answers; a client that lets it fill up is closed
	timer   *time.Timer // until the hello, and then until the next ping or its answer is due
	pinged  bool        // no answer yet

	once   sync.Once
	done   chan struct{} // closed by close
	code   ws.StatusCode
	reason string
	last   []byte         // written before the close, if not nil
	ending sync.WaitGroup // until the last frame is written
	gone   chan struct{}  // closed when nothing of it is left
}

// frame is one on its way to clients.
type frame struct {
	data []byte    // as it is written
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
	if err := handshake(w, r); err != nil {
		return err
	}
	c := &conn{
		g: g, id: wire.NewID(), address: address,
		frames: limit.NewBucket(g.ConnectionRate, g.Now()), done: make(chan struct{}), gone: make(chan struct{}),
	}
	var err error
	if c.socket, err = upgrade(w, r, c.control, c.more); err != nil {
		g.Log.Debug("no upgrade", "error", err)
		return nil // it is answered
	}
	c.mirror = g.mirrors.begin(c.socket.request)
	c.ending.Add(1)
	g.connections.Inc()
	g.opened.Add(1)
	c.mu.Lock() // the timer may be due before it is known here
	c.timer = time.AfterFunc(g.HeartbeatTimeout, func() { c.close(wire.CloseNoHeartbeat, "the client said no hello") })
	c.mu.Unlock()
	// A socket lives for hours. It needs nothing of the request that began it, which ends here, nor of the depth of its stack.
	go c.serve() //nolint:gosec // G118: it outlives the request
	return nil
}

// handshake says why no socket can be made of a request. The upgrade would say it too, but not in JSON.
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

// hello opens the socket for the user whose access token is in the client's first frame. The client speaks first: a page cannot send the token with
// the upgrade, an address is no place for it, and there are proxies (Skipper 0.22 is one) that lose what a server sends right behind its answer.
func (c *conn) hello(ctx context.Context, f wire.ClientFrame) {
	g := c.g
	claims, err := g.verifier.Verify(ctx, f.Token)
	switch {
	case errors.Is(err, token.ErrInvalid):
		c.close(wire.CloseBadToken, "the access token is no good; refresh it")
		return
	case errors.Is(err, token.ErrEnded):
		c.close(wire.CloseSessionEnded, "the session has ended")
		return
	case err != nil:
		g.Log.Warn("a socket waits for auth", "error", err)
		c.close(closeTryAgain, "a part is down; connect again")
		return
	}
	c.user, c.session = claims.User, claims.Session
	if _, ok := g.byUser.Take(c.user); !ok {
		c.refuse(nil)
		return
	}
	c.open()
	if g.ended.Has(c.session) { // its end may have come before the hub knew the socket
		c.close(wire.CloseSessionEnded, "the session has ended")
	} else if g.draining.Load() { // drain may have listed the sockets just before
		c.close(closeRestart, "the gateway stops; connect again")
	}
	g.announce(c.user)
}

// Close codes of IANA's registry (https://www.iana.org/assignments/websocket) that RFC 6455 does not have.
const (
	closeRestart  ws.StatusCode = 1012 // connect again at once
	closeTryAgain ws.StatusCode = 1013 // later
)

// open makes the socket known. Its first frame is the hello, whose position is read once the hub knows the socket: what was passed on before, the
// position covers, and what is passed on after, the socket gets.
func (c *conn) open() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.g.hub.add(c)
	c.opened = true
	c.position = c.g.position.String()
	c.queue = append(c.queue, text(wire.Encode(wire.Hello{
		Type: wire.FrameHello, User: c.user, Session: c.session, Connection: c.id, Position: c.position,
		Heartbeat: int(c.g.Heartbeat.Seconds()), MaxFrame: wire.MaxFrame,
	})))
	c.timer.Stop()
	c.timer = time.AfterFunc(c.g.Heartbeat, c.ping)
	c.kick()
}

// serve runs the socket until nothing is left of it. Its goroutine waits for the client, mostly, and what handles frames needs more stack than waiting
// does, so that runs apart.
func (c *conn) serve() {
	for {
		op, data, err := c.socket.read()
		if err != nil {
			c.left()
			if code, ok := unreadable(err); ok {
				c.close(code, err.Error())
				c.socket.linger()
			}
			break
		}
		handled := make(chan struct{})
		go func() {
			defer close(handled)
			defer func() {
				if p := recover(); p != nil { // of one frame, which should not end all sockets
					c.g.Log.Error("panic", "value", fmt.Sprint(p), "stack", string(debug.Stack()))
					c.close(ws.StatusInternalServerError, "an error of the gateway")
				}
			}()
			if op.IsControl() {
				c.control(op, data)
			} else {
				c.handle(op, data)
			}
		}()
		<-handled
		if op == ws.OpClose {
			break
		}
	}
	c.end()
}

// control handles a ping, a pong or a close of the client.
func (c *conn) control(op ws.OpCode, payload []byte) {
	switch {
	case op == ws.OpClose:
		c.left()
		code, reason := ws.ParseCloseFrameData(payload)
		switch {
		case len(payload) == 0:
			c.close(ws.StatusNormalClosure, "")
		case ws.CheckCloseFrameData(code, reason) != nil:
			c.close(ws.StatusProtocolError, "a close frame that is none")
		default:
			c.close(code, "")
		}
	case !c.may():
		c.refuse(nil)
	case op == ws.OpPing:
		c.put(&frame{data: ws.MustCompileFrame(ws.NewPongFrame(payload))})
	default:
		c.alive()
	}
}

// left has the mirror know that the client ends the socket, unless the gateway does already.
func (c *conn) left() {
	select {
	case <-c.done:
	default:
		c.mirror.gone()
	}
}

// more counts a further part of a message, as a frame.
func (c *conn) more() {
	if !c.may() {
		c.refuse(nil)
	}
}

func (c *conn) end() {
	c.close(ws.StatusNormalClosure, "")
	c.ending.Wait()
	c.mirror.end()
	c.cut()
	if c.opened {
		c.g.hub.remove(c)
		c.g.announce(c.user)
	}
	c.g.connections.Dec()
	close(c.gone)
}

// cut ends the connection at once.
func (c *conn) cut() { _ = c.socket.conn.Close() }

// close asks the socket to end with that code. The first call counts; it does not wait.
func (c *conn) close(code ws.StatusCode, reason string) { c.closeAfter(nil, code, reason) }

// closeAfter is close, with a last frame that says why.
func (c *conn) closeAfter(last []byte, code ws.StatusCode, reason string) {
	c.once.Do(func() {
		c.last, c.code, c.reason = last, code, reason
		close(c.done)
		c.mu.Lock()
		if c.timer != nil {
			c.timer.Stop()
		}
		c.kick()
		c.mu.Unlock()
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
func (c *conn) enqueue(data []byte) bool { return c.put(text(data)) }

func (c *conn) put(f *frame) bool {
	c.mu.Lock()
	full := false
	select {
	case <-c.done:
		c.mu.Unlock()
		f.end("closed")
		return false
	default:
		if full = len(c.queue) >= c.g.Queue; !full {
			c.queue = append(c.queue, f)
			c.kick()
		}
	}
	c.mu.Unlock()
	if full {
		f.end("too slow")
		c.g.slow.Inc()
		c.close(wire.CloseTooSlow, "too slow: too many frames wait to be read")
	}
	return !full
}

// kick has what waits written, and the socket closed if it is to be. The caller holds mu.
func (c *conn) kick() {
	closing := false
	select {
	case <-c.done:
		closing = true
	default:
	}
	if !c.writing && (closing || len(c.queue) > 0) {
		c.writing = true
		go c.write()
	}
}

// ping asks the client whether it is there. A client that has not answered the ping before is closed.
func (c *conn) ping() {
	c.mu.Lock()
	late := c.pinged
	c.mu.Unlock()
	if late {
		c.close(wire.CloseNoHeartbeat, "no answer to ping")
		return
	}
	c.expect(true, c.g.HeartbeatTimeout)
	c.put(&frame{data: ws.CompiledPing})
}

// alive notes the answer to a ping.
func (c *conn) alive() { c.expect(false, c.g.Heartbeat) }

// expect notes whether there is to be an answer, and when to look next.
func (c *conn) expect(answer bool, within time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.done:
	default:
		if c.opened {
			c.pinged = answer
			c.timer.Reset(within)
		}
	}
}

// send writes frames, beside those of the queue.
func (c *conn) send(frames ...*frame) bool {
	c.mirror.told(frames) // before the client can answer them
	err := c.socket.write(c.g.WriteTimeout, frames...)
	if err != nil {
		c.close(wire.CloseTooSlow, "too slow: a frame was not read in time")
	}
	return err == nil
}

// write sends frames until none waits. If the socket is to close, it closes it.
func (c *conn) write() {
	for {
		frames, closing := c.next()
		switch {
		case closing:
			var last []*frame
			if c.last != nil {
				last = append(last, text(c.last))
			}
			// The client's answer, or the time for it, ends the reader.
			c.send(append(last, &frame{data: ws.MustCompileFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(c.code, c.reason)))})...)
			c.ending.Done()
			return
		case frames == nil:
			return
		}
		why := ""
		if !c.send(frames...) {
			why = "not written"
		}
		for _, f := range frames {
			f.end(why)
		}
	}
}

// next takes all frames from the queue. Without one the writing is over, but for the end of a socket that is closing.
func (c *conn) next() (frames []*frame, closing bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	frames, c.queue = c.queue, nil
	select {
	case <-c.done:
		for _, f := range frames {
			f.end("closed")
		}
		return nil, true
	default:
		c.writing = len(frames) > 0
		return frames, false
	}
}
