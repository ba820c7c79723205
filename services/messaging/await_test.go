package messaging

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/services/internal/token"
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
		told, err := parseTold(httptest.NewRequest("GET", "/api/messages?conversation="+room+"&at_least="+seq, nil))
		require.NoError(t, err)
		return s.awaitTold(ctx, told)
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

// A request that is bad is answered at once, whatever it has to wait for otherwise.
func TestABadParameterIsNotWaitedFor(t *testing.T) {
	seed, err := token.NewKey()
	require.NoError(t, err)
	signer, err := token.NewSigner("1", seed)
	require.NoError(t, err)
	s := &messaging{
		database: newTestDatabase(t), reading: newReading(), listing: newListing(), searching: newSearching(),
		verifier: token.NewVerifier(func(context.Context) (jose.JSONWebKeySet, error) {
			return jose.JSONWebKeySet{Keys: []jose.JSONWebKey{signer.Public()}}, nil
		}, time.Now),
	}
	topic := log("a topic")
	s.log.Store(&topic)
	bearer, err := signer.Sign(token.Claims{User: wire.NewID(), Session: "s", Role: token.RoleUser, Expires: time.Now().Add(time.Hour)}, time.Now())
	require.NoError(t, err)
	room := wire.NewGroupID()
	for name, tt := range map[string]struct {
		handler http.Handler
		path    string
		bad     []string
	}{
		"list":         {s.answers(s.listing, s.list), "/api/conversations?", []string{"limit=0", "limit=x", "cursor=x", "at_least=x"}},
		"conversation": {s.answers(s.reading, s.conversation), "/api/conversations/" + room + "?", []string{"at_least=-1"}},
		"history": {s.answers(s.reading, s.history), "/api/messages?conversation=" + room + "&",
			[]string{"limit=0", "limit=201", "before=x", "before=-1", "after=x", "before=1&after=1", "at_least=x"}},
		"history of nothing": {s.answers(s.reading, s.history), "/api/messages?", []string{"limit=1"}},
		"search":             {s.answers(s.searching, s.search), "/api/messages/search?", []string{"limit=0", "q=", "q=a&limit=101", "q=a&cursor=x"}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, bad := range tt.bad {
				r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, tt.path+bad+"&position=0:7", nil)
				r.Header.Set("Authorization", "Bearer "+bearer)
				w := httptest.NewRecorder()
				tt.handler.ServeHTTP(w, r)
				require.Equal(t, http.StatusBadRequest, w.Code, "%s: %s", bad, w.Body)
			}
		})
	}
}
