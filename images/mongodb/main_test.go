package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/labctl/labctl/pkg/mongodb"
)

func TestUsersOfAMountedSecret(t *testing.T) {
	dir := t.TempDir()
	for name, password := range map[string]string{"admin": "a\n", "groups": "g"} {
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
}
