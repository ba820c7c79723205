package lab

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/labctl/labctl/pkg/stack"
)

// Selection says which stacks a run is about. The zero Selection means all of them. Stacks are named by id, name or number.
type Selection struct {
	// Stacks are these, and what they need (for down: and what needs them). "X..." means X and what it needs, "...X" means X and what
	// needs it, whatever is run, and "...X..." both.
	Stacks   []string
	Only     []string // these and nothing else
	From, To string   // the stacks between these two, both included
	Skip     []string // never these
	// Changed are paths; where it is not nil, only the stacks that are made of one of them are meant, and those that need such a stack.
	Changed []string
}

// ErrSelection says that the flags that choose stacks contradict each other.
var ErrSelection = errors.New("the choice of stacks makes no sense")

// Whole says whether nothing is left out.
func (s Selection) Whole() bool {
	return len(s.Stacks)+len(s.Only)+len(s.Skip) == 0 && s.From == "" && s.To == "" && s.Changed == nil
}

// direction is the way in which a selection takes neighbours along.
type direction int

const (
	needs  direction = iota // what a stack needs
	needed                  // what needs a stack
)

// choose gives the chosen stacks in the graph's order.
func (s Selection) choose(g *stack.Graph, d direction) ([]*stack.Stack, error) {
	ways := 0
	for _, used := range []bool{len(s.Stacks) > 0, len(s.Only) > 0, s.From != "" || s.To != ""} {
		if used {
			ways++
		}
	}
	if ways > 1 {
		return nil, fmt.Errorf("%w: name stacks, or use --only, or --from and --to", ErrSelection)
	}
	chosen := map[*stack.Stack]bool{}
	find := func(names []string) ([]*stack.Stack, error) {
		var found []*stack.Stack
		for _, name := range names {
			st, err := g.Stack(name)
			if err != nil {
				return nil, fmt.Errorf("%w: %w", ErrSelection, err)
			}
			found = append(found, st)
		}
		return found, nil
	}
	switch {
	case len(s.Stacks) > 0:
		for _, name := range s.Stacks {
			of, down := strings.CutSuffix(name, "...")
			of, up := strings.CutPrefix(of, "...")
			found, err := find([]string{of})
			if err != nil {
				return nil, err
			}
			if down || !up && d == needs {
				closure(found, dependencies(g), chosen)
			}
			if up || !down && d == needed {
				closure(found, reversed(dependencies(g)), chosen)
			}
		}
	case len(s.Only) > 0:
		found, err := find(s.Only)
		if err != nil {
			return nil, err
		}
		for _, st := range found {
			chosen[st] = true
		}
	default:
		first, last := 0, len(g.Stacks)-1
		for _, end := range []struct {
			name string
			at   *int
		}{{s.From, &first}, {s.To, &last}} {
			if end.name == "" {
				continue
			}
			st, err := g.Stack(end.name)
			if err != nil {
				return nil, fmt.Errorf("%w: %w", ErrSelection, err)
			}
			*end.at = slices.Index(g.Stacks, st)
		}
		if first > last {
			return nil, fmt.Errorf("%w: --from %s comes after --to %s", ErrSelection, s.From, s.To)
		}
		for _, st := range g.Stacks[first : last+1] {
			chosen[st] = true
		}
	}
	skipped, err := find(s.Skip)
	if err != nil {
		return nil, err
	}
	for _, st := range skipped {
		delete(chosen, st)
	}
	if s.Changed != nil {
		affected := map[*stack.Stack]bool{}
		closure(madeOf(g, s.Changed), reversed(dependencies(g)), affected)
		for st := range chosen {
			if !affected[st] {
				delete(chosen, st)
			}
		}
	}
	var out []*stack.Stack
	for _, st := range g.Stacks {
		if chosen[st] {
			out = append(out, st)
		}
	}
	if len(out) == 0 && len(g.Stacks) > 0 && s.Changed == nil {
		return nil, fmt.Errorf("%w: no stack is left", ErrSelection)
	}
	return out, nil
}

// closure adds stacks and all that edges lead to from them.
func closure(from []*stack.Stack, edges map[*stack.Stack][]*stack.Stack, to map[*stack.Stack]bool) {
	seen := map[*stack.Stack]bool{}
	for queue := slices.Clone(from); len(queue) > 0; queue = queue[1:] {
		if st := queue[0]; !seen[st] {
			seen[st], to[st] = true, true
			queue = append(queue, edges[st]...)
		}
	}
}

// madeOf gives the stacks that one of the paths is a part of: of their directory, or of what their steps are made of. lab.hcl is a part of
// all.
func madeOf(g *stack.Graph, paths []string) []*stack.Stack {
	var out []*stack.Stack
	for _, s := range g.Stacks {
		parts := []string{g.Lab.File, s.Dir}
		for _, st := range stepsOf(s) {
			parts = append(parts, st.sources(g)...)
		}
		if slices.ContainsFunc(paths, func(path string) bool {
			return slices.ContainsFunc(parts, func(part string) bool {
				rel, err := filepath.Rel(part, path)
				return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
			})
		}) {
			out = append(out, s)
		}
	}
	return out
}

// dependencies gives for each stack those whose outputs it needs.
func dependencies(g *stack.Graph) map[*stack.Stack][]*stack.Stack {
	edges := map[*stack.Stack][]*stack.Stack{}
	for _, s := range g.Stacks {
		edges[s] = append(edges[s], s.Needs...)
		for _, wire := range s.Wires() {
			for _, ref := range wire.Refs {
				other, err := g.Stack(ref.Stack)
				if err == nil && other != s && !slices.Contains(edges[s], other) { // a checked graph refers to nothing else
					edges[s] = append(edges[s], other)
				}
			}
		}
	}
	return edges
}

func reversed(edges map[*stack.Stack][]*stack.Stack) map[*stack.Stack][]*stack.Stack {
	out := map[*stack.Stack][]*stack.Stack{}
	for from, all := range edges {
		for _, to := range all {
			out[to] = append(out[to], from)
		}
	}
	return out
}
