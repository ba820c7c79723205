package devlab

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/labctl/labctl/services/client"
)

// fold gives the texts and events among messages that came one by one, with the changes of them taken in.
func fold(messages []client.Message) (l []client.Message) {
	for _, m := range messages {
		if m.Target == 0 {
			l = append(l, m)
			continue
		}
		for i := range l {
			l[i] = client.Changed(l[i], m)
		}
	}
	return l
}

// shown gives the texts and events of a history.
func (w *world) shown(s *client.Session, conversation string) []client.Message {
	w.t.Helper()
	return slices.DeleteFunc(w.history(s, conversation), func(m client.Message) bool { return m.Target > 0 })
}

func (d *device) change(conversation string, seq int64, c client.Change) client.Message {
	d.t.Helper()
	m, err := d.Change(d.t.Context(), conversation, seq, c)
	require.NoError(d.t, err)
	return m
}

func (d *device) refuses(code, conversation string, seq int64, c client.Change) {
	d.t.Helper()
	_, err := d.Change(d.t.Context(), conversation, seq, c)
	require.True(d.t, client.IsCode(err, code), "%s, not %v", code, err)
}

// byKey gives messages as JSON, so that they compare whatever they are made of.
func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.MarshalIndent(v, "", " ")
	require.NoError(t, err)
	return string(b)
}

