package lab

import (
	"errors"
	"fmt"
	"slices"

	"github.com/labctl/labctl/pkg/stack"
)

// Selection says which stacks a run is about. The zero Selection means all of them. Stacks are named by id, name or number.
type Selection struct {
	Stacks   []string // these, and what they need (for down: and what needs them)
	Only     []string // these and nothing else
	From, To string   // the stacks between these two, both included
	Skip     []string // never these
}

// ErrSelection says that the flags that choose stacks contradict each other.
var ErrSelection = errors.New("the choice of stacks makes no sense")

// Whole says whether nothing is left out.
func (s Selection) Whole() bool {
	return len(s.Stacks)+len(s.Only)+len(s.Skip) == 0 && s.From == "" && s.To == ""
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
		found, err := find(s.Stacks)
		if err != nil {
			return nil, err
		}
		edges := dependencies(g)
		if d == needed {
			edges = reversed(edges)
		}
		for len(found) > 0 {
			st := found[0]
			found = found[1:]
			if !chosen[st] {
				chosen[st] = true
				found = append(found, edges[st]...)
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
	var out []*stack.Stack
	for _, st := range g.Stacks {
		if chosen[st] {
			out = append(out, st)
		}
	}
	if len(out) == 0 && len(g.Stacks) > 0 {
		return nil, fmt.Errorf("%w: no stack is left", ErrSelection)
	}
	return out, nil
}

// dependencies gives for each stack those whose outputs it needs.
func dependencies(g *stack.Graph) map[*stack.Stack][]*stack.Stack {
	edges := map[*stack.Stack][]*stack.Stack{}
	for _, s := range g.Stacks {
		edges[s] = append(edges[s], s.Needs...)
		for _, ref := range references(s) {
			other, err := g.Stack(ref.Stack)
			if err == nil && other != s && !slices.Contains(edges[s], other) { // a checked graph refers to nothing else
				edges[s] = append(edges[s], other)
			}
		}
	}
	return edges
}

// references are all that a stack's wiring refers to.
func references(s *stack.Stack) []stack.Ref {
	var refs []stack.Ref
	for _, in := range s.Inputs {
		refs = append(refs, in.Refs...)
	}
	for _, img := range s.Images {
		refs = append(refs, img.Refs...)
	}
	for _, rel := range s.Releases {
		refs = append(refs, rel.Refs...)
	}
	for _, h := range s.Hooks {
		refs = append(refs, h.Refs...)
	}
	if s.Backend != nil {
		refs = append(refs, s.Backend.Refs...)
	}
	return refs
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
