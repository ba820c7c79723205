package gateway

import (
	"net"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/services/internal/limit"
	"github.com/labctl/labctl/services/internal/service"
	"github.com/labctl/labctl/services/internal/wire"
)

// unconnected is what is beneath a socket in tests that write nothing.
type unconnected struct{ net.Conn }

func (unconnected) Close() error { return nil }

func TestAllowed(t *testing.T) {
	g := &gateway{Config: Config{Settings: service.Settings{AllowedOrigins: []string{"https://chat.example", "http://localhost:5173"}}}}
	for _, tc := range []struct {
		name    string
		origins []string
		host    string
		forward string
		want    bool
	}{
		{"no browser", nil, "chat.test", "", true},
		{"same host", []string{"http://chat.test"}, "chat.test", "", true},
		{"same host, other case", []string{"http://Chat.Test"}, "chat.test", "", true},
		{"same host and port", []string{"http://chat.test:8080"}, "chat.test:8080", "", true},
		{"other port", []string{"http://chat.test:8081"}, "chat.test:8080", "", false},
		{"behind a proxy", []string{"https://chat.test"}, "10.0.0.7:8080", "chat.test", true},
		{"behind a proxy, foreign", []string{"https://evil.example"}, "10.0.0.7:8080", "chat.test", false},
		{"listed", []string{"https://chat.example"}, "chat.test", "", true},
		{"listed with a port", []string{"http://localhost:5173"}, "chat.test", "", true},
		{"listed with another scheme", []string{"http://chat.example"}, "chat.test", "", false},
		{"ending like a listed one", []string{"https://evilchat.example"}, "chat.test", "", false},
		{"below a listed one", []string{"https://sub.chat.example"}, "chat.test", "", false},
		{"a letter that looks alike", []string{"http://ch\u0430t.test"}, "chat.test", "", false},
		{"a dot behind", []string{"http://chat.test."}, "chat.test", "", false},
		{"a port behind a listed one", []string{"https://chat.example:444"}, "chat.test", "", false},
		{"a backslash", []string{"http://chat.test\\@evil.example"}, "chat.test", "", false},
		{"a fragment", []string{"http://evil.example#chat.test"}, "chat.test", "", false},
		{"a query", []string{"http://chat.test?evil.example"}, "chat.test", "", false},
		{"a space", []string{" http://chat.test"}, "chat.test", "", false},
		{"a list", []string{"http://chat.test https://evil.example"}, "chat.test", "", false},
		{"beginning like a listed one", []string{"https://chat.example.evil.example"}, "chat.test", "", false},
		{"foreign", []string{"https://evil.example"}, "chat.test", "", false},
		{"null", []string{"null"}, "chat.test", "", false},
		{"empty", []string{""}, "", "", false},
		{"two", []string{"http://chat.test", "http://chat.test"}, "chat.test", "", false},
		{"with a user", []string{"http://chat.test@evil.example"}, "chat.test", "", false},
		{"with a path", []string{"http://chat.test/x"}, "chat.test", "", false},
		{"another scheme", []string{"file://chat.test"}, "chat.test", "", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/ws", nil)
			r.Host = tc.host
			for _, o := range tc.origins {
				r.Header.Add("Origin", o)
			}
			if tc.forward != "" {
				r.Header.Set("X-Forwarded-Host", tc.forward)
			}
			require.Equal(t, tc.want, g.allowed(r))
		})
	}
}

func TestConfig(t *testing.T) {
	env := map[string]string{"KAFKA_BROKERS": "b:1", "USER_RATE": "off", "ADDRESS_RATE": "0.5/7"}
	c, err := ConfigFromEnv(func(k string) string { return env[k] })
	require.NoError(t, err)
	require.Equal(t, limit.Rate{PerSecond: 200, Burst: 1000}, c.ConnectionRate)
	require.True(t, c.UserRate.Off())
	require.Equal(t, limit.Rate{PerSecond: 0.5, Burst: 7}, c.AddressRate)
	env["CONNECTION_RATE"], env["USER_RATE"] = "many", "200"
	_, err = ConfigFromEnv(func(k string) string { return env[k] })
	require.ErrorContains(t, err, "CONNECTION_RATE")
	require.ErrorContains(t, err, "USER_RATE", "all that is wrong is said at once")
}

func TestSlowClientIsClosed(t *testing.T) {
	c := &conn{socket: &socket{conn: unconnected{}}, g: &gateway{Config: Config{Queue: 2}, slow: service.NewMetrics().Counter("x", "x")}, done: make(chan struct{})}
	c.writing = true // by nobody, as if the client did not read
	require.True(t, c.enqueue(nil))
	require.True(t, c.enqueue(nil))
	require.False(t, c.enqueue(nil))
	<-c.done
	require.EqualValues(t, 4409, c.code)
	c.close(1000, "")
	require.EqualValues(t, 4409, c.code, "the first close counts")
}

// However many sockets come and go, what is still to be told of a user is told once.
func TestLeasesAreToldTogether(t *testing.T) {
	g := &gateway{leases: newLeases()}
	for range 100 {
		g.announce("ada")
		g.announce("grace")
	}
	require.Equal(t, map[string]struct{}{"ada": {}, "grace": {}}, g.leases.users)
	require.Len(t, g.leases.wake, 1)
}

// A shadow has nobody told who writes.
func TestShadowTellsNobodyWhoWrites(t *testing.T) {
	for shadow, want := range map[bool]int{false: 1, true: 0} {
		g := &gateway{Config: Config{Settings: service.Settings{Shadow: shadow}}, typings: newTypings()}
		c := &conn{g: g, user: "ann"}
		c.typing(t.Context(), wire.ClientFrame{Conversation: wire.NewGroupID(), On: true})
		n := 0
		for _, queue := range g.typings.queues {
			n += len(queue)
		}
		require.Equal(t, want, n, "shadow: %t", shadow)
	}
}
