package service

import (
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAddress(t *testing.T) {
	env := map[string]string{"KAFKA_BROKERS": "b:1", "MONGODB_URI": "mongodb://m", "TRUSTED_PROXIES": "10.1.0.0/16, 192.168.0.9/32, fe80::/10"}
	s, err := FromEnv("gateway", func(k string) string { return env[k] })
	require.NoError(t, err)
	for _, tc := range []struct {
		name, peer string
		forwarded  []string
		want       string
	}{
		{"alone", "203.0.113.7:1234", nil, "203.0.113.7"},
		{"who says to be another", "203.0.113.7:1234", []string{"198.51.100.1"}, "203.0.113.7"},
		{"behind a proxy", "10.1.2.3:80", []string{"198.51.100.1"}, "198.51.100.1"},
		{"behind two", "10.1.2.3:80", []string{"198.51.100.1, 192.168.0.9"}, "198.51.100.1"},
		{"behind two, a header each", "10.1.2.3:80", []string{"198.51.100.1", "192.168.0.9"}, "198.51.100.1"},
		{"behind a proxy, with a word of its own", "10.1.2.3:80", []string{"10.1.2.4, 198.51.100.1"}, "198.51.100.1"},
		{"who says to be a proxy's neighbour", "10.1.2.3:80", []string{"198.51.100.1, 10.2.0.1"}, "10.2.0.1"},
		{"a neighbour of a proxy", "10.2.0.1:80", []string{"198.51.100.1"}, "10.2.0.1"},
		{"nonsense before a proxy", "10.1.2.3:80", []string{"nonsense, 198.51.100.1"}, "198.51.100.1"},
		{"nonsense", "10.1.2.3:80", []string{"nonsense"}, "10.1.2.3"},
		{"within", "10.1.2.3:80", []string{"10.1.2.4"}, "10.1.2.4"},
		{"IPv4 in IPv6", "[::ffff:203.0.113.7]:1", nil, "203.0.113.7"},
		{"IPv6", "[2001:db8:1:2:3:4:5:6]:1", nil, "2001:db8:1:2::/64"},
		{"IPv6 behind a proxy", "[fe80::1%eth0]:1", []string{"2001:db8:1:2::9"}, "2001:db8:1:2::/64"},
		{"no address", "@", nil, "unknown"},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = tc.peer
		for _, f := range tc.forwarded {
			r.Header.Add("X-Forwarded-For", f)
		}
		require.Equal(t, tc.want, s.Address(r), tc.name)
	}

	delete(env, "TRUSTED_PROXIES")
	s, err = FromEnv("gateway", func(k string) string { return env[k] })
	require.NoError(t, err)
	for _, peer := range []string{"127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.0.1"} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = peer + ":1"
		r.Header.Set("X-Forwarded-For", "198.51.100.1")
		require.Equal(t, peer, s.Address(r), "no proxy is trusted unasked")
	}

	env["TRUSTED_PROXIES"] = "10.0.0.1"
	_, err = FromEnv("gateway", func(k string) string { return env[k] })
	require.ErrorContains(t, err, "TRUSTED_PROXIES")
}
