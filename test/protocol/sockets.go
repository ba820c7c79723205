package protocol

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/gorilla/websocket"
)

func aboutSockets() []check {
	first := func(c *chat, frame string) *socket {
		k := c.dial()
		c.NoError(k.ws.WriteMessage(websocket.TextMessage, []byte(frame)))
		return k
	}
	return []check{
		{"the hello of the server names the user, the session and the limits", func(c *chat) {
			s := c.users("hal")[0]
			k := s.open()
			c.Equal([]any{s.user, s.id, 25.0, 32768.0}, []any{k.hello["user"], k.hello["session"], k.hello["heartbeat_seconds"], k.hello["max_frame"]})
			c.NotEmpty(k.hello["connection"])
			c.NotNil(k.hello["position"])
			c.NotEqual(k.hello["connection"], s.open().hello["connection"])
		}},
		{"a first frame that is no hello closes with 4400, a token that is none with 4402", func(c *chat) {
			first(c, `{"type":"ping","id":"p"}`).closes(4400)
			first(c, `{"type":"hello","token":"x"}`).closes(4402)
			first(c, `{"type":"hello"}`).closes(4402)
		}},
		{"who says no hello is closed with 4408", func(c *chat) { c.dial().closes(4408) }},
		{"a second hello does nothing", func(c *chat) {
			k := c.anyone().open()
			k.send(object{"type": "hello", "token": "x"})
			k.alive()
		}},
		{"a request for no WebSocket, or from a strange page, is refused", func(c *chat) {
			c.is(c.ask("GET", "/ws", "", nil), 426)
			_, res, err := c.upgrade(http.Header{"Origin": {"https://evil.example"}})
			c.ErrorIs(err, websocket.ErrBadHandshake)
			c.Equal(403, res.StatusCode)
			c.NoError(res.Body.Close())
			ws, res, err := c.upgrade(http.Header{"Origin": {c.base}})
			c.NoError(err)
			c.NoError(res.Body.Close())
			c.NoError(ws.Close())
		}},
		{"what is no frame closes with its code", func(c *chat) {
			s := c.anyone()
			for _, tc := range []struct {
				what, frame string
				kind, code  int
			}{
				{"a binary frame", `{"type":"ping"}`, websocket.BinaryMessage, 1003},
				{"a frame over 32 KiB", `{"type":"ping","id":"` + strings.Repeat("x", 32<<10) + `"}`, websocket.TextMessage, 1009},
				{"no JSON", `ping`, websocket.TextMessage, 4400},
				{"a list", `[]`, websocket.TextMessage, 4400},
				{"two objects", `{"type":"ping"}{"type":"ping"}`, websocket.TextMessage, 4400},
				{"not UTF-8", "{\"type\":\"ping\",\"id\":\"\xff\"}", websocket.TextMessage, 4400},
				{"too deep", `{"type":"ping","x":` + strings.Repeat("[", 16) + strings.Repeat("]", 16) + `}`, websocket.TextMessage, 4400},
				{"no type", `{}`, websocket.TextMessage, 4400},
				{"an unknown type", `{"type":"dance"}`, websocket.TextMessage, 4400},
				{"nothing", ``, websocket.TextMessage, 4400},
			} {
				c.t.Log(tc.what)
				k := s.open()
				c.NoError(k.ws.WriteMessage(tc.kind, []byte(tc.frame)))
				k.closes(tc.code)
			}
		}},
		{"what is just within the limits of a frame is none of that", func(c *chat) {
			k := c.anyone().open()
			deep := `{"type":"ping","id":"a","x":` + strings.Repeat("[", 15) + strings.Repeat("]", 15) + `}`
			for _, frame := range []string{deep, `{"type":"ping","id":"a","another":1}`, `{"type":"ping","id":"a"` + strings.Repeat(" ", 32<<10-len(`{"type":"ping","id":"a"}`)) + `}`} {
				c.NoError(k.ws.WriteMessage(websocket.TextMessage, []byte(frame)))
				k.next("pong", func(f object) bool { return f["type"] == "pong" && f["id"] == "a" })
			}
		}},
		{"a value of another type is told, and the socket stays", func(c *chat) {
			a, _, dm := c.newcomers()
			for _, f := range []object{
				{"type": "send", "conversation": 1, "client_id": "c", "body": "x"}, {"type": "send", "conversation": dm, "client_id": "c", "body": []string{}},
				{"type": "read", "conversation": dm, "seq": "1"}, {"type": "read", "conversation": dm, "seq": -1}, {"type": "typing", "conversation": dm, "on": "yes"},
				{"type": "away", "away": 1}, {"type": "ping", "id": 1}, {"type": "resume", "id": "r", "have": []int{1}}, {"type": "react", "conversation": dm, "client_id": "c", "seq": 1, "emoji": 1},
			} {
				a.refusedAtAll(f, "bad_frame")
			}
			a.alive()
		}},
		{"an id of more than 64 bytes does not come back", func(c *chat) {
			k := c.anyone().open()
			for _, n := range []int{64, 65} {
				k.send(object{"type": "ping", "id": strings.Repeat("x", n)})
			}
			pong := func(f object) bool { return f["type"] == "pong" }
			c.Equal(strings.Repeat("x", 64), k.next("pong", pong)["id"])
			c.Empty(k.next("pong", pong)["id"])
		}},
		{"resume gives what was missed, then says so", func(c *chat) {
			a, b, dm := c.pair()
			a.say(dm, "seen")
			b.message(dm, 1)
			c.NoError(b.ws.Close())
			a.say(dm, "missed 1")
			a.say(dm, "missed 2")
			k := b.s.open()
			k.send(object{"type": "resume", "id": "r-1", "have": object{dm: 1, "g:" + nobody: 5}})
			c.Equal("missed 1", k.message(dm, 2)["body"])
			c.Equal("missed 2", k.message(dm, 3)["body"])
			f := k.next("resumed", func(f object) bool { return f["type"] == "resumed" })
			c.Equal(object{"type": "resumed", "id": "r-1", "behind": object{}}, f)
			a.post("edit", dm, object{"seq": 1, "body": "seen, and edited"})
			k = b.s.open()
			k.send(object{"type": "resume", "id": "r-2", "have": object{dm: 0}})
			c.Equal("seen, and edited", k.message(dm, 1)["body"], "each text as it is then")
		}},
		{"resume leaves out what is too much, and says up to where it goes", func(c *chat) {
			a, b, dm := c.pair()
			for n := range 201 {
				a.postAs(fmt.Sprint("c-", n), "send", dm, object{"body": fmt.Sprint(n)})
			}
			a.message(dm, 201)
			k := b.s.open()
			k.send(object{"type": "resume", "id": "r", "have": object{dm: 0}})
			f := k.next("resumed", func(f object) bool { return f["type"] == "resumed" })
			c.Equal(object{dm: 201.0}, f["behind"])
			k.send(object{"type": "resume", "id": "r", "have": object{dm: 1}})
			for n := range 200 {
				k.message(dm, float64(n+2))
			}
			c.Equal(object{}, k.next("resumed", func(f object) bool { return f["type"] == "resumed" })["behind"])
		}},
		{"resume is of at most 300 conversations", func(c *chat) {
			k := c.anyone().open()
			have := object{}
			for n := range 301 {
				have[fmt.Sprintf("g:00000000-0000-4000-8000-%012d", n)] = 1
			}
			k.send(object{"type": "resume", "id": "r", "have": have})
			f := k.next("an error", func(f object) bool { return f["type"] == "error" })
			c.Equal([]any{"bad_frame", "r"}, []any{f["code"], f["id"]})
		}},
		{"typing goes to the other members only", func(c *chat) {
			a, b, dm := c.pair()
			beside := a.s.login().open()
			a.send(object{"type": "typing", "conversation": dm, "on": true})
			f := b.next("typing", func(f object) bool { return f["type"] == "typing" && f["conversation"] == dm })
			c.Equal(object{"type": "typing", "conversation": dm, "user": a.s.user, "on": true}, f)
			a.send(object{"type": "typing", "conversation": dm, "on": false})
			b.next("typing", func(f object) bool { return f["type"] == "typing" && f["conversation"] == dm && f["on"] == false })
			b.send(object{"type": "typing", "conversation": dm, "on": true})
			for _, k := range []*socket{a, beside} {
				c.Equal(b.s.user, k.next("typing", func(f object) bool { return f["type"] == "typing" && f["conversation"] == dm })["user"], "none of one's own came before")
			}
		}},
		{"too many frames are an error and close with 4429", func(c *chat) {
			k := c.users("flo")[0].open()
			for k.isOpen() && k.ws.WriteJSON(object{"type": "away", "away": false}) == nil { // which has no answer
			}
			k.next("rate_limited", func(f object) bool { return f["type"] == "error" && f["code"] == "rate_limited" && f["retry"] == true })
			k.closes(4429)
		}},
		{"pings are answered, and those of WebSocket itself", func(c *chat) {
			k := c.anyone().open()
			c.NoError(k.ws.WriteMessage(websocket.PingMessage, []byte("over")))
			k.alive()
			c.Equal("over", <-k.pongs)
		}},
	}
}
