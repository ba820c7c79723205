package mongodb_test

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/labctl/labctl/pkg/mongodb"
)

func startWithUsers(t *testing.T) *mongodb.Server {
	t.Helper()
	s, err := mongodb.Start(mongodb.Options{DataDir: t.TempDir(), Listen: "127.0.0.1:0", Users: []mongodb.User{
		{Name: "auth", Password: "correct horse/@:", Rights: mongodb.Rights{Write: []string{"auth"}}},
		{Name: "groups", Password: "battery staple", Rights: mongodb.Rights{Write: []string{"groups"}}},
		{Name: "copier", Password: "tr0ub4dor", Rights: mongodb.Rights{Read: []string{"auth"}, Write: []string{"copy", "other"}, Drop: []string{"copy"}}},
		{Name: "admin", Password: "admin's", Admin: true},
	}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func as(t *testing.T, uri string) *mongo.Client {
	t.Helper()
	c, err := mongo.Connect(options.Client().ApplyURI(uri))
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Disconnect(context.Background()) })
	return c
}

// code is the number of a command's error, 0 if there is none.
func code(t *testing.T, err error) int32 {
	t.Helper()
	if err == nil {
		return 0
	}
	var ce mongo.CommandError
	require.ErrorAs(t, err, &ce)
	return ce.Code
}

func TestUserHasOneDatabase(t *testing.T) {
	ctx := t.Context()
	s := startWithUsers(t)
	auth := as(t, mongodb.URI(s.Addr(), "auth", "correct horse/@:"))
	own := auth.Database("auth")
	c := own.Collection("c")
	for what, do := range map[string]func() error{
		"create": func() error { return own.CreateCollection(ctx, "made") },
		"insert": func() error {
			_, err := c.InsertMany(ctx, []bson.M{{"_id": "x", "n": 1}, {"_id": "y", "n": 1}})
			return err
		},
		"index": func() error {
			_, err := c.Indexes().CreateOne(ctx, mongo.IndexModel{Keys: bson.D{{Key: "n", Value: 1}}})
			return err
		},
		"ping": func() error { return auth.Ping(ctx, nil) },
		"list": func() error { _, err := own.ListCollectionNames(ctx, bson.D{}); return err },
	} {
		require.NoError(t, do(), what)
	}
	_, err := c.UpdateOne(ctx, bson.M{"_id": "x", "n": 1}, bson.M{"$set": bson.M{"n": 2}})
	require.NoError(t, err)
	require.NoError(t, c.FindOneAndUpdate(ctx, bson.M{"_id": "x"}, bson.M{"$inc": bson.M{"n": 1}}).Err())
	n, err := c.CountDocuments(ctx, bson.M{"n": 3})
	require.NoError(t, err)
	require.EqualValues(t, 1, n)
	cursor, err := c.Find(ctx, bson.D{}, options.Find().SetBatchSize(1))
	require.NoError(t, err)
	var all []bson.M
	require.NoError(t, cursor.All(ctx, &all))
	require.Len(t, all, 2)
	_, err = c.DeleteOne(ctx, bson.M{"_id": "y"})
	require.NoError(t, err)
	require.NoError(t, own.Collection("made").Drop(ctx))

	groups := as(t, mongodb.URI(s.Addr(), "groups", "battery staple"))
	theirs := groups.Database("auth").Collection("c")
	_, err = theirs.InsertOne(ctx, bson.M{"_id": "z"})
	require.EqualValues(t, 13, code(t, err))
	require.EqualValues(t, 13, code(t, theirs.FindOne(ctx, bson.D{}).Err()))
	require.EqualValues(t, 13, code(t, theirs.Drop(ctx)))
	_, err = groups.Database("groups").Collection("c").InsertOne(ctx, bson.M{"_id": "x"})
	require.NoError(t, err)
	for _, cmd := range []bson.D{
		{{Key: "renameCollection", Value: "auth.c"}, {Key: "to", Value: "groups.stolen"}},
		{{Key: "renameCollection", Value: "groups.c"}, {Key: "to", Value: "auth.planted"}},
		{{Key: "listDatabases", Value: 1}},
		{{Key: "dropDatabase", Value: 1}},
		{{Key: "createUser", Value: "x"}, {Key: "pwd", Value: "x"}, {Key: "roles", Value: bson.A{}}},
		{{Key: "explain", Value: bson.D{{Key: "find", Value: "c"}, {Key: "$db", Value: "auth"}}}},
		{{Key: "find", Value: "c"}, {Key: "$db", Value: "auth"}},
	} {
		for _, database := range []string{"groups", "admin"} {
			require.EqualValues(t, 13, code(t, groups.Database(database).RunCommand(ctx, cmd).Err()), "%v in %s", cmd, database)
		}
	}
	twice := bson.D{{Key: "insert", Value: "c"}, {Key: "documents", Value: bson.A{bson.M{"_id": "z"}}}, {Key: "$db", Value: "groups"}} // the driver adds another
	require.EqualValues(t, 13, code(t, groups.Database("auth").RunCommand(ctx, twice).Err()))
	unheard := options.Collection().SetWriteConcern(writeconcern.Unacknowledged())
	_, err = groups.Database("auth").Collection("c", unheard).InsertOne(ctx, bson.M{"_id": "z"})
	require.NoError(t, err)
	require.NoError(t, groups.Ping(ctx, nil))

	admin := as(t, mongodb.URI(s.Addr(), "admin", "admin's"))
	names, err := admin.ListDatabaseNames(ctx, bson.D{})
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"auth", "groups"}, names)
	n, err = admin.Database("auth").Collection("c").CountDocuments(ctx, bson.D{})
	require.NoError(t, err)
	require.EqualValues(t, 1, n, "nobody else has written here")
}

