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
