package chaos

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Messaging is replaced by another instance of it while people talk.
func TestRollout(t *testing.T) {
	p := start(t, ProcessesOptions{Instances: map[string]int{"auth": 1, "messaging": 2, "groups": 1, "presence": 1, "gateway": 1}})
	require.NoError(t, p.Stop(t.Context(), "messaging/1"))
	replaced := make(chan error, 1)
	time.AfterFunc(2*time.Second, func() { replaced <- p.Replace(t.Context(), "messaging/0", "messaging/1", time.Second) })
	res, err := Run(t.Context(), Options{Lab: p, Seed: 1, Duration: 6 * time.Second, Settle: 3 * time.Minute, Rate: 40, Key: key, Faults: []Fault{}})
	require.NoError(t, err, "%v", res.Verdict.Examples)
	require.NoError(t, <-replaced)
	require.Empty(t, res.Crashes, "who is told to end has not ended by itself")
	require.Greater(t, res.Verdict.Acked, int64(150))
	require.ErrorContains(t, p.Stop(t.Context(), "messaging/0"), "does not run")
	require.ErrorContains(t, p.Stop(t.Context(), "messaging/7"), "no such part")
}
