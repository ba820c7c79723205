package devlab

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/labctl/labctl/pkg/kafka"
	"github.com/labctl/labctl/services/client"
	"github.com/labctl/labctl/services/groups"
	"github.com/labctl/labctl/services/topics"
)

// Killed when changes are in the database and their news are not in Kafka: the next one brings them, in order.
func TestGroupsKilledBeforeTheyPublish(t *testing.T) {
	w := newWorld(t, "groups")
	w.spawn("groups")
	w.ready()
	ctx := t.Context()
	ann, ben, cal := w.user("ann"), w.user("ben"), w.user("cal")
	a, b, c := w.hearer(ann), w.hearer(ben), w.hearer(cal)
	g, err := ann.CreateGroup(ctx, "Lab", ben.User.ID)
	require.NoError(t, err)
	a.has(g.ID, 1)
	db := w.database("groups")
	version := func(collection, id string) (n int64) {
		var doc struct {
			Version int64 `bson:"version"`
		}
		_ = db.Collection(collection).FindOne(ctx, bson.M{"_id": id}).Decode(&doc) // 0: none yet
		return doc.Version
	}
	w.lab.broker.Close()
	// They are not answered: each waits for Kafka when groups is killed.
	var asked sync.WaitGroup
	after := func(collection, id string, want int64, f func()) {
		asked.Go(f)
		eventually(t, fmt.Sprintf("version %d of %s", want, id), func() bool { return version(collection, id) == want })
	}
	after("groups", g.ID, 2, func() { _, _ = ann.RenameGroup(ctx, g.ID, "Laboratory") })
	after("groups", g.ID, 3, func() { _, _ = ann.SetGroupRole(ctx, g.ID, ben.User.ID, "owner") })
	after("groups", g.ID, 4, func() { _, _ = ann.Invite(ctx, g.ID, cal.User.ID) })
	after("groups", g.ID, 5, func() { _, _ = ann.RemoveMember(ctx, g.ID, ann.User.ID) })
	dm := client.DirectID(ann.User.ID, cal.User.ID)
	after("pairs", dm, 1, func() { _, _ = cal.RequestContact(ctx, ann.User.ID) })
	after("pairs", dm, 2, func() { _, _ = ann.Block(ctx, cal.User.ID) })
	w.parts["groups"].stop()
	asked.Wait()

	w.lab.broker, err = kafka.Start(kafka.Options{DataDir: filepath.Join(w.lab.dir, "kafka"), Listen: w.lab.brokerAddr, Users: w.lab.users.Kafka, Log: w.lab.log})
	require.NoError(t, err)
	w.spawn("groups")
	want := []string{"1 (created)", "2 (renamed)", "3 (role_changed)", "4 (member_left)"}
	require.Equal(t, want, texts(b.has(g.ID, 4)))
	require.Equal(t, want, texts(a.has(g.ID, 4)))
	c.hears("invitation", ann.User.ID, g.ID)
	a.hears("contact_request", cal.User.ID, "")
	a.hears("blocks", cal.User.ID, "")
	p, err := ann.People(ctx)
	require.NoError(t, err)
	require.Equal(t, []string{cal.User.ID}, p.Blocked)
	require.Empty(t, p.Incoming)
	eventually(t, "messaging to know of the block", func() bool {
		_, err := c.Send(ctx, dm, "hello")
		return client.IsCode(err, "blocked")
	})
	eventually(t, "nothing to be left in the outbox", func() bool {
		n, err := db.Collection("outbox").CountDocuments(ctx, bson.M{})
		require.NoError(t, err)
		return n == 0
	})
	requests := map[string]bool{}
	for _, r := range w.records(topics.Messages) {
		if value := string(r.Value); strings.Contains(value, `"type":"group"`) || strings.Contains(value, `"type":"block"`) {
			require.NotEmpty(t, header(r, "request"), value)
			requests[header(r, "request")] = true
		}
	}
	require.Len(t, requests, 5, "each change is of the request that made it, whoever published it")
}

