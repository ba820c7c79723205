package devlab

import (
	"fmt"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/labctl/labctl/services/client"
)

func (w *world) kafka(opts ...kgo.Opt) *kgo.Client {
	w.t.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(w.lab.brokerAddr), login(admin, w.lab.users.Password(admin))}, opts...)...)
	require.NoError(w.t, err)
	w.t.Cleanup(c.Close)
	return c
}

func (w *world) database(name string) *mongo.Database {
	w.t.Helper()
	c, err := mongo.Connect(options.Client().ApplyURI(w.lab.users.DatabaseURI(w.lab.dbAddr, admin)))
	require.NoError(w.t, err)
	w.t.Cleanup(func() { _ = c.Disconnect(w.t.Context()) })
	return c.Database(name)
}

// Everything that messaging ever read comes once more, as after a crash before the very first commit: refusals, changes of
// groups and repeated sends among it. The second reading must change nothing.
func TestEverythingIsReadTwice(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	alice, bob, carol := w.user("alice"), w.user("bob"), w.user("carol")
	a, b, c := w.device(alice), w.device(bob), w.device(carol)
	dm := client.DirectID(alice.User.ID, bob.User.ID)
	g, err := alice.CreateGroup(ctx, "Lab", bob.User.ID)
	require.NoError(t, err)
	a.has(g.ID, 1)
	_, err = c.SendAs(ctx, g.ID, "too-early", "not yet")
	require.True(t, client.IsCode(err, "not_member"), err)
	for i := range 60 { // over the edge of a bucket
		a.send(g.ID, fmt.Sprint("a ", i))
		b.send(dm, fmt.Sprint("b ", i))
	}
	_, err = a.SendAs(ctx, g.ID, "mine", "said once")
	require.NoError(t, err)
	_, err = a.SendAs(ctx, g.ID, "mine", "said twice")
	require.NoError(t, err)
	_, err = alice.AddMember(ctx, g.ID, carol.User.ID)
	require.NoError(t, err)
	c.has(g.ID, 1)
	c.send(g.ID, "hello")
	_, err = alice.RemoveMember(ctx, g.ID, bob.User.ID)
	require.NoError(t, err)
	a.has(g.ID, 65)
	a.send(g.ID, "without bob")
	c.has(g.ID, 3)
	wantGroup, wantDM := w.history(alice, g.ID), w.history(alice, dm)
	bobs := slices.Clone(b.has(g.ID, 65))

	w.parts["messaging"].stop()
	admin := kadm.NewClient(w.kafka())
	offsets, err := admin.ListStartOffsets(ctx, "messages")
	require.NoError(t, err)
	require.NoError(t, admin.CommitAllOffsets(ctx, "messaging", offsets.Offsets()))
	// And what follows from the messages is gone.
	for _, name := range []string{"heads", "buckets"} {
		require.NoError(t, w.database("messaging").Collection(name).Drop(ctx))
	}
	w.start("messaging")
	w.ready()
	fresh := w.deviceOf(w.again(bob), client.DeviceOptions{History: true})
	a.send(dm, "after")
	fresh.has(dm, len(wantDM)+1)
	a.send(g.ID, "after") // behind all that was repeated, since the group's partition is read in order

	require.Equal(t, wantGroup, w.history(alice, g.ID)[:len(wantGroup)])
	require.Equal(t, wantDM, w.history(alice, dm)[:len(wantDM)])
	require.Len(t, a.messages(g.ID), len(wantGroup)+1, "a device shows each once")
	require.Equal(t, bobs, b.messages(g.ID), "and nothing more to who was removed")
	_, _, err = bob.History(ctx, g.ID, client.Page{})
	require.True(t, client.IsCode(err, "not_found"), err)
	_, err = c.SendAs(ctx, g.ID, "too-early", "not yet")
	require.True(t, client.IsCode(err, "not_member"), "a refusal is final: %v", err)
	conversation, err := carol.Conversation(ctx, g.ID)
	require.NoError(t, err)
	require.Len(t, conversation.Members, 2)
}

