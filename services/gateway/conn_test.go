package gateway

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/services/internal/bus"
	"github.com/labctl/labctl/services/internal/limit"
	"github.com/labctl/labctl/services/internal/service"
	"github.com/labctl/labctl/services/internal/trace"
	"github.com/labctl/labctl/services/internal/wire"
)

// counted counts what is written to a connection.
type counted struct {
	net.Conn
	writes atomic.Int64
}

func (c *counted) Write(b []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(b)
}

// accepting is a server whose sockets are served, and given to sockets.
func accepting(tb testing.TB, config Config) (g *gateway, address string, sockets chan *conn) {
	tb.Helper()
	config.Now = time.Now
	m := service.NewMetrics()
	g = &gateway{
		Config: config, hub: newHub(), leases: newLeases(), byUser: limit.New(config.UserRate, time.Now), byAddress: limit.New(config.AddressRate, time.Now),
		connections: m.Gauge("connections", "x"), received: m.Counter("received", "x"), delivered: m.Counter("delivered", "x"),
		slow: m.Counter("slow", "x"), flooding: m.Counter("flooding", "x"),
	}
	sockets = make(chan *conn, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := &conn{
			g: g, user: r.URL.Query().Get("user"), opened: true, frames: limit.NewBucket(config.ConnectionRate, time.Now()),
			done: make(chan struct{}), gone: make(chan struct{}), timer: time.AfterFunc(time.Hour, func() {}),
		}
		var err error
		if c.socket, err = upgrade(w, r, c.control, c.more); err != nil {
			tb.Error(err)
			return
		}
		c.socket.conn = &counted{Conn: c.socket.conn}
		c.mirror = g.mirrors.begin("0123456789")
		c.ending.Add(1)
		g.hub.add(c)
		go c.serve()
		sockets <- c
	}))
	tb.Cleanup(server.Close)
	return g, "ws" + strings.TrimPrefix(server.URL, "http"), sockets
}

// connected gives a socket that is open and served, and its client.
func connected(t *testing.T, config Config) (c *conn, client net.Conn) {
	t.Helper()
	_, address, sockets := accepting(t, config)
	return connect(t, address, sockets)
}

// connect gives a further socket.
func connect(t *testing.T, address string, sockets <-chan *conn) (c *conn, client net.Conn) {
	t.Helper()
	client, _, _, err := ws.Dial(t.Context(), address)
	require.NoError(t, err)
	c = <-sockets
	require.NoError(t, client.SetDeadline(time.Now().Add(time.Minute)))
	t.Cleanup(func() {
		_ = client.Close()
		<-c.gone
	})
	return c, client
}

// say sends a frame as clients do.
func say(t *testing.T, client net.Conn, f ws.Frame) {
	t.Helper()
	require.NoError(t, ws.WriteFrame(client, ws.MaskFrame(f)))
}

// next reads a frame that the gateway wrote.
func next(t *testing.T, client net.Conn) (f ws.Frame) {
	t.Helper()
	var err error
	f.Header, err = ws.ReadHeader(client)
	require.NoError(t, err)
	require.Less(t, f.Header.Length, int64(1<<20))
	f.Payload = make([]byte, f.Header.Length)
	_, err = io.ReadFull(client, f.Payload)
	require.NoError(t, err)
	return f
}

// closing reads until the socket is closed, and gives the code.
func closing(t *testing.T, client net.Conn) ws.StatusCode {
	t.Helper()
	for {
		f := next(t, client)
		if f.Header.OpCode == ws.OpClose {
			code, _ := ws.ParseCloseFrameData(f.Payload)
			return code
		}
	}
}

func TestAClientThatReadsNothingIsClosed(t *testing.T) {
	c, _ := connected(t, Config{Queue: 1000, WriteTimeout: 50 * time.Millisecond, Heartbeat: time.Hour})
	for range 100 { // more than the system keeps for a connection
		c.enqueue(make([]byte, 1<<20))
	}
	<-c.done
	require.EqualValues(t, wire.CloseTooSlow, c.code)
	require.Contains(t, c.reason, "not read in time")
}

func TestWhatWaitsGoesOutInOneWrite(t *testing.T) {
	c, client := connected(t, Config{Queue: 1000, WriteTimeout: time.Hour, Heartbeat: time.Hour})
	long := strings.Repeat("x", writeBuffer)
	sent := []string{"one", "", "three", long, "five"}
	c.mu.Lock()
	c.writing = true // by nobody yet
	c.mu.Unlock()
	for _, s := range sent {
		require.True(t, c.enqueue([]byte(s)))
	}
	require.Zero(t, c.socket.conn.(*counted).writes.Load())
	go c.write()
	for _, s := range sent {
		got, err := wsutil.ReadServerText(client)
		require.NoError(t, err)
		require.Equal(t, s, string(got))
	}
	require.EqualValues(t, 3, c.socket.conn.(*counted).writes.Load(), "before the long one, the long one, behind it")
}

// The bound of a write that was long ago must not end the next one.
func TestASocketThatWasSilentCanBeWritten(t *testing.T) {
	c, client := connected(t, Config{Queue: 10, WriteTimeout: time.Minute, Heartbeat: time.Hour})
	c.socket.mu.Lock()
	c.socket.until = time.Now().Add(-time.Second)
	require.NoError(t, c.socket.conn.SetWriteDeadline(c.socket.until))
	c.socket.mu.Unlock()
	require.True(t, c.enqueue([]byte("one")))
	got, err := wsutil.ReadServerText(client)
	require.NoError(t, err)
	require.Equal(t, "one", string(got))
	require.WithinRange(t, c.socket.until, time.Now().Add(time.Minute), time.Now().Add(2*time.Minute))
}

