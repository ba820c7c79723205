package devlab

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/labctl/labctl/services/gateway"
	"github.com/labctl/labctl/services/topics"
)

// A gateway that has just started has what was told ahead shortly before: who opens a socket there may not find it stored yet.
func TestANewGatewayKnowsWhatWasToldAhead(t *testing.T) {
	w := newWorld(t)
	alice := w.user("alice")
	k := w.kafka()
	tell := func(what string, at time.Time) {
		t.Helper()
		frame, err := json.Marshal(map[string]string{"type": "test", "message": what})
		require.NoError(t, err)
		require.NoError(t, k.ProduceSync(t.Context(), &kgo.Record{
			Topic: topics.Users, Key: []byte("room"), Value: frame, Timestamp: at,
			Headers: []kgo.RecordHeader{{Key: "to", Value: []byte(alice.User.ID)}, {Key: "ahead"}},
		}).FirstErr())
	}
	now := time.Now()
	tell("stored long ago", now.Add(-time.Minute))
	tell("not stored yet", now)

	ws := w.dial(w.startGateway("gateway-2", func(*gateway.Config) {}), alice)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		_, frame, err := ws.Read(ctx)
		require.NoError(t, err, "nobody told it")
		require.NotContains(t, string(frame), "stored long ago")
		if string(frame) == `{"message":"not stored yet","type":"test"}` {
			return
		}
	}
}
