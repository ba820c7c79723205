package chaos

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/labctl/labctl/pkg/freeport"
	"github.com/labctl/labctl/pkg/kafka"
	"github.com/labctl/labctl/pkg/mongodb"
)

func TestSchedule(t *testing.T) {
	parts := []string{"kafka", "mongodb", "auth/0", "gateway/0", "gateway/1", "messaging/0", "messaging/1"}
	all := Schedule(5, parts, Kinds(), 10*time.Minute, time.Second)
	require.Equal(t, all, Schedule(5, parts, Kinds(), 10*time.Minute, time.Second), "a seed gives the same again")
	require.NotEqual(t, all, Schedule(6, parts, Kinds(), 10*time.Minute, time.Second))
	require.InDelta(t, 600, len(all), 60)
	seen, killed := map[Kind]int{}, map[string]int{}
	last := time.Duration(0)
	for _, f := range all {
		require.GreaterOrEqual(t, f.At, last)
		last = f.At
		seen[f.Kind]++
		if f.Kind == Kill {
			killed[f.Part]++
		}
		if f.Kind == Pause {
			require.Greater(t, f.Time, 6*time.Second, "longer than the session of a consumer group")
			require.Contains(t, f.Part, "/", "a service")
		}
		require.NotEmpty(t, f.String())
	}
	require.Len(t, seen, len(Kinds()), "each kind comes")
	require.Len(t, killed, len(parts), "each part is killed")

	for _, f := range Schedule(5, nil, Kinds(), time.Minute, time.Second) {
		require.Contains(t, clientKinds(), f.Kind, "without a lab clients alone misbehave")
	}
	require.Empty(t, Schedule(5, nil, []Kind{Kill}, time.Minute, time.Second))
}

// A link passes what it gets, is slow or cut when told to, and leads to the target that is there.
func TestLink(t *testing.T) {
	ctx := t.Context()
	echo, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = echo.Close() }()
	go func() {
		for {
			c, err := echo.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(c, c); _ = c.Close() }()
		}
	}()
	l, err := newLink(ctx, anyProtocol, freeport.Of(t).Addr(), echo.Addr().String())
	require.NoError(t, err)
	defer l.close()
	say := func(c net.Conn) error {
		if _, err := c.Write([]byte("hello")); err != nil {
			return err
		}
		_, err := io.ReadFull(c, make([]byte, 5))
		return err
	}
	open := func() net.Conn {
		c, err := net.Dial("tcp", l.addr())
		require.NoError(t, err)
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	for range 4 { // whichever target is tried first
		require.NoError(t, say(open()))
	}
	c := open()
	require.NoError(t, say(c))
	l.setDelay(30 * time.Millisecond)
	begin := time.Now()
	require.NoError(t, say(c))
	require.GreaterOrEqual(t, time.Since(begin), 60*time.Millisecond, "there and back")
	l.setDelay(0)
	l.setCut(true)
	require.Error(t, say(c), "what is open breaks")
	require.Error(t, say(open()), "nothing new comes through")
	l.setCut(false)
	require.NoError(t, say(open()))
}

// Clients of a real broker and a real database stay behind their link, and a trap finds the step that was asked for.
func TestLinkKnowsTheProtocols(t *testing.T) {
	ctx := t.Context()
	b, err := kafka.Start(kafka.Options{DataDir: t.TempDir(), Listen: "127.0.0.1:0"})
	require.NoError(t, err)
	defer b.Close()
	db, err := mongodb.Start(mongodb.Options{DataDir: t.TempDir(), Listen: "127.0.0.1:0"})
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	k, err := newLink(ctx, kafkaProtocol, b.Addr())
	require.NoError(t, err)
	defer k.close()
	m, err := newLink(ctx, mongoProtocol, db.Addr())
	require.NoError(t, err)
	defer m.close()

	producer, err := kgo.NewClient(kgo.SeedBrokers(k.addr()), kgo.DefaultProduceTopic("t"))
	require.NoError(t, err)
	defer producer.Close()
	_, err = kadm.NewClient(producer).CreateTopic(ctx, 1, -1, nil, "t")
	require.NoError(t, err)
	brokers, err := kadm.NewClient(producer).ListBrokers(ctx)
	require.NoError(t, err)
	_, port := k.host()
	require.Equal(t, port, brokers[0].Port, "the broker is where the link is")
	steps := make(chan string, 1)
	k.arm(&trap{after: 2, done: true, strike: func(step string) { steps <- step }})
	for range 3 { // the one that is struck is sent again
		require.NoError(t, producer.ProduceSync(ctx, kgo.StringRecord("x")).FirstErr())
	}
	require.Equal(t, "kafka Produce", <-steps)

	c, err := mongo.Connect(options.Client().ApplyURI("mongodb://" + m.addr()).SetRetryWrites(false))
	require.NoError(t, err)
	defer func() { _ = c.Disconnect(context.Background()) }()
	things := c.Database("d").Collection("things")
	_, err = things.InsertOne(ctx, bson.D{{Key: "_id", Value: "1"}})
	require.NoError(t, err)
	m.arm(&trap{after: 1, strike: func(step string) { steps <- step }})
	_, err = things.InsertOne(ctx, bson.D{{Key: "_id", Value: "2"}})
	require.Error(t, err)
	require.Equal(t, "mongodb insert things", <-steps)
	n, err := things.CountDocuments(ctx, bson.D{})
	require.NoError(t, err)
	require.EqualValues(t, 1, n, "it was struck before it was done")
}
