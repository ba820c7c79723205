package compare

import (
	"encoding/json"
	"slices"
	"strings"
)

const (
	maxShapePaths = 8
	// Of a shape's example: the bytes of each body, and the differences.
	maxExampleBody        = 8 << 10
	maxExampleDifferences = 10
)

// Shape names results that differ in the same way: by their kind, and by where and how they differ. It leaves out what
// is intended. Examples: "frame: users[*].seq changed", "frame: same".
func Shape(kind string, differences []Difference) string {
	var ways []string
	for _, d := range differences {
		if !d.Intended {
			ways = append(ways, generalize(d.Path)+" "+string(d.Change))
		}
	}
	if len(ways) == 0 {
		return kind + ": same"
	}
	slices.Sort(ways)
	ways = slices.Compact(ways)
	if len(ways) > maxShapePaths {
		ways = append(ways[:maxShapePaths], "and more")
	}
	return kind + ": " + strings.Join(ways, ", ")
}

// Shapes collects differing results by their shape. It is bounded, and can be written as JSON and read back. It is not
// safe for use by more than one goroutine at once.
type Shapes struct {
	Limit  int           `json:"limit"`  // of shapes
	Shapes []*ShapeCount `json:"shapes"` // in the order in which they were first seen
	Others int64         `json:"others"` // results of shapes that came after the limit was reached
}

// ShapeCount says how many results have a shape.
type ShapeCount struct {
	Shape   string  `json:"shape"`
	Count   int64   `json:"count"`
	First   string  `json:"first"` // key
	Last    string  `json:"last"`  // key
	Example Example `json:"example"`
}

// Example is the first result of a shape. Of many differences it has the first ones, and of a long body it has a string with the begin, which says that it was cut.
type Example struct {
	Differences []Difference    `json:"differences"`
	Live        json.RawMessage `json:"live,omitempty"`
	Candidate   json.RawMessage `json:"candidate,omitempty"`
	Baseline    json.RawMessage `json:"baseline,omitempty"`
}

// Bodies are those of one result on the three sides, in canonical form. One that is missing is empty.
type Bodies struct {
	Live, Candidate, Baseline []byte
}

// NewShapes returns a collector of at most so many shapes.
func NewShapes(limit int) *Shapes { return &Shapes{Limit: limit} }

// Add counts a result.
func (s *Shapes) Add(key, kind string, differences []Difference, bodies Bodies) {
	shape := Shape(kind, differences)
	if i := slices.IndexFunc(s.Shapes, func(c *ShapeCount) bool { return c.Shape == shape }); i >= 0 {
		s.Shapes[i].Count++
		s.Shapes[i].Last = key
		return
	}
	if len(s.Shapes) >= s.Limit {
		s.Others++
		return
	}
	s.Shapes = append(s.Shapes, &ShapeCount{Shape: shape, Count: 1, First: key, Last: key, Example: Example{
		Differences: exampleDifferences(differences),
		Live:        exampleBody(bodies.Live), Candidate: exampleBody(bodies.Candidate), Baseline: exampleBody(bodies.Baseline),
	}})
}

// exampleDifferences gives the first ones: a few show what is wrong.
func exampleDifferences(all []Difference) []Difference {
	if len(all) <= maxExampleDifferences {
		return slices.Clone(all)
	}
	return append(slices.Clone(all[:maxExampleDifferences]), Difference{Path: "$", Change: Truncated})
}

// exampleBody copies, since the caller may use the body's memory again.
func exampleBody(body []byte) json.RawMessage {
	if len(body) == 0 {
		return nil
	}
	return slices.Clone(excerpt(body, maxExampleBody))
}

// Clone copies the collector, for a reader beside whom it goes on.
func (s *Shapes) Clone() *Shapes {
	c := *s
	c.Shapes = make([]*ShapeCount, len(s.Shapes))
	for i, shape := range s.Shapes {
		copied := *shape
		c.Shapes[i] = &copied
	}
	return &c
}

// WithoutExamples gives the collector's counts alone.
func (s *Shapes) WithoutExamples() *Shapes {
	c := s.Clone()
	for _, shape := range c.Shapes {
		shape.Example = Example{}
	}
	return c
}
