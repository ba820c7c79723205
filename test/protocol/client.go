package protocol

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// object is a JSON object as it came, or as it is sent.
type object = map[string]any

// patience is how long anything may take. It says when to give up, not how fast the chat has to be.
const patience = 30 * time.Second

// answer is what a request got.
type answer struct {
	status int
	header http.Header
	raw    string
	body   object // nil where there is none
}

// code is that of an error.
func (a answer) code() string { return text(a.body, "error", "code") }

// ask makes a request. A body that is a string is sent as it is, any other as JSON.
func (c *chat) ask(method, path, token string, body any, header ...string) answer {
	c.t.Helper()
	var sent []byte
	switch b := body.(type) {
	case nil:
	case string:
		sent = []byte(b)
	default:
		var err error
		sent, err = json.Marshal(b)
		c.NoError(err)
	}
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.base+path, bytes.NewReader(sent))
	c.NoError(err)
	if sent != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := c.http.RoundTrip(req) // no redirect is followed
	c.NoError(err)
	raw, err := io.ReadAll(res.Body)
	c.NoError(err)
	c.NoError(res.Body.Close())
	a := answer{status: res.StatusCode, header: res.Header, raw: string(raw)}
	if res.Header.Get("Content-Type") == "application/json" {
		c.NoError(json.Unmarshal(raw, &a.body), a.raw)
	}
	// § 1 says these of every answer.
	c.Regexp("^[a-zA-Z0-9+-]{8,64}$", res.Header.Get("X-Request-Id"), "%s %s", method, path)
	if a.status >= 400 {
		c.Regexp("^[a-z_]+$", a.code(), "%s %s: %d %s", method, path, a.status, a.raw)
		c.NotEmpty(text(a.body, "error", "message"), "%s %s: %d %s", method, path, a.status, a.raw)
	}
	return a
}

// is finds that an answer has a status, and, of an error, a code.
func (c *chat) is(a answer, status int, code ...string) answer {
	c.t.Helper()
	c.Equal(status, a.status, a.raw)
	if len(code) > 0 {
		c.Equal(code[0], a.code(), a.raw)
	}
	return a
}

// session is a device's login.
type session struct {
	c               *chat
	user, name, id  string
	access, refresh string
	password, role  string
}

// session reads the object of § 2.
func (c *chat) session(a answer, password string) *session {
	c.t.Helper()
	s := &session{
		c: c, user: text(a.body, "user", "id"), name: text(a.body, "user", "name"), id: text(a.body, "session"), role: text(a.body, "role"),
		access: text(a.body, "access_token"), refresh: text(a.body, "refresh_token"), password: password,
	}
	for _, v := range []string{s.user, s.name, s.id, s.role, s.access, s.refresh} {
		c.NotEmpty(v, "a session lacks a field")
	}
	c.Positive(number(a.body, "access_expires_in"))
	c.Positive(number(a.body, "refresh_expires_in"))
	return s
}

// login logs a user in once more.
func (s *session) login() *session {
	s.c.t.Helper()
	return s.c.session(s.c.is(s.c.ask("POST", "/api/auth/login", "", object{"name": s.name, "password": s.password, "device": "another"}), 200), s.password)
}

// as is a request with the session's access token.
func (s *session) as(method, path string, body any) answer {
	s.c.t.Helper()
	return s.c.ask(method, path, s.access, body)
}

// ok is a request that gets 200.
func (s *session) ok(method, path string, body any) object {
	s.c.t.Helper()
	return s.c.is(s.as(method, path, body), 200).body
}

// socket is an open WebSocket, and what came on it that nobody has looked for yet.
type socket struct {
	c     *chat
	s     *session
	ws    *websocket.Conn
	hello object

	mu     sync.Mutex
	frames []object
	err    error // why there will be no more
	news   chan struct{}
	pongs  chan string
}

