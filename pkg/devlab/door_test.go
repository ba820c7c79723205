package devlab

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/labctl/labctl/services/client"
	"github.com/labctl/labctl/services/gateway"
)

// startGateway starts a gateway with another configuration and gives its address.
func (w *world) startGateway(name string, change func(*gateway.Config)) (url string) {
	w.t.Helper()
	u := &unit{name: name, run: running(change)}
	w.place(u)
	w.start(name)
	require.NoError(w.t, ready(w.t.Context(), []*unit{u}, w.urls))
	return w.urls[name]
}

// running runs a gateway with another configuration.
func running(change func(*gateway.Config)) func(context.Context, func(string) string, listeners, *slog.Logger) error {
	return func(ctx context.Context, getenv func(string) string, on listeners, log *slog.Logger) error {
		c, err := gateway.ConfigFromEnv(getenv)
		if err != nil {
			return err
		}
		c.Listener, c.HealthListener, c.Log = on.service, on.health, log
		change(&c)
		return gateway.Run(ctx, c)
	}
}

// access gives an access token of a session that is good for now.
func (w *world) access(s *client.Session) string {
	w.t.Helper()
	token, err := s.AccessToken(w.t.Context())
	require.NoError(w.t, err)
	return token
}

// upgrade opens a bare socket at a gateway, on which no hello was said.
func (w *world) upgrade(gateway string) *websocket.Conn {
	w.t.Helper()
	ws, res, err := websocket.Dial(w.t.Context(), "ws"+strings.TrimPrefix(gateway, "http")+"/ws", nil)
	require.NoError(w.t, err)
	require.Equal(w.t, http.StatusSwitchingProtocols, res.StatusCode)
	w.t.Cleanup(func() { _ = ws.CloseNow() })
	return ws
}

// dial opens a bare socket of a session at a gateway, and has read the hello.
func (w *world) dial(gateway string, s *client.Session) *websocket.Conn {
	w.t.Helper()
	ws, err := client.New(gateway).Dial(w.t.Context(), w.access(s), "")
	require.NoError(w.t, err)
	w.t.Cleanup(func() { _ = ws.CloseNow() })
	_, hello, err := ws.Read(w.t.Context())
	require.NoError(w.t, err)
	require.Contains(w.t, string(hello), `"type":"hello"`)
	return ws
}

// closing reads a socket to its end and gives the frames that still came and the close code.
func closing(t *testing.T, ws *websocket.Conn) (frames []string, code websocket.StatusCode) {
	t.Helper()
	for {
		_, frame, err := ws.Read(t.Context())
		if err != nil {
			return frames, websocket.CloseStatus(err)
		}
		frames = append(frames, string(frame))
	}
}

// A session's end closes its sockets on each gateway, and no gateway lets it in again with its access token, not even one that starts only now.
func TestAnEndedSessionIsShutOutEverywhere(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	same := func(*gateway.Config) {}
	second := w.startGateway("gateway-2", same)
	alice := w.user("alice")
	phone, laptop := w.again(alice), w.again(alice)
	gateways := map[string]string{"first": w.url, "second": second}
	mine, others := map[string]*websocket.Conn{}, map[string]*websocket.Conn{}
	for name, url := range gateways {
		mine[name], others[name] = w.dial(url, phone), w.dial(url, laptop)
	}
	access := w.access(phone)

	require.NoError(t, alice.EndLogin(ctx, phone.ID))
	for name, ws := range mine {
		_, code := closing(t, ws)
		require.EqualValues(t, 4401, code, name)
	}
	gateways["new"] = w.startGateway("gateway-3", same)
	for name, url := range gateways {
		ws, err := client.New(url).Dial(ctx, access, "")
		require.NoError(t, err, name)
		frames, code := closing(t, ws)
		require.Empty(t, frames, name)
		require.EqualValues(t, 4401, code, name)
	}
	for name, ws := range others {
		require.NoError(t, ws.Write(ctx, websocket.MessageText, []byte(`{"type":"ping","id":"1"}`)))
		_, pong, err := ws.Read(ctx)
		require.NoError(t, err, name)
		require.JSONEq(t, `{"type":"pong","id":"1"}`, string(pong), name)
	}
}

