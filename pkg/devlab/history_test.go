package devlab

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/services/client"
)

// A page that ends anywhere is the same part of what one gets by reading on from the beginning, for those who may see all and for who came later.
func TestPagesOfHistory(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	owner, ann, late, stranger := w.user("owner"), w.user("ann"), w.user("late"), w.user("stranger")
	o := w.device(owner)
	g, err := owner.CreateGroup(ctx, "Reading room", ann.User.ID)
	require.NoError(t, err)
	for n := range 70 {
		o.send(g.ID, fmt.Sprint("early ", n))
	}
	_, err = owner.AddMember(ctx, g.ID, late.User.ID)
	require.NoError(t, err)
	o.has(g.ID, 72)
	for n := range 60 {
		o.send(g.ID, fmt.Sprint("late ", n))
	}
	_, err = o.Change(ctx, g.ID, 10, client.Edit("early, edited"))
	require.NoError(t, err)
	_, err = o.Change(ctx, g.ID, 80, client.Edit("late, edited"))
	require.NoError(t, err)
	const last = 134
	w.stored()

	for _, s := range []*client.Session{owner, late} {
		all, err := s.HistoryAfter(ctx, g.ID, 0, 0)
		require.NoError(t, err)
		require.EqualValues(t, last, all[len(all)-1].Seq)
		first := all[0].Seq
		for _, before := range []int64{1, 2, first - 1, first, first + 1, first + 2, 50, 51, 52, 73, 74, 100, 101, 102, last, last + 1, last + 2, last + 60, math.MaxInt64} {
			if before < 1 {
				continue
			}
			for _, limit := range []int{1, 2, 49, 50, 51, 200} {
				want := []client.Message{}
				for _, m := range all {
					if m.Seq < before {
						want = append(want, m)
					}
				}
				more := len(want) > limit
				want = want[max(0, len(want)-limit):]
				got, gotMore, err := s.History(ctx, g.ID, client.Page{Before: before, Limit: limit})
				require.NoError(t, err)
				require.Equal(t, want, got, "%s: %d before %d", s.User.Name, limit, before)
				require.Equal(t, more, gotMore, "%s: more than %d before %d", s.User.Name, limit, before)
			}
		}
	}
	_, _, err = stranger.History(ctx, g.ID, client.Page{Before: 20})
	require.True(t, client.IsCode(err, "not_found"), err)
	_, _, err = stranger.History(ctx, client.DirectID(owner.User.ID, ann.User.ID), client.Page{Before: 20})
	require.True(t, client.IsCode(err, "not_found"), err)

	_, err = owner.RemoveMember(ctx, g.ID, late.User.ID)
	require.NoError(t, err)
	o.has(g.ID, last+1)
	w.stored()
	_, _, err = late.History(ctx, g.ID, client.Page{Before: 100})
	require.True(t, client.IsCode(err, "not_found"), err)
}
