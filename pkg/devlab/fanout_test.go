package devlab

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

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
	ids := make([]string, 0, 10_000)
	for i := range 10_000 {
		ids = append(ids, fmt.Sprintf("00000000-0000-4000-8000-%012d", i))
	}
	// The groups service knows real users only, so its event is said in its place.
	value, err := json.Marshal(map[string]any{"type": "group", "conversation": g.ID, "sender": alice.User.ID, "client_id": "99",
		"event": map[string]any{"type": "member_added", "users": ids}, "at": time.Now()})
	require.NoError(t, err)
	k := w.kafka(kgo.ConsumeTopics(topics.Users), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	require.NoError(t, k.ProduceSync(ctx, &kgo.Record{Topic: topics.Messages, Key: []byte(g.ID), Value: value}).FirstErr())
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
	require.ElementsMatch(t, slices.Concat(ids, []string{alice.User.ID, bob.User.ID}), to)
}
