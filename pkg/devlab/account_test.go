package devlab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/labctl/labctl/services/auth"
	"github.com/labctl/labctl/services/client"
	"github.com/labctl/labctl/services/gateway"
	"github.com/labctl/labctl/services/groups"
	"github.com/labctl/labctl/services/messaging"
	"github.com/labctl/labctl/services/presence"
)

// admin logs a new user in as an admin.
func (w *world) admin(name string) *client.Session {
	w.t.Helper()
	s := w.user(name)
	require.NoError(w.t, auth.SetRole(w.t.Context(), w.authConfig(), name, "admin"))
	return w.again(s)
}

// Whoever is suspended is out at once, with all devices, and does not come in again until an admin lifts it.
func TestSuspension(t *testing.T) {
	w := newWorld(t, "auth")
	ctx := t.Context()
	campus := w.campus()
	w.startAuth(func(o *auth.Config) { o.OIDC = campus })
	admin, uma, bob := w.admin("ada"), w.user("uma"), w.user("bob")
	login := func() error {
		c := client.New(w.url)
		t.Cleanup(c.Close)
		_, err := c.Login(ctx, "uma", "correct horse", "")
		return err
	}

	_, err := bob.Suspend(ctx, uma.User.ID)
	require.True(t, client.IsCode(err, "forbidden"), "%v", err)
	_, err = admin.Suspend(ctx, admin.User.ID)
	require.True(t, client.IsCode(err, "forbidden"), "there is always an admin left: %v", err)
	_, err = admin.Suspend(ctx, nobody)
	require.True(t, client.IsCode(err, "not_found"), "%v", err)

	other := w.again(uma)
	d := w.device(uma)
	n, err := admin.Suspend(ctx, uma.User.ID)
	require.NoError(t, err)
	require.Equal(t, 2, n)
	<-d.Done()
	ended(t, uma)
	ended(t, other)
	require.True(t, client.IsCode(login(), "suspended"), "%v", login())
	_, err = client.New(w.url).Login(ctx, "uma", "wrong horse", "")
	require.True(t, client.IsCode(err, "wrong_credentials"), "who has not the password hears nothing of it: %v", err)
	n, err = admin.Suspend(ctx, uma.User.ID)
	require.NoError(t, err)
	require.Zero(t, n, "it is so already")
	_, found, err := bob.FindUser(ctx, "uma")
	require.NoError(t, err)
	require.True(t, found, "others see no difference")

	require.True(t, client.IsCode(bob.LiftSuspension(ctx, uma.User.ID), "forbidden"))
	require.NoError(t, admin.LiftSuspension(ctx, uma.User.ID))
	require.NoError(t, admin.LiftSuspension(ctx, uma.User.ID), "it is so already")
	require.NoError(t, login())
	ended(t, uma)

	t.Run("the provider is no way around", func(t *testing.T) {
		s, err := w.browser().enter("test-user2")
		require.NoError(t, err)
		_, err = admin.Suspend(ctx, s.User.ID)
		require.NoError(t, err)
		_, err = w.browser().enter("test-user2")
		require.True(t, client.IsCode(err, "suspended"), "%v", err)
	})
}

// exports are requests that get each status of an export, the caller's own ones too often in the end.
func (w *world) exports(path, bearer string) []try {
	w.t.Helper()
	admin, err := w.admin("exporter").AccessToken(w.t.Context())
	require.NoError(w.t, err)
	of := func(user string) string { return path + "?user=" + user }
	own := try{what: "GET " + path + " 200", bearer: bearer}
	return []try{
		own, own, own, {what: "GET " + path + " 429", bearer: bearer},
		{what: own.what, bearer: admin, path: of(nobody)},
		{what: "GET " + path + " 400", bearer: admin, path: of("x")},
		{what: "GET " + path + " 403", bearer: bearer, path: of(nobody)},
	}
}

