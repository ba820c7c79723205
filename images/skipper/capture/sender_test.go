package capture

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestAComparerThatHasGoneIsGivenUp: it is told a number of times what it missed, and then with the next exchange.
func TestAComparerThatHasGoneIsGivenUp(t *testing.T) {
	s := newSender(Options{Entries: 1}, comparer{})
	s.running = true // so that nothing is sent
	s.left[dropped], s.left[method] = 1, 2
	_, told, ok := s.take(retries)
	require.True(t, ok)
	require.Equal(t, map[string]int64{dropped: 1, method: 2}, told.LeftOut)

	left := told.LeftOut
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
	require.Equal(t, left, told.LeftOut)

	s.left[method] = 1
	_, _, ok = s.take(0)
	require.False(t, ok, "what the comparer is not to have is no reason for a batch")
}

// A comparer is told since when it missed something: what another one before it missed is none of its own.
func TestSince(t *testing.T) {
	now := time.Date(2026, 11, 21, 8, 15, 0, 0, time.UTC)
	s := newSender(Options{Entries: 1, Count: func(string, int64) {}, Now: func() time.Time { return now }}, comparer{})
	s.running = true // so that nothing is sent
	began := now
	s.leaveOut(method)
	now = now.Add(time.Minute)
	s.leaveOut(dropped)
	_, told, _ := s.take(0)
	require.Equal(t, line{LeftOut: map[string]int64{method: 1, dropped: 1}, Since: began}, told)

	now = now.Add(time.Minute)
	s.leaveOut(dropped)
	s.sent(nil, told, errors.New("it hangs"))
	_, told, _ = s.take(0)
	require.Equal(t, line{LeftOut: map[string]int64{method: 1, dropped: 2}, Since: began}, told)

	started := now.Add(time.Second)
	s.sent([]queued{{exchange: &Exchange{Started: started}}}, line{}, errors.New("it hangs"))
	_, told, _ = s.take(0)
	require.Equal(t, line{LeftOut: map[string]int64{dropped: 1}, Since: started}, told)
}
