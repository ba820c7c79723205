package mongodb_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/labctl/labctl/pkg/mongodb"
)

// TestMain lets the test binary be the server that TestKill kills.
func TestMain(m *testing.M) {
	if dir := os.Getenv("LABCTL_TEST_MONGODB"); dir != "" {
		s, err := mongodb.Start(mongodb.Options{DataDir: dir, Listen: "127.0.0.1:0"})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(s.URI())
		select {}
	}
	os.Exit(m.Run())
}

func start(t *testing.T, dir string) *mongodb.Server {
	t.Helper()
	s, err := mongodb.Start(mongodb.Options{DataDir: dir, Listen: "127.0.0.1:0"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func connect(t *testing.T, uri string) *mongo.Database {
	t.Helper()
	c, err := mongo.Connect(options.Client().ApplyURI(uri))
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Disconnect(context.Background()) })
	return c.Database("test")
}

// Without the proxy's lock FerretDB loses some of these.
func TestConcurrentUpdatesOfOneDocument(t *testing.T) {
	ctx := t.Context()
	c := connect(t, start(t, t.TempDir()).URI()).Collection("c")
	_, err := c.InsertOne(ctx, bson.M{"_id": "x"})
	require.NoError(t, err)
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			_, err := c.UpdateOne(ctx, bson.M{"_id": "x"}, bson.M{"$set": bson.M{fmt.Sprintf("m.%d", i): i}, "$inc": bson.M{"n": 1}})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	var got struct {
		N int            `bson:"n"`
		M map[string]int `bson:"m"`
	}
	require.NoError(t, c.FindOne(ctx, bson.M{"_id": "x"}).Decode(&got))
	require.Equal(t, 40, got.N)
	require.Len(t, got.M, 40)
}

func TestConditionalUpdate(t *testing.T) {
	ctx := t.Context()
	c := connect(t, start(t, t.TempDir()).URI()).Collection("c")
	_, err := c.InsertOne(ctx, bson.M{"_id": "x", "version": int64(3), "name": "a", "on": true})
	require.NoError(t, err)
	set := bson.M{"$set": bson.M{"touched": true}}
	for _, tc := range []struct {
		name    string
		filter  bson.D
		matched int64
	}{
		{"equal", bson.D{{Key: "_id", Value: "x"}, {Key: "version", Value: 3}}, 1},
		{"id last", bson.D{{Key: "version", Value: 3}, {Key: "_id", Value: "x"}}, 1},
		{"two conditions", bson.D{{Key: "_id", Value: "x"}, {Key: "version", Value: 3}, {Key: "name", Value: "a"}, {Key: "on", Value: true}}, 1},
		{"other number", bson.D{{Key: "_id", Value: "x"}, {Key: "version", Value: 4}}, 0},
		{"one of two differs", bson.D{{Key: "_id", Value: "x"}, {Key: "version", Value: 3}, {Key: "name", Value: "b"}}, 0},
		{"other type", bson.D{{Key: "_id", Value: "x"}, {Key: "version", Value: "3"}}, 0},
		{"no such field", bson.D{{Key: "_id", Value: "x"}, {Key: "absent", Value: 1}}, 0},
		{"no such document", bson.D{{Key: "_id", Value: "y"}, {Key: "version", Value: 3}}, 0},
		{"an operator, for FerretDB to test", bson.D{{Key: "_id", Value: "x"}, {Key: "version", Value: bson.M{"$lt": 9}}}, 1},
		{"an operator that fails", bson.D{{Key: "_id", Value: "x"}, {Key: "version", Value: bson.M{"$lt": 3}}}, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			res, err := c.UpdateOne(ctx, tc.filter, set)
			require.NoError(t, err)
			require.Equal(t, tc.matched, res.MatchedCount)
		})
	}

	t.Run("one of many wins", func(t *testing.T) {
		_, err := c.InsertOne(ctx, bson.M{"_id": "race", "version": 0})
		require.NoError(t, err)
		var mu sync.Mutex
		var won int64
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				res, err := c.UpdateOne(ctx, bson.M{"_id": "race", "version": 0}, bson.M{"$set": bson.M{"version": 1, "by": i}})
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				won += res.MatchedCount
				mu.Unlock()
			})
		}
		wg.Wait()
		require.EqualValues(t, 1, won)
	})
}

// The query plan is the proof: time would depend on the machine.
func TestLookUpByIDUsesAnIndex(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	s := start(t, dir)
	db := connect(t, s.URI())
	for name, write := range map[string]func(c *mongo.Collection) error{
		"insert": func(c *mongo.Collection) error { _, err := c.InsertOne(ctx, bson.M{"_id": "x"}); return err },
		"update": func(c *mongo.Collection) error {
			_, err := c.UpdateOne(ctx, bson.M{"_id": "x"}, bson.M{"$set": bson.M{"a": 1}}, options.UpdateOne().SetUpsert(true))
			return err
		},
		"create": func(c *mongo.Collection) error { return c.Database().CreateCollection(ctx, c.Name()) },
	} {
		require.NoError(t, write(db.Collection(name)))
		require.Contains(t, mongodb.Plan(t, dir, "test", name), "labctl_id", name)
	}
	// A collection that was dropped and comes again has its index again.
	require.NoError(t, db.Collection("insert").Drop(ctx))
	_, err := db.Collection("insert").InsertOne(ctx, bson.M{"_id": "x"})
	require.NoError(t, err)
	require.Contains(t, mongodb.Plan(t, dir, "test", "insert"), "labctl_id")
}

