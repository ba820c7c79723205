package auth

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// queue is a bulkhead whose slots are all taken, and the order in which its waiters got theirs.
type queue struct {
	*bulkhead
	served []string // addresses, or who
	out    map[string]int
	others uint64 // who have tried and do so but once
}

// ask lets n wait for a slot, which they keep until the test releases it.
func (q *queue) ask(ctx context.Context, address string, n int) {
	for range n {
		q.others++
		q.try(ctx, address, address, q.others)
	}
	synctest.Wait()
}

func (q *queue) try(ctx context.Context, address, name string, who uint64) {
	go func() {
		err := q.acquire(ctx, address, who)
		q.mu.Lock()
		defer q.mu.Unlock()
		if err != nil {
			q.out[name]++
			return
		}
		q.served = append(q.served, name)
	}()
}

// serve releases n slots, one after the other.
func (q *queue) serve(n int) {
	for range n {
		q.release()
		synctest.Wait()
	}
}

func TestAddressesShareTheBulkhead(t *testing.T) {
	for name, test := range map[string]func(t *testing.T, q *queue){
		"in turn": func(t *testing.T, q *queue) {
			q.ask(t.Context(), "a", 3)
			q.ask(t.Context(), "b", 2)
			q.ask(t.Context(), "c", 1)
			q.serve(6)
			require.Equal(t, []string{"a", "b", "c", "a", "b", "a"}, q.served)
			require.Empty(t, q.out)
			require.Empty(t, q.queues)
			require.Empty(t, q.turns)
		},
		"though one of them fills it": func(t *testing.T, q *queue) {
			q.ask(t.Context(), "flood", 300)
			require.Equal(t, map[string]int{"flood": 300 - 256}, q.out)
			for i := range 16 {
				q.ask(t.Context(), fmt.Sprint(i), 1)
			}
			require.Equal(t, map[string]int{"flood": 300 - 256 + 16}, q.out)
			q.serve(17)
			require.Len(t, q.served, 17)
			require.Equal(t, "flood", q.served[0])
			require.NotContains(t, q.served[1:], "flood", "each of the others waits for one of the flood")
		},
		"and none takes another's share": func(t *testing.T, q *queue) {
			q.ask(t.Context(), "a", 300)
			q.ask(t.Context(), "b", 300)
			require.InDelta(t, len(q.queues["a"]), len(q.queues["b"]), 1)
			require.Equal(t, 256, q.waiting)
		},
		"and who tries again comes before those who came since": func(t *testing.T, q *queue) {
			const ann = 1 << 60
			q.ask(t.Context(), "school", 300)
			q.try(t.Context(), "school", "ann", ann)
			synctest.Wait()
			require.Equal(t, 1, q.out["ann"])
			q.serve(256)
			q.served = nil
			q.ask(t.Context(), "school", 300)
			q.try(t.Context(), "school", "ann", ann)
			synctest.Wait()
			require.Equal(t, 1, q.out["ann"], "another has made room")
			require.Equal(t, 256, q.waiting)
			q.serve(3)
			require.Equal(t, []string{"ann", "school", "school"}, q.served)
			require.NotContains(t, q.refused, uint64(ann), "the next try is a new one")
		},
		"and those who never come again are forgotten": func(t *testing.T, q *queue) {
			q.ask(t.Context(), "school", 256)
			for range 2 * maxRefused {
				q.others++
				require.ErrorIs(t, q.acquire(t.Context(), "school", q.others), errFull)
			}
			require.Len(t, q.refused, maxRefused)
			require.Len(t, q.forget, maxRefused)
		},
		"and who goes away keeps no place": func(t *testing.T, q *queue) {
			gone, cancel := context.WithCancel(t.Context())
			q.ask(gone, "a", 2)
			q.ask(t.Context(), "b", 1)
			cancel()
			synctest.Wait()
			require.Equal(t, 1, q.waiting)
			q.serve(2)
			require.Equal(t, []string{"b"}, q.served)
			require.Equal(t, 1, q.free)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				q := &queue{bulkhead: newBulkhead(1, 256), out: map[string]int{}}
				require.NoError(t, q.acquire(ctx, "first", 0))
				test(t, q)
			})
		})
	}
}