// Killed between the write of a change and those of its copies: as if the copies had never been written.
func TestCopiesAreMadeAgain(t *testing.T) {
	w := newWorld(t, "groups")
	w.startGroups(func(c *groups.Config) { c.Sweep = 50 * time.Millisecond })
	ctx := t.Context()
	ann, ben := w.user("ann"), w.user("ben")
	g, err := ann.CreatePublicGroup(ctx, "Open")
	require.NoError(t, err)
	_, err = ann.Invite(ctx, g.ID, ben.User.ID)
	require.NoError(t, err)
	_, err = ann.RequestContact(ctx, ben.User.ID)
	require.NoError(t, err)
	db := w.database("groups")
	for _, c := range []string{"people", "public", "members"} {
		_, err = db.Collection(c).DeleteMany(ctx, bson.M{})
		require.NoError(t, err)
	}
	l, err := ben.Invitations(ctx)
	require.NoError(t, err)
	require.Empty(t, l)
	dm := client.DirectID(ann.User.ID, ben.User.ID)
	again := func(collection, id string, version int, news bson.M) {
		pending := fmt.Sprint("pending.", version)
		_, err := db.Collection(collection).UpdateOne(ctx, bson.M{"_id": id}, bson.M{"$set": bson.M{pending: news}})
		require.NoError(t, err)
		_, err = db.Collection("outbox").InsertOne(ctx, bson.M{"_id": fmt.Sprint(id, "/", version), "group": id, "since": time.Now()})
		require.NoError(t, err)
	}
	again("groups", g.ID, 1, bson.M{"type": "created", "title": "Open", "users": bson.A{ann.User.ID}, "by": ann.User.ID, "at": time.Now(), "was": ""})
	again("groups", g.ID, 2, bson.M{"type": "", "by": ann.User.ID, "at": time.Now(), "notices": bson.M{ben.User.ID: bson.M{"kind": "invitation", "by": ann.User.ID}}})
	again("pairs", dm, 1, bson.M{"by": ann.User.ID, "at": time.Now(), "notices": bson.M{ben.User.ID: "contact_request"}})
	eventually(t, "the copies", func() bool {
		l, err := ben.Invitations(ctx)
		require.NoError(t, err)
		p, err := ben.People(ctx)
		require.NoError(t, err)
		o, err := ann.People(ctx)
		require.NoError(t, err)
		public, err := ben.PublicGroups(ctx, "op")
		require.NoError(t, err)
		own, err := ann.Groups(ctx)
		require.NoError(t, err)
		return len(l) == 1 && len(p.Incoming) == 1 && len(o.Outgoing) == 1 && len(public) == 1 && len(own) == 1
	})
}

// Many change the same at once: what users look up is what was written last, and not what came last by accident.
func TestPeopleAtOnce(t *testing.T) {
	w := newWorld(t, "groups")
	w.startGroups(func(c *groups.Config) { c.People.Burst = 100_000 })
	ctx := t.Context()
	ann, ben := w.user("ann"), w.user("ben")
	g, err := ann.CreateGroup(ctx, "Lab")
	require.NoError(t, err)
	pairs := w.database("groups").Collection("pairs")
	for range 25 {
		var all sync.WaitGroup
		for i := range 3 {
			// Whether one succeeds hangs on the others.
			all.Go(func() { _, _ = ann.RequestContact(ctx, ben.User.ID) })
			all.Go(func() { _, _ = ann.EndContact(ctx, ben.User.ID) })
			all.Go(func() { _, _ = ben.Block(ctx, ann.User.ID) })
			all.Go(func() { _, _ = ben.Unblock(ctx, ann.User.ID) })
			all.Go(func() { _, _ = ann.Invite(ctx, g.ID, ben.User.ID) })
			all.Go(func() { _ = ben.DeclineInvitation(ctx, g.ID) })
			all.Go(func() { _, _ = ann.SetPublic(ctx, g.ID, i == 1) })
		}
		all.Wait()
		var original struct {
			State string                           `bson:"state"`
			Sides map[string]struct{ Blocks bool } `bson:"sides"`
		}
		require.NoError(t, pairs.FindOne(ctx, bson.M{"_id": client.DirectID(ann.User.ID, ben.User.ID)}).Decode(&original))
		anns, err := ann.People(ctx)
		require.NoError(t, err)
		bens, err := ben.People(ctx)
		require.NoError(t, err)
		require.Equal(t, original.State == "requested", len(anns.Outgoing) == 1)
		require.Equal(t, original.State == "requested", len(bens.Incoming) == 1)
		require.Equal(t, original.Sides[ben.User.ID].Blocks, len(bens.Blocked) == 1)
		now, err := ann.Group(ctx, g.ID)
		require.NoError(t, err)
		public, err := ben.PublicGroups(ctx, "lab")
		require.NoError(t, err)
		require.Equal(t, now.Public, len(public) == 1)
		var copied struct{ Invitations map[string]any }
		err = w.database("groups").Collection("people").FindOne(ctx, bson.M{"_id": ben.User.ID}).Decode(&copied)
		if !errors.Is(err, mongo.ErrNoDocuments) { // nobody has asked ben anything yet, who then has no invitations
			require.NoError(t, err)
		}
		require.Len(t, copied.Invitations, len(now.Invited))
	}
}

