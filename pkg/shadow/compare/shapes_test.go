package compare

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// What is kept without examples counts the same, and the collector keeps its own.
func TestWithoutExamples(t *testing.T) {
	s := NewShapes(2)
	s.Add("1", "frame", []Difference{{Path: "a", Change: Changed}}, Bodies{Live: []byte(`{"a":1}`)})
	kept := s.WithoutExamples()
	require.Equal(t, s.Shapes[0].Shape, kept.Shapes[0].Shape)
	require.EqualValues(t, 1, kept.Shapes[0].Count)
	require.Empty(t, kept.Shapes[0].Example)
	require.JSONEq(t, `{"a":1}`, string(s.Shapes[0].Example.Live))
}
