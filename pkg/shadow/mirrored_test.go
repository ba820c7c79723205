package shadow

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/shadow/compare"
	"github.com/labctl/labctl/pkg/shadow/side"
	"github.com/labctl/labctl/pkg/shadow/sockets"
	"github.com/labctl/labctl/pkg/shadow/verdict"
)

// What the sides said to mirrored clients is compared as what they made of records is.
func TestMirroredSockets(t *testing.T) {
	c, err := New(Options{Service: "gateway", About: About{Policy: verdict.Default(), Rules: compare.Rules{Ignore: []string{"connection"}}}, Dir: t.TempDir(), Now: time.Now})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	require.Nil(t, c.Evidence().Sockets)
	_, err = c.Sockets(nil, map[side.Side]string{side.Candidate: "http://candidate"})
	require.ErrorContains(t, err, "shadow of gateway: the address of the baseline is")
	_, err = c.Sockets(nil, map[side.Side]string{side.Candidate: "http://candidate", side.Baseline: "http://baseline"})
	require.NoError(t, err)

	said := func(body string) *sockets.Result {
		return &sockets.Result{Kind: "hello", Body: []byte(body), Latency: time.Millisecond}
	}
	c.said("socket 1 (r) hello/", [side.Count]*sockets.Result{said(`{"connection":"1"}`), said(`{"connection":"2"}`), said(`{"connection":"3"}`)})
	c.said("socket 2 (r) hello/", [side.Count]*sockets.Result{{Kind: "hello"}, {Kind: "hello"}, {Kind: "hello"}}) // of which nothing need be known
	c.said("socket 3 (r) hello/", [side.Count]*sockets.Result{said(`{}`), nil, said(`{}`)})
	e := c.Evidence()
	require.Empty(t, e.Error)
	require.EqualValues(t, 3, e.Verdict.Samples)
	require.Len(t, e.Differing.Shapes, 1)
	require.Equal(t, "hello: $ missing", e.Differing.Shapes[0].Shape)
	require.Equal(t, "socket 3 (r) hello/", e.Differing.Shapes[0].First)
	require.InDelta(t, 1, e.Verdict.Agreement.Baseline, 1e-9)
	require.Equal(t, sockets.Counts{}, *e.Sockets)

	c.sawSockets(sockets.Counts{Dropped: 2})
	c.sawSockets(sockets.Counts{Dropped: 2})
	for _, condition := range c.Evidence().Verdict.Conditions {
		if condition.Name == "dropped" {
			require.InDelta(t, 2, condition.Value, 1e-9, "counted once")
		}
	}
}
