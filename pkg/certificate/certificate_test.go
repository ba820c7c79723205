package certificate_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/certificate"
)

var (
	now   = time.Now()
	hosts = []string{"kafka.data.svc.cluster.local", "localhost"}
)

func issued(t *testing.T) (authority, server certificate.Pair) {
	t.Helper()
	authority, err := certificate.NewAuthority("databases", now)
	require.NoError(t, err)
	server, err = authority.Issue(hosts, now)
	require.NoError(t, err)
	return authority, server
}

func TestClientsTrustTheAuthorityAlone(t *testing.T) {
	authority, server := issued(t)
	other, _ := issued(t)
	pair, err := tls.X509KeyPair([]byte(server.Certificate), []byte(server.Key))
	require.NoError(t, err)
	trusting := func(a certificate.Pair, host string) *tls.Config {
		roots := x509.NewCertPool()
		require.True(t, roots.AppendCertsFromPEM([]byte(a.Certificate)))
		return &tls.Config{RootCAs: roots, ServerName: host, MinVersion: tls.VersionTLS12}
	}
	for name, tt := range map[string]struct {
		client *tls.Config
		want   string
	}{
		"its name":               {trusting(authority, hosts[0]), ""},
		"its other name":         {trusting(authority, hosts[1]), ""},
		"another name":           {trusting(authority, "mongodb.data.svc.cluster.local"), "not mongodb.data.svc.cluster.local"},
		"another authority":      {trusting(other, hosts[0]), "certificate signed by unknown authority"},
		"the server's own":       {certificate.Self(pair), ""},
		"the machine's roots":    {&tls.Config{ServerName: hosts[0], MinVersion: tls.VersionTLS12}, "certificate signed by unknown authority"},
		"a server's certificate": {trusting(server, hosts[0]), ""}, // as Self trusts it
	} {
		t.Run(name, func(t *testing.T) {
			ln, err := tls.Listen("tcp", "127.0.0.1:0", certificate.Server(pair))
			require.NoError(t, err)
			t.Cleanup(func() { _ = ln.Close() })
			go func() {
				c, err := ln.Accept()
				if err == nil {
					_, _ = io.Copy(io.Discard, c)
					_ = c.Close()
				}
			}()
			c, err := tls.Dial("tcp", ln.Addr().String(), tt.client)
			if err == nil {
				_ = c.Close()
			}
			if tt.want == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, tt.want)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	authority, server := issued(t)
	other, _ := issued(t)
	const day, year = 24 * time.Hour, 365 * 24 * time.Hour
	require.NoError(t, authority.CheckServer(server, hosts, now))
	require.NoError(t, authority.CheckServer(server, hosts, now.Add(240*day)))
	require.ErrorContains(t, authority.CheckServer(server, hosts, now.Add(250*day)), "due for renewal")
	require.ErrorContains(t, authority.CheckServer(server, hosts[:1], now), "is wanted")
	require.ErrorContains(t, other.CheckServer(server, hosts, now), "unknown authority")
	require.ErrorContains(t, authority.CheckServer(certificate.Pair{Certificate: server.Certificate, Key: authority.Key}, hosts, now), "does not match")
	require.Error(t, authority.CheckServer(certificate.Pair{}, hosts, now))
	require.NoError(t, authority.CheckAuthority(now.Add(6*year)))
	require.ErrorContains(t, authority.CheckAuthority(now.Add(7*year)), "due for renewal")
	require.Error(t, certificate.Pair{}.CheckAuthority(now))
	_, err := authority.Issue(nil, now)
	require.ErrorContains(t, err, "needs a name")
	_, err = certificate.Pair{}.Issue(hosts, now)
	require.ErrorContains(t, err, "issue a certificate")
}

// TestAServerIsNoAuthority: whoever has a server's key can't vouch for another.
func TestAServerIsNoAuthority(t *testing.T) {
	authority, server := issued(t)
	forged, err := server.Issue([]string{"mongodb.data.svc.cluster.local"}, now)
	require.NoError(t, err)
	require.Error(t, authority.CheckServer(forged, []string{"mongodb.data.svc.cluster.local"}, now))
	pair, err := tls.X509KeyPair([]byte(forged.Certificate+server.Certificate), []byte(forged.Key))
	require.NoError(t, err)
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(authority.Certificate))
	between.AppendCertsFromPEM([]byte(server.Certificate))
	_, err = pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between})
	require.Error(t, err)
}
