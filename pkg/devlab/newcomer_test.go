package devlab

import (
	"encoding/json"
	"fmt"
	"net/url"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/labctl/labctl/services/client"
	"github.com/labctl/labctl/services/gateway"
	"github.com/labctl/labctl/services/topics"
)

// A socket is not told what was passed on before it opened, and that may not be stored yet. So its client learns how far what it reads must go, also
// from a gateway that has just started and has passed nothing on.
func TestWhoComesLateReadsWhatIsNotStoredYet(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	alice, bob := w.user("alice"), w.user("bob")
	dm := client.DirectID(alice.User.ID, bob.User.ID)
	w.device(alice).send(dm, "stored")
	w.parts["messaging"].stop()
	value, err := json.Marshal(map[string]any{"type": "send", "conversation": dm, "sender": alice.User.ID, "client_id": "late", "body": "in Kafka alone", "at": "2026-11-30T08:00:00Z"})
	require.NoError(t, err)
	k := w.kafka()
	produced, err := k.ProduceSync(ctx, &kgo.Record{Topic: topics.Messages, Key: []byte(dm), Value: value}).First()
	require.NoError(t, err)

	ws, err := client.New(w.startGateway("gateway-2", func(*gateway.Config) {})).Dial(ctx, w.access(bob), "")
	require.NoError(t, err)
	t.Cleanup(func() { _ = ws.CloseNow() })
	var hello struct {
		Position string `json:"position"`
	}
	_, frame, err := ws.Read(ctx)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(frame, &hello))
	require.Contains(t, ","+hello.Position+",", fmt.Sprintf(",%d:%d,", produced.Partition, produced.Offset))

	// Who asks for it finds it, and who asks for more than there is hears that it is not there yet.
	w.start("messaging")
	w.ready()
	token, err := bob.AccessToken(ctx)
	require.NoError(t, err)
	status, list := call(t, "GET", w.url+"/api/conversations?position="+url.QueryEscape(hello.Position), token, "")
	require.Equal(t, 200, status, list)
	require.Contains(t, list, "in Kafka alone")
	ends, err := kadm.NewClient(k).ListEndOffsets(ctx, topics.Messages)
	require.NoError(t, err)
	end, _ := ends.Lookup(topics.Messages, produced.Partition)
	var statuses [3]int
	var all sync.WaitGroup
	for i, path := range []string{
		fmt.Sprintf("/api/conversations?position=%d:%d", produced.Partition, end.Offset),
		"/api/conversations/" + url.PathEscape(dm) + "?at_least=3",
		"/api/messages?conversation=" + url.QueryEscape(dm) + "&at_least=3",
	} {
		all.Go(func() { statuses[i], _ = call(t, "GET", w.url+path, token, "") })
	}
	all.Wait()
	require.Equal(t, [3]int{503, 503, 503}, statuses)
	for _, path := range []string{"/api/conversations?position=x", "/api/conversations/" + url.PathEscape(dm) + "?at_least=x"} {
		status, body := call(t, "GET", w.url+path, token, "")
		require.Equal(t, 400, status, body)
	}
}
