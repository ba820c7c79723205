package messaging

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/labctl/labctl/services/internal/wire"
)

func TestSearch(t *testing.T) {
	for last := range int64(70) {
		for head := range last + 1 {
			asked := 0
			got, err := search(head, func(seq int64) (bool, error) { asked++; return seq <= last, nil })
			require.NoError(t, err)
			require.Equal(t, last, got, "from %d", head)
			if head == last {
				require.Equal(t, 1, asked, "an up-to-date head costs one read")
			}
			require.LessOrEqual(t, asked, 14)
		}
	}
}

func TestRoster(t *testing.T) {
	const id = "g:00000000-0000-4000-8000-000000000001"
	r := (&roster{ID: id}).settle()
	apply := func(seq int64, e wire.GroupEvent) []string {
		before := r
		r = r.with(id, &message{Seq: seq, Version: seq, Sender: "ann", Event: &e})
		return left(before, r)
	}
	require.Empty(t, apply(1, wire.GroupEvent{Type: wire.Created, Title: "T", Users: []string{"ann", "ben", "ben"}}))
	require.Equal(t, []string{"ann", "ben"}, r.users(id), "each once")
	apply(4, wire.GroupEvent{Type: wire.MemberAdded, Users: []string{"cal"}})
	old := r
	require.Equal(t, []string{"ben"}, apply(6, wire.GroupEvent{Type: wire.MemberRemoved, Users: []string{"ben"}}))
	require.Equal(t, []string{"ann", "ben", "cal"}, old.users(id), "the one before stays what it was")
	apply(9, wire.GroupEvent{Type: wire.MemberAdded, Users: []string{"ben", "cal"}}) // cal is in it already
	first, ok := r.since(id, "ben")
	require.True(t, ok)
	require.EqualValues(t, 9, first, "what was said while away is not for who comes back")
	first, _ = r.since(id, "cal")
	require.EqualValues(t, 4, first)
	require.Equal(t, []string{"ann"}, apply(11, wire.GroupEvent{Type: wire.MemberLeft, Users: []string{"ann"}, Owner: "cal"}))
	require.False(t, r.member(id, "ann"))
	require.Equal(t, []wire.Member{{User: "cal", Role: "owner"}, {User: "ben", Role: "member"}}, r.list(id))
	apply(12, wire.GroupEvent{Type: wire.RoleChanged, Users: []string{"ben"}, Role: wire.Admin})
	require.Equal(t, []wire.Member{{User: "cal", Role: "owner"}, {User: "ben", Role: "admin"}}, r.list(id))
	apply(13, wire.GroupEvent{Type: wire.RoleChanged, Users: []string{"ben"}, Role: wire.Owner, Owner: "ben"})
	require.Equal(t, []wire.Member{{User: "cal", Role: "admin"}, {User: "ben", Role: "owner"}}, r.list(id), "handed over")
	require.True(t, r.moderates("cal"))
	require.EqualValues(t, 13, r.Seq)

	// Who joins and leaves in a loop leaves nothing behind.
	for seq := int64(20); seq < 60; seq += 2 {
		apply(seq, wire.GroupEvent{Type: wire.MemberAdded, Users: []string{"dee"}})
		apply(seq+1, wire.GroupEvent{Type: wire.MemberLeft, Users: []string{"dee"}})
	}
	require.Len(t, r.Members, 2)
}

// A roster that was written when all intervals of membership were kept.
func TestRosterOfBefore(t *testing.T) {
	r := (&roster{Members: []member{{User: "ann", Role: "owner", First: 1}, {User: "ben", Role: "member", First: 1, Last: 4}, {User: "ben", Role: "admin", First: 6}}}).settle()
	require.Equal(t, []member{{User: "ann", Role: "owner", First: 1}, {User: "ben", Role: "admin", First: 6}}, r.Members)
}

// What was said is recognized for as long as it is in the window, and then no more is known of it.
func TestWindow(t *testing.T) {
	w := newWindow()
	w.add("a", 0)
	w.add("b", 1)
	require.False(t, w.has("a", 0), "a record does not repeat itself")
	require.True(t, w.has("a", windowSize-1))
	require.False(t, w.has("a", windowSize))
	w.add("a", windowSize)
	require.True(t, w.has("a", windowSize+1), "the later one")
	w.add("c", 3*windowSize)
	require.Len(t, w.last, 1)
	require.Len(t, w.ids, 1)
}

