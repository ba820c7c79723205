package devlab

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/services/client"
)

func TestChat(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	alice, bob := w.user("Alice"), w.user("bob")
	dm := client.DirectID(alice.User.ID, bob.User.ID)
	a1, a2 := w.device(alice), w.device(w.again(alice))
	b1, b2 := w.device(bob), w.device(w.again(bob))
	all := []*device{a1, a2, b1, b2}

	t.Run("all devices see all messages in one order", func(t *testing.T) {
		const each = 15
		var wg sync.WaitGroup
		for i, d := range all {
			wg.Go(func() {
				for n := range each {
					if _, err := d.Send(ctx, dm, fmt.Sprintf("%d from %d", n, i)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		want := a1.has(dm, 4*each)
		for i, m := range want {
			require.EqualValues(t, i+1, m.Seq)
		}
		for _, d := range all[1:] {
			require.Equal(t, want, d.has(dm, 4*each))
		}
		require.Equal(t, want, w.history(alice, dm))
		require.Equal(t, want, w.history(bob, dm))
		after, err := bob.HistoryAfter(ctx, dm, 10, 0)
		require.NoError(t, err)
		require.Equal(t, want[10:], after)
	})

	t.Run("the same client id is stored once", func(t *testing.T) {
		first, err := a1.SendAs(ctx, dm, "once", "first")
		require.NoError(t, err)
		second, err := a2.SendAs(ctx, dm, "once", "second")
		require.NoError(t, err)
		require.Equal(t, first, second)
		other, err := b1.SendAs(ctx, dm, "once", "another sender")
		require.NoError(t, err)
		require.Equal(t, first.Seq+1, other.Seq)
		require.Equal(t, []string{fmt.Sprint(first.Seq, " first"), fmt.Sprint(other.Seq, " another sender")}, texts(b2.has(dm, int(other.Seq)))[first.Seq-1:])
	})

	t.Run("what was missed comes on reconnect", func(t *testing.T) {
		last := a1.send(dm, "before").Seq
		b1.has(dm, int(last))
		b1.Disconnect()
		for i := range 5 {
			a1.send(dm, fmt.Sprint("missed ", i))
		}
		// A conversation that b1 has never heard of, too.
		carol := w.user("carol")
		c := w.device(carol)
		cb := client.DirectID(carol.User.ID, bob.User.ID)
		c.send(cb, "hello bob")
		require.Equal(t, []string{"missed 0", "missed 1", "missed 2", "missed 3", "missed 4"}, bodies(b1.has(dm, int(last)+5)[last:]))
		require.Equal(t, []string{"1 hello bob"}, texts(b1.has(cb, 1)))
	})

	t.Run("more than a resume gives comes by history", func(t *testing.T) {
		from := int(a1.send(dm, "mark").Seq)
		b2.has(dm, from)
		b2.Disconnect()
		const n = 230
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				if _, err := a1.Send(ctx, dm, fmt.Sprint("flood ", i)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		got := b2.has(dm, from+n)
		require.Equal(t, a1.has(dm, from+n), got)
		require.Equal(t, got, w.history(bob, dm))
	})

	t.Run("conversations", func(t *testing.T) {
		w.stored()
		list, err := bob.Conversations(ctx)
		require.NoError(t, err)
		require.Len(t, list, 2)
		require.Equal(t, dm, list[0].ID, "the last active one comes first")
		got := b1.has(dm, int(list[0].LastSeq))
		require.Equal(t, got[len(got)-1], *list[0].LastMessage)
		require.Equal(t, "direct", list[0].Kind)

		dave := w.user("dave")
		c, err := alice.Conversation(ctx, client.DirectID(alice.User.ID, dave.User.ID))
		require.NoError(t, err)
		require.Zero(t, c.LastSeq)
		_, err = dave.Conversation(ctx, dm)
		require.True(t, client.IsCode(err, "not_found"), err)
		_, _, err = dave.History(ctx, dm, client.Page{})
		require.True(t, client.IsCode(err, "not_found"), err)
	})

	t.Run("refused sends", func(t *testing.T) {
		eve := w.user("eve")
		e := w.device(eve)
		for name, tc := range map[string]struct{ conversation, body, code string }{
			"a conversation of others": {dm, "hi", "not_member"},
			"a group that is not":      {"g:00000000-0000-4000-8000-000000000000", "hi", "not_member"},
			"no conversation":          {"nonsense", "hi", "not_member"},
			"with oneself":             {client.DirectID(eve.User.ID, eve.User.ID), "hi", "not_member"},
			"a user that is not":       {client.DirectID(eve.User.ID, "00000000-0000-4000-8000-000000000000"), "hi", "unknown_user"},
			"empty":                    {client.DirectID(eve.User.ID, bob.User.ID), " \n", "bad_frame"},
			"too long":                 {client.DirectID(eve.User.ID, bob.User.ID), strings.Repeat("é", 4001), "bad_frame"},
			"a control character":      {client.DirectID(eve.User.ID, bob.User.ID), "a\x00b", "bad_frame"},
		} {
			_, err := e.Send(ctx, tc.conversation, tc.body)
			require.True(t, client.IsCode(err, tc.code), "%s: %v", name, err)
		}
		require.Equal(t, strings.Repeat("é", 4000), e.send(client.DirectID(eve.User.ID, bob.User.ID), strings.Repeat("é", 4000)).Body)
	})

	t.Run("users", func(t *testing.T) {
		known := func(s *client.Session) client.User {
			p, err := bob.Profile(ctx, s.User.ID)
			require.NoError(t, err)
			return client.User{ID: s.User.ID, Name: s.User.Name, DisplayName: p.DisplayName, Colour: p.Colour}
		}
		u, ok, err := bob.FindUser(ctx, "ALICE")
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, known(alice), u)
		found, err := bob.SearchUsers(ctx, "al")
		require.NoError(t, err)
		require.Equal(t, []client.User{known(alice)}, found)
		found, err = bob.Users(ctx, alice.User.ID, bob.User.ID, "nobody")
		require.NoError(t, err)
		require.ElementsMatch(t, []client.User{known(alice), known(bob)}, found)
		_, err = client.New(w.url).Register(ctx, "aLICE", "correct horse", "")
		require.True(t, client.IsCode(err, "name_taken"), err)
		for _, name := range []string{"alice", "nobody"} {
			_, err = client.New(w.url).Login(ctx, name, "wrong horse", "")
			require.True(t, client.IsCode(err, "wrong_credentials"), err)
		}
	})
}

func bodies(messages []client.Message) (l []string) {
	for _, m := range messages {
		l = append(l, m.Body)
	}
	return l
}

func TestGroups(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	owner, ann, ben := w.user("owner"), w.user("ann"), w.user("ben")
	o, a, b := w.device(owner), w.device(ann), w.device(ben)

	g, err := owner.CreateGroup(ctx, "Lab", ann.User.ID)
	require.NoError(t, err)
	o.has(g.ID, 1)
	o.send(g.ID, "without ben")

	_, err = ann.AddMember(ctx, g.ID, ben.User.ID)
	require.True(t, client.IsCode(err, "forbidden"), err)
	_, err = ben.Group(ctx, g.ID)
	require.True(t, client.IsCode(err, "not_found"), err)
	_, err = b.Send(ctx, g.ID, "let me in")
	require.True(t, client.IsCode(err, "not_member"), err)
	_, err = owner.AddMember(ctx, g.ID, "00000000-0000-4000-8000-000000000000")
	require.True(t, client.IsCode(err, "unknown_user"), err)

	_, err = owner.AddMember(ctx, g.ID, ben.User.ID)
	require.NoError(t, err)
	b.has(g.ID, 1)
	b.send(g.ID, "hello all")
	_, err = owner.RenameGroup(ctx, g.ID, "Laboratory")
	require.NoError(t, err)
	w.stored()
	c, err := ben.Conversation(ctx, g.ID)
	require.NoError(t, err)
	require.EqualValues(t, 3, c.FirstSeq)
	require.Len(t, c.Members, 3)
	require.Equal(t, []string{"3 (member_added)", "4 hello all", "5 (renamed)"}, texts(b.has(g.ID, 3)))
	require.Equal(t, b.messages(g.ID), w.history(ben, g.ID), "who came later sees what came later")

	// Ann sends all the time while ben is removed: what stands before the removal reaches ben, nothing behind it does.
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				if _, err := a.Send(ctx, g.ID, fmt.Sprint("talk ", i)); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	a.has(g.ID, 15)
	_, err = owner.RemoveMember(ctx, g.ID, ben.User.ID)
	require.NoError(t, err)
	removed := func(l []client.Message) int {
		return slices.IndexFunc(l, func(m client.Message) bool { return m.Event != nil && m.Event.Type == "member_removed" })
	}
	a.until("the removal", func() bool { return removed(a.messages(g.ID)) >= 0 })
	n := len(a.messages(g.ID))
	a.has(g.ID, n+10)
	close(stop)
	wg.Wait()
	_, err = b.Send(ctx, g.ID, "still here?")
	require.True(t, client.IsCode(err, "not_member"), err)
	w.stored()
	_, _, err = ben.History(ctx, g.ID, client.Page{})
	require.True(t, client.IsCode(err, "not_found"), err)
	_, err = ben.Conversation(ctx, g.ID)
	require.True(t, client.IsCode(err, "not_found"), err)

	// A message of another conversation is behind all that ben could have got.
	bo := client.DirectID(ben.User.ID, owner.User.ID)
	o.send(bo, "bye")
	b.has(bo, 1)
	anns := a.messages(g.ID)
	at := removed(anns)
	require.Equal(t, anns[2:at+1], b.messages(g.ID))
	require.Greater(t, len(anns), at+1)

	// Back again, and blind to what was said meanwhile.
	_, err = owner.AddMember(ctx, g.ID, ben.User.ID)
	require.NoError(t, err)
	b.until("the addition", func() bool {
		l := b.messages(g.ID)
		return l[len(l)-1].Event != nil && l[len(l)-1].Event.Type == "member_added"
	})
	back := w.history(ben, g.ID)
	require.Equal(t, "member_added", back[0].Event.Type)
	b.send(g.ID, "back")

	// The owner leaves; ann has been in it longest.
	require.NoError(t, owner.LeaveGroup(ctx, g.ID))
	l := a.until
	l("the owner's leaving", func() bool {
		m := a.messages(g.ID)
		return m[len(m)-1].Event != nil && m[len(m)-1].Event.Type == "member_left"
	})
	got, err := ann.Group(ctx, g.ID)
	require.NoError(t, err)
	require.Equal(t, []client.Member{{User: ann.User.ID, Role: "owner"}, {User: ben.User.ID, Role: "member"}}, got.Members)
	c, err = ann.Conversation(ctx, g.ID)
	require.NoError(t, err)
	require.ElementsMatch(t, got.Members, c.Members)
	require.Equal(t, "Laboratory", c.Title)
	groups, err := owner.Groups(ctx)
	require.NoError(t, err)
	require.Empty(t, groups)
}

func TestSockets(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	alice := w.user("alice")
	c := client.New(w.url)
	dial := func(token, origin string) (*websocket.Conn, error) {
		ws, err := c.Dial(ctx, token, origin)
		if ws != nil {
			t.Cleanup(func() { _ = ws.CloseNow() })
		}
		return ws, err
	}
	access, err := alice.AccessToken(ctx)
	require.NoError(t, err)

	t.Run("bad tokens", func(t *testing.T) {
		head, rest, _ := strings.Cut(access, ".")
		for name, bad := range map[string]string{
			"none": "", "nonsense": "nonsense", "another head": "e30." + rest, "changed": head + ".x" + rest, "cut": access[:len(access)-2],
			"unsigned": "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.", "long": strings.Repeat("x", 5000),
		} {
			ws, err := dial(bad, "")
			require.NoError(t, err, name)
			frames, code := closing(t, ws)
			require.Empty(t, frames, name)
			require.EqualValues(t, 4402, code, name)
		}
	})
	t.Run("whatever comes before the hello closes", func(t *testing.T) {
		for name, first := range map[string]string{
			"a ping": `{"type":"ping","id":"p-1"}`, "no frame": "hello", "a token of a wrong type": `{"type":"hello","token":7}`,
			"a send": `{"type":"send","conversation":"g:1","client_id":"c-1","body":"x"}`,
		} {
			ws := w.upgrade(w.url)
			require.NoError(t, ws.Write(ctx, websocket.MessageText, []byte(first)), name)
			frames, code := closing(t, ws)
			require.Empty(t, frames, name)
			require.EqualValues(t, 4400, code, name)
		}
	})
	t.Run("origins", func(t *testing.T) {
		host := strings.TrimPrefix(w.url, "http://")
		for origin, good := range map[string]bool{
			"http://" + host: true, "https://" + host: true, "http://evil.example": false, "null": false,
			"http://" + host + ".evil.example": false, "http://evil.example#" + host: false, "http://" + host + "@evil.example": false,
			"file://" + host: false, host: false,
		} {
			_, err := dial(access, origin)
			if good {
				require.NoError(t, err, origin)
			} else {
				require.True(t, client.IsCode(err, "bad_origin"), "%s: %v", origin, err)
			}
		}
	})
	t.Run("bad frames close", func(t *testing.T) {
		for name, tc := range map[string]struct {
			kind  websocket.MessageType
			frame string
			code  websocket.StatusCode
		}{
			"not JSON":     {websocket.MessageText, "hello", 4400},
			"no type":      {websocket.MessageText, "{}", 4400},
			"unknown type": {websocket.MessageText, `{"type":"dance"}`, 4400},
			"not UTF-8":    {websocket.MessageText, "{\"type\":\"ping\",\"id\":\"\xff\"}", 4400},
			"deep":         {websocket.MessageText, strings.Repeat("[", 20_000), 4400},
			"binary":       {websocket.MessageBinary, "{}", 1003},
			"too large":    {websocket.MessageText, `{"type":"ping","id":"` + strings.Repeat("x", 33<<10) + `"}`, 1009},
		} {
			ws, err := dial(access, "")
			require.NoError(t, err, name)
			require.NoError(t, ws.Write(ctx, tc.kind, []byte(tc.frame)))
			for err == nil {
				_, _, err = ws.Read(ctx)
			}
			require.Equal(t, tc.code, websocket.CloseStatus(err), "%s: %v", name, err)
		}
	})
	t.Run("a field that is wrong is answered", func(t *testing.T) {
		ws, err := dial(access, "")
		require.NoError(t, err)
		defer func() { _ = ws.CloseNow() }()
		_, _, err = ws.Read(ctx) // hello
		require.NoError(t, err)
		for body, problem := range map[string]string{
			`"body":7`:              "a field has a wrong type: body",
			`"body":"x","body":"y"`: "a field comes twice, or its name is in another case: body",
			`"Body":"x"`:            "a field comes twice, or its name is in another case: body",
		} {
			require.NoError(t, ws.Write(ctx, websocket.MessageText, []byte(`{"type":"send","conversation":"g:1","client_id":"c-1",`+body+`}`)))
			_, raw, err := ws.Read(ctx)
			require.NoError(t, err)
			require.JSONEq(t, `{"type":"error","code":"bad_frame","message":"`+problem+`","retry":false,"client_id":"c-1"}`, string(raw))
		}
	})
	t.Run("ping", func(t *testing.T) {
		ws, err := dial(access, "")
		require.NoError(t, err)
		_, hello, err := ws.Read(ctx)
		require.NoError(t, err)
		require.Contains(t, string(hello), `"type":"hello"`)
		require.NoError(t, ws.Write(ctx, websocket.MessageText, []byte(`{"type":"ping","id":"p-1"}`)))
		_, pong, err := ws.Read(ctx)
		require.NoError(t, err)
		require.JSONEq(t, `{"type":"pong","id":"p-1"}`, string(pong))
	})
	t.Run("log-out closes the session's sockets and no other", func(t *testing.T) {
		second := w.again(alice)
		d1, d2 := w.device(alice), w.device(second)
		require.NoError(t, second.Logout(ctx))
		<-d2.Done()
		_, err := second.Me(ctx)
		require.True(t, client.IsCode(err, "session_ended"), err)
		bob := w.user("bob")
		d1.send(client.DirectID(alice.User.ID, bob.User.ID), "still here")
		err = second.Refresh(ctx)
		require.True(t, client.IsCode(err, "session_ended"), err)
	})
}

// talk lets four devices of two users send until stop, and checks afterwards that every acknowledged message is there once, in
// one order, on all devices and in the history.
func talk(t *testing.T, w *world, disturb func(step func(n int))) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	alice, bob := w.user("alice"), w.user("bob")
	dm := client.DirectID(alice.User.ID, bob.User.ID)
	all := []*device{w.device(alice), w.device(w.again(alice)), w.device(bob), w.device(w.again(bob))}
	g, err := alice.CreateGroup(ctx, "Lab", bob.User.ID)
	require.NoError(t, err)
	all[0].has(g.ID, 1)

	var mu sync.Mutex
	acked := map[string]map[string]client.Message{dm: {}, g.ID: {}}
	moved := make(chan struct{}, 1)
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for i, d := range all {
		for _, conversation := range []string{dm, g.ID} {
			wg.Go(func() {
				for n := 0; ; n++ {
					select {
					case <-stop:
						return
					default:
					}
					body := fmt.Sprintf("%d of %d", n, i)
					m, err := d.Send(ctx, conversation, body)
					if err != nil {
						t.Errorf("send: %v", err)
						return
					}
					mu.Lock()
					acked[conversation][body] = m
					mu.Unlock()
					select {
					case moved <- struct{}{}:
					default:
					}
				}
			})
		}
	}
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(acked[dm]) + len(acked[g.ID])
	}
	disturb(func(n int) { // lets n more messages be acknowledged
		for target := count() + n; count() < target && !t.Failed(); {
			<-moved
		}
	})
	close(stop)
	wg.Wait()
	for conversation, sent := range acked {
		events := 0
		if conversation == g.ID {
			events = 1
		}
		// All that was sent was acknowledged, so nothing else is stored.
		want := w.history(alice, conversation)
		require.Len(t, want, len(sent)+events, "stored twice, or not at all")
		for i, m := range want {
			require.EqualValues(t, i+1, m.Seq)
			if m.Kind == "text" {
				require.Equal(t, sent[m.Body], m)
			}
		}
		for _, d := range all {
			require.Equal(t, want, d.has(conversation, len(want)))
		}
	}
}

func TestMessagingRestarts(t *testing.T) {
	w := newWorld(t)
	talk(t, w, func(step func(int)) {
		for range 2 {
			step(40)
			w.parts["messaging"].stop()
			w.start("messaging")
		}
		step(40)
	})
}

func TestMessagingKilled(t *testing.T) {
	w := newWorld(t, "messaging")
	w.spawn("messaging")
	w.ready()
	talk(t, w, func(step func(int)) {
		for range 2 {
			step(30)
			w.parts["messaging"].stop()
			w.spawn("messaging")
		}
		step(30)
	})
}

// Killed while it has a record in hand that it can't store: the next one has to store it.
func TestMessagingKilledBeforeItStores(t *testing.T) {
	w := newWorld(t, "messaging")
	w.spawn("messaging")
	w.ready()
	alice, bob := w.user("alice"), w.user("bob")
	a, b := w.device(alice), w.device(bob)
	dm := client.DirectID(alice.User.ID, bob.User.ID)
	a.send(dm, "1")
	w.metric("messaging", "messaging_stored_total 1") // done with it to the end
	require.NoError(t, w.lab.db.Close())
	w.lab.db = nil
	sent := make(chan error, 1)
	go func() {
		_, err := a.Send(t.Context(), dm, "2")
		sent <- err
	}()
	w.metric("messaging", `retries_total{step="store"}`)
	w.parts["messaging"].stop()
	w.startDB()
	w.spawn("messaging")
	require.NoError(t, <-sent)
	require.Equal(t, []string{"1 1", "2 2"}, texts(b.has(dm, 2)))
}

func TestGatewayKilled(t *testing.T) {
	w := newWorld(t, "gateway")
	w.spawn("gateway")
	w.ready()
	talk(t, w, func(step func(int)) {
		for range 3 {
			step(30)
			w.parts["gateway"].stop()
			w.spawn("gateway")
		}
		step(30)
	})
}

func TestGatewayRestarts(t *testing.T) {
	w := newWorld(t)
	talk(t, w, func(step func(int)) {
		step(40)
		w.parts["gateway"].stop()
		w.start("gateway")
		step(40)
	})
}

func TestBrokerAndDatabaseRestart(t *testing.T) {
	w := newWorld(t)
	talk(t, w, func(step func(int)) {
		step(40)
		require.NoError(t, w.lab.stopData())
		w.lab.broker, w.lab.db = nil, nil
		require.NoError(t, w.lab.startData())
		step(40)
	})
}