// A block goes to messaging through Kafka, with a version that grows.
func TestBlocksReachMessaging(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	ann, ben := w.user("ann"), w.user("ben")
	a, b := w.device(ann), w.device(ben)
	dm := client.DirectID(ann.User.ID, ben.User.ID)
	b.send(dm, "hello")
	for range 2 {
		_, err := ann.Block(ctx, ben.User.ID)
		require.NoError(t, err)
		_, err = b.Send(ctx, dm, "are you there?")
		require.True(t, client.IsCode(err, "blocked"), "the answer to the block comes after its record: %v", err)
		_, err = ann.Unblock(ctx, ben.User.ID)
		require.NoError(t, err)
		b.send(dm, "hello again")
	}
	require.Equal(t, []string{"1 hello", "2 hello again", "3 hello again"}, texts(a.has(dm, 3)))

	k := w.kafka(kgo.ConsumeTopics("messages"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	var got []string
	for len(got) < 4 {
		f := k.PollFetches(ctx)
		require.NoError(t, f.Err())
		f.EachRecord(func(r *kgo.Record) {
			var rec struct {
				Type     string             `json:"type"`
				Sender   string             `json:"sender"`
				ClientID string             `json:"client_id"`
				Event    *client.GroupEvent `json:"event"`
			}
			require.NoError(t, json.Unmarshal(r.Value, &rec))
			if rec.Type == "block" {
				require.Equal(t, dm, string(r.Key))
				require.Equal(t, ann.User.ID, rec.Sender)
				got = append(got, rec.ClientID+" "+rec.Event.Type)
			}
		})
	}
	require.Equal(t, []string{"b-1 blocked", "b-2 unblocked", "b-3 blocked", "b-4 unblocked"}, got)
}

// What others have too much of already, they are not given more of.
func TestLimitsOfPeople(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	ann, ben := w.user("ann"), w.user("ben")
	g, err := ann.CreateGroup(ctx, "Lab")
	require.NoError(t, err)
	people := w.database("groups").Collection("people")
	has := func(field string, n int, what bson.M) {
		all := bson.M{}
		for range n {
			all[uuid.NewString()] = what
		}
		_, err := people.DeleteMany(ctx, bson.M{"_id": ben.User.ID})
		require.NoError(t, err)
		_, err = people.InsertOne(ctx, bson.M{"_id": ben.User.ID, "version": int64(7), field: all})
		require.NoError(t, err)
	}
	for _, n := range []int{200, 199} { // with the last one less there is room
		has("invitations", n, bson.M{"by": ann.User.ID, "at": time.Now()})
		_, err := ann.Invite(ctx, g.ID, ben.User.ID)
		require.Equal(t, n == 200, client.IsCode(err, "limit_reached"), "%d invitations: %v", n, err)
		has("peers", n, bson.M{"state": "incoming"})
		_, err = ann.RequestContact(ctx, ben.User.ID)
		require.Equal(t, n == 200, client.IsCode(err, "limit_reached"), "%d requests: %v", n, err)
	}
	require.NoError(t, err)
	for _, n := range []int{1000, 999} {
		has("peers", n, bson.M{"state": "contact"})
		_, err := ben.AcceptContact(ctx, ann.User.ID)
		require.Equal(t, n == 1000, client.IsCode(err, "limit_reached"), "%d contacts: %v", n, err)
	}
	_, err = ben.EndContact(ctx, ann.User.ID)
	require.NoError(t, err)
	_, err = ben.RequestContact(ctx, ann.User.ID)
	require.NoError(t, err)
	has("peers", 1000, bson.M{"state": "contact"})
	_, err = ann.AcceptContact(ctx, ben.User.ID)
	require.True(t, client.IsCode(err, "limit_reached"), err)
}
