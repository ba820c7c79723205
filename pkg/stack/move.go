package stack

import (
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// IDParts takes the name of a stack's directory apart, "1-cluster" into 1 and "cluster".
func IDParts(id string) (number int, name string, ok bool) {
	text, name, cut := strings.Cut(id, "-")
	number, err := strconv.Atoi(text)
	return number, name, cut && err == nil && nameRule.MatchString(name)
}

const movedHint = `Write the name that the directory had: moved_from = "1-database".`

// movedFrom reads under which ids the stack was known before: one, or a list.
func (g *Graph) movedFrom(s *Stack, attr *hcl.Attribute) {
	for _, v := range g.textList(attr, movedHint) {
		switch _, _, ok := IDParts(v); {
		case !ok:
			g.loader.add(problem("bad-name", attr.Expr.Range(), movedHint, "moved_from: %q is no name of a stack", v))
		case v == s.ID:
			g.loader.add(problem("wrong-value", attr.Expr.Range(), movedHint, "moved_from: %q is the stack's name now", v))
		default:
			s.MovedFrom = append(s.MovedFrom, v)
		}
	}
}

// checkMoves refuses a former id that is another stack's, now or before.
func (g *Graph) checkMoves() {
	owner := map[string]string{}
	for _, s := range g.Stacks {
		owner[s.ID] = s.ID
	}
	for _, s := range g.Stacks {
		for _, id := range s.MovedFrom {
			if other, taken := owner[id]; taken {
				g.loader.add(problem("wrong-value", hcl.Range{Filename: s.Dir}, "A state can have one owner.", "moved_from: %q is, or was, the stack %q", id, other))
			}
			owner[id] = s.ID
		}
	}
}

// needs reads which earlier stacks the stack waits for without using anything of them.
func (g *Graph) needs(s *Stack, attr *hcl.Attribute) {
	const hint = `Write needs = ["databases"].`
	for _, name := range g.textList(attr, hint) {
		var known []string
		for _, o := range g.Stacks {
			if o.Number < s.Number {
				known = append(known, o.Name)
			}
		}
		other := g.byName(name)
		switch {
		case other == nil:
			g.loader.add(problem("unknown-stack", attr.Expr.Range(), suggest(name, "stacks before this one", known), "there is no stack %q", name))
		case other.Number >= s.Number:
			g.loader.add(problem("later-stack", attr.Expr.Range(), suggest(name, "stacks before this one", known), "stack %q cannot need %q, which comes later", s.ID, other.ID))
		case !slices.Contains(s.Needs, other):
			s.Needs = append(s.Needs, other)
		}
	}
}

// textList evaluates an attribute that holds a plain string, or a list of them.
func (g *Graph) textList(attr *hcl.Attribute, hint string) []string {
	v, diags := attr.Expr.Value(nil)
	if diags.HasErrors() {
		g.loader.add(plainOnly(attr, diags)...)
		return nil
	}
	if !v.IsNull() && v.Type() == cty.String {
		v = cty.TupleVal([]cty.Value{v})
	}
	list, err := convert.Convert(v, cty.List(cty.String))
	if err != nil || list.IsNull() {
		g.loader.add(problem("wrong-type", attr.Expr.Range(), hint, "%s: a list of names is required, not %s", attr.Name, kindOf(v)))
		return nil
	}
	var out []string
	for _, e := range list.AsValueSlice() {
		if e.IsNull() {
			g.loader.add(problem("wrong-type", attr.Expr.Range(), hint, "%s holds a null", attr.Name))
			continue
		}
		out = append(out, e.AsString())
	}
	return out
}
