package stack

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// misfit says where a value is not of the type that is wanted, and why. It holds no part of a sensitive value.
type misfit struct {
	path   cty.Path
	reason string
}

func (m *misfit) String() string { return pathText(m.path) + ": " + m.reason }

// compare finds the first part of v which cannot become what want asks of it, or nil.
func compare(path cty.Path, v cty.Value, want cty.Type) *misfit {
	_, err := convert.Convert(v, want)
	if err == nil {
		return nil
	}
	if v.IsMarked() {
		return &misfit{path, kind(want) + " is required, and the (sensitive) value is none"}
	}
	got := v.Type()
	switch {
	case want.IsObjectType() && (got.IsObjectType() || (got.IsMapType() && known(v))):
		if m := compareAttributes(path, v, want); m != nil {
			return m
		}
	case want.IsMapType() && (got.IsObjectType() || (got.IsMapType() && known(v))):
		parts := attributes(v)
		for _, name := range names(parts) {
			if m := compare(path.Copy().IndexString(name), parts[name], want.ElementType()); m != nil {
				return m
			}
		}
	case (want.IsListType() || want.IsSetType() || want.IsTupleType()) && (got.IsTupleType() || ((got.IsListType() || got.IsSetType()) && known(v))):
		parts := elements(v)
		if want.IsTupleType() && len(parts) != want.Length() {
			return &misfit{path, fmt.Sprintf("%d elements are required, not %d", want.Length(), len(parts))}
		}
		for i, e := range parts {
			if m := compare(path.Copy().IndexInt(i), e, elementType(want, i)); m != nil {
				return m
			}
		}
	case want.IsPrimitiveType():
		if got == cty.String && known(v) {
			return &misfit{path, kind(want) + " is required, and " + quote(v.AsString()) + " is none"}
		}
		return &misfit{path, kind(want) + " is required, not " + kind(got)}
	default:
		return &misfit{path, kind(want) + " is required, not " + kind(got)}
	}
	return &misfit{path, err.Error()}
}

func elementType(t cty.Type, i int) cty.Type {
	if t.IsTupleType() {
		return t.TupleElementType(i)
	}
	return t.ElementType()
}

func compareAttributes(path cty.Path, v cty.Value, want cty.Type) *misfit {
	parts := attributes(v)
	for _, name := range names(want.AttributeTypes()) {
		e, has := parts[name]
		if !has {
			if want.AttributeOptional(name) {
				continue
			}
			return &misfit{path, "the attribute " + quote(name) + " is missing"}
		}
		if m := compare(path.Copy().GetAttr(name), e, want.AttributeType(name)); m != nil {
			return m
		}
	}
	return nil
}

func known(v cty.Value) bool { return v.IsKnown() && !v.IsNull() }

// attributes gives the parts of an object, unknown ones where it is, or of a known map.
func attributes(v cty.Value) map[string]cty.Value {
	if known(v) {
		return v.AsValueMap()
	}
	out := map[string]cty.Value{}
	if v.Type().IsObjectType() {
		for name, t := range v.Type().AttributeTypes() {
			out[name] = cty.UnknownVal(t)
		}
	}
	return out
}

// elements gives the parts of a tuple, unknown ones where it is, or of a known list or set.
func elements(v cty.Value) []cty.Value {
	if known(v) {
		return v.AsValueSlice()
	}
	var out []cty.Value
	if v.Type().IsTupleType() {
		for _, t := range v.Type().TupleElementTypes() {
			out = append(out, cty.UnknownVal(t))
		}
	}
	return out
}

// kind names the kind of a type as people do, with its article. What is written in brackets is a tuple until it is
// converted, and a list to who wrote it.
func kind(t cty.Type) string {
	switch {
	case t == cty.Bool:
		return "true or false"
	case t.IsPrimitiveType():
		return "a " + t.FriendlyName()
	case t.IsListType() || t.IsTupleType():
		return "a list"
	case t.IsSetType():
		return "a set"
	case t.IsMapType():
		return "a map"
	case t.IsObjectType():
		return "an object"
	}
	return "another type"
}

// kindOf is the kind of a value.
func kindOf(v cty.Value) string {
	if v.IsNull() {
		return "null"
	}
	return kind(v.Type())
}

// typeText writes a type as Terraform does, but for the defaults of optional attributes.
func typeText(t cty.Type) string {
	var parts []string
	switch {
	case t == cty.DynamicPseudoType:
		return "any"
	case t.IsPrimitiveType():
		return t.FriendlyName()
	case t.IsListType():
		return "list(" + typeText(t.ElementType()) + ")"
	case t.IsSetType():
		return "set(" + typeText(t.ElementType()) + ")"
	case t.IsMapType():
		return "map(" + typeText(t.ElementType()) + ")"
	case t.IsTupleType():
		for _, e := range t.TupleElementTypes() {
			parts = append(parts, typeText(e))
		}
		return "tuple([" + strings.Join(parts, ", ") + "])"
	case t.IsObjectType() && len(t.AttributeTypes()) > 0:
		for _, name := range names(t.AttributeTypes()) {
			of := typeText(t.AttributeType(name))
			if t.AttributeOptional(name) {
				of = "optional(" + of + ")"
			}
			parts = append(parts, name+" = "+of)
		}
		return "object({ " + strings.Join(parts, ", ") + " })"
	}
	return "object({})"
}

// pathText writes a path as one would in an expression.
func pathText(path cty.Path) string {
	var b strings.Builder
	for i, p := range path {
		switch p := p.(type) {
		case cty.GetAttrStep:
			if i > 0 {
				b.WriteByte('.')
			}
			b.WriteString(p.Name)
		case cty.IndexStep:
			if p.Key.Type() == cty.String {
				b.WriteString("[" + strconv.Quote(p.Key.AsString()) + "]")
			} else {
				b.WriteString("[" + p.Key.AsBigFloat().Text('f', 0) + "]")
			}
		}
	}
	return b.String()
}

// within gives the range of the part of expr that path, whose first step is expr itself, leads to; of expr where that
// part is not written there.
func within(expr hcl.Expression, path cty.Path) hcl.Range {
	for _, p := range path[min(1, len(path)):] {
		next := part(expr, p)
		if next == nil {
			break
		}
		expr = next
	}
	return expr.Range()
}

func part(expr hcl.Expression, p cty.PathStep) hcl.Expression {
	name, index := "", -1
	switch p := p.(type) {
	case cty.GetAttrStep:
		name = p.Name
	case cty.IndexStep:
		if p.Key.Type() == cty.String {
			name = p.Key.AsString()
		} else {
			f, _ := p.Key.AsBigFloat().Int64()
			index = int(f)
		}
	}
	if index >= 0 {
		if items, diags := hcl.ExprList(expr); !diags.HasErrors() && index < len(items) {
			return items[index]
		}
		return nil
	}
	pairs, diags := hcl.ExprMap(expr)
	if diags.HasErrors() {
		return nil
	}
	for _, pair := range pairs {
		if key, ok := keyOf(pair); ok && key == name {
			return pair.Value
		}
	}
	return nil
}

func keyOf(pair hcl.KeyValuePair) (string, bool) {
	key, diags := pair.Key.Value(nil)
	if diags.HasErrors() || !key.IsKnown() || key.IsNull() || key.Type() != cty.String {
		return "", false
	}
	return key.AsString(), true
}
