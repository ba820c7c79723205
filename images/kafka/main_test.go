package main

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/labctl/labctl/pkg/certificate"
)

// secret is a directory as Kubernetes mounts a Secret: links to a directory that is swapped whole.
func secret(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "..2026"), 0o700))
	require.NoError(t, os.Symlink("..2026", filepath.Join(dir, "..data")))
	for name, text := range files {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "..2026", name), []byte(text), 0o600))
		require.NoError(t, os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)))
	}
	return dir
}

func TestUsersOfASecret(t *testing.T) {
	ctx := t.Context()
	env := map[string]string{"LISTEN": "127.0.0.1:0", "DATA_DIR": t.TempDir(), "USERS_DIR": secret(t, map[string]string{"admin": "a\n", "groups": "g", "messaging-shadow": "s"})}
	server, err := start(func(k string) string { return env[k] }, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	require.NoError(t, server.Ready(ctx), "the broker asks for its own health as a user of its own")

	create := func(user, password, topic string) error {
		c, err := kgo.NewClient(kgo.SeedBrokers(server.Addr), kgo.SASL(scram.Auth{User: user, Pass: password}.AsSha512Mechanism()),
			kgo.RequestRetries(0), kgo.RetryTimeout(1))
		require.NoError(t, err)
		defer c.Close()
		r, err := kadm.NewClient(c).CreateTopic(ctx, 1, -1, nil, topic)
		if err != nil {
			return err
		}
		return r.Err
	}
	require.NoError(t, create("groups", "g", "messages"))
	require.ErrorIs(t, create("groups", "g", "presence"), kerr.TopicAuthorizationFailed)
	require.NoError(t, create("messaging-shadow", "s", "shadow.messaging.messages"))
	require.ErrorIs(t, create("messaging-shadow", "s", "sessions"), kerr.TopicAuthorizationFailed)
	require.NoError(t, create("admin", "a", "users"))
	require.Error(t, create("auth", "g", "sessions"), "who is not in the Secret can't log in")
}

// TestTLS: with a certificate the broker speaks TLS and nothing else, and clients that trust its authority know it by its name.
func TestTLS(t *testing.T) {
	authority, err := certificate.NewAuthority("databases", time.Now())
	require.NoError(t, err)
	shown, err := authority.Issue([]string{"kafka.data.svc.cluster.local"}, time.Now())
	require.NoError(t, err)
	env := map[string]string{
		"LISTEN": "127.0.0.1:0", "DATA_DIR": t.TempDir(), "USERS_DIR": secret(t, map[string]string{"admin": "a"}),
		"TLS_DIR": secret(t, map[string]string{"tls.crt": shown.Certificate, "tls.key": shown.Key}),
	}
	server, err := start(func(k string) string { return env[k] }, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	require.NoError(t, server.Ready(t.Context()), "it asks itself by TLS")

	trusted := x509.NewCertPool()
	require.True(t, trusted.AppendCertsFromPEM([]byte(authority.Certificate)))
	ping := func(opts ...kgo.Opt) error {
		c, err := kgo.NewClient(append(opts, kgo.SeedBrokers(server.Addr), kgo.SASL(scram.Auth{User: "admin", Pass: "a"}.AsSha512Mechanism()),
			kgo.RequestRetries(0), kgo.RetryTimeout(1))...)
		require.NoError(t, err)
		defer c.Close()
		return c.Ping(t.Context())
	}
	as := func(name string, roots *x509.CertPool) kgo.Opt {
		return kgo.DialTLSConfig(&tls.Config{RootCAs: roots, ServerName: name, MinVersion: tls.VersionTLS12})
	}
	require.NoError(t, ping(as("kafka.data.svc.cluster.local", trusted)))
	require.ErrorContains(t, ping(as("mongodb.data.svc.cluster.local", trusted)), "not mongodb.data.svc.cluster.local")
	require.ErrorContains(t, ping(as("kafka.data.svc.cluster.local", x509.NewCertPool())), "unknown authority")
	require.Error(t, ping(), "without TLS nobody gets in")
	require.NoError(t, server.Ready(t.Context()), "and nobody else is bothered by it")
}

func TestBadCertificates(t *testing.T) {
	authority, err := certificate.NewAuthority("databases", time.Now())
	require.NoError(t, err)
	shown, err := authority.Issue([]string{"kafka"}, time.Now())
	require.NoError(t, err)
	for name, tt := range map[string]struct {
		files map[string]string
		want  string
	}{
		"none":          {nil, "read the certificate in TLS_DIR"},
		"another's key": {map[string]string{"tls.crt": shown.Certificate, "tls.key": authority.Key}, "does not match"},
		"no name":       {map[string]string{"tls.crt": authority.Certificate, "tls.key": authority.Key}, "has no DNS name"},
	} {
		t.Run(name, func(t *testing.T) {
			env := map[string]string{"LISTEN": "127.0.0.1:0", "DATA_DIR": t.TempDir(), "TLS_DIR": secret(t, tt.files)}
			_, err := start(func(k string) string { return env[k] }, slog.New(slog.DiscardHandler))
			require.ErrorContains(t, err, tt.want)
		})
	}
}

func TestBadUsers(t *testing.T) {
	for name, tt := range map[string]struct {
		dir  string
		want string
	}{
		"no directory": {filepath.Join(t.TempDir(), "none"), "USERS_DIR"},
		"nobody":       {t.TempDir(), "USERS_DIR has no user"},
		"a stranger":   {secret(t, map[string]string{"eve": "x"}), `a user "eve", to whom nothing gives rights; there are auth, gateway`},
		"no password":  {secret(t, map[string]string{"auth": "\n"}), `user "auth" has no name or no password`},
		"the broker's": {secret(t, map[string]string{"labctl": "x"}), `a user "labctl"`},
	} {
		t.Run(name, func(t *testing.T) {
			env := map[string]string{"LISTEN": "127.0.0.1:0", "DATA_DIR": t.TempDir(), "USERS_DIR": tt.dir}
			_, err := start(func(k string) string { return env[k] }, slog.New(slog.DiscardHandler))
			require.ErrorContains(t, err, tt.want)
		})
	}
}
