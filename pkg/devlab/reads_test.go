package devlab

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/labctl/labctl/services/client"
)

// rumours are what a device is told of others' reading and typing.
type rumours struct {
	mu   sync.Mutex
	list []string
}

func (r *rumours) add(format string, a ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, fmt.Sprintf(format, a...))
}

func (r *rumours) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.list...)
}

// listen connects a device that keeps what it is told of reading and typing. Conversations are told by the last two letters.
func (w *world) listen(s *client.Session, names map[string]string) (*device, *rumours) {
	w.t.Helper()
	r := &rumours{}
	d := w.deviceOf(s, client.DeviceOptions{Events: client.Events{
		Read:   func(_, user string, seq int64) { r.add("%s read %d", names[user], seq) },
		Typing: func(_, user string, on bool) { r.add("%s types %t", names[user], on) },
	}})
	return d, r
}

func TestReads(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	alice, bob := w.user("alice"), w.user("bob")
	names := map[string]string{alice.User.ID: "alice", bob.User.ID: "bob"}
	a, told := w.listen(alice, names)
	b1, own := w.listen(bob, names)
	b2 := w.device(w.again(bob))
	dm := client.DirectID(alice.User.ID, bob.User.ID)
	of := func(s *client.Session) client.Conversation {
		w.stored()
		c, err := s.Conversation(ctx, dm)
		require.NoError(t, err)
		return c
	}
	// A send of bob's is behind all that bob said before it on the same socket.
	for i := range 4 {
		a.send(dm, fmt.Sprint(i))
	}
	c := of(bob)
	require.Equal(t, []int64{0, 4}, []int64{c.Read, c.Unread})
	require.EqualValues(t, 4, of(alice).Read, "what one says, one has read")
	require.Zero(t, of(alice).Unread)

	require.NoError(t, b1.MarkRead(ctx, dm, 2))
	require.NoError(t, b1.MarkRead(ctx, dm, 1)) // only ever grows
	require.NoError(t, b1.MarkRead(ctx, dm, 2))
	eventually(t, "bob to hear", func() bool { return len(own.all()) > 0 })
	c, err := bob.Conversation(ctx, dm)
	require.NoError(t, err)
	require.Equal(t, []int64{2, 2}, []int64{c.Read, c.Unread}, "whoever was told of it finds it so")
	eventually(t, "alice to hear", func() bool { return len(told.all()) > 0 })
	require.Equal(t, map[string]int64{alice.User.ID: 4, bob.User.ID: 2}, of(alice).Reads)

	// Changes are no texts.
	a.change(dm, 1, client.Edit("one"))
	a.change(dm, 2, client.React("x", true))
	require.EqualValues(t, 2, of(bob).Unread)
	require.EqualValues(t, 6, of(bob).LastSeq)
	require.Equal(t, "3", of(bob).LastMessage.Body)
	require.NoError(t, b1.MarkRead(ctx, dm, 1<<40)) // as far as there is
	eventually(t, "all to be read", func() bool { return of(bob).Read == 6 })
	require.Zero(t, of(bob).Unread)
	a.send(dm, "new")
	require.EqualValues(t, 1, of(bob).Unread)
	b2.send(dm, "mine")
	a.send(dm, "an answer")
	b2.has(dm, 9)
	c, err = b2.s.Conversation(ctx, dm)
	require.NoError(t, err)
	require.Equal(t, []int64{8, 1}, []int64{c.Read, c.Unread}, "one's own text is read at once")
	list, err := bob.Conversations(ctx)
	require.NoError(t, err)
	require.EqualValues(t, 8, list[0].Read)
	require.Nil(t, list[0].Reads)

	a.send(dm, "last")
	b1.has(dm, 3)
	require.Equal(t, []string{"bob read 2", "bob read 6"}, told.all())
	require.Equal(t, told.all(), own.all(), "the reader's other devices hear too")

	t.Run("bad frames and strangers", func(t *testing.T) {
		eve := w.user("eve")
		ws := w.dial(w.url, eve)
		for _, tc := range []struct{ frame, code string }{
			{fmt.Sprintf(`{"type":"read","conversation":%q,"seq":1}`, dm), "not_member"},
			{fmt.Sprintf(`{"type":"typing","conversation":%q,"on":true}`, dm), "not_member"},
			{fmt.Sprintf(`{"type":"read","conversation":%q,"seq":0}`, dm), "bad_frame"},
			{`{"type":"read","conversation":"x","seq":1}`, "not_member"},
			{`{"type":"typing","conversation":"g:x"}`, "not_member"},
		} {
			require.NoError(t, ws.Write(ctx, websocket.MessageText, []byte(tc.frame)))
			_, answer, err := ws.Read(ctx)
			require.NoError(t, err)
			require.Contains(t, string(answer), `"`+tc.code+`"`, tc.frame)
		}
	})
}

