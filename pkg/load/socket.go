package load

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/labctl/labctl/services/client"
)

// socket is a WebSocket of little cost: the generator runs beside what it measures, and a library's socket takes several times the
// memory and twice the processor time. It knows what the gateway sends: unfragmented text, pings, closes.
type socket struct {
	conn net.Conn
	r    *bufio.Reader
	in   []byte // of the frame that was read last

	mu  sync.Mutex
	out []byte
}

// closed is the close frame that ended a socket.
type closed struct {
	code   int
	reason string
}

func (c closed) Error() string { return fmt.Sprintf("closed with %d %s", c.code, c.reason) }

const (
	opText    = 1
	opClose   = 8
	opPing    = 9
	opPong    = 10
	maxInput  = 1 << 20
	writeTime = 10 * time.Second
)

// dial opens a socket at a path and query below base.
func dial(ctx context.Context, base *url.URL, path string) (_ *socket, err error) {
	host, port := base.Hostname(), base.Port()
	if port == "" {
		port = "80"
		if base.Scheme == "https" {
			port = "443"
		}
	}
	conn, err := client.Dial(ctx, "tcp", net.JoinHostPort(host, port))
	if err != nil {
		return nil, fmt.Errorf("open a socket: %w", err)
	}
	defer func() {
		if err != nil {
			_ = conn.Close()
		}
	}()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return nil, err
		}
	}
	if base.Scheme == "https" {
		secure := tls.Client(conn, &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12})
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, fmt.Errorf("open a socket: %w", err)
		}
		conn = secure
	}
	nonce := make([]byte, 16)
	if _, err := rand.Read(nonce); err != nil {
		return nil, err
	}
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n",
		path, base.Host, base64.StdEncoding.EncodeToString(nonce)); err != nil {
		return nil, fmt.Errorf("open a socket: %w", err)
	}
	s := &socket{conn: conn, r: bufio.NewReaderSize(conn, 2<<10)}
	res, err := http.ReadResponse(s.r, nil)
	if err != nil {
		return nil, fmt.Errorf("open a socket: %w", err)
	}
	if res.StatusCode != http.StatusSwitchingProtocols {
		defer func() { _ = res.Body.Close() }()
		e := &client.Error{Status: res.StatusCode, Code: "http", Message: "open a socket: " + res.Status}
		var body struct {
			Error client.Error `json:"error"`
		}
		if json.NewDecoder(io.LimitReader(res.Body, 1<<16)).Decode(&body) == nil && body.Error.Code != "" {
			e.Code, e.Message = body.Error.Code, body.Error.Message
		}
		return nil, e
	}
	return s, conn.SetDeadline(time.Time{})
}

func (s *socket) close() { _ = s.conn.Close() }

// write sends a text frame. Its mask is zero: masks protect proxies from pages, and there is no page here.
func (s *socket) write(payload []byte) error { return s.frame(opText, payload) }

func (s *socket) frame(op byte, payload []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := append(s.out[:0], 0x80|op)
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		return errors.New("a frame of 64 KiB or more")
	}
	s.out = append(append(b, 0, 0, 0, 0), payload...)
	if err := s.conn.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return err
	}
	_, err := s.conn.Write(s.out)
	return err
}

// read gives the next text. It is good until the next read.
func (s *socket) read() ([]byte, error) {
	for {
		var head [2]byte
		if _, err := io.ReadFull(s.r, head[:]); err != nil {
			return nil, err
		}
		n := uint64(head[1] & 0x7f)
		switch n {
		case 126:
			var long [2]byte
			if _, err := io.ReadFull(s.r, long[:]); err != nil {
				return nil, err
			}
			n = uint64(binary.BigEndian.Uint16(long[:]))
		case 127:
			var long [8]byte
			if _, err := io.ReadFull(s.r, long[:]); err != nil {
				return nil, err
			}
			n = binary.BigEndian.Uint64(long[:])
		}
		if head[0]&0x80 == 0 || head[1]&0x80 != 0 || n > maxInput {
			return nil, fmt.Errorf("a frame that the chat does not send: % x, %d bytes", head, n)
		}
		if uint64(cap(s.in)) < n {
			s.in = make([]byte, n)
		}
		s.in = s.in[:n]
		if _, err := io.ReadFull(s.r, s.in); err != nil {
			return nil, err
		}
		switch head[0] & 0x0f {
		case opText:
			return s.in, nil
		case opPing:
			if err := s.frame(opPong, s.in); err != nil {
				return nil, err
			}
		case opClose:
			c := closed{code: 1005}
			if n >= 2 {
				c.code, c.reason = int(binary.BigEndian.Uint16(s.in)), string(s.in[2:])
			}
			_ = s.frame(opClose, s.in[:min(n, 2)]) // an answer that need not arrive
			return nil, c
		}
	}
}
