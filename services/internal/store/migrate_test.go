package store

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/labctl/labctl/pkg/mongodb" //nolint:depguard // the embedded database, for tests alone
)

func database(t *testing.T) *DB {
	t.Helper()
	s, err := mongodb.Start(mongodb.Options{DataDir: t.TempDir(), Listen: "127.0.0.1:0"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	db, err := Open(s.URI(), "test", "test")
	require.NoError(t, err)
	t.Cleanup(db.Close)
	return db
}

// step is a migration that adds to a document's list, so that its runs can be seen.
func step(version int, name string) Migration {
	return Migration{Version: version, Name: name, Up: func(ctx context.Context, db *DB) error {
		return Upsert(ctx, db.Collection("runs"), "runs", bson.D{{Key: "$push", Value: bson.D{{Key: "names", Value: name}}}})
	}}
}

func runs(t *testing.T, db *DB) []string {
	t.Helper()
	d, _, err := Get[struct {
		Names []string `bson:"names"`
	}](t.Context(), db.Collection("runs"), "runs")
	require.NoError(t, err)
	return d.Names
}

func holder(t *testing.T, db *DB) string {
	t.Helper()
	l, _, err := Get[lock](t.Context(), db.Collection(schemaCollection), lockID)
	require.NoError(t, err)
	return l.Holder
}

// instance is an instance with a short lease.
func instance(db *DB, name string, all ...Migration) *migrator {
	return &migrator{db: db, all: all, lease: time.Second, me: name}
}

func TestManyInstancesMigrateOnce(t *testing.T) {
	db := database(t)
	all := []Migration{step(1, "one"), step(2, "two"), step(3, "three")}
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		wg.Go(func() { errs[i] = db.Migrate(t.Context(), all) })
	}
	wg.Wait()
	require.NoError(t, errors.Join(errs...))
	require.Equal(t, []string{"one", "two", "three"}, runs(t, db))
	require.NoError(t, db.Migrate(t.Context(), append(all, step(4, "four"))))
	require.NoError(t, db.Migrate(t.Context(), append(all, step(4, "four"))))
	require.Equal(t, []string{"one", "two", "three", "four"}, runs(t, db))
	require.Empty(t, holder(t, db))
}

func TestADeadInstanceIsFollowed(t *testing.T) {
	db := database(t)
	ctx := t.Context()
	_, err := Insert(ctx, db.Collection(schemaCollection), lock{ID: lockID, Holder: "dead", Beat: 3})
	require.NoError(t, err)
	require.NoError(t, instance(db, "next", step(1, "one")).run(ctx))
	require.Equal(t, []string{"one"}, runs(t, db))
	require.Empty(t, holder(t, db))
}

// An instance that takes longer than the lease and lives is waited for.
func TestALivingInstanceIsWaitedFor(t *testing.T) {
	db := database(t)
	ctx := t.Context()
	begun, finish := make(chan struct{}), make(chan struct{})
	slow := step(1, "one")
	up := slow.Up
	slow.Up = func(ctx context.Context, db *DB) error {
		close(begun)
		<-finish
		return up(ctx, db)
	}
	first := make(chan error, 1)
	go func() { first <- instance(db, "first", slow).run(ctx) }()
	<-begun
	second := instance(db, "second", step(1, "one"))
	short, cancel := context.WithTimeout(ctx, 2*second.lease)
	defer cancel()
	err := second.run(short)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Equal(t, "first", holder(t, db))
	close(finish)
	require.NoError(t, <-first)
	require.NoError(t, second.run(ctx))
	require.Equal(t, []string{"one"}, runs(t, db))
}

// An instance that was taken for dead hears of it and writes nothing down.
func TestWhoIsTakenForDeadStops(t *testing.T) {
	db := database(t)
	ctx := t.Context()
	late := Migration{Version: 1, Name: "one", Up: func(ctx context.Context, db *DB) error {
		_, err := Update(ctx, db.Collection(schemaCollection), lockID, bson.D{{Key: "$set", Value: bson.D{{Key: "holder", Value: "another"}}}})
		if err != nil {
			return err
		}
		<-ctx.Done()
		return ctx.Err()
	}}
	err := instance(db, "late", late).run(ctx)
	require.ErrorIs(t, err, errLost)
	require.Equal(t, "another", holder(t, db))
	_, ok, err := Get[schema](ctx, db.Collection(schemaCollection), versionID)
	require.NoError(t, err)
	require.False(t, ok)
}

func TestAMigrationThatFailsIsRunAgain(t *testing.T) {
	db := database(t)
	ctx := t.Context()
	bad := Migration{Version: 2, Name: "two", Up: func(context.Context, *DB) error { return errors.New("the disk is full") }}
	err := db.Migrate(ctx, []Migration{step(1, "one"), bad})
	require.EqualError(t, err, "migrate the database test: version 2 (two): the disk is full")
	require.Empty(t, holder(t, db), "nobody need wait for a lease")
	require.NoError(t, db.Migrate(ctx, []Migration{step(1, "one"), step(2, "two")}))
	require.Equal(t, []string{"one", "two"}, runs(t, db))
}

func TestMigrationsThatDoNotFit(t *testing.T) {
	db := database(t)
	ctx := t.Context()
	require.NoError(t, db.Migrate(ctx, nil), "a program without migrations")
	require.NoError(t, db.Migrate(ctx, []Migration{step(1, "one"), step(2, "two")}))
	err := db.Migrate(ctx, []Migration{step(1, "one")})
	require.ErrorIs(t, err, ErrNewerSchema)
	require.ErrorContains(t, err, "it is at version 2 (two), and this program knows 1; run the program that migrated it")
	require.ErrorContains(t, db.Migrate(ctx, []Migration{step(1, "one"), step(2, "other")}), `version 2 was "two" when it ran, and is "other"`)
	require.ErrorContains(t, db.Migrate(ctx, []Migration{step(2, "two")}), "they count from 1")
}

func TestThrottledRequestsAreSentAgain(t *testing.T) {
	slow := mongo.CommandError{Code: 16500, Message: "Error=16500, RetryAfterMs=7, Details='Response status code does not indicate success: TooManyRequests (429)'"}
	after, yes := Throttled(slow)
	require.True(t, yes)
	require.Equal(t, 7*time.Millisecond, after)
	_, yes = Throttled(mongo.WriteException{WriteErrors: mongo.WriteErrors{{Code: 16500}}})
	require.True(t, yes)
	for _, err := range []error{nil, mongo.ErrNoDocuments, mongo.CommandError{Code: 48}} {
		_, yes = Throttled(err)
		require.False(t, yes)
	}

	tries := 0
	require.NoError(t, Patiently(t.Context(), func() error {
		if tries++; tries < 4 {
			return slow
		}
		return nil
	}))
	require.Equal(t, 4, tries)
	tries = 0
	err := Patiently(t.Context(), func() error { tries++; return slow })
	require.ErrorContains(t, err, "throttled 12 times; give the database more throughput")
	require.Equal(t, patience, tries)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, Patiently(over, func() error { return slow }), context.Canceled)
	other := errors.New("another")
	require.Equal(t, other, Patiently(t.Context(), func() error { return other }))
}

