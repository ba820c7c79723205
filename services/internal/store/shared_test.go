package store

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

func TestSharedReadsBeginAfterTheyAreAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Shared[int]
		goOn := make(chan struct{})
		reads := 0
		read := func(context.Context) (int, error) {
			reads++
			n := reads
			<-goOn
			return n, nil
		}
		var all sync.WaitGroup
		get := func(want int) {
			all.Go(func() {
				n, err := s.Get(t.Context(), "k", read)
				require.NoError(t, err)
				require.Equal(t, want, n)
			})
		}
		get(1)
		synctest.Wait()
		for range 20 {
			get(2)
		}
		synctest.Wait()
		other, err := s.Get(t.Context(), "another", func(context.Context) (int, error) { return 7, nil })
		require.NoError(t, err)
		require.Equal(t, 7, other)
		goOn <- struct{}{}
		synctest.Wait()
		get(3)
		close(goOn)
		all.Wait()
		synctest.Wait()
		require.Empty(t, s.reads, "what is read is forgotten")
	})
}

func TestASharedReadOutlivesWhoAskedForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Shared[int]
		goOn := make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		broken := errors.New("broken")
		var all sync.WaitGroup
		all.Go(func() {
			_, err := s.Get(ctx, "k", func(context.Context) (int, error) { <-goOn; return 1, nil })
			require.ErrorIs(t, err, context.Canceled)
		})
		synctest.Wait()
		all.Go(func() {
			_, err := s.Get(ctx, "k", func(ctx context.Context) (int, error) { return 2, errors.Join(broken, ctx.Err()) })
			require.ErrorIs(t, err, context.Canceled)
		})
		synctest.Wait()
		all.Go(func() {
			n, err := s.Get(t.Context(), "k", func(context.Context) (int, error) { return 3, nil })
			require.ErrorIs(t, err, broken)
			require.NotErrorIs(t, err, context.Canceled)
			require.Equal(t, 2, n)
		})
		synctest.Wait()
		cancel()
		close(goOn)
		all.Wait()
	})
}
