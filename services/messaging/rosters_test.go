package messaging

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

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
