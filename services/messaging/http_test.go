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
		b := newBulkhead(2)
		ends := make([]chan struct{}, 5)
		var begun []int
		var all sync.WaitGroup
		for n := range ends {
			ends[n] = make(chan struct{})
			all.Go(func() {
				v, err := b.do(t.Context(), func() (any, error) {
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
			_, err := b.do(ctx, func() (any, error) { panic("who has left is read for") })
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
