package messaging

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

func TestBulkhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBulkhead(2, 2)
		ends := make([]chan struct{}, 5)
		var begun []int
		var all sync.WaitGroup
		for n := range ends {
			ends[n] = make(chan struct{})
			all.Go(func() {
				v, err := b.do(t.Context(), "ann", func() (any, error) {
					begun = append(begun, n)
					<-ends[n]
					return n, nil
				})
				require.NoError(t, err)
				require.Equal(t, n, v)
			})
			synctest.Wait()
		}
		require.Equal(t, []int{0, 1}, begun)
		ctx, leave := context.WithCancel(t.Context())
		all.Go(func() {
			_, err := b.do(ctx, "ann", func() (any, error) { panic("who has left is read for") })
			require.ErrorIs(t, err, context.Canceled)
		})
		synctest.Wait()
		leave()
		for n := range ends {
			close(ends[n])
			synctest.Wait()
		}
		all.Wait()
		require.Equal(t, []int{0, 1, 2, 3, 4}, begun, "in the order of coming")
	})
}

// However much a user asks for, there is room for others.
func TestBulkheadOfUsers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBulkhead(4, 2)
		var begun []string
		asked := map[string]chan struct{}{}
		var all sync.WaitGroup
		ask := func(ctx context.Context, user, what string) {
			end := make(chan struct{})
			asked[what] = end
			all.Go(func() {
				_, err := b.do(ctx, user, func() (any, error) {
					begun = append(begun, what)
					<-end
					return what, nil
				})
				if err != nil {
					require.ErrorIs(t, err, context.Canceled)
				}
			})
			synctest.Wait()
		}
		ctx, leave := context.WithCancel(t.Context())
		for _, what := range []string{"a1", "a2", "a3", "a4"} {
			ask(t.Context(), "ann", what)
		}
		ask(ctx, "ann", "a5")
		for _, what := range []string{"b1", "b2", "b3"} {
			ask(t.Context(), "ben", what)
		}
		require.Equal(t, []string{"a1", "a2", "b1", "b2"}, begun)
		ask(t.Context(), "cal", "c1")
		close(asked["b1"])
		synctest.Wait()
		require.Equal(t, "c1", begun[4], "who came before ben's third")
		leave()
		for _, what := range []string{"a2", "a1", "b2", "a3", "c1", "b3", "a4"} {
			close(asked[what])
			synctest.Wait()
		}
		all.Wait()
		require.ElementsMatch(t, []string{"a1", "a2", "b1", "b2", "c1", "b3", "a3", "a4"}, begun, "whoever has left is not read for")
		require.Empty(t, b.users, "nobody is remembered")
	})
}
