package messaging

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/labctl/labctl/services/internal/store"
	"github.com/labctl/labctl/services/internal/wire"
)

// pages gives what a search finds page by page, as "conversation/seq", and the number of pages. Nothing may come twice or out of order.
func (s *messaging) pages(t *testing.T, user string, ids []string, limit int, change func(*query)) (all []string, pages int) {
	t.Helper()
	var last hit
	for next := ""; ; {
		q := newQuery(user, "needle", limit)
		if next != "" {
			require.NoError(t, q.parse(next))
		}
		change(q)
		f, err := s.find(t.Context(), q, slices.Clone(ids))
		require.NoError(t, err)
		require.LessOrEqual(t, len(f.Messages), limit)
		require.Equal(t, f.More, f.Next != "")
		for _, m := range f.Messages {
			if len(all) > 0 && q.from == "" {
				require.Positive(t, hitOf(m).compare(last), "%v after %v", hitOf(m), last)
			}
			last = hitOf(m)
			all = append(all, messageID(m.Conversation, m.Seq))
		}
		pages++
		if next = f.Next; next == "" {
			return all, pages
		}
	}
}

// All that is found is reached by pages, newest first over all conversations, however little one search may read.
func TestSearchInPages(t *testing.T) {
	d := newTestDatabase(t)
	s := &messaging{database: d, fulls: make(chan full, fullQueue)}
	ann, ben := wire.NewID(), wire.NewID()
	now := time.Now()
	var ids []string
	at := map[string]time.Time{}
	for n := range 3 {
		g := d.group(t, now.Add(-time.Hour), ann, ben)
		ids = append(ids, g.c.id)
		for i := range 130 {
			// Two of them are as old, the third goes on later. Two clocks are 5 s apart.
			said := now.Add(time.Duration(n/2*100+i-400)*time.Second + time.Duration(i%2*5)*time.Second)
			body := "hay"
			if i%(n+2) == 0 {
				body = "a needle in the hay"
				at[messageID(g.c.id, g.c.next)] = said
			}
			g.text(said, ben, body)
		}
		for n := range int64(2) {
			require.NoError(t, d.indexWords(t.Context(), full{g.c.id, n, n}))
		}
	}
	var want []string
	for id := range at {
		want = append(want, id)
	}
	slices.Sort(want)
	for name, change := range map[string]func(*query){
		"at ease":             func(*query) {},
		"hardly any reads":    func(q *query) { q.budget = 1 },
		"one after the other": func(q *query) { q.together = 1 },
	} {
		t.Run(name, func(t *testing.T) {
			for _, limit := range []int{7, 100, len(want)} {
				got, pages := s.pages(t, ann, ids, limit, change)
				require.Greater(t, pages, (len(want)-1)/limit)
				slices.Sort(got)
				require.Equal(t, want, got, "pages of %d", limit)
			}
		})
	}
	none, _ := s.pages(t, wire.NewID(), ids, 10, func(*query) {})
	require.Empty(t, none)
}

// What was said last is found first, however many conversations there are beside.
func TestSearchIsFair(t *testing.T) {
	d := newTestDatabase(t)
	s := &messaging{database: d, fulls: make(chan full, fullQueue)}
	ctx := t.Context()
	ann := wire.NewID()
	now := time.Now()
	var old []message
	var joined bson.D
	for n := range 400 {
		id := wire.DirectID(ann, wire.NewID())
		old = append(old, newMessage(wire.Record{Type: wire.RecordSend, Conversation: id, Sender: ann, ClientID: fmt.Sprint(n), Body: "an old needle",
			At: wire.At(now.Add(-time.Duration(n+1) * time.Hour))}, 1))
		joined = append(joined, bson.E{Key: "conversations." + id, Value: true})
	}
	require.NoError(t, d.putMessages(ctx, old))
	require.NoError(t, store.Upsert(ctx, d.inboxes, ann, bson.D{{Key: "$set", Value: joined}}))
	g := d.group(t, now, ann)
	g.text(now, ann, "the newest needle")
	ids, err := d.inbox(ctx, ann)
	require.NoError(t, err)
	f, err := s.find(ctx, newQuery(ann, "needle", 3), ids)
	require.NoError(t, err)
	var got []string
	for _, m := range f.Messages {
		got = append(got, m.Conversation)
	}
	require.Equal(t, []string{g.c.id, old[0].Conversation, old[1].Conversation}, got)
	all, _ := s.pages(t, ann, ids, 100, func(*query) {})
	require.Len(t, all, 401)
}