// A client whose session has ended and that neither reads nor answers is cut off, and nothing that it still says is taken.
func TestAnEndedSessionThatDoesNotGo(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	alice, bob := w.user("alice"), w.user("bob")
	phone := w.again(alice)
	dm := client.DirectID(alice.User.ID, bob.User.ID)
	deaf := w.dial(w.url, phone)
	w.metric("gateway", "gateway_connections 1")
	require.NoError(t, alice.EndLogin(ctx, phone.ID))
	token, err := phone.AccessToken(ctx)
	require.NoError(t, err)
	w.untilRefused(token)
	for i := 0; ; i++ {
		frame := fmt.Sprintf(`{"type":"send","conversation":%q,"client_id":"c-%d","body":"still here"}`, dm, i)
		if deaf.Write(ctx, websocket.MessageText, []byte(frame)) != nil {
			break
		}
	}
	w.metric("gateway", "gateway_connections 0")
	// What is said now is behind whatever was taken before.
	require.EqualValues(t, 1, w.device(alice).send(dm, "alone").Seq)
}

// A socket outlives the token that opened it. A token that has expired opens none, and a client then takes a new one.
func TestATokenThatExpires(t *testing.T) {
	w := newWorld(t, "gateway")
	ctx := t.Context()
	var c clock
	w.parts["gateway"].unit.run = running(func(o *gateway.Config) { o.Now = c.now })
	w.start("gateway")
	w.ready()
	alice := w.user("alice")
	old := w.access(alice)
	ws, d := w.dial(w.url, alice), w.device(alice)
	c.forward(time.Hour)
	require.NoError(t, ws.Write(ctx, websocket.MessageText, []byte(`{"type":"ping","id":"1"}`)))
	_, pong, err := ws.Read(ctx)
	require.NoError(t, err)
	require.JSONEq(t, `{"type":"pong","id":"1"}`, string(pong))
	late, err := client.New(w.url).Dial(ctx, old, "")
	require.NoError(t, err)
	_, code := closing(t, late)
	require.EqualValues(t, 4402, code)

	d.Disconnect()
	eventually(t, "the client to take a new token", func() bool { return w.access(alice) != old })
	c.forward(-time.Hour) // to a gateway whose clock is an hour ahead, each token is an old one
	d.send(client.DirectID(alice.User.ID, w.user("bob").User.ID), "in again")
}

func TestTooMuch(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	var c clock
	begin := time.Now()
	still := func() time.Time { // only the test moves it
		c.mu.Lock()
		defer c.mu.Unlock()
		return begin.Add(c.skip)
	}
	limited := func(change func(*gateway.Config)) string {
		return w.startGateway(fmt.Sprint("gateway-", len(w.parts)), change)
	}
	rate := func(n int) gateway.Config {
		o, err := gateway.ConfigFromEnv(func(k string) string {
			if strings.HasSuffix(k, "_RATE") {
				return fmt.Sprint("1/", n)
			}
			return w.env("gateway")(k)
		})
		require.NoError(t, err)
		return o
	}
	ping := []byte(`{"type":"ping","id":"1"}`)
	// floods sends pings until one is refused, and gives how many were answered.
	floods := func(ws *websocket.Conn) (answered int) {
		for ; ; answered++ {
			require.NoError(t, ws.Write(ctx, websocket.MessageText, ping))
			_, frame, err := ws.Read(ctx)
			require.NoError(t, err)
			if strings.Contains(string(frame), `"pong"`) {
				continue
			}
			require.Contains(t, string(frame), `"code":"rate_limited"`)
			require.Contains(t, string(frame), `"retry":true`)
			_, code := closing(t, ws)
			require.EqualValues(t, 4429, code)
			return answered
		}
	}

	t.Run("in a connection", func(t *testing.T) {
		url := limited(func(o *gateway.Config) { o.ConnectionRate, o.Now = rate(10).ConnectionRate, still })
		alice, bob := w.user("alice"), w.user("bob")
		ws := w.dial(url, alice)
		require.Equal(t, 9, floods(ws), "the hello was the first")
		dm := client.DirectID(alice.User.ID, bob.User.ID)
		d := w.deviceOf(alice, client.DeviceOptions{})
		ws = w.dial(url, alice) // a new one begins anew
		for range 9 {
			require.NoError(t, ws.Write(ctx, websocket.MessageText, ping))
		}
		var refused []string
		for i := 0; len(refused) == 0; i++ {
			frame, err := json.Marshal(map[string]string{"type": "send", "conversation": dm, "client_id": fmt.Sprint("c-", i), "body": "x"})
			require.NoError(t, err)
			if ws.Write(ctx, websocket.MessageText, frame) != nil || i == 10 {
				frames, _ := closing(t, ws)
				refused = frames[len(frames)-1:]
			}
		}
		require.Regexp(t, `"client_id":"c-\d+","conversation":"dm:`, refused[0], "which message it was is said")
		w.metric(fmt.Sprint("gateway-", len(w.parts)-1), "gateway_rate_limited_total 2")
		d.send(dm, "another gateway, another count")
	})
	t.Run("of a user", func(t *testing.T) {
		url := limited(func(o *gateway.Config) { o.UserRate, o.Now = rate(10).UserRate, still })
		carol, dave := w.user("carol"), w.user("dave")
		first, second := w.dial(w.url, dave), w.dial(url, carol)
		require.Equal(t, 9, floods(second), "the hello was the first")
		ws, err := client.New(url).Dial(ctx, w.access(carol), "")
		require.NoError(t, err)
		frames, code := closing(t, ws)
		require.Len(t, frames, 1)
		require.Contains(t, frames[0], `"code":"rate_limited"`)
		require.EqualValues(t, 4429, code)
		require.NoError(t, first.Write(ctx, websocket.MessageText, ping), "others are not touched")
		_, _, err = first.Read(ctx)
		require.NoError(t, err)
		other := w.dial(url, dave)
		require.NoError(t, other.Write(ctx, websocket.MessageText, ping))
		_, _, err = other.Read(ctx)
		require.NoError(t, err)
		c.forward(4 * time.Second)
		w.dial(url, carol)
	})
	t.Run("of an address", func(t *testing.T) {
		url := limited(func(o *gateway.Config) { o.AddressRate, o.Now = rate(5).AddressRate, still })
		from := func(address string) int {
			ws, res, err := websocket.Dial(ctx, "ws"+strings.TrimPrefix(url, "http")+"/ws", &websocket.DialOptions{HTTPHeader: http.Header{"X-Forwarded-For": {address}}})
			if err == nil {
				require.NoError(t, ws.CloseNow())
			}
			if res.StatusCode == 429 {
				require.Equal(t, "1", res.Header.Get("Retry-After"))
			}
			return res.StatusCode
		}
		for range 5 {
			require.Equal(t, 101, from("203.0.113.7"))
		}
		require.Equal(t, 429, from("203.0.113.7"))
		require.Equal(t, 429, from("198.51.100.9, 203.0.113.7"), "who says to come from elsewhere")
		require.Equal(t, 101, from("203.0.113.8"))
	})
}

