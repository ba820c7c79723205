package gateway

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/labctl/labctl/services/internal/trace"
	"github.com/labctl/labctl/services/internal/wire"
	"github.com/labctl/labctl/services/requestid"
)

// socket is the server's side of a WebSocket. It writes frames that are compiled already: once for all who get them. What waits goes out in one write.
type socket struct {
	conn net.Conn
	in   wsutil.Reader

	request string // the id of the request that the socket was made of
	frames  int64  // how many of the client's frames have an id

	mu    sync.Mutex // held while writing: what is written at once stays together
	until time.Time  // the bound of writing that conn has
}

// readBuffer fits usual frames: each socket has one.
const readBuffer = 256

// upgrade makes a socket of a request that handshake has found good. control gets each ping, pong and close, more each further part of a message.
func upgrade(w http.ResponseWriter, r *http.Request, control func(ws.OpCode, []byte), more func()) (*socket, error) {
	conn, rw, _, err := ws.HTTPUpgrader{Header: w.Header()}.Upgrade(r, w)
	if err != nil {
		if conn != nil {
			err = errors.Join(err, conn.Close())
		}
		return nil, fmt.Errorf("upgrade: %w", err)
	}
	s := &socket{conn: conn, request: trace.Request(r.Context()), in: wsutil.Reader{
		State: ws.StateServerSide, MaxFrameSize: wire.MaxFrame, MaxMessageSize: wire.MaxFrame,
		OnIntermediate: func(h ws.Header, body io.Reader) error {
			payload, err := io.ReadAll(body)
			if err == nil {
				control(h.OpCode, payload)
			}
			if h.OpCode == ws.OpClose && err == nil {
				err = io.EOF
			}
			return err
		},
		OnContinuation: func(ws.Header, io.Reader) error {
			more()
			return nil
		},
	}}
	// The server's buffer is of 4 KiB. Where a client did not wait for the answer, its frames are in there already.
	if s.in.Source = rw.Reader; rw.Reader.Buffered() == 0 {
		s.in.Source = bufio.NewReaderSize(conn, readBuffer)
	}
	return s, nil
}

// read gives the next frame: a message, whole, or one between messages that is for control.
func (s *socket) read() (ws.OpCode, []byte, error) {
	h, err := s.in.NextFrame()
	if err != nil {
		return 0, nil, err
	}
	data, err := io.ReadAll(&s.in)
	return h.OpCode, data, err
}

// nextRequest gives the id of the client's next frame. It is used by the reader.
func (s *socket) nextRequest() string {
	s.frames++
	return requestid.Part(s.request, s.frames)
}

// unreadable gives the code to close with for an error of read. ok is false if the connection has ended.
func unreadable(err error) (code ws.StatusCode, ok bool) {
	var protocol ws.ProtocolError
	switch {
	case errors.Is(err, wsutil.ErrFrameTooLarge), errors.Is(err, wsutil.ErrMessageTooLarge):
		return ws.StatusMessageTooBig, true
	case errors.As(err, &protocol):
		return ws.StatusProtocolError, true
	}
	return 0, false
}

// lingerTime is how long linger waits for a client to end what it says.
const lingerTime = time.Second

// linger takes what a client still says, for some time. A connection that is closed before would be reset, and with it goes the close frame that
// says why.
func (s *socket) linger() {
	if s.conn.SetReadDeadline(time.Now().Add(lingerTime)) == nil {
		_, _ = io.Copy(io.Discard, s.conn)
	}
}

// writeBuffer is how much goes out in one write, but for a single frame that is larger.
const writeBuffer = 32 << 10

var writeBuffers = sync.Pool{New: func() any { return new([writeBuffer]byte) }}

// write writes compiled frames. Each write may take some time, or at most twice of it.
func (s *socket) write(within time.Duration, frames ...*frame) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(frames) == 1 {
		return s.flush(within, frames[0].data)
	}
	buffer := writeBuffers.Get().(*[writeBuffer]byte)
	defer writeBuffers.Put(buffer)
	out := buffer[:0]
	for _, f := range frames {
		if len(out) > 0 && len(out)+len(f.data) > writeBuffer {
			if err := s.flush(within, out); err != nil {
				return err
			}
			out = buffer[:0]
		}
		out = append(out, f.data...)
	}
	return s.flush(within, out)
}

// flush is one write. Its bound is moved only when less than within is left of it: moving it costs as much as copying a frame.
func (s *socket) flush(within time.Duration, b []byte) error {
	if now := time.Now(); s.until.Sub(now) < within {
		s.until = now.Add(2 * within)
		if err := s.conn.SetWriteDeadline(s.until); err != nil {
			return err
		}
	}
	_, err := s.conn.Write(b)
	return err
}

// text compiles a text frame.
func text(payload []byte) *frame { return &frame{data: ws.MustCompileFrame(ws.NewTextFrame(payload))} }
