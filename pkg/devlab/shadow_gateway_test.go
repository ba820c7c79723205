package devlab

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/freeport"
	"github.com/labctl/labctl/pkg/shadow/verdict"
	"github.com/labctl/labctl/test/scope"
)

// A gateway that drops sends fails, and the evidence says why. The same gateway as the live one, which the baseline always is, says and gives to Kafka
// the same, and passes. Of the two there is nothing left.
func TestShadowsOfGateways(t *testing.T) {
	same := version(t, "gateway", "")
	w := newWorld(t, "gateway")
	w.urls[comparerURL] = "http://" + freeport.Of(t).Addr()
	w.start("gateway")
	w.ready()
	w.talk("before-")
	w.handled("messaging")
	before := w.left()
	for _, tt := range []struct {
		tags  string
		state verdict.State
		shape []string
	}{
		{"faulty_sends", verdict.Fail, []string{"record send: $ missing"}},
		{"", verdict.Pass, nil},
	} {
		t.Run(tt.tags, func(t *testing.T) {
			candidate := same
			if tt.tags != "" {
				candidate = version(t, "gateway", tt.tags)
			} else {
				scope.SkipUnlessFull(t, "the baseline above is the same version, too")
			}
			e := w.try("gateway", candidate, same, w.chat)
			require.Equal(t, tt.state, e.Verdict.State, "%s\n%+v", e.Verdict.Why, e.Differing)
			var shapes []string
			for _, s := range e.Differing.Shapes {
				shapes = append(shapes, s.Shape)
			}
			require.Equal(t, tt.shape, shapes)
			require.InDelta(t, 1, e.Verdict.Agreement.Baseline, 1e-9)
			require.NotZero(t, e.Sockets.Sockets)
			require.Zero(t, e.Sockets.Broken)
			require.ElementsMatch(t, before, w.left())
		})
	}
}