func TestChanges(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	alice, bob := w.user("alice"), w.user("bob")
	a1, a2, b := w.device(alice), w.device(w.again(alice)), w.device(bob)
	dm := client.DirectID(alice.User.ID, bob.User.ID)
	a1.send(dm, "frist")
	a1.send(dm, "second")
	b.send(dm, "third")

	t.Run("a change is a message with a seq of its own", func(t *testing.T) {
		e := a2.change(dm, 1, client.Edit("first"))
		require.EqualValues(t, 4, e.Seq)
		require.Equal(t, "edit", e.Kind)
		require.EqualValues(t, 1, e.Target)
		require.Equal(t, "first", e.Body)
		r := b.change(dm, 1, client.React("👍", true))
		require.Equal(t, "reaction", r.Kind)
		require.True(t, *r.On)
		require.Empty(t, r.Body)
		got := w.shown(bob, dm)
		require.Equal(t, "first", got[0].Body)
		require.Equal(t, e.At, got[0].Edited)
		require.Equal(t, r.Seq, got[0].Changed)
		require.Equal(t, map[string][]string{"👍": {bob.User.ID}}, got[0].Reactions)
	})
	t.Run("reactions", func(t *testing.T) {
		a1.change(dm, 2, client.React("🎉", true))
		a1.change(dm, 2, client.React("🎉", true)) // one of each a user
		b.change(dm, 2, client.React("🎉", true))
		a1.change(dm, 2, client.React(".", true)) // no path in the database
		a1.change(dm, 2, client.React("$set", true))
		require.Equal(t, map[string][]string{"🎉": {alice.User.ID, bob.User.ID}, ".": {alice.User.ID}, "$set": {alice.User.ID}}, w.shown(bob, dm)[1].Reactions)
		a1.change(dm, 2, client.React("🎉", false))
		a1.change(dm, 2, client.React(".", false))
		a1.change(dm, 2, client.React("$set", false))
		a1.change(dm, 2, client.React("👎", false)) // never set
		require.Equal(t, map[string][]string{"🎉": {bob.User.ID}}, w.shown(bob, dm)[1].Reactions)
	})
	t.Run("answers and mentions", func(t *testing.T) {
		eve := uuid.NewString()
		m, err := a1.Post(ctx, dm, client.Post{Body: "@bob yes", ReplyTo: 3, Mentions: []string{bob.User.ID, eve, bob.User.ID}})
		require.NoError(t, err)
		require.EqualValues(t, 3, m.ReplyTo)
		require.Equal(t, []string{bob.User.ID}, m.Mentions)
		last := w.shown(bob, dm)
		require.Equal(t, m, last[len(last)-1])
	})
	t.Run("a deleted text is gone, and what its edits said", func(t *testing.T) {
		secret := a1.send(dm, "secret one").Seq
		a1.change(dm, secret, client.Edit("secret two"))
		a1.change(dm, secret, client.React("😱", true))
		a2.change(dm, secret, client.Delete())
		all := w.history(bob, dm)
		require.NotContains(t, asJSON(t, all), "secret")
		gone := all[secret-1]
		require.False(t, gone.Deleted.IsZero())
		require.Empty(t, gone.Reactions)
		require.False(t, all[secret].Deleted.IsZero(), "of the edit, too")
		holds := func(collection string) bool {
			cursor, err := w.database("messaging").Collection(collection).Find(ctx, bson.M{})
			require.NoError(t, err)
			var docs []bson.M
			require.NoError(t, cursor.All(ctx, &docs))
			return strings.Contains(fmt.Sprint(docs), "secret")
		}
		require.False(t, holds("messages"))
		eventually(t, "the buckets, which are projected later, to be rid of it", func() bool { return !holds("buckets") })
		m, err := a1.Post(ctx, dm, client.Post{Body: "why?", ReplyTo: secret})
		require.NoError(t, err, "an answer to it still goes")
		require.Equal(t, secret, m.ReplyTo)
		w.stored()
		c, err := bob.Conversation(ctx, dm)
		require.NoError(t, err)
		require.Equal(t, "why?", c.LastMessage.Body)
	})
	t.Run("refused", func(t *testing.T) {
		gone := a1.send(dm, "gone").Seq
		a1.change(dm, gone, client.Delete())
		e := w.device(w.user("eve"))
		for name, tc := range map[string]struct {
			by   *device
			code string
			seq  int64
			c    client.Change
		}{
			"edit what another said":       {b, "not_allowed", 1, client.Edit("mine")},
			"delete what another said":     {b, "not_allowed", 1, client.Delete()},
			"edit what is not":             {a1, "not_found", 999, client.Edit("x")},
			"edit a change":                {a1, "not_found", 4, client.Edit("x")},
			"react to a change":            {a1, "not_found", 4, client.React("x", true)},
			"edit what is deleted":         {a1, "not_found", gone, client.Edit("x")},
			"delete what is deleted":       {a1, "not_found", gone, client.Delete()},
			"react to what is deleted":     {b, "not_found", gone, client.React("x", true)},
			"seq 0":                        {a1, "bad_frame", 0, client.Edit("x")},
			"a negative seq":               {a1, "bad_frame", -1, client.Delete()},
			"an empty body":                {a1, "bad_frame", 1, client.Edit(" ")},
			"a body too long":              {a1, "bad_frame", 1, client.Edit(strings.Repeat("é", 4001))},
			"no emoji":                     {a1, "bad_frame", 1, client.React("", true)},
			"an emoji too long":            {a1, "bad_frame", 1, client.React(strings.Repeat("x", 33), true)},
			"an emoji with a space":        {a1, "bad_frame", 1, client.React("a b", true)},
			"an emoji with a line's end":   {a1, "bad_frame", 1, client.React("a\n", true)},
			"a stranger edits":             {e, "not_member", 1, client.Edit("x")},
			"a stranger reacts":            {e, "not_member", 1, client.React("x", true)},
			"a stranger deletes":           {e, "not_member", 1, client.Delete()},
			"someone with no conversation": {e, "not_member", 1, client.Delete()},
		} {
			_, err := tc.by.Change(ctx, dm, tc.seq, tc.c)
			require.True(t, client.IsCode(err, tc.code), "%s: %v", name, err)
		}
		_, err := a1.Post(ctx, dm, client.Post{Body: "x", ReplyTo: 999})
		require.True(t, client.IsCode(err, "not_found"), err)
		_, err = a1.Post(ctx, dm, client.Post{Body: "x", ReplyTo: 4})
		require.True(t, client.IsCode(err, "not_found"), err)
		_, err = a1.Post(ctx, dm, client.Post{Body: "x", Mentions: []string{"$ne"}})
		require.True(t, client.IsCode(err, "bad_frame"), err)
		_, err = a1.Post(ctx, dm, client.Post{Body: "x", Mentions: slices.Repeat([]string{bob.User.ID}, 51)})
		require.True(t, client.IsCode(err, "bad_frame"), err)
	})
	t.Run("limits", func(t *testing.T) {
		m := a1.send(dm, "much")
		for i := range 20 {
			b.change(dm, m.Seq, client.React(fmt.Sprint("e", i), true))
		}
		b.refuses("not_allowed", dm, m.Seq, client.React("one-more", true))
		b.change(dm, m.Seq, client.React("e0", false))
		b.change(dm, m.Seq, client.React("one-more", true))
		for i := range 100 {
			a1.change(dm, m.Seq, client.Edit(fmt.Sprint("edit ", i)))
		}
		a1.refuses("not_allowed", dm, m.Seq, client.Edit("too often"))
		a1.change(dm, m.Seq, client.Delete())
		require.NotContains(t, asJSON(t, w.history(bob, dm)), "edit 5")
	})
	t.Run("the same client id changes once", func(t *testing.T) {
		m := a1.send(dm, "zero")
		first, err := a1.ChangeAs(ctx, dm, "edit-1", m.Seq, client.Edit("one"))
		require.NoError(t, err)
		a1.change(dm, m.Seq, client.Edit("two"))
		again, err := a2.ChangeAs(ctx, dm, "edit-1", m.Seq, client.Edit("three"))
		require.NoError(t, err)
		require.Equal(t, first, again)
		other, err := a2.SendAs(ctx, dm, "edit-1", "a text")
		require.NoError(t, err)
		require.Equal(t, first, other, "whatever it says now")
		l := w.shown(bob, dm)
		require.Equal(t, "two", l[len(l)-1].Body)
	})
	t.Run("what came one by one comes to the same as history", func(t *testing.T) {
		last := len(w.history(bob, dm))
		require.JSONEq(t, asJSON(t, w.shown(bob, dm)), asJSON(t, blank(fold(b.has(dm, last)))))
	})
	t.Run("resume brings changes", func(t *testing.T) {
		m := a1.send(dm, "before")
		b.has(dm, int(m.Seq))
		b.Disconnect()
		for i := range 30 {
			a1.change(dm, m.Seq, client.Edit(fmt.Sprint("missed ", i)))
		}
		a1.change(dm, m.Seq, client.React("x", true))
		l := fold(b.has(dm, int(m.Seq)+31))
		require.Equal(t, "missed 29", l[len(l)-1].Body)
		require.JSONEq(t, asJSON(t, w.shown(bob, dm)), asJSON(t, blank(l)))
	})
}

