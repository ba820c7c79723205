package devlab

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/labctl/labctl/services/client"
	"github.com/labctl/labctl/services/messaging"
)

func TestSearchMessages(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	alice, bob, eve := w.user("alice"), w.user("bob"), w.user("eve")
	a, b := w.device(alice), w.device(bob)
	dm := client.DirectID(alice.User.ID, bob.User.ID)
	find := func(s *client.Session, q, conversation string) []string {
		w.stored()
		f, err := s.Search(ctx, q, conversation, 0)
		require.NoError(t, err)
		return texts(f.Messages)
	}
	a.send(dm, "Größe und Café, naïve!")
	a.send(dm, "the cafeteria")
	typo := a.send(dm, "a typo heer").Seq
	gone := a.send(dm, "gone forever").Seq
	var wide []string
	for range 3 * 50 { // over the edges of buckets, whose words are in filters
		wide = append(wide, fmt.Sprintf("%d wide", a.send(dm, "wide").Seq))
	}
	b.send(dm, "café again")

	require.Equal(t, []string{"155 café again", "1 Größe und Café, naïve!"}, find(bob, "CAFE", ""), "whole words, any case, any accents, newest first")
	require.Equal(t, []string{"1 Größe und Café, naïve!"}, find(bob, "grösse cafe\u0301", dm), "all words must be there")
	require.Empty(t, find(bob, "caf", ""))
	require.Empty(t, find(bob, "cafe forever", ""))
	a.change(dm, typo, client.Edit("a typo here"))
	a.change(dm, gone, client.Delete())
	require.Equal(t, []string{"3 a typo here"}, find(bob, "here", ""), "an edit's words are found, though the bucket was full before")
	require.Empty(t, find(bob, "heer", ""))
	require.Empty(t, find(bob, "forever", ""))
	f, err := bob.Search(ctx, "wide", dm, 100)
	require.NoError(t, err)
	require.Len(t, f.Messages, 100)
	require.True(t, f.More)
	require.Equal(t, wide[149], texts(f.Messages)[0])
	rest, err := bob.SearchOn(ctx, "wide", dm, 100, f.Next)
	require.NoError(t, err)
	require.False(t, rest.More)
	slices.Reverse(wide)
	require.Equal(t, wide, append(texts(f.Messages), texts(rest.Messages)...))

	// Without the filters all is found, too, and they are made again.
	words := w.database("messaging").Collection("words")
	require.NoError(t, words.Drop(ctx))
	require.Equal(t, []string{"155 café again", "1 Größe und Café, naïve!"}, find(bob, "cafe", ""))
	eventually(t, "the filters", func() bool {
		var doc struct {
			Filters map[string][]byte `bson:"filters"`
		}
		return words.FindOne(ctx, bson.M{"_id": dm + "/0"}).Decode(&doc) == nil && len(doc.Filters) == 3
	})
	require.Equal(t, []string{"155 café again", "1 Größe und Café, naïve!"}, find(bob, "cafe", ""))

	t.Run("only what the caller may see", func(t *testing.T) {
		require.Empty(t, find(eve, "cafe", ""))
		_, err := eve.Search(ctx, "cafe", dm, 0)
		require.True(t, client.IsCode(err, "not_found"), err)
		g, err := alice.CreateGroup(ctx, "Lab", bob.User.ID)
		require.NoError(t, err)
		a.has(g.ID, 1)
		a.send(g.ID, "a treasure before")
		_, err = alice.AddMember(ctx, g.ID, eve.User.ID)
		require.NoError(t, err)
		_, err = alice.RemoveMember(ctx, g.ID, bob.User.ID)
		require.NoError(t, err)
		a.has(g.ID, 4)
		a.send(g.ID, "a treasure after")
		require.Equal(t, []string{"5 a treasure after"}, find(eve, "treasure", ""), "from the addition on")
		require.Empty(t, find(bob, "treasure", ""), "nothing of where one was removed")
		_, err = bob.Search(ctx, "treasure", g.ID, 0)
		require.True(t, client.IsCode(err, "not_found"), err)
		a.change(g.ID, 2, client.Edit("a jewel before"))
		require.Empty(t, find(eve, "jewel", ""), "nor by an edit of what was said before")
		require.Equal(t, []string{"2 a jewel before"}, find(alice, "jewel", ""))
	})
	t.Run("bad queries", func(t *testing.T) {
		for _, q := range []string{"", "!?", strings.Repeat("x", 201), "a b c d e f g h i j k"} {
			_, err := bob.Search(ctx, q, "", 0)
			require.True(t, client.IsCode(err, "bad_request"), "%q: %v", q, err)
		}
		_, err := bob.Search(ctx, "cafe", "", 101)
		require.True(t, client.IsCode(err, "bad_request"), err)
	})
	t.Run("not too often", func(t *testing.T) {
		mallory := w.user("mallory")
		var err error
		for range 200 {
			if _, err = mallory.Search(ctx, "x", "", 0); err != nil {
				break
			}
		}
		require.True(t, client.IsCode(err, "busy"), err)
	})
}

