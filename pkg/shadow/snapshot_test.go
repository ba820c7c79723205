package shadow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/shadow/compare"
	"github.com/labctl/labctl/pkg/shadow/records"
	"github.com/labctl/labctl/pkg/shadow/side"
)

// A snapshot of another shadow says nothing, and one that cannot be read is an error, not the begin of a new count.
func TestResume(t *testing.T) {
	c := newComparer(t, compare.Rules{})
	give(t, c, 1, `{"a": 1}`, `{"a": 2}`, `{"a": 1}`)
	c.sawProcess(side.Candidate, 0, 100, 1<<20)
	good, err := c.snapshot(records.Begin(map[int32]int64{0: 2}, nil))
	require.NoError(t, err)

	next := newComparer(t, compare.Rules{})
	begin, ok, err := next.resume(good)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, map[int32]int64{0: 2}, begin.First)
	require.EqualValues(t, 1, next.Evidence().Verdict.Samples)
	next.sawProcess(side.Candidate, 0, 200, 1<<20)
	require.Equal(t, 1, next.Evidence().Sides["candidate"].Restarts, "one that started again meanwhile")

	for name, saved := range map[string][]byte{
		"none": nil, "null": []byte("null"),
		"another version": []byte(strings.Replace(string(good), `"version":"a version"`, `"version":"another"`, 1)),
		"another time":    []byte(strings.Replace(string(good), `"at":"0001`, `"at":"0002`, 1)),
	} {
		_, ok, err = newComparer(t, compare.Rules{}).resume(saved)
		require.NoError(t, err, name)
		require.False(t, ok, name)
	}
	for name, saved := range map[string]string{
		"cut":         string(good[:len(good)/2]),
		"form":        strings.Replace(string(good), `"form":1`, `"form":7`, 1),
		"no monitor":  strings.Replace(string(good), `"monitor"`, `"no"`, 1),
		"a bad count": strings.Replace(string(good), `"samples":1`, `"samples":-1`, 1),
	} {
		other := newComparer(t, compare.Rules{})
		_, ok, err := other.resume([]byte(saved))
		require.ErrorContains(t, err, "read the evidence that was saved", name)
		require.ErrorContains(t, err, "labctl shadow abort", name)
		require.False(t, ok, name)
		require.Zero(t, other.Evidence().Verdict.Samples, name)
	}
}

// away is a store that cannot be reached at first.
type away struct {
	*memory
	tries int
}

func (a *away) load(ctx context.Context) ([]byte, error) {
	if a.tries++; a.tries == 1 {
		return nil, errors.New("no route to host")
	}
	return a.memory.load(ctx)
}

// A comparer that starts before the databases waits for them. It does not take them for empty.
func TestLookBackWaits(t *testing.T) {
	w, store := newChat(t), newMemory()
	require.NoError(t, store.save(t.Context(), []byte("a snapshot")))
	saved, begun, err := newComparer(t, compare.Rules{}).lookBack(t.Context(), w.admin, &away{memory: store})
	require.NoError(t, err)
	require.Equal(t, "a snapshot", string(saved))
	require.False(t, begun, "no side is in its group")

	ctx, stop := context.WithCancel(t.Context())
	stop()
	_, _, err = newComparer(t, compare.Rules{}).lookBack(ctx, w.admin, &away{memory: store})
	require.ErrorContains(t, err, "no route to host")
}

// The largest evidence leaves room in its document, and what is too large is said.
func TestSnapshotFits(t *testing.T) {
	c := newComparer(t, compare.Rules{})
	body, err := json.Marshal(strings.Repeat(`"`, 10<<10))
	require.NoError(t, err)
	var differences []compare.Difference
	for n := range 100 {
		value, err := json.Marshal(strings.Repeat(`"`, 1<<10-2))
		require.NoError(t, err)
		differences = append(differences, compare.Difference{Path: fmt.Sprintf("outputs[%d].value.text", n), Change: compare.Changed, Live: value, Other: value})
	}
	for i := range shapesKept {
		c.shapes.Add("messages/0/1", fmt.Sprint("kind", i), differences, compare.Bodies{Live: body, Candidate: body, Baseline: body})
	}
	require.Len(t, c.Evidence().Differing.Shapes, shapesKept)
	saved, err := c.snapshot(records.Position{})
	require.NoError(t, err)
	require.Less(t, len(saved), maxSnapshot)

	c.saved(database{}.save(t.Context(), make([]byte, maxSnapshot+1)))
	require.Contains(t, c.Evidence().Unsaved, "save the evidence: it has 15728641 bytes")
}