// What the chat keeps of a user is theirs to take along, and an admin's to look at. What others have said is not in it.
func TestExport(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	admin, alice, bob := w.admin("ada"), w.user("alice"), w.user("bob")
	a, b := w.device(alice), w.device(bob)
	_, err := alice.ChangePicture(ctx, []byte(drawing(t, 1, 1)))
	require.NoError(t, err)
	_, err = alice.ChangeProfile(ctx, client.ProfileChange{DisplayName: "Alice A.", Colour: "red", Bio: "my bio"})
	require.NoError(t, err)
	_, err = alice.RequestContact(ctx, bob.User.ID)
	require.NoError(t, err)
	g, err := alice.CreateGroup(ctx, "Lab", bob.User.ID)
	require.NoError(t, err)
	left, err := bob.CreateGroup(ctx, "Left", alice.User.ID)
	require.NoError(t, err)
	dm := client.DirectID(alice.User.ID, bob.User.ID)
	for i := range 120 {
		a.send(dm, fmt.Sprint("mine ", i))
	}
	a.change(dm, 1, client.Edit("edited"))
	a.change(dm, 2, client.Delete())
	b.send(dm, "what bob says is his")
	a.has(left.ID, 1)
	a.send(left.ID, "said and left")
	require.NoError(t, alice.LeaveGroup(ctx, left.ID))
	w.stored()

	type line struct {
		Type         string         `json:"type"`
		Profile      client.Profile `json:"profile"`
		People       client.People  `json:"people"`
		Session      client.Login   `json:"session"`
		Group        client.Group   `json:"group"`
		Conversation string         `json:"conversation"`
		Message      client.Message `json:"message"`
		Picture      []byte         `json:"picture"`
	}
	read := func(text string) (all []line, count map[string]int) {
		count = map[string]int{}
		for l := range strings.Lines(text) {
			var v line
			require.NoError(t, json.Unmarshal([]byte(l), &v), l)
			all, count[v.Type] = append(all, v), count[v.Type]+1
		}
		return all, count
	}
	var own, others strings.Builder
	require.NoError(t, alice.Export(ctx, &own))
	all, count := read(own.String())
	require.Equal(t, map[string]int{
		"created": 1, "profile": 1, "preferences": 1, "picture": 1, "session": 1, "people": 1, "group": 1, "conversation": 3, "message": 120, "end": 3,
	}, count)
	said := map[string][]string{}
	for _, l := range all {
		switch l.Type {
		case "profile":
			require.Equal(t, "my bio", l.Profile.Bio)
		case "picture":
			require.True(t, bytes.HasPrefix(l.Picture, []byte("\x89PNG")))
		case "people":
			require.Equal(t, bob.User.ID, l.People.Outgoing[0].User)
		case "session":
			require.Equal(t, alice.ID, l.Session.ID)
		case "group":
			require.Equal(t, g.ID, l.Group.ID)
		case "message":
			require.Equal(t, alice.User.ID, l.Message.Sender)
			said[l.Message.Conversation] = append(said[l.Message.Conversation], l.Message.Body)
		}
	}
	require.Equal(t, []string{"said and left"}, said[left.ID])
	require.Equal(t, []string{"edited", "mine 2", "mine 3"}, said[dm][:3])
	require.Len(t, said[dm], 119)
	require.NotContains(t, own.String(), "his")
	require.NotContains(t, own.String(), alice.RefreshToken())

	require.NoError(t, admin.ExportOf(ctx, alice.User.ID, &others))
	_, counted := read(others.String())
	require.Equal(t, count, counted)
	err = bob.ExportOf(ctx, alice.User.ID, &others)
	require.True(t, client.IsCode(err, "forbidden"), "%v", err)
	for range 2 {
		require.NoError(t, alice.Export(ctx, io.Discard))
	}
	require.True(t, client.IsCode(alice.Export(ctx, io.Discard), "busy"))

	t.Run("one that breaks off is not whole", func(t *testing.T) {
		whole := bson.M{"_id": dm + "/1", "messages.100": bson.M{"$exists": true}} // the last of the bucket
		eventually(t, "all to be projected", func() bool {
			res, err := w.database("messaging").Collection("buckets").UpdateOne(ctx, whole, bson.M{"$set": bson.M{"messages": "x"}})
			require.NoError(t, err)
			return res.MatchedCount == 1
		})
		require.ErrorContains(t, admin.ExportOf(ctx, alice.User.ID, io.Discard), "not whole")
	})
}