// dial opens a WebSocket without a word.
func (c *chat) dial() *socket {
	c.t.Helper()
	ws, res, err := c.upgrade(nil)
	c.NoError(err)
	c.NoError(res.Body.Close())
	k := &socket{c: c, ws: ws, news: make(chan struct{}, 1), pongs: make(chan string, 1)}
	ws.SetPongHandler(func(data string) error {
		k.pongs <- data
		return nil
	})
	c.t.Cleanup(func() { _ = ws.Close() })
	go k.read()
	return k
}

func (c *chat) upgrade(header http.Header) (*websocket.Conn, *http.Response, error) {
	d := websocket.Dialer{HandshakeTimeout: patience}
	return d.DialContext(c.t.Context(), "ws"+strings.TrimPrefix(c.base, "http")+"/ws", header) //nolint:wrapcheck // the caller says what it was for
}

// open opens a socket of a session, with the hello of § 7.
func (s *session) open() *socket {
	s.c.t.Helper()
	k := s.c.dial()
	k.s = s
	k.send(object{"type": "hello", "token": s.access})
	k.hello = k.next("hello", func(object) bool { return true }) // the server's first frame
	s.c.Equal("hello", k.hello["type"])
	return k
}

func (k *socket) read() {
	for {
		kind, b, err := k.ws.ReadMessage()
		var f object
		if err == nil && kind != websocket.TextMessage {
			err = fmt.Errorf("a frame of kind %d", kind)
		}
		if err == nil {
			err = json.Unmarshal(b, &f)
		}
		k.mu.Lock()
		if err != nil {
			k.err = err
		} else {
			k.frames = append(k.frames, f)
		}
		k.mu.Unlock()
		select {
		case k.news <- struct{}{}:
		default:
		}
		if err != nil {
			return
		}
	}
}

func (k *socket) send(frame object) {
	k.c.t.Helper()
	k.c.NoError(k.ws.WriteJSON(frame))
}

// next waits for a frame and takes it, and what came before it, off the list.
func (k *socket) next(what string, match func(object) bool) object {
	k.c.t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for seen := 0; ; {
		k.mu.Lock()
		for ; seen < len(k.frames); seen++ {
			if f := k.frames[seen]; match(f) {
				k.frames = k.frames[seen+1:]
				k.mu.Unlock()
				return f
			}
		}
		err, came := k.err, fmt.Sprint(k.frames)
		k.mu.Unlock()
		if err != nil {
			k.c.FailNow("the socket closed", "waiting for %s: %v; it had %s", what, err, came)
		}
		select {
		case <-k.news:
		case <-limit.C:
			k.c.FailNow("a frame is missing", "waiting for %s; there came %s", what, came)
		}
	}
}

// closes waits for the close code.
func (k *socket) closes(code int) {
	k.c.t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for {
		k.mu.Lock()
		err := k.err
		k.mu.Unlock()
		if err != nil {
			var closed *websocket.CloseError
			k.c.ErrorAs(err, &closed)
			k.c.Equal(code, closed.Code, closed.Text)
			return
		}
		select {
		case <-k.news:
		case <-limit.C:
			k.c.FailNow("the socket stays open", "it was to close with %d", code)
		}
	}
}

// isOpen says whether no end of the socket has come yet, nor a word of it.
func (k *socket) isOpen() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.err == nil && (len(k.frames) == 0 || k.frames[len(k.frames)-1]["type"] != "error")
}

// alive finds that the socket still answers.
func (k *socket) alive() {
	k.c.t.Helper()
	id := k.c.fresh("p")
	k.send(object{"type": "ping", "id": id})
	k.next("pong", func(f object) bool { return f["type"] == "pong" && f["id"] == id })
}

// post sends a frame that is acknowledged, and gives the message that is the acknowledgement.
func (k *socket) post(kind, conversation string, more object) object {
	k.c.t.Helper()
	return k.acknowledged(k.postAs(k.c.fresh("c"), kind, conversation, more))
}

// postAs sends such a frame with a client_id, and gives that.
func (k *socket) postAs(id, kind, conversation string, more object) string {
	k.c.t.Helper()
	f := object{"type": kind, "conversation": conversation, "client_id": id}
	for name, v := range more {
		f[name] = v
	}
	k.send(f)
	return id
}