func TestPoisonGoesToTheDeadLetters(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	alice, bob := w.user("alice"), w.user("bob")
	a := w.device(alice)
	dm := client.DirectID(alice.User.ID, bob.User.ID)
	k := w.kafka(kgo.ConsumeTopics("messages.dead"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	require.NoError(t, k.ProduceSync(ctx, &kgo.Record{Topic: "messages", Key: []byte(dm), Value: []byte("poison")}).FirstErr())
	require.EqualValues(t, 1, a.send(dm, "goes on").Seq)
	f := k.PollFetches(ctx)
	require.NoError(t, f.Err())
	r := f.Records()[0]
	require.Equal(t, "poison", string(r.Value))
	require.Equal(t, dm, string(r.Key))
	require.Equal(t, "reason", r.Headers[0].Key)
	require.Contains(t, string(r.Headers[0].Value), "not JSON")
	require.Regexp(t, `^messages/\d+/0$`, string(r.Headers[1].Value))
}

// Partitions move to and fro between two instances of messaging, and users sit on two gateways, while they talk.
func TestTwoInstancesOfEach(t *testing.T) {
	w := newWorld(t)
	second := func(name string) (url string) {
		u := units()[slices.IndexFunc(units(), func(u *unit) bool { return u.name == name })]
		w.place(&unit{name: name + "-2", run: u.run})
		w.start(name + "-2")
		return w.urls[name+"-2"]
	}
	other := map[string]string{}
	for k, v := range w.urls {
		other[k] = v
	}
	other["gateway"] = second("gateway")
	w.ready()
	front, err := newFront(units(), other, nil)
	require.NoError(t, err)
	srv := httptest.NewServer(front)
	t.Cleanup(srv.Close)

	at := w.url
	n := 0
	w.device = func(s *client.Session) *device { // every other device at the other gateway
		n++
		if n%2 == 0 {
			w.url = srv.URL
			s = w.again(s)
			w.url = at
		}
		return w.deviceOf(s, client.DeviceOptions{})
	}
	talk(t, w, func(step func(int)) {
		step(30)
		second("messaging")
		w.ready()
		step(60)
		w.parts["messaging"].stop()
		step(30)
		w.start("messaging")
		w.ready()
		step(60)
	})
}

func TestSessions(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	s := w.user("alice")
	first := s.RefreshToken()
	require.NoError(t, s.Refresh(ctx))
	second := s.RefreshToken()
	require.NotEqual(t, first, second)

	c := client.New(w.url)
	again, err := c.Resume(ctx, first)
	require.NoError(t, err, "the one before is good until the new one is used: the answer may have been lost")
	require.Equal(t, second, again.RefreshToken(), "and gives the same next one")
	require.NoError(t, s.Refresh(ctx))

	for name, bad := range map[string]string{"none": "", "nonsense": "nonsense", "changed": second[:len(second)-2] + "AA", "another generation": again.ID + ".9." + second[len(second)-43:]} {
		_, err := c.Resume(ctx, bad)
		require.True(t, client.IsCode(err, "session_ended"), "%s: %v", name, err)
	}
	_, err = s.Me(ctx)
	require.NoError(t, err, "a forged token ends nobody's session")

	d := w.device(s)
	_, err = c.Resume(ctx, first)
	require.True(t, client.IsCode(err, "session_ended"), "%v", err)
	<-d.Done() // a stolen old token ends the session, and its sockets
	_, err = s.Me(ctx)
	require.True(t, client.IsCode(err, "session_ended"), "%v", err)
	require.True(t, client.IsCode(s.Refresh(ctx), "session_ended"))

	// Another session of the same user goes on.
	_, err = w.again(s).Me(ctx)
	require.NoError(t, err)
}
