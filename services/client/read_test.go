package client

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/services/internal/wire"
)

// A session that was told how far its user has read asks for an answer that knows it.
func TestReadsThatWereTold(t *testing.T) {
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Query().Get("position"))
		_, _ = w.Write([]byte(`{}`))
	}))
	defer server.Close()
	c := New(server.URL)
	defer c.Close()
	d := &Device{s: &Session{c: c, User: User{ID: "me"}, access: "token", expires: time.Now().Add(time.Hour)}}
	for _, f := range []wire.ReadFrame{
		{Conversation: "g:1", User: "me", Seq: 7, Position: "0:17"}, {Conversation: "g:1", User: "other", Seq: 8, Position: "0:18"},
	} {
		f.Type = wire.FrameRead
		require.NoError(t, d.handle(t.Context(), nil, wire.Encode(f)))
	}
	for _, id := range []string{"g:1", "g:2"} {
		_, err := d.s.Conversation(t.Context(), id)
		require.NoError(t, err)
	}
	require.Equal(t, []string{"0:17", ""}, asked)
}