// A client that reads nothing is closed once its queue is full, and keeps nobody else from anything.
func TestAClientThatDoesNotRead(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	alice := w.user("alice")
	w.dial(w.url, alice)
	other := w.device(w.again(alice))
	w.metric("gateway", "gateway_connections 2")
	k := w.kafka(kgo.ProducerBatchMaxBytes(1 << 20))
	frame := []byte(`{"type":"presence","user":"x","online":true,"at":"2026-11-21T08:15:30.123Z","x":"` + strings.Repeat("x", 30_000) + `"}`)
	for closed := false; !closed; {
		var batch []*kgo.Record
		for range 20 {
			batch = append(batch, &kgo.Record{Topic: "users", Key: []byte(alice.User.ID), Value: frame})
		}
		require.NoError(t, k.ProduceSync(ctx, batch...).FirstErr())
		closed = w.count("gateway", "gateway_slow_clients_total") > 0
	}
	bob := w.user("bob")
	other.send(client.DirectID(alice.User.ID, bob.User.ID), "goes on")
}

// A client that does not answer pings is closed.
func TestAClientThatIsSilent(t *testing.T) {
	w := newWorld(t)
	url := w.startGateway("gateway-2", func(o *gateway.Config) { o.Heartbeat, o.HeartbeatTimeout = 50*time.Millisecond, time.Second })
	alice := w.user("alice")
	w.dial(url, alice) // reads no more, and so answers no ping
	w.metric("gateway-2", "gateway_connections 1")
	w.metric("gateway-2", "gateway_connections 0")

	// And one that never says hello.
	frames, code := closing(t, w.upgrade(url))
	require.Empty(t, frames)
	require.EqualValues(t, 4408, code)
}

// A gateway that stops tells its clients so, and takes no more.
func TestAGatewayThatStops(t *testing.T) {
	w := newWorld(t)
	url := w.startGateway("gateway-2", func(*gateway.Config) {})
	alice := w.user("alice")
	var all []*websocket.Conn
	for range 120 { // more than are told at once
		all = append(all, w.dial(url, alice))
	}
	codes := make(chan websocket.StatusCode, len(all))
	for _, ws := range all {
		go func() {
			for {
				if _, _, err := ws.Read(context.Background()); err != nil {
					codes <- websocket.CloseStatus(err)
					return
				}
			}
		}()
	}
	w.parts["gateway-2"].stop()
	for range all {
		require.EqualValues(t, 1012, <-codes)
	}
}
