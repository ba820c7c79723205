package main

import (
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/labctl/labctl/pkg/certificate"
	"github.com/labctl/labctl/pkg/mongodb"
)

func TestUsersOfAMountedSecret(t *testing.T) {
	dir := t.TempDir()
	for name, password := range map[string]string{"admin": "a\n", "groups": "g", "messaging-comparer": "c"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(password), 0o600))
	}
	env := map[string]string{"LISTEN": "127.0.0.1:0", "DATA_DIR": t.TempDir(), "USERS_DIR": dir}
	s, err := start(func(k string) string { return env[k] }, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	require.NoError(t, s.Ready(t.Context()))
	insert := func(user, password, database string) error {
		c, err := mongo.Connect(options.Client().ApplyURI(mongodb.URI(s.Addr, user, password)))
		require.NoError(t, err)
		t.Cleanup(func() { _ = c.Disconnect(t.Context()) })
		_, err = c.Database(database).Collection("c").InsertOne(t.Context(), bson.M{"n": 1})
		return err
	}
	require.NoError(t, insert("admin", "a", "auth"))
	require.NoError(t, insert("groups", "g", "groups"))
	require.ErrorContains(t, insert("groups", "g", "auth"), "groups may not insert in auth")
	require.ErrorContains(t, insert("groups", "a", "groups"), "Authentication failed")
	require.NoError(t, insert("messaging-comparer", "c", "messaging-shadow"))
	require.ErrorContains(t, insert("messaging-comparer", "c", "messaging"), "messaging-comparer may not insert in messaging")
}

func TestUserWithoutADatabase(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "gateway"), []byte("x"), 0o600))
	_, err := start(func(k string) string { return map[string]string{"USERS_DIR": dir}[k] }, slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, `USERS_DIR has a user "gateway", who has no database; there are auth, groups, `)
}

// TestTLS: with a certificate the server speaks TLS and nothing else. Clients are given the authority in the way of the lab's connection strings.
func TestTLS(t *testing.T) {
	authority, err := certificate.NewAuthority("databases", time.Now())
	require.NoError(t, err)
	other, err := certificate.NewAuthority("databases", time.Now())
	require.NoError(t, err)
	shown, err := authority.Issue([]string{"mongodb.data.svc.cluster.local", "localhost"}, time.Now())
	require.NoError(t, err)
	dir := t.TempDir()
	for name, text := range map[string]string{"tls.crt": shown.Certificate, "tls.key": shown.Key, "ca.crt": authority.Certificate, "other.crt": other.Certificate} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	users := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(users, "admin"), []byte("a"), 0o600))
	env := map[string]string{"LISTEN": "127.0.0.1:0", "DATA_DIR": t.TempDir(), "USERS_DIR": users, "TLS_DIR": dir}
	s, err := start(func(k string) string { return env[k] }, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	require.NoError(t, s.Ready(t.Context()), "it asks itself by TLS")

	ping := func(host, more string) error {
		uri := mongodb.URI(strings.Replace(s.Addr, "127.0.0.1", host, 1), "admin", "a") + more + "&serverSelectionTimeoutMS=1000"
		c, err := mongo.Connect(options.Client().ApplyURI(uri))
		require.NoError(t, err)
		defer func() { _ = c.Disconnect(t.Context()) }()
		return c.Ping(t.Context(), nil)
	}
	trusting := func(file string) string { return "&tls=true&tlsCAFile=" + url.QueryEscape(filepath.Join(dir, file)) }
	require.NoError(t, ping("localhost", trusting("ca.crt")))
	require.ErrorContains(t, ping("127.0.0.1", trusting("ca.crt")), "127.0.0.1", "it is not the server's name")
	require.ErrorContains(t, ping("localhost", trusting("other.crt")), "unknown authority")
	require.Error(t, ping("localhost", ""), "without TLS nobody gets in")
	require.NoError(t, s.Ready(t.Context()), "and nobody else is bothered by it")
}