// erasing makes a world whose services look often for deleted accounts, and the clock of its auth.
func erasing(t *testing.T) (*world, *clock) {
	t.Helper()
	const often = 50 * time.Millisecond
	w := newWorld(t, "auth", "gateway", "groups", "messaging", "presence")
	var c clock
	w.parts["gateway"].unit.run = running(func(o *gateway.Config) { o.Now = c.now })
	w.parts["groups"].unit.run = func(ctx context.Context, getenv func(string) string, on listeners, log *slog.Logger) error {
		c, err := groups.ConfigFromEnv(getenv)
		c.Listener, c.HealthListener, c.Log, c.Erase = on.service, on.health, log, often
		require.NoError(t, err)
		return groups.Run(ctx, c)
	}
	w.parts["messaging"].unit.run = func(ctx context.Context, getenv func(string) string, on listeners, log *slog.Logger) error {
		c, err := messaging.ConfigFromEnv(getenv)
		c.Listener, c.HealthListener, c.Log, c.Erase = on.service, on.health, log, often
		require.NoError(t, err)
		return messaging.Run(ctx, c)
	}
	w.parts["presence"].unit.run = func(ctx context.Context, getenv func(string) string, on listeners, log *slog.Logger) error {
		c, err := presence.ConfigFromEnv(getenv)
		c.Listener, c.HealthListener, c.Log, c.Erase = on.service, on.health, log, often
		require.NoError(t, err)
		return presence.Run(ctx, c)
	}
	for _, name := range []string{"gateway", "groups", "messaging", "presence"} {
		w.start(name)
	}
	w.startAuth(func(o *auth.Config) { o.Now, o.Sweep = c.now, often })
	return w, &c
}

// finalAfter is longer than it takes until a deletion is final.
const finalAfter = 12 * time.Minute

// erased waits until nothing of a deleted account is left to do.
func (w *world) erased(c *clock, user string) {
	w.t.Helper()
	deletions := w.database("auth").Collection("deletions")
	eventually(w.t, "the user to be out of auth", func() bool {
		var d struct {
			Left time.Time `bson:"left"`
		}
		err := deletions.FindOne(w.t.Context(), bson.M{"_id": user}).Decode(&d)
		return err == nil && !d.Left.IsZero()
	})
	c.forward(finalAfter)
	eventually(w.t, "the deletion to be complete", func() bool {
		n, err := deletions.CountDocuments(w.t.Context(), bson.M{})
		require.NoError(w.t, err)
		return n == 0
	})
}

// holds gives the documents of all services that have one of the words in them.
func (w *world) holds(words ...string) (found []string) {
	w.t.Helper()
	ctx := w.t.Context()
	for _, name := range []string{"auth", "groups", "messaging", "presence", "gateway"} {
		db := w.database(name)
		collections, err := db.ListCollectionNames(ctx, bson.M{})
		require.NoError(w.t, err)
		for _, c := range collections {
			cursor, err := db.Collection(c).Find(ctx, bson.M{})
			require.NoError(w.t, err)
			for cursor.Next(ctx) {
				for _, word := range words {
					if strings.Contains(cursor.Current.String(), word) {
						found = append(found, name+"."+c+" "+cursor.Current.Lookup("_id").String()+" "+word)
					}
				}
			}
			require.NoError(w.t, cursor.Err())
		}
	}
	return found
}

// forgets waits until no more than so many documents have one of the words in them.
func (w *world) forgets(but int, words ...string) {
	w.t.Helper()
	defer func() {
		if w.t.Failed() {
			w.t.Log(w.holds(words...))
		}
	}()
	eventually(w.t, "the databases to have nothing left", func() bool { return len(w.holds(words...)) <= but })
}

