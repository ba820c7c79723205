package stack

import (
	"fmt"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
)

// Backend says where a stack's state is kept.
type Backend struct {
	Type  string
	Attrs map[string]hcl.Expression
	Own   bool // it refers to the stack's own outputs: the state can move there only once the stack stands
	Refs  []Ref
	Range hcl.Range // of the block's head

	refs map[string][]Ref // attribute → the outputs that it needs
}

// backends are those that terraform and tofu have and that keep nothing but the state.
func backends() []string {
	return []string{"azurerm", "consul", "cos", "gcs", "http", "kubernetes", "local", "oss", "pg", "s3"}
}

func (g *Graph) backend(s *Stack, block *hcl.Block) {
	l := g.loader
	if s.Backend != nil {
		l.add(problem("duplicate-block", block.DefRange, "Keep one of them.", "a second backend"))
		return
	}
	b := &Backend{Type: block.Labels[0], Attrs: map[string]hcl.Expression{}, Range: block.DefRange, refs: map[string][]Ref{}}
	s.Backend = b
	switch {
	case b.Type == "remote" || b.Type == "cloud":
		l.add(problem("unusable-backend", block.LabelRanges[0], "It would run terraform elsewhere, where labctl's provider and files are not. Use a backend that keeps only the state, such as azurerm, s3 or gcs.", "the backend %q cannot be used", b.Type))
	case !slices.Contains(backends(), b.Type):
		l.add(problem("unknown-backend", block.LabelRanges[0], suggest(b.Type, "backends", backends()), "there is no backend %q", b.Type))
	}
	if !s.HasTerraform() {
		l.add(problem("backend-without-terraform", block.DefRange, "Remove the block: without *.tf a stack has no state.", "stack %q has a backend and no Terraform", s.ID))
	}
	if s.stateBlock != nil {
		l.add(problem("duplicate-backend", block.DefRange, "The other is at "+l.place(*s.stateBlock)+". Keep one of them.", "the backend of stack %q is given twice", s.ID))
	}
	attrs, diags := block.Body.JustAttributes()
	l.add(diags...)
	for _, name := range names(attrs) {
		expr := attrs[name].Expr
		found := g.check(s, expr, scope{own: true})
		b.Attrs[name], b.refs[name] = expr, found.refs
		b.Refs = append(b.Refs, found.refs...)
	}
	b.Own = slices.ContainsFunc(b.Refs, func(r Ref) bool { return r.Stack == s.Name })
}

// BackendConfig gives the attributes of s's backend, nulls left out; nil where s has none. Values may be sensitive. The
// error wraps ErrNotKnown where an output is missing.
func (g *Graph) BackendConfig(s *Stack, k Known) (map[string]cty.Value, error) {
	if s.Backend == nil {
		return nil, nil
	}
	out := map[string]cty.Value{}
	for _, name := range names(s.Backend.Attrs) {
		v, err := g.value(s.Backend.Attrs[name], s.Backend.refs[name], nil, k)
		if err != nil {
			return nil, fmt.Errorf("%s of the backend of stack %q: %w", name, s.ID, err)
		}
		if !v.IsNull() {
			out[name] = v
		}
	}
	return out, nil
}
