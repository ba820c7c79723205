package stack

import (
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

const typeHint = "Types are string, number, bool, any, list(T), set(T), map(T), tuple([T, …]) and object({ name = T, … })."

// variableType reads v's type and holds its default to it.
func (l *loader) variableType(v *Variable) {
	if v.Type != nil {
		switch hcl.ExprAsKeyword(v.Type) { // as in Terraform, which keeps them from its early days
		case "list":
			v.Constraint = cty.List(cty.DynamicPseudoType)
		case "map":
			v.Constraint = cty.Map(cty.DynamicPseudoType)
		default:
			t, defaults, diags := typeexpr.TypeConstraintWithDefaults(v.Type)
			if diags.HasErrors() {
				rng := v.Type.Range()
				if s := diags[0].Subject; s != nil && s.Start.Line > 0 {
					rng = *s
				}
				hint := strings.TrimSuffix(diags[0].Detail, ".") + ".\n" + typeHint
				if text, diags := v.Type.Value(nil); !diags.HasErrors() && text.Type() == cty.String {
					hint = "Write it without quotes.\n" + typeHint
				}
				l.add(problem("bad-type", rng, hint, "the type of variable %q is no type", v.Name))
				v.Constraint = cty.DynamicPseudoType
				return
			}
			v.Constraint, v.defaults = t, defaults
		}
	}
	if v.fallback == nil {
		return
	}
	value, diags := v.fallback.Value(nil)
	if diags.HasErrors() {
		l.add(problem("bad-default", v.fallback.Range(), "Write a plain value: Terraform allows no reference and no function here.", "the default of variable %q is not a plain value", v.Name))
		return
	}
	if value.IsNull() {
		if !v.Nullable {
			l.add(problem("bad-default", v.fallback.Range(), "Give it a value, or remove nullable = false.", "the default of variable %q is null, which the variable refuses", v.Name))
		}
		return
	}
	if _, at := v.take(value); at != nil {
		l.add(problem("bad-default", within(v.fallback, at.path), l.typeOf(v), "wrong default: %s", at))
	}
}

// typeOf is a hint that says which type v has and where.
func (l *loader) typeOf(v *Variable) string {
	hint := "Variable " + quote(v.Name) + " at " + l.place(v.Range) + " has the type " + typeText(v.Constraint) + "."
	if len(hint) > 400 { // an object of many attributes is better read where it stands
		hint = "The type of variable " + quote(v.Name) + " is at " + l.place(v.Range) + "."
	}
	return hint
}

// take gives value as Terraform will have it: optional attributes filled in, of the variable's type.
func (v *Variable) take(value cty.Value) (cty.Value, *misfit) {
	if v.Sensitive {
		value = value.Mark(Sensitive)
	}
	if v.Constraint == cty.DynamicPseudoType {
		return value, nil
	}
	filled := value
	if v.defaults != nil && !value.IsNull() {
		filled = v.defaults.Apply(value)
	}
	out, err := convert.Convert(filled, v.Constraint)
	if err == nil {
		return out, nil
	}
	if at := compare(cty.GetAttrPath(v.Name), filled, v.Constraint); at != nil {
		return cty.NilVal, at
	}
	return cty.NilVal, &misfit{path: cty.GetAttrPath(v.Name), reason: err.Error()}
}

// surplus finds what is written in an object and has no place in type t: Terraform would drop it without a word.
func (l *loader) surplus(expr hcl.Expression, t cty.Type, what string) {
	switch {
	case t.IsObjectType() || t.IsMapType():
		pairs, diags := hcl.ExprMap(expr)
		if diags.HasErrors() {
			return
		}
		for _, pair := range pairs {
			name, ok := keyOf(pair)
			switch {
			case !ok:
			case t.IsMapType():
				l.surplus(pair.Value, t.ElementType(), what+"["+strconv.Quote(name)+"]")
			case t.HasAttribute(name):
				l.surplus(pair.Value, t.AttributeType(name), what+"."+name)
			default:
				l.add(problem("undeclared-attribute", pair.Key.Range(), suggest(name, "attributes", names(t.AttributeTypes())), "%s: the variable's type has no attribute %q", what, name))
			}
		}
	case t.IsListType() || t.IsSetType() || t.IsTupleType():
		items, diags := hcl.ExprList(expr)
		if diags.HasErrors() {
			return
		}
		for i, item := range items {
			if !t.IsTupleType() || i < t.Length() {
				l.surplus(item, elementType(t, i), what+"["+strconv.Itoa(i)+"]")
			}
		}
	}
}