// Nobody finds anything that a deleted user has said, anywhere.
func TestADeletedAccount(t *testing.T) {
	w, clock := erasing(t)
	ctx := t.Context()
	admin, alice, bob, carol, dave := w.admin("ada"), w.user("Alice"), w.user("bob"), w.user("carol"), w.user("dave")
	gone := alice.User.ID
	a, b, c := w.device(alice), w.hearer(bob), w.device(carol)

	pictured, err := alice.ChangePicture(ctx, []byte(drawing(t, 1, 1)))
	require.NoError(t, err)
	_, err = alice.ChangeProfile(ctx, client.ProfileChange{DisplayName: "Hush Alice", Colour: "red", Bio: "a hush"})
	require.NoError(t, err)
	own, err := alice.CreateGroup(ctx, "Lab", bob.User.ID, carol.User.ID)
	require.NoError(t, err)
	_, err = alice.CreatePublicGroup(ctx, "Alone")
	require.NoError(t, err)
	left, err := carol.CreateGroup(ctx, "Left", gone, bob.User.ID)
	require.NoError(t, err)
	_, err = bob.CreateGroup(ctx, "Invited")
	require.NoError(t, err)
	invited, err := bob.CreateGroup(ctx, "Invited")
	require.NoError(t, err)
	_, err = bob.Invite(ctx, invited.ID, gone)
	require.NoError(t, err)
	_, err = alice.RequestContact(ctx, bob.User.ID)
	require.NoError(t, err)
	_, err = bob.AcceptContact(ctx, gone)
	require.NoError(t, err)
	_, err = carol.RequestContact(ctx, gone)
	require.NoError(t, err)
	_, err = alice.Block(ctx, dave.User.ID)
	require.NoError(t, err)

	dm := client.DirectID(gone, bob.User.ID)
	a.send(dm, "hush 1")
	_, err = a.Change(ctx, dm, 1, client.Edit("hush 2"))
	require.NoError(t, err)
	_, err = b.Change(ctx, dm, 1, client.React("👍", true))
	require.NoError(t, err)
	b.send(dm, "what bob says stays")
	a.has(left.ID, 1)
	a.send(left.ID, "hush 3")
	require.NoError(t, alice.LeaveGroup(ctx, left.ID))
	a.has(own.ID, 1)
	a.send(own.ID, "hush 4")
	c.has(own.ID, 2)
	for i := range 60 { // over a bucket
		a.send(own.ID, fmt.Sprint("hush ", i))
	}
	letter := fmt.Sprintf(`{"type":"send","conversation":%q,"sender":%q,"client_id":"dead","body":"hush 5","at":"2026-01-02T03:04:05Z"}`, dm, gone)
	require.NoError(t, w.kafka().ProduceSync(ctx, &kgo.Record{Topic: "messages.dead", Key: []byte(dm), Value: []byte(letter)}).FirstErr())
	found, err := bob.Search(ctx, "hush", "", 0)
	require.NoError(t, err)
	require.NotEmpty(t, found.Messages)

	require.True(t, client.IsCode(alice.DeleteAccount(ctx, "wrong horse"), "wrong_password"))
	require.True(t, client.IsCode(admin.DeleteAccount(ctx, "correct horse"), "forbidden"), "there is always an admin left")
	require.True(t, client.IsCode(bob.DeleteAccountOf(ctx, gone), "forbidden"))
	require.True(t, client.IsCode(admin.DeleteAccountOf(ctx, admin.User.ID), "forbidden"))
	require.True(t, client.IsCode(admin.DeleteAccountOf(ctx, nobody), "not_found"))
	require.NoError(t, alice.DeleteAccount(ctx, "correct horse"))
	<-a.Done()
	ended(t, alice)
	api := client.New(w.url)
	t.Cleanup(api.Close)
	_, err = api.Login(ctx, "alice", "correct horse", "")
	require.True(t, client.IsCode(err, "wrong_credentials"), "%v", err)
	_, err = api.Register(ctx, "ALICE", "correct horse", "")
	require.True(t, client.IsCode(err, "name_taken"), "nobody comes back as somebody else: %v", err)

	secret := func(m client.Message) bool { return strings.Contains(m.Body, "hush") }
	b.until("the texts to go, live", func() bool {
		b.device.mu.Lock() // not the hearer's
		defer b.device.mu.Unlock()
		n := 0
		for _, m := range b.got {
			if m.Kind == "delete" && m.Sender == gone {
				n++
			}
		}
		return n == 63
	})
	b.hears("contact_gone", gone, "")
	for _, s := range []*client.Session{bob, carol} {
		for _, id := range []string{dm, left.ID, own.ID} {
			if s == carol && id == dm {
				continue
			}
			require.False(t, slices.ContainsFunc(w.history(s, id), secret), "%s in %s", s.User.Name, id)
		}
		list, err := s.Conversations(ctx)
		require.NoError(t, err)
		for _, v := range list {
			require.False(t, secret(*v.LastMessage))
		}
		found, err := s.Search(ctx, "hush", "", 0)
		require.NoError(t, err)
		require.Empty(t, found.Messages)
	}
	history := w.history(bob, dm)
	require.Equal(t, []string{"", "", "", "what bob says stays", ""}, bodies(history))
	require.False(t, history[0].Deleted.IsZero())

	users, err := bob.Users(ctx, gone)
	require.NoError(t, err)
	require.Equal(t, []client.User{{ID: gone, DisplayName: "Deleted user", Colour: "slate", Deleted: true}}, users)
	_, there, err := bob.FindUser(ctx, "alice")
	require.NoError(t, err)
	require.False(t, there)
	prefixed, err := bob.SearchUsers(ctx, "al")
	require.NoError(t, err)
	require.Empty(t, prefixed)
	_, err = bob.Profile(ctx, gone)
	require.True(t, client.IsCode(err, "not_found"), "%v", err)
	_, _, err = api.Picture(ctx, pictured.Picture)
	require.Error(t, err)
	people, err := bob.People(ctx)
	require.NoError(t, err)
	require.Empty(t, people.Contacts)
	g, err := bob.Group(ctx, own.ID)
	require.NoError(t, err)
	require.Equal(t, []client.Member{{User: bob.User.ID, Role: "owner"}, {User: carol.User.ID, Role: "member"}}, g.Members)
	g, err = bob.Group(ctx, invited.ID)
	require.NoError(t, err)
	require.Empty(t, g.Invited)
	public, err := bob.PublicGroups(ctx, "alone")
	require.NoError(t, err)
	require.Empty(t, public)
	_, err = bob.AddMember(ctx, own.ID, gone)
	require.True(t, client.IsCode(err, "unknown_user"), "%v", err)

	out, err := w.command("replay")
	require.NoError(t, err)
	require.Contains(t, out, "0 put back, 0 can't be handled yet, 1 are of deleted users")
	require.NoError(t, admin.DeleteAccountOf(ctx, gone), "it is so already")
	w.erased(clock, gone)
	require.NoError(t, admin.DeleteAccountOf(ctx, gone), "it is so already")
	w.forgets(0, "ush", "Alice")
	_, err = b.Send(ctx, dm, "anybody there?")
	require.True(t, client.IsCode(err, "unknown_user"), "%v", err)
	shown, err := bob.Presence(ctx, gone)
	require.NoError(t, err)
	require.True(t, shown[0].Seen.IsZero())
}

