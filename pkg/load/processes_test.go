package load

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestProcessors(t *testing.T) {
	self := map[string]int{"self": os.Getpid(), "gone": -1}
	before := processors(self)
	require.Contains(t, before, "self")
	require.NotContains(t, before, "gone")
	for n, limit := 0, time.Now().Add(time.Minute); processors(self)["self"] == before["self"]; n++ {
		require.True(t, time.Now().Before(limit), "no processor time was counted")
	}
	used := since(before, processors(self))
	require.Len(t, used, 1)
	require.Positive(t, used["self"])
	require.Empty(t, since(nil, before), "what was not there before is not counted")

	require.Nil(t, Options{}.watched(), "nothing is measured that nobody asks for")
	require.Equal(t, map[string]int{"kafka": 7, Generator: os.Getpid()}, Options{PIDs: map[string]int{"kafka": 7}}.watched())
}
