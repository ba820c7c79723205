package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

// encrypted reaches Kafka and MongoDB as a person does, with the authority that labctl gives. Whoever speaks no TLS gets no answer.
func (l *testLab) encrypted(t *testing.T) {
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM([]byte(l.run("outputs", "databases", "ca_certificate"))))
	for server, port := range map[string]int32{"kafka": 9092, "mongodb": 27017} {
		address, stop, err := l.kube().Forward(t.Context(), "data", server, port)
		require.NoError(t, err)
		for _, name := range []string{server + ".data.svc.cluster.local", "localhost"} {
			c, err := tls.Dial("tcp", address, &tls.Config{RootCAs: roots, ServerName: name, MinVersion: tls.VersionTLS12})
			require.NoError(t, err, "%s as %s", server, name)
			require.NoError(t, c.Close())
		}
		plain, err := net.Dial("tcp", address)
		require.NoError(t, err)
		_, err = plain.Write([]byte("a request without TLS"))
		require.NoError(t, err)
		n, err := plain.Read(make([]byte, 1))
		require.Error(t, err, server)
		require.Zero(t, n, server)
		require.NoError(t, plain.Close())
		stop()
	}
}