func TestParse(t *testing.T) {
	user, other := wire.NewID(), wire.NewID()
	dm := wire.DirectID(user, other)
	good := wire.Record{Type: wire.RecordSend, Conversation: dm, Sender: user, ClientID: "1", Body: "hi", At: wire.At(time.Unix(1, 0))}
	with := func(f func(*wire.Record)) []byte {
		r := good
		f(&r)
		b, err := json.Marshal(r)
		require.NoError(t, err)
		return b
	}
	for _, tc := range []struct {
		name, key string
		value     []byte
		reason    string
	}{
		{"good", dm, with(func(*wire.Record) {}), ""},
		{"not JSON", dm, []byte("{"), "not JSON"},
		{"another key", "x", with(func(*wire.Record) {}), "the key is not the conversation"},
		{"no conversation", "x", with(func(r *wire.Record) { r.Conversation = "x" }), "no conversation"},
		{"no sender", dm, with(func(r *wire.Record) { r.Sender = "" }), "no user"},
		{"no client id", dm, with(func(r *wire.Record) { r.ClientID = "" }), "client id"},
		{"no time", dm, with(func(r *wire.Record) { r.At = wire.Time{} }), "no time"},
		{"no body", dm, with(func(r *wire.Record) { r.Body = "" }), "body is empty"},
		{"unknown type", dm, with(func(r *wire.Record) { r.Type = "x" }), "unknown type"},
		{"an edit", dm, with(func(r *wire.Record) { r.Type = wire.RecordEdit; r.Target = 3 }), ""},
		{"an edit of nothing", dm, with(func(r *wire.Record) { r.Type = wire.RecordEdit }), "seq must be"},
		{"an edit without a body", dm, with(func(r *wire.Record) { r.Type = wire.RecordEdit; r.Target = 3; r.Body = " " }), "body is empty"},
		{"a deletion", dm, with(func(r *wire.Record) { r.Type = wire.RecordDelete; r.Target = 3; r.Body = "" }), ""},
		{"a reaction", dm, with(func(r *wire.Record) { r.Type = wire.RecordReact; r.Target = 3; r.Emoji = "👍" }), ""},
		{"a reaction with a space", dm, with(func(r *wire.Record) { r.Type = wire.RecordReact; r.Target = 3; r.Emoji = "\u2003" }), "emoji holds"},
		{"a read without a client id", dm, with(func(r *wire.Record) { r.Type = wire.RecordRead; r.Target = 3; r.ClientID = "" }), ""},
		{"a read of nothing", dm, with(func(r *wire.Record) { r.Type = wire.RecordRead }), "seq must be"},
		{"an answer to less than nothing", dm, with(func(r *wire.Record) { r.ReplyTo = -1 }), "reply_to"},
		{"a mention of no user", dm, with(func(r *wire.Record) { r.Mentions = []string{"$ne"} }), "no user's id"},
		{"a block", dm, with(func(r *wire.Record) {
			r.Type, r.ClientID, r.Event = wire.RecordBlock, wire.BlockID(3), &wire.GroupEvent{Type: wire.Blocked}
		}), ""},
		{"a block without a version", dm, with(func(r *wire.Record) { r.Type, r.Event = wire.RecordBlock, &wire.GroupEvent{Type: wire.Blocked} }), "without a version"},
		{"a block by a third", dm, with(func(r *wire.Record) {
			r.Type, r.Sender, r.ClientID, r.Event = wire.RecordBlock, wire.NewID(), wire.BlockID(3), &wire.GroupEvent{Type: wire.Blocked}
		}), "of its sender"},
		{"a block that says neither", dm, with(func(r *wire.Record) { r.Type, r.ClientID = wire.RecordBlock, wire.BlockID(3) }), "neither"},
		{"group event in a direct conversation", dm, with(func(r *wire.Record) { r.Type = wire.RecordGroup; r.Event = &wire.GroupEvent{Type: wire.Created} }), "without"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in := parse(&kgo.Record{Key: []byte(tc.key), Value: tc.value}, "log")
			if tc.reason == "" {
				require.NoError(t, in.invalid)
				return
			}
			require.ErrorContains(t, in.invalid, tc.reason)
		})
	}
}