// A stranger's read and typing of a group whose id they know do nothing; who was added has read what is not for them.
func TestReadsInGroups(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	owner, ann, cal := w.user("owner"), w.user("ann"), w.user("cal")
	names := map[string]string{owner.User.ID: "owner", ann.User.ID: "ann", cal.User.ID: "cal"}
	o, told := w.listen(owner, names)
	a, heard := w.listen(ann, names)
	c, foreign := w.listen(cal, names)
	g, err := owner.CreateGroup(ctx, "Lab", ann.User.ID)
	require.NoError(t, err)
	for i := range 5 {
		o.send(g.ID, fmt.Sprint(i))
	}
	of := func(s *client.Session) client.Conversation {
		w.stored()
		v, err := s.Conversation(ctx, g.ID)
		require.NoError(t, err)
		return v
	}
	require.EqualValues(t, 5, of(ann).Unread)
	require.NoError(t, c.MarkRead(ctx, g.ID, 3))
	require.NoError(t, c.Type(ctx, g.ID, true))
	_, err = c.Send(ctx, g.ID, "behind")
	require.True(t, client.IsCode(err, "not_member"), err)

	require.NoError(t, a.MarkRead(ctx, g.ID, 3))
	require.NoError(t, a.Type(ctx, g.ID, true))
	eventually(t, "typing to be told", func() bool { return len(told.all()) == 2 })
	require.ElementsMatch(t, []string{"ann read 3", "ann types true"}, told.all())
	require.NoError(t, a.Type(ctx, g.ID, false))
	eventually(t, "the end of typing to be told", func() bool { return len(told.all()) == 3 })
	require.Equal(t, "ann types false", told.all()[2])

	_, err = owner.AddMember(ctx, g.ID, cal.User.ID)
	require.NoError(t, err)
	c.has(g.ID, 1)
	v := of(cal)
	require.Equal(t, []int64{v.FirstSeq, 0}, []int64{v.Read, v.Unread}, "nothing before is unread, nor is its number told")
	require.Equal(t, v.FirstSeq, v.Reads[cal.User.ID])
	o.send(g.ID, "for cal")
	require.EqualValues(t, 1, of(cal).Unread)
	require.Equal(t, []string{"ann read 3"}, heard.all(), "one's own typing is not told to oneself")
	require.Empty(t, foreign.all())

	// A group that grows beyond what is told.
	ids := make([]string, 0, 201)
	for i := range 201 {
		id := fmt.Sprintf("00000000-0000-4000-8000-%012d", i)
		ids = append(ids, id)
	}
	// The groups service knows real users only, so its event is said in its place.
	value, err := json.Marshal(map[string]any{"type": "group", "conversation": g.ID, "sender": owner.User.ID, "client_id": "99",
		"event": map[string]any{"type": "member_added", "users": ids}, "at": time.Now()})
	require.NoError(t, err)
	require.NoError(t, w.kafka().ProduceSync(ctx, &kgo.Record{Topic: "messages", Key: []byte(g.ID), Value: value}).FirstErr())
	last := o.send(g.ID, "to all").Seq
	w.stored() // typing asks the database who is in the group
	before := len(told.all())
	require.NoError(t, a.MarkRead(ctx, g.ID, last))
	require.NoError(t, a.Type(ctx, g.ID, true))
	eventually(t, "the read to be kept", func() bool { return of(ann).Read == last })
	require.Zero(t, of(ann).Unread)
	require.Nil(t, of(ann).Reads)
	require.EqualValues(t, 2, of(cal).Unread)
	require.EqualValues(t, last, of(owner).Read)
	o.send(g.ID, "behind")
	require.Len(t, told.all(), before, "the others are not told")
	require.Equal(t, fmt.Sprint("ann read ", last), heard.all()[len(heard.all())-1])
}

// Blocks take their place among the messages, and the newest version holds.
func TestBlockedSends(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	alice, bob := w.user("alice"), w.user("bob")
	names := map[string]string{alice.User.ID: "alice", bob.User.ID: "bob"}
	a, told := w.listen(alice, names)
	b := w.device(bob)
	dm := client.DirectID(alice.User.ID, bob.User.ID)
	k := w.kafka()
	block := func(version int, what string) {
		value, err := json.Marshal(map[string]any{"type": "block", "conversation": dm, "sender": alice.User.ID, "client_id": fmt.Sprint("b-", version),
			"event": map[string]any{"type": what}, "at": time.Now()})
		require.NoError(t, err)
		require.NoError(t, k.ProduceSync(ctx, &kgo.Record{Topic: "messages", Key: []byte(dm), Value: value}).FirstErr())
	}
	mine := b.send(dm, "before").Seq
	block(3, "blocked")
	for name, err := range map[string]error{
		"a text":     func() error { _, err := b.SendAs(ctx, dm, "no", "let me"); return err }(),
		"an edit":    func() error { _, err := b.Change(ctx, dm, mine, client.Edit("let me")); return err }(),
		"a reaction": func() error { _, err := b.Change(ctx, dm, mine, client.React("x", true)); return err }(),
	} {
		require.True(t, client.IsCode(err, "blocked"), "%s: %v", name, err)
	}
	w.stored()
	require.NoError(t, b.Type(ctx, dm, true))
	b.change(dm, mine, client.Delete())
	a.send(dm, "who blocks may speak")
	block(2, "unblocked") // came late
	_, err := b.Send(ctx, dm, "let me")
	require.True(t, client.IsCode(err, "blocked"), err)

	// So it is after a restart, and when all comes again.
	w.readAgain()
	_, err = b.Send(ctx, dm, "let me")
	require.True(t, client.IsCode(err, "blocked"), err)
	block(4, "unblocked")
	block(4, "unblocked")
	require.EqualValues(t, 4, b.send(dm, "again").Seq, "a block takes no seq")
	_, err = b.SendAs(ctx, dm, "no", "let me")
	require.True(t, client.IsCode(err, "blocked"), "a refusal is final: %v", err)
	w.readAgain("heads", "buckets")
	require.EqualValues(t, 5, b.send(dm, "and again").Seq)
	require.Equal(t, []string{"", "", "who blocks may speak", "again", "and again"}, bodies(w.history(alice, dm)))
	a.has(dm, 5)
	require.Empty(t, told.all(), "nor is it told that the blocked one types")
}
