package sockets

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/labctl/labctl/pkg/shadow/side"
	"github.com/labctl/labctl/services/requestid"
)

const (
	// socketPath is where clients open sockets.
	socketPath = "/ws"
	// dialTime is how long a copy may take for a connection.
	dialTime = 5 * time.Second
	// writeTime is how long it may take for a frame.
	writeTime = 10 * time.Second
	// lingerTime is how long it is listened to when it does not read any more.
	lingerTime = time.Second
	// copiedQueue is how many frames of the client may wait.
	copiedQueue = 1024
)

// copied is a client's socket at a copy.
type copied struct {
	url     string
	of      side.Side
	request string
	m       *socket
	queue   chan clientMessage
	greeted time.Time // when the client's hello was queued; guarded by mu of the Sockets
	done    chan struct{}
	once    sync.Once

	writing sync.Mutex
}

type clientMessage struct {
	op   ws.OpCode
	data []byte
}

func newCopied(url string, of side.Side, request string, m *socket) *copied {
	return &copied{
		url: "ws" + strings.TrimPrefix(strings.TrimSuffix(url, "/"), "http") + socketPath, of: of, request: request, m: m,
		queue: make(chan clientMessage, copiedQueue), done: make(chan struct{}),
	}
}

// say queues what the client says. ok is false where the copy does not read.
func (c *copied) say(op ws.OpCode, data []byte) (ok bool) {
	if c.greeted.IsZero() {
		c.greeted = c.m.s.o.Now()
	}
	select {
	case c.queue <- clientMessage{op, data}:
		return true
	default:
		return false
	}
}

// stop ends the socket.
func (c *copied) stop() { c.once.Do(func() { close(c.done) }) }

// run opens the socket, and says there what the client says until it ends.
func (c *copied) run() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-c.done:
		case <-ctx.Done():
		}
		cancel()
	}()
	// The id of the live socket's request, so that the records have the same ids.
	dial := ws.Dialer{Timeout: dialTime, Header: ws.HandshakeHeaderHTTP{requestid.Header: {c.request}, "X-Shadow": {c.of.String()}}}
	conn, early, _, err := dial.Dial(ctx, c.url)
	if err != nil {
		c.m.fails(c.of)
		return
	}
	var in io.Reader = early
	if early == nil {
		in = bufio.NewReader(conn)
	}
	var reading sync.WaitGroup
	reading.Go(func() {
		defer c.stop()
		c.read(conn, in)
	})
	if c.write(conn) != nil {
		_ = conn.SetReadDeadline(time.Now().Add(lingerTime)) // it may have said why
	} else {
		_ = conn.Close()
	}
	reading.Wait()
	_ = conn.Close()
}

// write says what the client says, until the socket is to end.
func (c *copied) write(conn net.Conn) error {
	for {
		select {
		case <-c.done:
			return nil
		case f := <-c.queue:
			if err := c.frame(conn, f.op, f.data); err != nil {
				return err
			}
		}
	}
}

// frame writes a frame. Its mask is zero, so that the data stays as it is for the other copy.
func (c *copied) frame(conn net.Conn, op ws.OpCode, data []byte) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	if err := conn.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return err
	}
	return ws.WriteFrame(conn, ws.Frame{Header: ws.Header{Fin: true, OpCode: op, Masked: true, Length: int64(len(data))}, Payload: data})
}

// read takes what the copy says, until it ends the socket.
func (c *copied) read(conn net.Conn, source io.Reader) {
	control := func(h ws.Header, data []byte) {
		switch h.OpCode {
		case ws.OpPing:
			_ = c.frame(conn, ws.OpPong, data)
		case ws.OpClose:
			code, _ := ws.ParseCloseFrameData(data)
			c.m.closed(c.of, code, "")
			_ = c.frame(conn, ws.OpClose, data) // then it ends the connection
		}
	}
	in := wsutil.Reader{Source: source, State: ws.StateClientSide, MaxFrameSize: maxPart, MaxMessageSize: maxPart}
	in.OnIntermediate = func(h ws.Header, r io.Reader) error {
		data, err := io.ReadAll(r)
		if err == nil {
			control(h, data)
		}
		return err
	}
	for {
		h, err := in.NextFrame()
		if err == nil {
			var data []byte
			if data, err = io.ReadAll(&in); err == nil {
				if h.OpCode.IsControl() {
					control(h, data)
				} else {
					c.m.told(c.of, data)
				}
			}
		}
		if err != nil {
			why := "the connection broke"
			if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.As(err, new(net.Error)) {
				why = "what it says is no WebSocket's"
			}
			c.m.closed(c.of, 0, why)
			return
		}
	}
}