func TestOperatorsThatTheServicesUse(t *testing.T) {
	ctx := t.Context()
	c := connect(t, start(t, t.TempDir()).URI()).Collection("c")
	upsert := options.UpdateOne().SetUpsert(true)
	for range 2 {
		_, err := c.UpdateOne(ctx, bson.M{"_id": "x"}, bson.M{
			"$set": bson.M{"m.57": bson.M{"body": "a"}}, "$max": bson.M{"seq": int64(57)}, "$addToSet": bson.M{"seqs": int64(57)},
		}, upsert)
		require.NoError(t, err)
	}
	_, err := c.UpdateOne(ctx, bson.M{"_id": "x"}, bson.M{"$max": bson.M{"seq": int64(5)}, "$unset": bson.M{"gone": ""}}, upsert)
	require.NoError(t, err)
	var got struct {
		Seq  int64             `bson:"seq"`
		Seqs []int64           `bson:"seqs"`
		M    map[string]bson.M `bson:"m"`
	}
	require.NoError(t, c.FindOne(ctx, bson.M{"_id": "x"}).Decode(&got))
	require.EqualValues(t, 57, got.Seq)
	require.Equal(t, []int64{57}, got.Seqs)
	require.Equal(t, "a", got.M["57"]["body"])

	// An ordered insert stores what stands before the first duplicate, an unordered one all others.
	_, err = c.InsertOne(ctx, bson.M{"_id": "2"})
	require.NoError(t, err)
	docs := func(ids ...string) (l []any) {
		for _, id := range ids {
			l = append(l, bson.M{"_id": id})
		}
		return l
	}
	_, err = c.InsertMany(ctx, docs("1", "2", "3"))
	require.True(t, mongo.IsDuplicateKeyError(err))
	require.ErrorIs(t, c.FindOne(ctx, bson.M{"_id": "3"}).Err(), mongo.ErrNoDocuments)
	_, err = c.InsertMany(ctx, docs("1", "3", "4"), options.InsertMany().SetOrdered(false))
	var bulk mongo.BulkWriteException
	require.ErrorAs(t, err, &bulk)
	require.Len(t, bulk.WriteErrors, 1)
	require.Equal(t, 0, bulk.WriteErrors[0].Index)
	require.NoError(t, c.FindOne(ctx, bson.M{"_id": "4"}).Err())
}

func TestDataOutlivesTheServer(t *testing.T) {
	ctx := t.Context()
	// Deep enough that the socket does not fit beside the data.
	dir := t.TempDir() + "/" + strings.Repeat("d", 120)
	s, err := mongodb.Start(mongodb.Options{DataDir: dir, Listen: "127.0.0.1:0"})
	require.NoError(t, err)
	_, err = connect(t, s.URI()).Collection("c").InsertOne(ctx, bson.M{"_id": "x"})
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.NoError(t, s.Close(), "a second Close does nothing")
	require.NoError(t, connect(t, start(t, dir).URI()).Collection("c").FindOne(ctx, bson.M{"_id": "x"}).Err())
}

func TestKill(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	cmd := exec.CommandContext(ctx, os.Args[0]) //nolint:gosec // the test binary itself
	cmd.Env = append(os.Environ(), "LABCTL_TEST_MONGODB="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(out)
	require.True(t, lines.Scan())
	c := connect(t, lines.Text()).Collection("c")

	acked := make(chan string, 10_000)
	go func() {
		defer close(acked)
		for i := 0; ; i++ {
			id := fmt.Sprint(i)
			if _, err := c.InsertOne(ctx, bson.M{"_id": id}); err != nil {
				return
			}
			acked <- id
			if i == 200 {
				_ = cmd.Process.Kill()
			}
		}
	}()
	var ids []string
	for id := range acked {
		ids = append(ids, id)
	}
	_ = cmd.Wait()
	require.Greater(t, len(ids), 200)
	c = connect(t, start(t, dir).URI()).Collection("c")
	for _, id := range ids {
		require.NoError(t, c.FindOne(ctx, bson.M{"_id": id}).Err(), id)
	}
}

func TestStartErrors(t *testing.T) {
	_, err := mongodb.Start(mongodb.Options{Listen: "127.0.0.1:0"})
	require.ErrorContains(t, err, "no data directory")
	s := start(t, t.TempDir())
	_, err = mongodb.Start(mongodb.Options{DataDir: t.TempDir(), Listen: s.Addr()})
	require.ErrorContains(t, err, "address already in use")
}
