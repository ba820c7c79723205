package client

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/services/internal/wire"
)

// The page runs the same cases: docs/vectors/README.md.

func vectors[T any](t *testing.T, name string) (cases []T) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "..", "docs", "vectors", name))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, &cases))
	require.NotEmpty(t, cases)
	return cases
}

func TestVectorsOfChanges(t *testing.T) {
	type vector struct {
		Name    string
		Message Message
		Changes []Message
		Want    Message
	}
	for _, v := range vectors[vector](t, "changes.json") {
		t.Run(v.Name, func(t *testing.T) {
			m := v.Message
			for _, c := range v.Changes {
				m = Changed(m, c)
			}
			require.Equal(t, v.Want, m)
		})
	}
}

func TestVectorsOfDelivery(t *testing.T) {
	type vector struct {
		Name    string
		Have    int64
		Frames  []json.RawMessage
		History []int64 // nil: 404
		Shown   []int64
	}
	for _, v := range vectors[vector](t, "delivery.json") {
		t.Run(v.Name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if v.History == nil {
					w.WriteHeader(http.StatusNotFound)
					_, _ = w.Write([]byte(`{"error": {"code": "not_found", "message": "there is no such conversation"}}`))
					return
				}
				after, err := strconv.ParseInt(r.URL.Query().Get("after"), 10, 64)
				if err != nil {
					w.WriteHeader(http.StatusBadRequest)
					return
				}
				page := []Message{}
				for _, seq := range v.History {
					if seq > after {
						page = append(page, vectorText(seq))
					}
				}
				_ = json.NewEncoder(w).Encode(map[string]any{"messages": page, "more": false})
			}))
			defer server.Close()
			c := New(server.URL)
			defer c.Close()
			var shown []int64
			for seq := range v.Have {
				shown = append(shown, seq+1)
			}
			d := &Device{
				s:       &Session{c: c, User: User{ID: "me"}, access: "token", expires: time.Now().Add(time.Hour)},
				o:       DeviceOptions{Events: Events{Message: func(m Message) { shown = append(shown, m.Seq) }}},
				logs:    map[string]*log{"g:1": {last: v.Have, early: map[int64]Message{}}},
				waiting: map[string]*waiting{},
			}
			for _, frame := range v.Frames {
				if seq, err := strconv.ParseInt(string(frame), 10, 64); err == nil {
					frame = wire.Encode(map[string]any{"type": wire.FrameMessage, "message": vectorText(seq)})
				}
				require.NoError(t, d.handle(t.Context(), nil, frame))
			}
			require.Equal(t, v.Shown, shown)
		})
	}
}

func TestVectorsOfReads(t *testing.T) {
	type vector struct {
		Name         string
		Conversation Conversation
		Steps        []struct {
			Type, User string
			Message    Message
			Seq        int64
			Answer     Conversation
		}
		Want Conversation
	}
	for _, v := range vectors[vector](t, "reads.json") {
		t.Run(v.Name, func(t *testing.T) {
			c := v.Conversation
			for _, s := range v.Steps {
				switch {
				case s.Type == wire.FrameMessage:
					c = AfterMessage(c, s.Message, "me")
				case s.Type == wire.FrameRead && s.User == "me":
					c = AfterRead(c, s.Seq)
				case s.Type == "":
					c = AfterAnswer(c, s.Answer)
				}
			}
			require.Equal(t, v.Want, c)
		})
	}
}

func vectorText(seq int64) Message {
	return Message{
		Conversation: "g:1", Seq: seq, Kind: wire.Text, Sender: "other", ClientID: fmt.Sprint("c-", seq), Body: fmt.Sprint("text ", seq),
		At: wire.At(time.Unix(seq, 0)),
	}
}