// A user may read one database, write others, and remove some of these as a whole.
func TestUserHasRightsInSeveralDatabases(t *testing.T) {
	ctx := t.Context()
	s := startWithUsers(t)
	_, err := as(t, mongodb.URI(s.Addr(), "auth", "correct horse/@:")).Database("auth").Collection("c").InsertMany(ctx, []bson.M{{"_id": "x"}, {"_id": "y"}})
	require.NoError(t, err)
	copier := as(t, mongodb.URI(s.Addr(), "copier", "tr0ub4dor"))
	live := copier.Database("auth")
	names, err := live.ListCollectionNames(ctx, bson.D{})
	require.NoError(t, err)
	require.Equal(t, []string{"c"}, names)
	_, err = live.Collection("c").Indexes().ListSpecifications(ctx)
	require.NoError(t, err)
	cursor, err := live.Collection("c").Find(ctx, bson.D{}, options.Find().SetBatchSize(1))
	require.NoError(t, err)
	var all []bson.M
	require.NoError(t, cursor.All(ctx, &all))
	require.Len(t, all, 2)
	for _, name := range []string{"copy", "other"} {
		_, err = copier.Database(name).Collection("c").InsertMany(ctx, all)
		require.NoError(t, err)
	}

	for _, cmd := range []bson.D{
		{{Key: "insert", Value: "c"}, {Key: "documents", Value: bson.A{bson.M{"_id": "z"}}}},
		{{Key: "update", Value: "c"}, {Key: "updates", Value: bson.A{bson.M{"q": bson.M{}, "u": bson.M{"$set": bson.M{"n": 1}}}}}},
		{{Key: "delete", Value: "c"}, {Key: "deletes", Value: bson.A{bson.M{"q": bson.M{}, "limit": 0}}}},
		{{Key: "findAndModify", Value: "c"}, {Key: "query", Value: bson.M{}}, {Key: "remove", Value: true}},
		{{Key: "create", Value: "d"}},
		{{Key: "drop", Value: "c"}},
		{{Key: "createIndexes", Value: "c"}, {Key: "indexes", Value: bson.A{bson.M{"key": bson.M{"n": 1}, "name": "n"}}}},
		{{Key: "dropIndexes", Value: "c"}, {Key: "index", Value: "*"}},
		{{Key: "dropDatabase", Value: 1}},
	} {
		require.EqualValues(t, 13, code(t, live.RunCommand(ctx, cmd).Err()), "%v", cmd)
	}
	for _, stage := range []bson.D{
		{{Key: "$out", Value: "d"}},
		{{Key: "$merge", Value: "d"}},
		{{Key: "$out", Value: bson.M{"db": "groups", "coll": "d"}}},
	} {
		_, err := live.Collection("c").Aggregate(ctx, bson.A{stage})
		require.NotZero(t, code(t, err), "%v writes", stage)
	}
	require.EqualValues(t, 13, code(t, copier.Database("other").Drop(ctx)))
	require.EqualValues(t, 13, code(t, copier.Database("groups").Collection("c").FindOne(ctx, bson.D{}).Err()))
	require.NoError(t, copier.Database("copy").Drop(ctx))

	admin := as(t, mongodb.URI(s.Addr(), "admin", "admin's"))
	names, err = admin.ListDatabaseNames(ctx, bson.D{})
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"auth", "other"}, names)
	for _, name := range names {
		n, err := admin.Database(name).Collection("c").CountDocuments(ctx, bson.D{})
		require.NoError(t, err)
		require.EqualValues(t, 2, n, name)
		collections, err := admin.Database(name).ListCollectionNames(ctx, bson.D{})
		require.NoError(t, err)
		require.Equal(t, []string{"c"}, collections, name)
	}
}

