package capture

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestAComparerThatHasGoneIsGivenUp: it is told a number of times what it missed, and then with the next exchange.
func TestAComparerThatHasGoneIsGivenUp(t *testing.T) {
	s := newSender(Options{Entries: 1}, comparer{})
	s.running = true // so that nothing is sent
	s.left[dropped], s.left[method] = 1, 2
	_, left, ok := s.take(retries)
	require.True(t, ok)
	require.Equal(t, map[string]int64{dropped: 1, method: 2}, left)

	s.left = left
	_, _, ok = s.take(retries + 1)
	require.False(t, ok)
	require.False(t, s.running)
	require.Equal(t, left, s.left, "the counts are kept")

	s.running = true
	s.offer(queued{exchange: &Exchange{}})
	batch, told, ok := s.take(retries + 1)
	require.True(t, ok)
	require.Len(t, batch, 1)
	require.Equal(t, left, told)

	s.left[method] = 1
	_, _, ok = s.take(0)
	require.False(t, ok, "what the comparer is not to have is no reason for a batch")
}