// Whatever stops between two steps of a deletion: it ends the same.
func TestADeletionGoesOn(t *testing.T) {
	ctx := t.Context()
	for name, cut := range map[string]func(w *world, clock *clock, admin, gone *client.Session){
		"all others are away": func(w *world, clock *clock, admin, gone *client.Session) {
			for _, part := range []string{"groups", "messaging", "presence"} {
				w.parts[part].stop()
			}
			require.NoError(t, admin.DeleteAccountOf(ctx, gone.User.ID))
			for _, part := range []string{"groups", "messaging", "presence"} {
				w.start(part)
			}
		},
		"auth is killed when it has noted it": func(w *world, clock *clock, admin, gone *client.Session) {
			w.parts["auth"].stop()
			_, err := w.database("auth").Collection("deletions").InsertOne(ctx, bson.M{"_id": gone.User.ID, "name": strings.ToLower(gone.User.Name), "since": clock.now()})
			require.NoError(t, err)
			w.start("auth")
		},
		"auth is killed when it has marked the name": func(w *world, clock *clock, admin, gone *client.Session) {
			w.parts["auth"].stop()
			db := w.database("auth")
			_, err := db.Collection("deletions").InsertOne(ctx, bson.M{"_id": gone.User.ID, "name": strings.ToLower(gone.User.Name), "since": clock.now()})
			require.NoError(t, err)
			_, err = db.Collection("ends").InsertOne(ctx, bson.M{"_id": gone.User.ID + "/2", "user": gone.User.ID, "name": strings.ToLower(gone.User.Name), "epoch": 2, "since": clock.now()})
			require.NoError(t, err)
			_, err = db.Collection("usernames").UpdateOne(ctx, bson.M{"_id": strings.ToLower(gone.User.Name)}, bson.M{"$set": bson.M{"epoch": 2, "hash": "", "deleted": true}})
			require.NoError(t, err)
			w.start("auth")
		},
		"messaging is killed half way": func(w *world, clock *clock, admin, gone *client.Session) {
			w.parts["messaging"].stop()
			kill := w.spawn("messaging")
			require.NoError(t, admin.DeleteAccountOf(ctx, gone.User.ID))
			eventually(t, "messaging to begin", func() bool {
				var e struct {
					Walked map[string]int64 `bson:"walked"`
				}
				_ = w.database("messaging").Collection("erasures").FindOne(ctx, bson.M{"_id": gone.User.ID}).Decode(&e) // it may not be there yet
				return len(e.Walked) > 0
			})
			kill()
			w.start("messaging")
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, clock := erasing(t)
			admin, bob, gone := w.admin("ada"), w.user("bob"), w.user("Gone")
			d := w.device(gone)
			g, err := bob.CreateGroup(ctx, "Lab", gone.User.ID)
			require.NoError(t, err)
			d.has(g.ID, 1)
			dm := client.DirectID(gone.User.ID, bob.User.ID)
			for i := range 60 {
				d.send(dm, fmt.Sprint("hush ", i))
				d.send(g.ID, fmt.Sprint("hush ", i))
			}
			cut(w, clock, admin, gone)
			w.ready()
			<-d.Done()
			w.erased(clock, gone.User.ID)
			w.forgets(0, "hush", "Gone")
			for _, id := range []string{dm, g.ID} {
				for _, m := range w.history(bob, id) {
					require.Empty(t, m.Body)
				}
			}
			g, err = bob.Group(ctx, g.ID)
			require.NoError(t, err)
			require.Len(t, g.Members, 1)
			_, err = client.New(w.url).Login(ctx, gone.User.Name, "correct horse", "")
			require.True(t, client.IsCode(err, "wrong_credentials"), "%v", err)
		})
	}
}