func TestWhoCannotLogIn(t *testing.T) {
	s := startWithUsers(t)
	for name, tc := range map[string]struct{ uri, want string }{
		"a wrong password":  {mongodb.URI(s.Addr(), "auth", "battery staple"), "Authentication failed"},
		"an unknown user":   {mongodb.URI(s.Addr(), "gateway", "x"), "Authentication failed"},
		"another mechanism": {"mongodb://groups:battery%20staple@" + s.Addr() + "/?authMechanism=SCRAM-SHA-1", "Authentication failed"},
		"nobody":            {"mongodb://" + s.Addr(), "needs a log-in"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			err := as(t, tc.uri).Database("groups").Collection("c").FindOne(ctx, bson.D{}).Err()
			require.ErrorContains(t, err, tc.want)
			require.NotContains(t, err.Error(), "staple")
		})
	}
	require.NoError(t, as(t, "mongodb://"+s.Addr()).Ping(t.Context(), nil), "whoever asks for its health needs no log-in")
}

// What cannot be read, or is no command, does not get past the log-in to FerretDB, which may read it in another way.
func TestStrangeMessages(t *testing.T) {
	s := startWithUsers(t)
	number := func(n int) []byte { return binary.LittleEndian.AppendUint32(nil, uint32(n)) }
	message := func(kind int, parts ...[]byte) (msg []byte) {
		for _, p := range parts {
			msg = append(msg, p...)
		}
		head := append(append(append(number(16+len(msg)), number(1)...), number(0)...), number(kind)...)
		return append(head, msg...)
	}
	doc := func(d bson.D) []byte {
		b, err := bson.Marshal(d)
		require.NoError(t, err)
		return b
	}
	insert := doc(bson.D{{Key: "insert", Value: "c"}, {Key: "documents", Value: bson.A{bson.M{"_id": "x"}}}, {Key: "$db", Value: "auth"}})
	ping := doc(bson.D{{Key: "ping", Value: 1}, {Key: "$db", Value: "auth"}})
	sequence := append([]byte("$db\x00"), insert...)
	for name, msg := range map[string][]byte{
		"two bodies":                message(2013, number(0), []byte{0}, ping, []byte{0}, insert),
		"a sequence for a database": message(2013, number(0), []byte{0}, insert, []byte{1}, number(4+len(sequence)), sequence),
		"no body":                   message(2013, number(0), []byte{0}),
		"an old query":              message(2004, number(0), []byte("auth.$cmd\x00"), number(0), number(1), insert),
		"an old insert":             message(2002, number(0), []byte("auth.c\x00"), doc(bson.D{{Key: "_id", Value: "x"}})),
		"a compressed message":      message(2012, number(2013), number(len(insert)), []byte{0}, insert),
	} {
		t.Run(name, func(t *testing.T) {
			c, err := net.Dial("tcp", s.Addr())
			require.NoError(t, err)
			defer func() { _ = c.Close() }()
			require.NoError(t, c.SetDeadline(time.Now().Add(20*time.Second)))
			_, err = c.Write(msg)
			require.NoError(t, err)
			answer, err := io.ReadAll(c)
			require.NoError(t, err)
			require.Empty(t, answer, "the connection ends")
		})
	}
	names, err := as(t, mongodb.URI(s.Addr(), "admin", "admin's")).ListDatabaseNames(t.Context(), bson.D{})
	require.NoError(t, err)
	require.Empty(t, names)
}

func TestUsersThatCannotBe(t *testing.T) {
	for name, users := range map[string][]mongodb.User{
		"no name":     {{Password: "x"}},
		"no password": {{Name: "x"}},
		"twice":       {{Name: "x", Password: "a"}, {Name: "x", Password: "b"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := mongodb.Start(mongodb.Options{DataDir: t.TempDir(), Listen: "127.0.0.1:0", Users: users})
			require.Error(t, err)
		})
	}
}
