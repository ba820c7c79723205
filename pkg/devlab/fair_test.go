package devlab

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/labctl/labctl/services/client"
	"github.com/labctl/labctl/services/topics"
)

// One conversation has a long backlog, as after a break. What is said in others, though later, does not wait for its end.
func TestABacklogHoldsNobodyUp(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	alice := w.user("alice")
	hash := kgo.StickyKeyPartitioner(nil).ForTopic("")
	of := func(id string, partitions int) int { return hash.Partition(&kgo.Record{Key: []byte(id)}, partitions) }
	admin := kadm.NewClient(w.kafka())
	made, err := admin.ListTopics(ctx, topics.Messages, topics.Users)
	require.NoError(t, err)
	all, told := len(made[topics.Messages].Partitions), len(made[topics.Users].Partitions)
	n := 0
	another := func() string {
		n++
		return client.DirectID(alice.User.ID, fmt.Sprintf("00000000-0000-7000-8000-%012d", n))
	}
	busy := another()
	// Conversations whose records are in another partition of messages, and whose frames are in the same partition of users: there they have an order.
	var others []string
	for len(others) < 5 {
		if id := another(); of(id, all) != of(busy, all) && of(id, told) == of(busy, told) {
			others = append(others, id)
		}
	}
	w.parts["messaging"].stop()
	k := w.kafka(kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)))
	const backlog = 3000
	var records []*kgo.Record
	say := func(conversation, clientID string) {
		value := fmt.Sprintf(`{"type":"send","conversation":%q,"sender":%q,"client_id":%q,"body":"hello","at":"2026-01-02T03:04:05Z"}`, conversation, alice.User.ID, clientID)
		records = append(records, &kgo.Record{Topic: topics.Messages, Key: []byte(conversation), Value: []byte(value)})
	}
	for i := range backlog {
		say(busy, fmt.Sprint("busy-", i))
	}
	for _, id := range others {
		say(id, "other")
	}
	require.NoError(t, k.ProduceSync(ctx, records...).FirstErr())

	users := w.kafka(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topics.Users: {int32(of(busy, told)): kgo.NewOffset().AtStart()}})) //nolint:gosec // few
	w.start("messaging")
	before, waiting := 0, len(others)
	for waiting > 0 {
		fetches := users.PollFetches(ctx)
		require.NoError(t, fetches.Err())
		fetches.EachRecord(func(r *kgo.Record) {
			var f struct {
				Message client.Message `json:"message"`
			}
			if json.Unmarshal(r.Value, &f) != nil || waiting == 0 {
				return
			}
			if f.Message.Conversation == busy {
				before++
			} else {
				waiting--
			}
		})
	}

	require.Less(t, before, backlog/2, "the others come in between")
	w.ready()
}

// Backlogs of all partitions are worked off, though nothing new comes that would begin another turn.
func TestBacklogsEverywhere(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	alice := w.user("alice")
	const each, conversations = 3000, 12
	var records []*kgo.Record
	for i := range each * conversations {
		conversation := client.DirectID(alice.User.ID, fmt.Sprintf("00000000-0000-7000-8000-%012d", i%conversations))
		value := fmt.Sprintf(`{"type":"send","conversation":%q,"sender":%q,"client_id":"c-%d","body":"hello","at":"2026-01-02T03:04:05Z"}`, conversation, alice.User.ID, i)
		records = append(records, &kgo.Record{Topic: topics.Messages, Key: []byte(conversation), Value: []byte(value)})
	}
	require.NoError(t, w.kafka(kgo.ProducerBatchMaxBytes(1000)).ProduceSync(ctx, records...).FirstErr()) // as they come from gateways: a few at a time

	for stored := 0; stored < each*conversations; { // however long all takes
		before := stored
		eventually(t, fmt.Sprintf("more than %d to be stored", before), func() bool {
			stored = w.count("messaging", "messaging_stored_total")
			return stored > before
		})
	}
}