func TestApplicationName(t *testing.T) {
	require.Equal(t, "auth", *clientOptions("mongodb://m", "auth").AppName)
	require.Equal(t, "@account@", *clientOptions("mongodb://auth:secret@m/?authSource=auth&appName=@account@", "auth").AppName, "Cosmos DB needs it")
}

func TestURIFromEnv(t *testing.T) {
	path := filepath.Join(t.TempDir(), "uri")
	require.NoError(t, os.WriteFile(path, []byte("mongodb://u:hunter2@m\n"), 0o600))
	empty := filepath.Join(t.TempDir(), "empty")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	for name, tt := range map[string]struct{ uri, file, want, err string }{
		"given":   {uri: "mongodb://m", want: "mongodb://m"},
		"a file":  {file: path, want: "mongodb://u:hunter2@m"},
		"both":    {uri: "mongodb://u:hunter2@m", file: path, err: "both set"},
		"neither": {err: "MONGODB_URI is not set"},
		"no file": {file: path + "x", err: "MONGODB_URI_FILE: open"},
		"empty":   {file: empty, err: "is empty"},
	} {
		got, err := URIFromEnv(func(k string) string { return map[string]string{"MONGODB_URI": tt.uri, "MONGODB_URI_FILE": tt.file}[k] })
		require.Equal(t, tt.want, got, name)
		if tt.err != "" {
			require.ErrorContains(t, err, tt.err, name)
			require.NotContains(t, err.Error(), "hunter2", name)
		} else {
			require.NoError(t, err, name)
		}
	}
}
