package messaging

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"

	"github.com/labctl/labctl/services/internal/wire"
)

// A roster that was read is given for its own event alone, and they take no more memory than they may.
func TestRosters(t *testing.T) {
	var k rosters
	of := func(id string, seq int64, members int) *roster {
		return (&roster{ID: id, Seq: seq, Members: make([]member, members)}).settle()
	}
	require.Nil(t, k.at("a", 0))
	k.keep(of("a", 5, 3))
	require.Len(t, k.at("a", 5).Members, 3)
	require.Nil(t, k.at("a", 4))
	require.Nil(t, k.at("a", 6))
	k.keep(of("a", 4, 7))
	require.Nil(t, k.at("a", 4), "which came late")
	k.keep(of("a", 6, 1))
	require.Len(t, k.at("a", 6).Members, 1)
	for n := range 300 {
		k.keep(of(fmt.Sprint(n), 1, 1000))
		require.NotNil(t, k.at(fmt.Sprint(n), 1))
		require.LessOrEqual(t, k.members, maxKeptMembers)
	}
	kept := 0
	for _, r := range k.last {
		kept += len(r.Members)
	}
	require.Equal(t, kept, k.members)
}

// Who was removed sees nothing more, however well the roster of before is known.
func TestKnownRosters(t *testing.T) {
	d, reads := openCountedDatabase(t)
	ann, ben := wire.NewID(), wire.NewID()
	g := d.group(t, time.Now(), ann, ben)
	see := func(user string) bool {
		t.Helper()
		reads.Store(0)
		_, ok, err := d.view(t.Context(), user, g.c.id)
		require.NoError(t, err)
		return ok
	}
	require.True(t, see(ben))
	require.True(t, see(ben))
	require.EqualValues(t, 2, reads.Load(), "the head, and whether there is more")
	event := wire.GroupEvent{Type: wire.MemberRemoved, Users: []string{ben}}
	m := newMessage(wire.Record{Type: wire.RecordGroup, Conversation: g.c.id, Sender: ann, ClientID: "2", Event: &event, At: wire.At(time.Now())}, 2)
	g.c.take(&m)
	require.NoError(t, d.putMessages(t.Context(), []message{m})) // its roster is not stored yet
	require.False(t, see(ben))
	require.True(t, see(ann))
	require.False(t, see(ben))
	require.EqualValues(t, 4, reads.Load(), "known again, though it is not stored; the head is one behind, so the end is searched for")
}

// Instances that write rosters of a group at once leave the newest, and have the database look one document up for each.
func TestRostersAtOnce(t *testing.T) {
	var mu sync.Mutex
	var filters []bson.Raw
	d := openTestDatabase(t, &event.CommandMonitor{Started: func(_ context.Context, e *event.CommandStartedEvent) {
		if e.CommandName == "update" {
			mu.Lock()
			defer mu.Unlock()
			filters = append(filters, e.Command.Lookup("updates", "0", "q").Document())
		}
	}})
	var all sync.WaitGroup
	for seq := range int64(20) {
		all.Go(func() {
			if err := d.putRoster(t.Context(), &roster{ID: "g:1", Seq: 1 + seq, Title: fmt.Sprint(1 + seq)}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	require.NoError(t, d.putRoster(t.Context(), &roster{ID: "g:1", Seq: 19, Title: "late"}))
	r, err := d.readRoster(t.Context(), "g:1")
	require.NoError(t, err)
	require.EqualValues(t, 20, r.Seq)
	require.Equal(t, "20", r.Title)
	for _, f := range filters {
		values, err := f.Values()
		require.NoError(t, err)
		for _, v := range values {
			require.NotEqual(t, bson.TypeEmbeddedDocument, v.Type, "an operator in %s: the embedded database reads the whole collection", f)
		}
	}
}