func (k *socket) acknowledged(id string) object {
	k.c.t.Helper()
	f := k.next("the acknowledgement of "+id, func(f object) bool {
		m, _ := f["message"].(object)
		return f["type"] == "message" && m["client_id"] == id && m["sender"] == k.s.user || f["type"] == "error" && f["client_id"] == id
	})
	k.c.Equal("message", f["type"], "%v", f)
	return f["message"].(object)
}

// say sends a text.
func (k *socket) say(conversation, body string) object {
	k.c.t.Helper()
	return k.post("send", conversation, object{"body": body})
}

// refused waits for the error about a client_id.
func (k *socket) refused(id, code string) object {
	k.c.t.Helper()
	f := k.next("the refusal of "+id, func(f object) bool {
		m, _ := f["message"].(object)
		return f["client_id"] == id || m["client_id"] == id
	})
	k.c.Equal("error", f["type"], "%v", f)
	k.c.Equal(code, f["code"], "%v", f)
	k.c.Equal(code == "unavailable" || code == "rate_limited", f["retry"], "%v", f)
	return f
}

// refuses sends a frame that is refused.
func (k *socket) refuses(code, kind, conversation string, more object) {
	k.c.t.Helper()
	k.refused(k.postAs(k.c.fresh("c"), kind, conversation, more), code)
}

// message waits for a message of a conversation at a seq.
func (k *socket) message(conversation string, seq float64) object {
	k.c.t.Helper()
	f := k.next(fmt.Sprintf("message %v of %s", seq, conversation), func(f object) bool {
		return f["type"] == "message" && text(f, "message", "conversation") == conversation && number(f, "message", "seq") == seq
	})
	return f["message"].(object)
}

// event waits for a group's event, and gives the message.
func (k *socket) event(conversation, kind string) object {
	k.c.t.Helper()
	f := k.next(kind+" of "+conversation, func(f object) bool {
		return f["type"] == "message" && text(f, "message", "conversation") == conversation && text(f, "message", "event", "type") == kind
	})
	return f["message"].(object)
}

// notice waits for a notice.
func (k *socket) notice(kind, about string) object {
	k.c.t.Helper()
	return k.next("notice "+kind, func(f object) bool {
		return f["type"] == "notice" && f["kind"] == kind && (f["user"] == about || f["group"] == about)
	})
}

// at gives what stands in an object below those names.
func at(o object, names ...string) any {
	var v any = o
	for _, name := range names {
		m, _ := v.(object)
		v = m[name]
	}
	return v
}

func text(o object, names ...string) string    { s, _ := at(o, names...).(string); return s }
func number(o object, names ...string) float64 { n, _ := at(o, names...).(float64); return n }
func list(o object, names ...string) []any     { l, _ := at(o, names...).([]any); return l }

// pluck gives one field of each object in a list.
func pluck(l []any, name string) (found []any) {
	for _, v := range l {
		o, _ := v.(object)
		found = append(found, o[name])
	}
	return found
}

func direct(a, b *session) string {
	if a.user < b.user {
		return "dm:" + a.user + ":" + b.user
	}
	return "dm:" + b.user + ":" + a.user
}

func query(path string, pairs ...string) string {
	q := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		q.Set(pairs[i], pairs[i+1])
	}
	return path + "?" + q.Encode()
}

// claims reads a part of a JWT.
func (c *chat) claims(part string) (o object) {
	c.t.Helper()
	c.NoError(json.Unmarshal(c.decoded(part), &o))
	return o
}

// instant is how times look.
const instant = `^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`

func (c *chat) decoded(part string) []byte {
	c.t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(part)
	c.NoError(err)
	return b
}

// within waits until something holds of which the protocol says that it may take a moment.
func (c *chat) within(holds func() bool, what string) {
	c.t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for !holds() {
		select {
		case <-limit.C:
			c.FailNow("it never came to be", what)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
