package devlab

import (
	"encoding/json"
	"errors"
	"fmt"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/labctl/labctl/services/client"
	"github.com/labctl/labctl/services/topics"
)

// A gateway that was frozen for longer than the brokers keep records has its clients read from the database what it could not pass on, though nothing more
// is said.
func TestAGatewayThatMissesRecords(t *testing.T) {
	w := newWorld(t, "gateway")
	w.spawn("gateway")
	w.ready()
	alice, bob := w.user("alice"), w.user("bob")
	a, b := w.device(alice), w.device(bob)
	dm := client.DirectID(alice.User.ID, bob.User.ID)
	a.send(dm, "0")
	b.has(dm, 1)

	gateway := w.parts["gateway"].process
	require.NoError(t, gateway.Signal(syscall.SIGSTOP))
	k := w.kafka()
	want := []string{"1 0"}
	for i := 1; i <= 5; i++ {
		say(t, k, dm, alice.User.ID, fmt.Sprint(i))
		w.stored() // so each is a batch of its own: what the gateway has asked for already, it gets
		want = append(want, fmt.Sprintf("%d %d", i+1, i))
	}
	deleteRecords(t, k, topics.Users)
	require.NoError(t, gateway.Signal(syscall.SIGCONT))

	require.Equal(t, want, texts(b.has(dm, len(want))))
	require.Equal(t, want, texts(a.has(dm, len(want))))
}

// say writes a text into the topic, as a gateway does.
func say(t *testing.T, k *kgo.Client, conversation, sender, body string) {
	t.Helper()
	value, err := json.Marshal(map[string]any{
		"type": "send", "conversation": conversation, "sender": sender, "client_id": "said-" + body, "body": body, "at": "2026-11-30T08:00:00Z",
	})
	require.NoError(t, err)
	require.NoError(t, k.ProduceSync(t.Context(), &kgo.Record{Topic: topics.Messages, Key: []byte(conversation), Value: value}).FirstErr())
}

// deleteRecords has a topic lose all its records, as retention does.
func deleteRecords(t *testing.T, k *kgo.Client, topic string) {
	t.Helper()
	admin := kadm.NewClient(k)
	ends, err := admin.ListEndOffsets(t.Context(), topic)
	require.NoError(t, err)
	deleted, err := admin.DeleteRecords(t.Context(), ends.Offsets())
	require.NoError(t, errors.Join(err, deleted.Error()))
}

// What the topic loses while no messaging runs is counted, whether or not something is said after it. Nobody waits for it, and what comes after it is stored.
func TestMessagingThatMissesRecords(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.user("alice"), w.user("bob")
	a := w.device(alice)
	dm := client.DirectID(alice.User.ID, bob.User.ID)
	a.send(dm, "0")
	w.stored()
	w.parts["messaging"].stop() // which commits
	k := w.kafka()
	for i := 1; i <= 5; i++ {
		say(t, k, dm, alice.User.ID, fmt.Sprint(i))
	}
	deleteRecords(t, k, topics.Messages)
	w.start("messaging")
	w.ready()
	w.metric("messaging", "\nmessaging_lost_total 5\n")
	w.stored()

	a.send(dm, "6")
	require.Equal(t, []string{"1 0", "2 6"}, texts(w.history(alice, dm)))
	w.metric("messaging", "\nmessaging_lost_total 5\n")
}
