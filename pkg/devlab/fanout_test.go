package devlab

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/labctl/labctl/services/topics"
)

// However many are in a room, what is said in it is one record for all gateways.
func TestARoomOfTenThousand(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	alice, bob := w.user("alice"), w.user("bob")
	a, b := w.device(alice), w.device(bob)
	g, err := alice.CreateGroup(ctx, "Stadium", bob.User.ID)
	require.NoError(t, err)
	a.send(g.ID, "is anybody here?")
	b.has(g.ID, 2)

	// Who comes otherwise would have to be a user, and to be told of it.
	w.parts["messaging"].stop()
	var ids []string
	members := bson.A{}
	add := func(id, role string) {
		ids = append(ids, id)
		members = append(members, bson.M{"user": id, "role": role, "first": int64(1)})
	}
	add(alice.User.ID, "owner")
	add(bob.User.ID, "member")
	for i := range 10_000 {
		add(fmt.Sprintf("00000000-0000-4000-8000-%012d", i), "member")
	}
	res, err := w.database("messaging").Collection("rosters").UpdateOne(ctx, bson.M{"_id": g.ID}, bson.M{"$set": bson.M{"stays": members, "large": true}})
	require.NoError(t, err)
	require.EqualValues(t, 1, res.MatchedCount)
	w.start("messaging")

	k := w.kafka(kgo.ConsumeTopics(topics.Users), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	a.send(g.ID, "good evening")
	b.has(g.ID, 3)
	a.send(g.ID, "the end")

	var evening []*kgo.Record
	for ended := false; !ended; {
		fetches := k.PollFetches(ctx)
		require.NoError(t, fetches.Err())
		fetches.EachRecord(func(r *kgo.Record) {
			if strings.Contains(string(r.Value), `"good evening"`) {
				evening = append(evening, r)
			}
			ended = ended || strings.Contains(string(r.Value), `"the end"`)
		})
	}
	require.Len(t, evening, 1)
	require.Equal(t, g.ID, string(evening[0].Key), "in order with what else is said there")
	to := strings.Split(string(evening[0].Headers[0].Value), ",")
	require.Equal(t, ids, to)
}
