package stack

import (
	"fmt"

	"github.com/zclconf/go-cty/cty"
)

// PartialInputs gives the values of s's variables as far as k knows them. The rest is unknown, in whole or in part, and of
// the type that it will have, as far as that can be told: nothing stands in for a value. open holds, for each input that
// is not wholly known, the outputs that it waits for. Other errors are as those of Inputs.
func (g *Graph) PartialInputs(s *Stack, k Known) (values map[string]cty.Value, open map[string][]Ref, err error) {
	values, open = map[string]cty.Value{}, map[string][]Ref{}
	for _, in := range s.Inputs {
		outputs := map[string]map[string]cty.Value{}
		var waits []Ref
		for _, ref := range in.Refs {
			v := g.expected(ref, k)
			if !v.IsWhollyKnown() {
				waits = append(waits, ref)
			}
			if outputs[ref.Stack] == nil {
				outputs[ref.Stack] = map[string]cty.Value{}
			}
			outputs[ref.Stack][ref.Output] = v
		}
		v, diags := in.Expr.Value(g.context(outputs, nil))
		if diags.HasErrors() {
			return nil, nil, fmt.Errorf("input %q of stack %q: %w", in.Name, s.ID, g.fail(diags...))
		}
		if err := g.setInput(values, s.Variables[in.Name], in, v); err != nil {
			return nil, nil, err
		}
		if v, set := values[in.Name]; set && !v.IsWhollyKnown() {
			open[in.Name] = waits
		}
	}
	return values, open, nil
}

// expected is what is known of an output: its value, or only its type.
func (g *Graph) expected(ref Ref, k Known) cty.Value {
	v, has := k.Outputs[ref.Stack][ref.Output]
	if has && (v.IsNull() || v.Type() != cty.DynamicPseudoType) {
		return v
	}
	o := g.byName(ref.Stack).Outputs[ref.Output]
	v = unknown(o.Type())
	if o.Sensitive {
		v = v.Mark(Sensitive)
	}
	return v
}