// What could not be handled once, and can be now, is put back by hand; as often as one likes.
func TestReplay(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	alice, bob := w.user("alice"), w.user("bob")
	a, b := w.device(alice), w.device(bob)
	dm := client.DirectID(alice.User.ID, bob.User.ID)
	a.send(dm, "1")
	k := w.kafka()
	letter := func(id, body string) {
		value := fmt.Sprintf(`{"type":"send","conversation":%q,"sender":%q,"client_id":%q,"body":%q,"at":"2026-01-02T03:04:05Z"}`, dm, alice.User.ID, id, body)
		require.NoError(t, k.ProduceSync(ctx, &kgo.Record{Topic: "messages.dead", Key: []byte(dm), Value: []byte(value),
			Headers: []kgo.RecordHeader{{Key: "reason", Value: []byte("unknown type")}, {Key: "source", Value: []byte("messages/0/7")}, {Key: "other", Value: []byte("stays")}}}).FirstErr())
	}
	require.NoError(t, k.ProduceSync(ctx, &kgo.Record{Topic: "messages", Key: []byte(dm), Value: []byte("poison")}).FirstErr())
	a.send(dm, "2") // behind the poison
	letter("dead-1", "back from the dead")
	letter("dead-2", "me too")

	c, err := messaging.ConfigFromEnv(w.env("messaging")) // with no more rights than the service has
	require.NoError(t, err)
	c.Log = w.lab.log
	commands := messaging.Commands()
	require.Equal(t, "replay", commands[0].Name)
	run := func(args ...string) string {
		out, err := commands[0].Run(ctx, c, args)
		require.NoError(t, err)
		return out
	}
	out := run("--dry-run")
	require.Contains(t, out, "2 can be put back, 1 can't be handled yet, 0 are of deleted users\n  messages.dead/0/0: not JSON")
	require.Len(t, w.history(bob, dm), 2)
	require.Contains(t, run(), "2 put back, 1 can't be handled yet")
	require.Equal(t, []string{"1", "2", "back from the dead", "me too"}, bodies(b.has(dm, 4)))
	run()
	a.send(dm, "behind")
	require.Equal(t, []string{"1", "2", "back from the dead", "me too", "behind"}, bodies(b.has(dm, 5)), "each once")
	require.Equal(t, bodies(b.has(dm, 5)), bodies(w.history(bob, dm)))
	_, err = commands[0].Run(ctx, c, []string{"--now"})
	require.ErrorContains(t, err, "usage")
}

// What became of records is kept for 30 days.
func TestSendsArePruned(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	alice, bob := w.user("alice"), w.user("bob")
	a := w.device(alice)
	dm := client.DirectID(alice.User.ID, bob.User.ID)
	first, err := a.SendAs(ctx, dm, "kept", "x")
	require.NoError(t, err)
	db := w.database("messaging")
	sends := db.Collection("sends")
	for i := range 250 {
		days := 31
		if i%5 == 0 {
			days = 29
		}
		_, err := sends.InsertOne(ctx, bson.M{"_id": fmt.Sprint("x/", days, "/", i), "seq": int64(1), "refused": "", "at": time.Now().AddDate(0, 0, -days)})
		require.NoError(t, err)
	}
	w.parts["messaging"].stop()
	w.start("messaging")
	w.ready()
	n, err := sends.CountDocuments(ctx, bson.M{})
	require.NoError(t, err)
	require.EqualValues(t, 251, n, "done for today already")

	w.parts["messaging"].stop()
	_, err = db.Collection("settings").UpdateOne(ctx, bson.M{"_id": "pruned"}, bson.M{"$set": bson.M{"day": "2026-01-01"}})
	require.NoError(t, err)
	w.start("messaging")
	w.ready()
	w.metric("messaging", "messaging_pruned_total 200")
	cursor, err := sends.Find(ctx, bson.M{})
	require.NoError(t, err)
	var left []struct {
		ID string `bson:"_id"`
	}
	require.NoError(t, cursor.All(ctx, &left))
	require.Len(t, left, 51)
	for _, s := range left {
		require.NotContains(t, s.ID, "/31/")
	}
	again, err := a.SendAs(ctx, dm, "kept", "y")
	require.NoError(t, err)
	require.Equal(t, first, again)
}