// What is kept of a conversation in quarantine goes, too: the deletion is complete once that is released, and not before.
func TestADeletionWaitsForQuarantine(t *testing.T) {
	w, clock := erasing(t)
	ctx := t.Context()
	admin, bob, gone := w.admin("ada"), w.user("bob"), w.user("Gone")
	d := w.device(gone)
	dm := client.DirectID(gone.User.ID, bob.User.ID)
	d.send(dm, "hush 1")
	buckets := w.database("messaging").Collection("buckets")
	bucket := bson.M{"_id": dm + "/0"}
	_, err := buckets.UpdateOne(ctx, bucket, bson.M{"$set": bson.M{"changed": "x"}}, options.UpdateOne().SetUpsert(true))
	require.NoError(t, err)
	_, err = d.Change(ctx, dm, 1, client.Edit("hush 2"))
	require.NoError(t, err)
	w.metric("messaging", "messaging_quarantined 1")
	_, err = d.Send(ctx, dm, "hush 3")
	require.True(t, client.IsCode(err, "held"), "%v", err)
	require.NoError(t, admin.DeleteAccountOf(ctx, gone.User.ID))
	deletion := func() (doc struct {
		Left      time.Time       `bson:"left"`
		Confirmed map[string]bool `bson:"confirmed"`
	}, err error) {
		err = w.database("auth").Collection("deletions").FindOne(ctx, bson.M{"_id": gone.User.ID}).Decode(&doc)
		return doc, err
	}
	eventually(t, "the user to be out of auth", func() bool {
		doc, err := deletion()
		return err == nil && !doc.Left.IsZero()
	})
	clock.forward(finalAfter)
	eventually(t, "the others to be done", func() bool {
		doc, err := deletion()
		return err == nil && doc.Confirmed["groups"] && doc.Confirmed["presence"]
	})
	w.metric("auth", "\nauth_deletions_pending 1\n")
	w.metric("auth", "\nauth_deletions_oldest_seconds 7") // and some: it is 12 min old by auth's clock
	_, err = buckets.UpdateOne(ctx, bucket, bson.M{"$unset": bson.M{"changed": ""}})
	require.NoError(t, err)
	var walked struct {
		Walked map[string]int64 `bson:"walked"`
	}
	eventually(t, "messaging to have come to the conversation", func() bool {
		err := w.database("messaging").Collection("erasures").FindOne(ctx, bson.M{"_id": gone.User.ID}).Decode(&walked)
		return err == nil && walked.Walked[dm] > 0
	})
	doc, err := deletion()
	require.NoError(t, err)
	require.False(t, doc.Confirmed["messaging"], "texts are kept")
	require.NotEmpty(t, w.holds("hush"))

	_, err = w.command("release", dm)
	require.NoError(t, err)
	eventually(t, "the deletion to be complete", func() bool {
		_, err := deletion()
		return errors.Is(err, mongo.ErrNoDocuments)
	})
	w.forgets(0, "hush", "Gone")
	w.metric("auth", "\nauth_deletions_pending 0\n")
	w.metric("auth", "\nauth_deletions_oldest_seconds 0\n")
}
