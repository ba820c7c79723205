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
	Find  *Locator  // nil: only who brought the stack up knows where an Own backend is

	refs map[string][]Ref // attribute → the outputs that it needs
}

// Locator says, before the stack itself can, what the attributes of its Own backend are that come from its own outputs. So
// another machine finds the state.
type Locator struct {
	Values map[string]cty.Value // null: not known
	Range  hcl.Range
}

// Missing gives the attributes for which there is no value, and so no way to find the state.
func (f *Locator) Missing() []string {
	var out []string
	for _, name := range names(f.Values) {
		if f.Values[name].IsNull() {
			out = append(out, name)
		}
	}
	return out
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
	find, has := attrs["find"]
	delete(attrs, "find") // no backend of terraform's has one
	for _, name := range names(attrs) {
		expr := attrs[name].Expr
		found := g.check(s, expr, scope{own: true})
		b.Attrs[name], b.refs[name] = expr, found.refs
		b.Refs = append(b.Refs, found.refs...)
	}
	b.Own = slices.ContainsFunc(b.Refs, func(r Ref) bool { return r.Stack == s.Name })
	if has {
		b.Find = g.find(s, b, find)
	}
}

func (g *Graph) find(s *Stack, b *Backend, attr *hcl.Attribute) *Locator {
	l, own := g.loader, []string{}
	for _, name := range names(b.refs) {
		if slices.ContainsFunc(b.refs[name], func(r Ref) bool { return r.Stack == s.Name }) {
			own = append(own, name)
		}
	}
	if !b.Own {
		l.add(problem("needless-find", attr.NameRange, "Remove it: the state is found by what the other attributes say.", "the backend of stack %q does not come from its own outputs", s.ID))
		return nil
	}
	if found := g.check(s, attr.Expr, scope{static: true}); !found.ok || len(found.refs) > 0 {
		return nil
	}
	v, diags := attr.Expr.Value(g.staticContext())
	l.add(diags...)
	if diags.HasErrors() {
		return nil
	}
	if v.IsNull() || !v.Type().IsObjectType() {
		l.add(problem("wrong-type", attr.Expr.Range(), `Write find = { attribute = "value" }.`, "find: an object is required, not %s", kindOf(v)))
		return nil
	}
	f := &Locator{Values: v.AsValueMap(), Range: attr.NameRange}
	for _, name := range names(f.Values) {
		if !slices.Contains(own, name) {
			l.add(problem("unknown-find", attr.Expr.Range(), suggest(name, "attributes that come from the stack's own outputs", own), "find: %q is not an attribute that comes from the stack's own outputs", name))
		}
	}
	for _, name := range own {
		if _, given := f.Values[name]; !given {
			l.add(problem("incomplete-find", attr.Expr.Range(), "Add it; null says that it is not known.", "find does not say what %q is", name))
		}
	}
	return f
}

// FindConfig gives the attributes of s's Own backend as its find says, which may be where the state of another machine's
// run is. It is nil where there is no find, or it does not say everything.
func (g *Graph) FindConfig(s *Stack, k Known) (map[string]cty.Value, error) {
	if s.Backend == nil || s.Backend.Find == nil || len(s.Backend.Find.Missing()) > 0 {
		return nil, nil
	}
	out := map[string]cty.Value{}
	for _, name := range names(s.Backend.Attrs) {
		if v, given := s.Backend.Find.Values[name]; given {
			out[name] = v
			continue
		}
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
