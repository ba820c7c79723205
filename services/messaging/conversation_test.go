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
		require.ElementsMatch(t, want, c.audience(seq), "at %d", seq)
	}
	require.False(t, c.member("ann"))
	first, ok := c.since("ben")
	require.True(t, ok)
	require.EqualValues(t, 9, first)
	require.Equal(t, []wire.Member{{User: "cal", Role: "owner"}, {User: "ben", Role: "member"}}, c.members())
	require.EqualValues(t, 11, c.group.Seq)
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
