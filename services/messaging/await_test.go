package messaging

import (
	"context"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/services/internal/wire"
)

// Whoever was told of a change and asks with its seq gets the text as it is with it: the change alone, which is stored before, is not enough.
func TestAtLeastWaitsForWhatFollowsFromAMessage(t *testing.T) {
	const room = "g:00000000-0000-4000-8000-000000000001"
	s := &messaging{database: newTestDatabase(t)}
	topic := log("a topic")
	s.log.Store(&topic)
	said := func(seq int64, kind string) message {
		return message{ID: messageID(room, seq), Conversation: room, Seq: seq, Kind: kind, Sender: "ann", Source: source{Log: topic, Offset: seq}}
	}
	require.NoError(t, s.database.putMessages(t.Context(), []message{said(1, wire.Text), said(2, wire.Edit)}))
	ask := func(ctx context.Context, seq string) error {
		return s.current(httptest.NewRequestWithContext(ctx, "GET", "/api/messages?conversation="+room+"&at_least="+seq, nil))
	}
	soon, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, ask(soon, "2"), context.DeadlineExceeded)

	require.NoError(t, s.database.putPositions(t.Context(), positions{source{Log: topic}.place(): 2}))
	require.NoError(t, ask(t.Context(), "2"))

	require.NoError(t, s.database.putMessages(t.Context(), []message{said(3, wire.Edit)}))
	another := log("made anew")
	s.log.Store(&another)
	require.NoError(t, ask(t.Context(), "3"), "a log that has ended is stored")
}
