package messaging

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/services/internal/wire"
)

// Whoever is added has nothing to read of what was said before, also while their read cursor is not stored yet.
func TestUnreadOfNewMembers(t *testing.T) {
	for name, large := range map[string]bool{"small": false, "large": true} {
		t.Run(name, func(t *testing.T) {
			d := newTestDatabase(t)
			ctx := t.Context()
			ann, ben := wire.NewID(), wire.NewID()
			now := time.Now()
			g := d.group(t, now, ann)
			for range 5 {
				g.text(now, ann, "not for ben")
			}
			// It is stored, and neither its head nor the cursors that follow from it are.
			store := func(r wire.Record) {
				r.Conversation, r.Sender, r.ClientID, r.At = g.c.id, ann, "x", wire.At(now)
				m := newMessage(r, g.c.next)
				follows := g.c.take(&m)
				require.NoError(t, d.putMessages(ctx, []message{m}))
				if follows.roster != nil {
					follows.roster.Large = large
					require.NoError(t, d.putRoster(ctx, follows.roster))
				}
			}
			store(wire.Record{Type: wire.RecordGroup, Event: &wire.GroupEvent{Type: wire.MemberAdded, Users: []string{ben}}})
			c, ok, err := d.show(ctx, ben, g.c.id, true)
			require.NoError(t, err)
			require.True(t, ok)
			require.Equal(t, []int64{7, 7, 0}, []int64{c.FirstSeq, c.Read, c.Unread})
			if !large {
				require.Equal(t, map[string]int64{ann: 6, ben: 7}, c.Reads)
			}
			store(wire.Record{Type: wire.RecordSend, Body: "for ben"})
			c, _, err = d.show(ctx, ben, g.c.id, false)
			require.NoError(t, err)
			require.Equal(t, []int64{7, 1}, []int64{c.Read, c.Unread})
		})
	}
	// In a direct conversation all is to be read.
	d := newTestDatabase(t)
	ann, ben := wire.NewID(), wire.NewID()
	s := d.begin(t, wire.DirectID(ann, ben))
	s.text(time.Now(), ann, "hello")
	c, _, err := d.show(t.Context(), ben, s.c.id, false)
	require.NoError(t, err)
	require.Equal(t, []int64{0, 1}, []int64{c.Read, c.Unread})
}

// Whoever has said something has read up to it, also while that is stored and not projected.
func TestUnreadAfterOnesOwn(t *testing.T) {
	t.Run("in a large group", func(t *testing.T) {
		d := newTestDatabase(t)
		ann, ben := wire.NewID(), wire.NewID()
		g := d.group(t, time.Now(), ann, ben)
		d.known.keep((&roster{ID: g.c.id, Seq: 1, Members: g.c.roster.Members, Large: true}).settle())
		require.NoError(t, d.putCursor(t.Context(), g.c.id, ann, readCursor{Seq: 1}))
		for _, sender := range []string{ann, ben} {
			m := newMessage(wire.Record{Type: wire.RecordSend, Conversation: g.c.id, Sender: sender, ClientID: "x", Body: "hello", At: wire.At(time.Now())}, g.c.next)
			g.c.take(&m)
			require.NoError(t, d.putMessages(t.Context(), []message{m}))
		}
		c, ok, err := d.show(t.Context(), ann, g.c.id, true)
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, []int64{3, 2, 1}, []int64{c.LastSeq, c.Read, c.Unread})
		require.Nil(t, c.Reads)
	})
	d, reads := openCountedDatabase(t)
	ctx := t.Context()
	ann, ben := wire.NewID(), wire.NewID()
	g := d.group(t, time.Now(), ann, ben)
	say := func(r wire.Record) {
		r.Conversation, r.ClientID, r.At = g.c.id, "x", wire.At(time.Now())
		m := newMessage(r, g.c.next)
		g.c.take(&m)
		require.NoError(t, d.putMessages(ctx, []message{m}))
	}
	see := func(user string) []int64 {
		t.Helper()
		c, ok, err := d.show(ctx, user, g.c.id, true)
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, c.Read, c.Reads[user])
		return []int64{c.LastSeq, c.Read, c.Unread}
	}
	g.text(time.Now(), ben, "projected")
	require.Equal(t, []int64{2, 1, 1}, see(ann))
	say(wire.Record{Type: wire.RecordSend, Sender: ann, Body: "mine"})
	reads.Store(0)
	require.Equal(t, []int64{3, 3, 0}, see(ann))
	require.EqualValues(t, 5, reads.Load(), "the head; the message after it, and the two that a search for the end looks for; that message as it is now")
	say(wire.Record{Type: wire.RecordSend, Sender: ben, Body: "an answer"})
	require.Equal(t, []int64{4, 3, 1}, see(ann))
	require.Equal(t, []int64{4, 4, 0}, see(ben))
	say(wire.Record{Type: wire.RecordReact, Sender: ben, Target: 3, Emoji: "x", On: true})
	require.Equal(t, []int64{5, 3, 1}, see(ann))
	for range maxTail {
		say(wire.Record{Type: wire.RecordSend, Sender: ben, Body: "more"})
	}
	say(wire.Record{Type: wire.RecordSend, Sender: ann, Body: "mine"})
	say(wire.Record{Type: wire.RecordSend, Sender: ben, Body: "last"})
	require.Equal(t, []int64{maxTail + 7, maxTail + 6, 1}, see(ann), "however much was said")
}
