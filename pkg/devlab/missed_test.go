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
	ctx := t.Context()
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
		value, err := json.Marshal(map[string]any{
			"type": "send", "conversation": dm, "sender": alice.User.ID, "client_id": fmt.Sprint("missed-", i), "body": fmt.Sprint(i), "at": "2026-11-30T08:00:00Z",
		})
		require.NoError(t, err)
		require.NoError(t, k.ProduceSync(ctx, &kgo.Record{Topic: topics.Messages, Key: []byte(dm), Value: value}).FirstErr())
		w.stored() // so each is a batch of its own: what the gateway has asked for already, it gets
		want = append(want, fmt.Sprintf("%d %d", i+1, i))
	}
	admin := kadm.NewClient(k)
	ends, err := admin.ListEndOffsets(ctx, topics.Users)
	require.NoError(t, err)
	deleted, err := admin.DeleteRecords(ctx, ends.Offsets())
	require.NoError(t, errors.Join(err, deleted.Error()))
	require.NoError(t, gateway.Signal(syscall.SIGCONT))

	require.Equal(t, want, texts(b.has(dm, len(want))))
	require.Equal(t, want, texts(a.has(dm, len(want))))
}
