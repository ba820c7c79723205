package messaging

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/labctl/labctl/pkg/mongodb" //nolint:depguard // the embedded database, for tests alone
	"github.com/labctl/labctl/services/internal/store"
	"github.com/labctl/labctl/services/internal/wire"
)

// startTestDatabase starts one of the test's own, and gives its address.
func startTestDatabase(t *testing.T) string {
	t.Helper()
	srv, err := mongodb.Start(mongodb.Options{DataDir: t.TempDir(), Listen: "127.0.0.1:0"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, srv.Close()) })
	return srv.URI()
}

func newTestDatabase(t *testing.T) *database {
	t.Helper()
	return openTestDatabase(t, nil)
}

func openTestDatabase(t *testing.T, monitor *event.CommandMonitor) *database {
	t.Helper()
	c, err := mongo.Connect(options.Client().ApplyURI(startTestDatabase(t)).SetMonitor(monitor).SetBSONOptions(&options.BSONOptions{DefaultDocumentM: true}))
	require.NoError(t, err)
	db := &store.DB{Database: c.Database("messaging")}
	t.Cleanup(db.Close)
	require.NoError(t, db.Migrate(t.Context(), migrations()))
	return newDatabase(db)
}

func text(seq int64, body string) message {
	return message{ID: messageID("room", seq), Conversation: "room", Seq: seq, Kind: wire.Text, Sender: "ann", Body: body, Texts: seq}
}

// openCountedDatabase gives a database and the number of reads from it.
func openCountedDatabase(t *testing.T) (*database, *atomic.Int64) {
	t.Helper()
	var reads atomic.Int64
	return openTestDatabase(t, &event.CommandMonitor{Started: func(_ context.Context, e *event.CommandStartedEvent) {
		if e.CommandName == "find" {
			reads.Add(1)
		}
	}}), &reads
}

// story stores what is said in a conversation.
type story struct {
	t *testing.T
	d *database
	c *conversation
}

func (d *database) begin(t *testing.T, id string) *story {
	t.Helper()
	return &story{t: t, d: d, c: newConversation(id)}
}

// group begins a group of those users, of which the first makes it.
func (d *database) group(t *testing.T, at time.Time, users ...string) *story {
	t.Helper()
	s := d.begin(t, wire.NewGroupID())
	s.say(wire.Record{Type: wire.RecordGroup, Sender: users[0], At: wire.At(at), Event: &wire.GroupEvent{Type: wire.Created, Title: "Lab", Users: users}})
	return s
}

func (s *story) text(at time.Time, sender, body string) {
	s.t.Helper()
	s.say(wire.Record{Type: wire.RecordSend, Sender: sender, At: wire.At(at), Body: body})
}

// say stores a record as it is when all of it is projected.
func (s *story) say(r wire.Record) {
	s.t.Helper()
	ctx := s.t.Context()
	r.Conversation, r.ClientID = s.c.id, fmt.Sprint(s.c.next)
	m := newMessage(r, s.c.next)
	follows := s.c.take(&m)
	require.NoError(s.t, s.d.putMessages(ctx, []message{m}))
	if follows.roster != nil {
		require.NoError(s.t, s.d.putRoster(ctx, follows.roster))
	}
	for _, u := range follows.joined {
		require.NoError(s.t, s.d.putInbox(ctx, joining{user: u, conversation: s.c.id}))
	}
	end := headOf(m)
	for user, c := range follows.cursors {
		end = append(end, bson.E{Key: "reads." + user, Value: c})
	}
	require.NoError(s.t, store.Upsert(ctx, s.d.heads, s.c.id, bson.D{{Key: "$set", Value: end}}))
}

// How far somebody has read is there when the position says so, and not only when it is projected.
func TestWhatIsReadIsStored(t *testing.T) {
	d := openTestDatabase(t, nil)
	read := func(to readCursor, large bool) effects {
		e := effects{
			input:   input{record: wire.Record{Type: wire.RecordRead, Conversation: "room", Sender: "ann"}, source: source{Log: "m", Offset: to.Seq}},
			outcome: noted, cursor: to, members: &roster{Large: large},
		}
		to.source = e.input.source
		e.cursors = map[string]readCursor{"ann": to}
		return e
	}
	require.Contains(t, string(frames(read(readCursor{Seq: 7, Texts: 5}, false))[0].Value), `"position":"0:7"`)
	require.NoError(t, d.storeEffects(t.Context(), []effects{read(readCursor{Seq: 7, Texts: 5}, false), read(readCursor{Seq: 3, Texts: 2}, false)}))
	h, ok, err := store.Get[head](t.Context(), d.heads, "room")
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, map[string]readCursor{"ann": {Seq: 7, Texts: 5}}, h.Reads)
	require.NoError(t, d.storeEffects(t.Context(), []effects{read(readCursor{Seq: 9, Texts: 6}, true)}))
	c, ok, err := store.Get[readCursor](t.Context(), d.reads, cursorID("room", "ann"))
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, readCursor{Seq: 9, Texts: 6}, c)
	for collection, want := range map[*mongo.Collection]int64{d.heads: 7, d.reads: 9} {
		var doc struct {
			Sources positions `bson:"sources"`
		}
		require.NoError(t, collection.FindOne(t.Context(), bson.M{}).Decode(&doc))
		require.Equal(t, positions{"m/0": want}, doc.Sources, "the record from which %s follow", collection.Name())
	}
}

// Two instances may write what became of a text, the later one first.
func TestTheLaterChangeStays(t *testing.T) {
	d := openTestDatabase(t, nil)
	ctx := t.Context()
	first := text(1, "one")
	require.NoError(t, d.putMessages(ctx, []message{first}))
	edited := func(seq int64, body string) message {
		m := first
		m.apply(message{Seq: seq, Kind: wire.Edit, Body: body, At: time.Unix(seq, 0)})
		return m
	}
	for _, m := range []message{edited(3, "three"), edited(5, "five"), edited(4, "four")} {
		require.NoError(t, d.putChanged(ctx, m))
	}
	stored, err := d.readMessage(ctx, "room", 1)
	require.NoError(t, err)
	require.EqualValues(t, 5, stored.Changed)
	require.Equal(t, "five", stored.wire().Body)
	require.Equal(t, "one", stored.said().Body)

	gone := first
	gone.apply(message{Seq: 6, Kind: wire.Delete, At: time.Unix(6, 0)})
	require.NoError(t, d.putChanged(ctx, gone))
	require.NoError(t, d.putChanged(ctx, edited(5, "five")))
	var raw bson.M
	require.NoError(t, d.messages.FindOne(ctx, bson.M{"_id": first.ID}).Decode(&raw))
	require.NotContains(t, fmt.Sprint(raw), "five")
	require.NotContains(t, fmt.Sprint(raw), "one")
}
