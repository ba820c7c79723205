package messaging

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/labctl/labctl/services/internal/wire"
)

// What a deleted user has said goes, edits and all, though they are no member any more and nothing of it is in memory. Others' texts stay.
func TestErase(t *testing.T) {
	d := newTestDatabase(t)
	ctx := t.Context()
	c := newCrowd(0)
	gone, other := c.users[1], c.users[0]
	var records []*kgo.Record
	for i, r := range []wire.Record{
		{Type: wire.RecordGroup, Sender: other, ClientID: "1", Event: &wire.GroupEvent{Type: wire.Created, Users: c.users[:2]}},
		{Type: wire.RecordSend, Sender: gone, ClientID: "a", Body: "worded"},
		{Type: wire.RecordEdit, Sender: gone, ClientID: "b", Target: 2, Body: "reworded"},
		{Type: wire.RecordSend, Sender: other, ClientID: "c", Body: "stays"},
		{Type: wire.RecordGroup, Sender: gone, ClientID: "2", Event: &wire.GroupEvent{Type: wire.MemberLeft, Users: []string{gone}}},
		{Type: wire.RecordErase, Sender: gone, ClientID: wire.RecordErase, Target: 2},
		{Type: wire.RecordErase, Sender: gone, ClientID: wire.RecordErase, Target: 2}, // by another instance
		{Type: wire.RecordErase, Sender: gone, ClientID: wire.RecordErase, Target: 4},
	} {
		r.Conversation, r.At = c.g, wire.At(time.Unix(int64(i), 0))
		require.NoError(t, r.Check(r.Conversation))
		records = append(records, &kgo.Record{Topic: "messages", Partition: partitionOfAll, Offset: int64(i), Key: []byte(r.Conversation), Value: wire.Encode(r)})
	}
	first := newInstance(t, d, 0, 0)
	_, err := first.decide(ctx, records[:5])
	require.NoError(t, err)
	require.NoError(t, first.drain(ctx))
	require.NoError(t, first.projector.write(ctx))

	next := newInstance(t, d, 5, 0)
	decided, err := next.decide(ctx, records)
	require.NoError(t, err)
	var got []outcome
	for _, e := range decided {
		got = append(got, e.outcome)
	}
	require.Equal(t, []outcome{accepted, repeated, repeated}, got)
	require.NoError(t, next.drain(ctx))
	require.NoError(t, next.projector.write(ctx))
	messages, err := d.page(ctx, c.g, 1, 6)
	require.NoError(t, err)
	var bodies []string
	for _, m := range messages {
		bodies = append(bodies, m.wire().Body)
	}
	require.Equal(t, []string{"", "", "", "stays", "", ""}, bodies)
	require.Equal(t, wire.Delete, messages[5].Kind)
	require.NotContains(t, dump(t, d), "worded", "nor is it anywhere in the database")
}