// blank takes from messages that came live what history does not hold any more: nothing that is left after a fold.
func blank(l []client.Message) []client.Message { return l }

// Edits by many devices at once: all see them in one order, and come to the same text.
func TestEditsAcrossDevices(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	alice, bob := w.user("alice"), w.user("bob")
	dm := client.DirectID(alice.User.ID, bob.User.ID)
	all := []*device{w.device(alice), w.device(w.again(alice)), w.device(bob), w.device(w.again(bob))}
	all[0].send(dm, "alice's")
	all[2].send(dm, "bob's")
	var wg sync.WaitGroup
	for i, d := range all {
		wg.Go(func() {
			for n := range 10 {
				own := int64(1 + i/2)
				for _, c := range []client.Change{client.Edit(fmt.Sprint(i, " edits ", n)), client.React(fmt.Sprint("e", n%5), n%2 == 0)} {
					if _, err := d.Change(ctx, dm, own, c); err != nil {
						t.Error(err)
					}
				}
				if _, err := d.Change(ctx, dm, 3-own, client.React("x", n%3 == 0)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	const n = 2 + 4*30
	want := all[0].has(dm, n)
	for _, d := range all[1:] {
		require.Equal(t, want, d.has(dm, n))
	}
	require.JSONEq(t, asJSON(t, w.shown(bob, dm)), asJSON(t, fold(want)))
}

func TestChangesInGroups(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	owner, ann, ben, cal := w.user("owner"), w.user("ann"), w.user("ben"), w.user("cal")
	o, a, b, c := w.device(owner), w.device(ann), w.device(ben), w.device(cal)
	g, err := owner.CreateGroup(ctx, "Lab", ann.User.ID, ben.User.ID)
	require.NoError(t, err)
	early := a.send(g.ID, "early").Seq
	b.send(g.ID, "of ben")
	_, err = owner.AddMember(ctx, g.ID, cal.User.ID)
	require.NoError(t, err)
	came := c.has(g.ID, 1)[0].Seq

	// Who came later may not change what they may not see, nor learn of it.
	c.refuses("not_found", g.ID, early, client.React("x", true))
	_, err = c.Post(ctx, g.ID, client.Post{Body: "x", ReplyTo: early})
	require.True(t, client.IsCode(err, "not_found"), err)
	edit := a.change(g.ID, early, client.Edit("early and secret"))
	a.change(g.ID, early, client.React("🤫", true))
	blind := c.has(g.ID, 3)[1:]
	require.Equal(t, edit.Seq, blind[0].Seq, "there is no hole")
	require.Equal(t, "reaction", blind[1].Kind)
	require.NotContains(t, asJSON(t, blind), "secret")
	require.NotContains(t, asJSON(t, blind), "🤫")
	require.Equal(t, blind, w.history(cal, g.ID)[1:])
	fresh := w.deviceOf(w.again(cal), client.DeviceOptions{History: true})
	require.Equal(t, blind, fresh.has(g.ID, 3)[1:], "nor by resume")

	// The owner may delete what others said, others may not.
	mine := b.send(g.ID, "rude").Seq
	a.refuses("not_allowed", g.ID, mine, client.Delete())
	o.refuses("not_allowed", g.ID, mine, client.Edit("polite"))
	o.change(g.ID, mine, client.Delete())
	require.Empty(t, w.shown(ann, g.ID)[4].Body)

	// Who was removed sees no edit said later, and changes nothing.
	mark := a.send(g.ID, "said with ben").Seq
	b.has(g.ID, int(mark))
	_, err = owner.RemoveMember(ctx, g.ID, ben.User.ID)
	require.NoError(t, err)
	a.has(g.ID, int(mark)+1)
	a.change(g.ID, mark, client.Edit("said without ben"))
	b.refuses("not_member", g.ID, 3, client.Edit("x"))
	b.refuses("not_member", g.ID, 3, client.Delete())
	b.refuses("not_member", g.ID, mark, client.React("x", true))
	bo := client.DirectID(ben.User.ID, owner.User.ID)
	o.send(bo, "bye") // behind all that ben could have got
	b.has(bo, 1)
	require.NotContains(t, asJSON(t, b.messages(g.ID)), "without ben")
	require.EqualValues(t, mark+1, b.messages(g.ID)[len(b.messages(g.ID))-1].Seq)

	// And once more with all that messaging ever read, when the texts in the database are edited.
	w.readAgain()
	again := w.device(w.again(ben))
	o.send(bo, "bye again")
	again.has(bo, 1)
	o.send(g.ID, "behind all")
	a.until("the end", func() bool { l := a.messages(g.ID); return l[len(l)-1].Body == "behind all" })
	require.NotContains(t, asJSON(t, b.messages(g.ID)), "without ben")
	require.EqualValues(t, came, w.history(cal, g.ID)[0].Seq)
}

// readAgain lets messaging read once more all that it ever read.
func (w *world) readAgain(drop ...string) {
	w.t.Helper()
	ctx := w.t.Context()
	w.parts["messaging"].stop()
	admin := kadm.NewClient(w.kafka())
	offsets, err := admin.ListStartOffsets(ctx, "messages")
	require.NoError(w.t, err)
	require.NoError(w.t, admin.CommitAllOffsets(ctx, "messaging", offsets.Offsets()))
	for _, name := range drop {
		require.NoError(w.t, w.database("messaging").Collection(name).Drop(ctx))
	}
	w.start("messaging")
	w.ready()
}

// Everything that messaging ever read comes once more, when what it made of it is there: nothing changes.
func TestChangesAreReadTwice(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	alice, bob := w.user("alice"), w.user("bob")
	a, b := w.device(alice), w.device(bob)
	dm := client.DirectID(alice.User.ID, bob.User.ID)
	for i := range 55 {
		a.send(dm, fmt.Sprint("text ", i))
	}
	for i := range int64(5) {
		a.change(dm, 10*i+1, client.Edit(fmt.Sprint("edited ", i)))
		b.change(dm, 10*i+1, client.React("👍", true))
		a.change(dm, 10*i+1, client.Edit(fmt.Sprint("edited again ", i)))
	}
	a.change(dm, 1, client.Delete())
	_, err := a.ChangeAs(ctx, dm, "late", 1, client.Edit("x"))
	require.True(t, client.IsCode(err, "not_found"), err)
	b.change(dm, 11, client.React("👍", false))
	require.NoError(t, b.MarkRead(ctx, dm, 20))
	want := w.history(bob, dm)
	conversation := func() client.Conversation {
		c, err := bob.Conversation(ctx, dm)
		require.NoError(t, err)
		return c
	}
	eventually(t, "the read to be known", func() bool { return conversation().Read == 20 })
	before := conversation()

	for _, drop := range [][]string{nil, {"heads", "buckets"}} {
		w.readAgain(drop...)
		_, err = a.ChangeAs(ctx, dm, "late", 1, client.Edit("x"))
		require.True(t, client.IsCode(err, "not_found"), "a refusal is final: %v", err)
		require.Equal(t, want, w.history(bob, dm))
		// What was read is projected, some time after what was said is stored.
		eventually(t, "the read to be known again", func() bool { return conversation().Read == 20 })
		require.Equal(t, before, conversation())
	}
	a.send(dm, "after")
	require.Len(t, b.has(dm, len(want)+1), len(want)+1, "a device is told each once")
}

// An instance was killed at each step of a change: what it left behind is made whole.
func TestWhatACrashLeavesOfAChange(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	alice, bob := w.user("alice"), w.user("bob")
	a, b := w.device(alice), w.device(bob)
	dm := client.DirectID(alice.User.ID, bob.User.ID)
	for i := range 6 {
		a.send(dm, fmt.Sprint("text ", i+1))
	}
	db := w.database("messaging")
	get := func(collection, id string) (doc bson.M) {
		raw, err := db.Collection(collection).FindOne(ctx, bson.M{"_id": id}).Raw()
		require.NoError(t, err)
		require.NoError(t, bson.Unmarshal(raw, &doc))
		return doc
	}
	w.metric("messaging", "messaging_stored_total 6")
	w.parts["messaging"].stop()
	old := get("buckets", dm+"/0")["messages"].(bson.D)
	var first struct {
		Source bson.M `bson:"source"`
	}
	require.NoError(t, db.Collection("messages").FindOne(ctx, bson.M{"_id": dm + "/1"}).Decode(&first))

	// Each record stands in Kafka; what is stored of it is another story.
	at := time.Now().UTC().Truncate(time.Millisecond)
	seq := int64(6)
	k := w.kafka()
	begun := func(target int64, stored bool, change bson.M) {
		seq++
		id := fmt.Sprint("change-", seq)
		record := map[string]any{"type": "edit", "conversation": dm, "sender": alice.User.ID, "client_id": id, "target": target,
			"body": fmt.Sprint("edited by ", seq), "at": at}
		if change["kind"] == "delete" {
			record["type"] = "delete"
			delete(record, "body")
		}
		value, err := json.Marshal(record)
		require.NoError(t, err)
		produced, err := k.ProduceSync(ctx, &kgo.Record{Topic: "messages", Key: []byte(dm), Value: value}).First()
		require.NoError(t, err)
		if !stored {
			return
		}
		source := bson.M{"log": first.Source["log"], "partition": produced.Partition, "offset": produced.Offset}
		_, err = db.Collection("sends").InsertOne(ctx, bson.M{"_id": dm + "/" + alice.User.ID + "/" + id, "seq": seq, "refused": "", "at": at, "source": source})
		require.NoError(t, err)
		doc := bson.M{"_id": fmt.Sprint(dm, "/", seq), "conversation": dm, "seq": seq, "kind": "edit", "sender": alice.User.ID, "client_id": id,
			"body": record["body"], "at": at, "target": target, "texts": int64(6), "shown": int64(6), "changed": int64(0), "source": source}
		for k, v := range change {
			doc[k] = v
		}
		_, err = db.Collection("messages").InsertOne(ctx, doc)
		require.NoError(t, err)
	}
	begun(1, true, nil) // stored, and the text does not know
	begun(2, true, nil) // the text knows, its bucket does not
	_, err := db.Collection("messages").UpdateOne(ctx, bson.M{"_id": dm + "/2"}, bson.M{"$set": bson.M{"changed": seq,
		"present": bson.M{"body": fmt.Sprint("edited by ", seq), "edited": at, "edits": []int64{seq}}}})
	require.NoError(t, err)
	begun(3, true, nil) // deleted behind it, of which the text and its edit do not know
	begun(3, true, bson.M{"kind": "delete", "body": ""})
	begun(4, true, nil) // twice, and none of it is known
	begun(4, true, nil)
	begun(5, false, nil) // no more than said

	w.start("messaging")
	w.ready()
	a.send(dm, "behind all")
	got := b.has(dm, 14)
	require.Equal(t, []string{"edited by 7", "edited by 8", "", "edited by 12", "edited by 13", "text 6", "behind all"}, bodies(w.shown(bob, dm)))
	// A client ignores the edit of a text that is deleted, so it may not know when that was.
	shown, folded := w.shown(bob, dm), fold(got)
	shown[2].Edited, folded[2].Edited = client.Message{}.Edited, client.Message{}.Edited
	require.JSONEq(t, asJSON(t, shown), asJSON(t, folded))
	require.NotContains(t, asJSON(t, w.history(bob, dm)), "edited by 9", "nor does the deleted text's edit say anything any more")
	require.NotContains(t, fmt.Sprint(get("buckets", dm+"/0")), "edited by 9")

	// One that comes late puts the texts as they were back into the bucket. A reader is not deceived.
	for _, e := range old {
		_, err := db.Collection("buckets").UpdateOne(ctx, bson.M{"_id": dm + "/0"}, bson.M{"$set": bson.M{"messages." + e.Key: e.Value}})
		require.NoError(t, err)
	}
	require.Equal(t, []string{"edited by 7", "edited by 8", "", "edited by 12", "edited by 13", "text 6", "behind all"}, bodies(w.shown(bob, dm)))
}

// The owner once sent a text whose client id is the number of a later change of the group: both are stored.
func TestAClientIDLikeAGroupsVersion(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	alice, bob := w.user("alice"), w.user("bob")
	a := w.device(alice)
	g, err := alice.CreateGroup(ctx, "Lab")
	require.NoError(t, err)
	_, err = a.SendAs(ctx, g.ID, "2", "a text")
	require.NoError(t, err)
	_, err = alice.AddMember(ctx, g.ID, bob.User.ID)
	require.NoError(t, err)
	require.Equal(t, []string{"1 (created)", "2 a text", "3 (member_added)"}, texts(a.has(g.ID, 3)))
	w.device(bob).send(g.ID, "in")
}