// All that a client makes the gateway read counts.
func TestEveryFrameCounts(t *testing.T) {
	ping, part := ws.NewPingFrame(nil), ws.NewFrame(ws.OpContinuation, false, nil)
	for name, frames := range map[string]struct{ first, more ws.Frame }{
		"pings": {ping, ping}, "pongs": {ws.NewPongFrame(nil), ws.NewPongFrame(nil)},
		"empty parts":         {ws.NewFrame(ws.OpText, false, nil), part},
		"pings between parts": {ws.NewFrame(ws.OpText, false, nil), ping},
	} {
		t.Run(name, func(t *testing.T) {
			_, client := connected(t, Config{
				ConnectionRate: limit.Rate{PerSecond: 1e-9, Burst: 10}, Queue: 100, WriteTimeout: time.Hour, Heartbeat: time.Hour,
			})
			say(t, client, frames.first)
			for range 11 {
				say(t, client, frames.more)
			}
			require.EqualValues(t, wire.CloseTooMany, closing(t, client))
		})
	}
}

func TestClosing(t *testing.T) {
	t.Run("by the client", func(t *testing.T) {
		c, client := connected(t, Config{WriteTimeout: time.Hour})
		say(t, client, ws.NewCloseFrame(ws.NewCloseFrameBody(4000, "enough")))
		require.EqualValues(t, 4000, closing(t, client), "the same code comes back")
		<-c.gone
		_, err := client.Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF)
	})
	t.Run("by the gateway", func(t *testing.T) {
		c, client := connected(t, Config{WriteTimeout: time.Hour})
		c.closeAfter([]byte("why"), wire.CloseSessionEnded, "the session has ended")
		got, err := wsutil.ReadServerText(client)
		require.NoError(t, err)
		require.Equal(t, "why", string(got))
		require.EqualValues(t, wire.CloseSessionEnded, closing(t, client))
		say(t, client, ws.NewCloseFrame(nil))
		<-c.gone
	})
	t.Run("a client that says all of its frame first", func(t *testing.T) {
		_, client := connected(t, Config{WriteTimeout: time.Hour})
		say(t, client, ws.NewTextFrame(make([]byte, 100*wire.MaxFrame)))
		require.Equal(t, ws.StatusMessageTooBig, closing(t, client))
	})
	for name, tc := range map[string]struct {
		frame ws.Frame
		code  ws.StatusCode
	}{
		"reserved bits":       {ws.Frame{Header: ws.Header{Fin: true, Rsv: 4, OpCode: ws.OpText}}, ws.StatusProtocolError},
		"part of nothing":     {ws.NewFrame(ws.OpContinuation, true, nil), ws.StatusProtocolError},
		"no close code":       {ws.NewCloseFrame([]byte{3, 237}), ws.StatusProtocolError},
		"half a close code":   {ws.NewCloseFrame([]byte{3}), ws.StatusProtocolError},
		"a frame too large":   {ws.NewTextFrame(make([]byte, wire.MaxFrame+1)), ws.StatusMessageTooBig},
		"a close without why": {ws.NewCloseFrame(nil), ws.StatusNormalClosure},
	} {
		t.Run(name, func(t *testing.T) {
			_, client := connected(t, Config{WriteTimeout: time.Hour})
			go func() { _ = ws.WriteFrame(client, ws.MaskFrame(tc.frame)) }() // it may be refused before it is all there
			require.Equal(t, tc.code, closing(t, client))
		})
	}
}

func TestPing(t *testing.T) {
	c, client := connected(t, Config{Queue: 10, WriteTimeout: time.Hour, Heartbeat: time.Hour, HeartbeatTimeout: time.Hour})
	say(t, client, ws.NewPingFrame([]byte("mine")))
	f := next(t, client)
	require.Equal(t, ws.OpPong, f.Header.OpCode)
	require.Equal(t, "mine", string(f.Payload))

	c.ping()
	f = next(t, client)
	require.Equal(t, ws.OpPing, f.Header.OpCode)
	say(t, client, ws.NewPongFrame(f.Payload))
	require.Eventually(t, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return !c.pinged
	}, 10*time.Second, time.Millisecond)
	c.ping()
	c.ping() // no answer came
	require.EqualValues(t, wire.CloseNoHeartbeat, closing(t, client))
}

// BenchmarkFanOut delivers to a room of 1000, all of whom read. One operation is a delivery.
func BenchmarkFanOut(b *testing.B) {
	const members = 1000
	g, address, sockets := accepting(b, Config{Queue: 256, WriteTimeout: time.Minute, Heartbeat: time.Hour})
	g.tracer = &trace.Tracer{}
	payload := []byte(strings.Repeat("x", 350))
	var read atomic.Int64
	var users []string
	for i := range members {
		users = append(users, wire.NewID())
		client, _, _, err := ws.Dial(b.Context(), address+"?user="+users[i])
		require.NoError(b, err)
		c := <-sockets
		b.Cleanup(func() {
			_ = client.Close()
			<-c.gone
		})
		go func() {
			buffer := make([]byte, 32<<10)
			for {
				n, err := client.Read(buffer)
				if err != nil {
					return
				}
				read.Add(int64(n))
			}
		}()
	}
	r := bus.For("room", users, payload)
	size := int64(len(text(payload).data))
	for sent := int64(0); b.Loop(); {
		if sent++; sent%members != 1 {
			continue
		}
		g.deliver(r)
		for read.Load() < size*(sent-100*members) { // a client that does not keep up would be closed
			runtime.Gosched()
		}
	}
}
