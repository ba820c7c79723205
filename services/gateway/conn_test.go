package gateway

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/services/internal/service"
)

// unconnected is what is beneath a socket in tests that write nothing.
type unconnected struct{ net.Conn }

func (unconnected) SetWriteDeadline(time.Time) error { return nil }
func (unconnected) Close() error                     { return nil }

// timed keeps the times that writing was given.
type timed struct {
	net.Conn
	mu  sync.Mutex
	all []time.Time
}

func (t *timed) SetWriteDeadline(at time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all = append(t.all, at)
	return t.Conn.SetWriteDeadline(at)
}

// connected gives a socket whose client has spoken, and the client.
func connected(t *testing.T, config Config) (c *conn, client *websocket.Conn, under *timed) {
	t.Helper()
	accepted := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(accepted)
		h := &hijack{ResponseWriter: w}
		ws, err := websocket.Accept(h, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		under = &timed{Conn: h.conn}
		c = &conn{g: &gateway{Config: config, slow: service.NewMetrics().Counter("x", "x")}, ws: ws, under: under, said: true, done: make(chan struct{})}
		c.ending.Add(1)
	}))
	t.Cleanup(server.Close)
	client, res, err := websocket.Dial(t.Context(), server.URL, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusSwitchingProtocols, res.StatusCode)
	<-accepted
	t.Cleanup(func() {
		_ = client.CloseNow()
		c.close(websocket.StatusNormalClosure, "")
		c.cut()
		c.ending.Wait()
	})
	return c, client, under
}

func TestAClientThatReadsNothingIsClosed(t *testing.T) {
	c, _, _ := connected(t, Config{Queue: 1000, WriteTimeout: 100 * time.Millisecond})
	for range 100 { // more than the system keeps for a connection
		require.True(t, c.enqueue(make([]byte, 1<<20)))
	}
	<-c.done
	require.EqualValues(t, 4409, c.code)
	require.Contains(t, c.reason, "not read in time")
}

// The bound of a frame's time must not be there when something else is written later.
func TestTheTimeOfAFrameEndsWithTheQueue(t *testing.T) {
	c, client, under := connected(t, Config{Queue: 2, WriteTimeout: time.Hour})
	begin := time.Now()
	require.True(t, c.enqueue([]byte("one")))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, data, err := client.Read(ctx)
	require.NoError(t, err)
	require.Equal(t, "one", string(data))
	require.Eventually(t, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return !c.writing
	}, 10*time.Second, time.Millisecond)
	under.mu.Lock()
	defer under.mu.Unlock()
	require.Len(t, under.all, 2)
	require.WithinRange(t, under.all[0], begin.Add(time.Hour), time.Now().Add(time.Hour))
	require.Zero(t, under.all[1])
}
