package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// secret is a directory as Kubernetes mounts a Secret: links to a directory that is swapped whole.
func secret(t *testing.T, users map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "..2026"), 0o700))
	require.NoError(t, os.Symlink("..2026", filepath.Join(dir, "..data")))
	for name, password := range users {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "..2026", name), []byte(password), 0o600))
		require.NoError(t, os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)))
	}
	return dir
}

func TestUsersOfASecret(t *testing.T) {
	ctx := t.Context()
	env := map[string]string{"LISTEN": "127.0.0.1:0", "DATA_DIR": t.TempDir(), "USERS_DIR": secret(t, map[string]string{"admin": "a\n", "groups": "g"})}
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
	require.NoError(t, create("admin", "a", "users"))
	require.Error(t, create("auth", "g", "sessions"), "who is not in the Secret can't log in")
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
