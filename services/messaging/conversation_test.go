package messaging

import (
	"encoding/json"
	"maps"
	"slices"
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
	c := &conversation{id: "g:1"}
	apply := func(seq int64, kind, owner string, users ...string) {
		c.group.apply(wire.GroupEvent{Type: kind, Users: users, Owner: owner, Title: "T"}, "ann", seq)
	}
	apply(1, wire.Created, "", "ann", "ben")
	apply(4, wire.MemberAdded, "", "cal")
	apply(6, wire.MemberRemoved, "", "ben")
	apply(9, wire.MemberAdded, "", "ben", "cal") // cal is in it already
	apply(11, wire.MemberLeft, "cal", "ann")
	for seq, want := range map[int64][]string{
		1: {"ann", "ben"}, 3: {"ann", "ben"}, 4: {"ann", "ben", "cal"}, 6: {"ann", "ben", "cal"}, 7: {"ann", "cal"}, 8: {"ann", "cal"},
		9: {"ann", "cal", "ben"}, 11: {"ann", "cal", "ben"}, 12: {"cal", "ben"},
	} {
		require.ElementsMatch(t, want, slices.Collect(maps.Keys(maps.Collect(c.audience(seq)))), "at %d", seq)
	}
	require.False(t, c.member("ann"))
	first, ok := c.since("ben")
	require.True(t, ok)
	require.EqualValues(t, 9, first)
	require.Equal(t, []wire.Member{{User: "cal", Role: "owner"}, {User: "ben", Role: "member"}}, c.members())
	require.EqualValues(t, 11, c.group.Seq)

	c.group.apply(wire.GroupEvent{Type: wire.RoleChanged, Users: []string{"ben"}, Role: wire.Admin}, "cal", 12)
	require.Equal(t, []wire.Member{{User: "cal", Role: "owner"}, {User: "ben", Role: "admin"}}, c.members())
	c.group.apply(wire.GroupEvent{Type: wire.RoleChanged, Users: []string{"ben"}, Role: wire.Owner, Owner: "ben"}, "cal", 13)
	require.Equal(t, []wire.Member{{User: "cal", Role: "admin"}, {User: "ben", Role: "owner"}}, c.members(), "handed over")
	require.EqualValues(t, 13, c.group.Seq)
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
			it := parse([]*kgo.Record{{Key: []byte(tc.key), Value: tc.value}})[0]
			if tc.reason == "" {
				require.NoError(t, it.bad)
				return
			}
			require.ErrorContains(t, it.bad, tc.reason)
		})
	}
	twice := parse([]*kgo.Record{{Key: []byte(dm), Value: with(func(*wire.Record) {})}, {Key: []byte(dm), Value: with(func(r *wire.Record) { r.Body = "again" })}})
	require.Same(t, twice[0], twice[1].first)
}
