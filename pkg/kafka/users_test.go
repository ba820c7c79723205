package kafka_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/labctl/labctl/pkg/kafka"
)

func login(user, password string) kgo.Opt {
	return kgo.SASL(scram.Auth{User: user, Pass: password}.AsSha512Mechanism())
}

// What a start says of users is all there is: neither an earlier right nor an earlier password outlives a restart.
func TestUsersAreThoseOfTheLastStart(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	serve := func(users ...kafka.User) *kafka.Broker {
		t.Helper()
		b, err := kafka.Start(kafka.Options{DataDir: dir, Listen: "127.0.0.1:0", Users: users})
		require.NoError(t, err)
		t.Cleanup(b.Close)
		require.NoError(t, b.Ready(ctx))
		return b
	}
	write := func(b *kafka.Broker, topic, user, password string) error {
		return client(t, b.Addr(), login(user, password)).ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte("x")}).FirstErr()
	}

	b := serve(kafka.User{Name: "a", Password: "one", Rights: kafka.Rights{Write: []string{"t", "u"}, Make: []string{"t", "u"}}})
	topic(t, client(t, b.Addr(), login("a", "one")), "t")
	topic(t, client(t, b.Addr(), login("a", "one")), "u")
	require.NoError(t, write(b, "u", "a", "one"))
	b.Close()

	b = serve(kafka.User{Name: "a", Password: "two", Rights: kafka.Rights{Write: []string{"t"}}}, kafka.User{Name: "root", Password: "r", Admin: true})
	require.NoError(t, write(b, "t", "a", "two"))
	require.ErrorIs(t, write(b, "u", "a", "two"), kerr.TopicAuthorizationFailed, "the right is gone")
	require.Error(t, client(t, b.Addr(), login("a", "one"), kgo.RequestRetries(0), kgo.RetryTimeout(1)).Ping(ctx), "the password is gone")
	require.NoError(t, write(b, "u", "root", "r"))
	b.Close()

	b = serve()
	require.NoError(t, client(t, b.Addr()).ProduceSync(ctx, &kgo.Record{Topic: "u", Value: []byte("x")}).FirstErr(), "without users all may come")
}

// A producer over restarts of the broker is never told that it has no rights: it would give its records up.
func TestNoRestartTakesRightsAway(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	users := []kafka.User{{Name: "a", Password: "one", Rights: kafka.Rights{Write: []string{"t"}, Make: []string{"t"}}}}
	for i := range 40 { // rights that are given one after the other
		users = append(users, kafka.User{Name: fmt.Sprint("u", i), Password: "p", Rights: kafka.Rights{Read: []string{"t"}, Groups: []string{"g"}}})
	}
	users[0], users[len(users)-1] = users[len(users)-1], users[0]
	b, err := kafka.Start(kafka.Options{DataDir: dir, Listen: "127.0.0.1:0", Users: users})
	require.NoError(t, err)
	addr := b.Addr()
	p := client(t, addr, login("a", "one"), kgo.ProducerLinger(0))
	topic(t, p, "t")
	ends, stop := context.WithCancel(ctx)
	produced := make(chan error, 1)
	go func() {
		for ends.Err() == nil {
			if err := p.ProduceSync(ctx, &kgo.Record{Topic: "t", Value: []byte("x")}).FirstErr(); err != nil {
				produced <- err
				return
			}
		}
		produced <- nil
	}()
	for range 5 {
		b.Close()
		b, err = kafka.Start(kafka.Options{DataDir: dir, Listen: addr, Users: users})
		require.NoError(t, err)
		ends, err := kadm.NewClient(client(t, addr, login("a", "one"))).ListEndOffsets(ctx, "t")
		require.NoError(t, err)
		require.NoError(t, ends.Error())
	}
	stop()
	require.NoError(t, <-produced)
	b.Close()
}

func TestBadUsers(t *testing.T) {
	for name, users := range map[string][]kafka.User{
		"no name":      {{Password: "x"}},
		"no password":  {{Name: "a"}},
		"twice":        {{Name: "a", Password: "x"}, {Name: "a", Password: "y"}},
		"the broker's": {{Name: "labctl", Password: "x"}},
	} {
		_, err := kafka.Start(kafka.Options{DataDir: t.TempDir(), Listen: "127.0.0.1:0", Users: users})
		require.ErrorContains(t, err, "start kafka: ", name)
	}
}
