package devlab

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/labctl/labctl/services/client"
	"github.com/labctl/labctl/services/messaging"
)

// command runs one of messaging's commands, with no more rights than the service has.
func (w *world) command(name string, args ...string) (string, error) {
	w.t.Helper()
	c, err := messaging.ConfigFromEnv(w.env("messaging"))
	require.NoError(w.t, err)
	c.Log = w.lab.log
	for _, cmd := range messaging.Commands() {
		if cmd.Name == name {
			return cmd.Run(w.t.Context(), c, args)
		}
	}
	w.t.Fatalf("messaging has no command %s", name)
	return "", nil
}

// The database refuses what follows from one conversation. Everybody else goes on, also after a restart; who talks there is told. Once the fault is mended, a command has
// all delivered, in order and once.
func TestAConversationInQuarantine(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	alice, bob, carol := w.user("alice"), w.user("bob"), w.user("carol")
	a, b, c := w.device(alice), w.device(bob), w.device(carol)
	dm, other := client.DirectID(alice.User.ID, bob.User.ID), client.DirectID(alice.User.ID, carol.User.ID)
	a.send(dm, "1")
	b.has(dm, 1)
	a.send(other, "hello")
	buckets := w.database("messaging").Collection("buckets")
	broken := bson.D{{Key: "$set", Value: bson.D{{Key: "changed", Value: "x"}}}}
	_, err := buckets.UpdateOne(ctx, bson.D{{Key: "_id", Value: dm + "/0"}}, broken, options.UpdateOne().SetUpsert(true))
	require.NoError(t, err)

	_, err = b.Change(ctx, dm, 1, client.Edit("never mine")) // a refusal, which is stored
	require.True(t, client.IsCode(err, "not_allowed"), err)
	_, err = a.Change(ctx, dm, 1, client.Edit("one"))
	require.NoError(t, err, "it is published, and so acknowledged")
	w.metric("messaging", "messaging_quarantined 1")
	_, err = a.SendAs(ctx, dm, "kept", "3")
	require.True(t, client.IsCode(err, "held"), err)
	require.EqualValues(t, 2, a.send(other, "goes on").Seq)
	require.EqualValues(t, 3, c.send(other, "it does").Seq)

	w.parts["messaging"].stop()
	w.start("messaging")
	w.ready()
	w.metric("messaging", "messaging_quarantined 1")
	_, err = b.SendAs(ctx, dm, "kept-2", "4")
	require.True(t, client.IsCode(err, "held"), err)
	require.EqualValues(t, 4, a.send(other, "and on").Seq)
	out, err := w.command("quarantine")
	require.NoError(t, err)
	require.Contains(t, out, dm)
	require.Contains(t, out, "1 conversations in quarantine")

	_, err = w.command("release", other)
	require.ErrorContains(t, err, "it is not in quarantine")
	_, err = w.command("release", dm)
	require.ErrorContains(t, err, "it stays in quarantine, and nothing is lost")

	_, err = buckets.UpdateOne(ctx, bson.D{{Key: "_id", Value: dm + "/0"}}, bson.D{{Key: "$unset", Value: bson.D{{Key: "changed", Value: ""}}}})
	require.NoError(t, err)
	out, err = w.command("release", dm)
	require.NoError(t, err)
	require.Contains(t, out, "released")
	w.metric("messaging", "messaging_quarantined 0")
	require.EqualValues(t, 5, a.send(dm, "5").Seq)
	want := []string{"one", "one", "3", "4", "5"}
	require.Equal(t, want, bodies(w.history(bob, dm)))
	require.Equal(t, []string{"1", "one", "3", "4", "5"}, bodies(b.has(dm, 5)), "each once")
	again, err := a.SendAs(ctx, dm, "kept", "3")
	require.NoError(t, err)
	require.EqualValues(t, 3, again.Seq)
	history := w.history(bob, dm)
	require.NoError(t, buckets.Drop(ctx))
	out, err = w.command("rebuild")
	require.NoError(t, err)
	require.Contains(t, out, "2 conversations")
	require.Equal(t, history, w.history(bob, dm))
	out, err = w.command("quarantine")
	require.NoError(t, err)
	require.Contains(t, out, "0 conversations in quarantine")
}
