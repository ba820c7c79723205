package stack

import (
	"fmt"
	"sort"
	"strconv"

	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"
)

// Secrets gives every string that is marked sensitive somewhere in v.
func Secrets(v cty.Value) []string {
	if v == cty.NilVal {
		return nil
	}
	plain, marks := v.UnmarkDeepWithPaths()
	var found []string
	for _, m := range marks {
		if _, ok := m.Marks[Sensitive]; !ok {
			continue
		}
		part, err := m.Path.Apply(plain)
		if err != nil {
			part = plain // a set's element has no path of its own: better to hide too much
		}
		_ = cty.Walk(part, func(_ cty.Path, e cty.Value) (bool, error) {
			if e.IsKnown() && !e.IsNull() && e.Type() == cty.String {
				found = append(found, e.AsString())
			}
			return true, nil
		})
	}
	sort.Strings(found)
	return found
}

// JSON gives v, marks removed, as JSON with sorted keys.
func JSON(v cty.Value) ([]byte, error) {
	v, _ = v.UnmarkDeep()
	return ctyjson.Marshal(v, v.Type())
}

// Plain gives v, marks removed, as what encoding/json would make of it, with whole numbers as int64.
func Plain(v cty.Value) (any, error) {
	v, _ = v.UnmarkDeep()
	return plain(v)
}

func plain(v cty.Value) (any, error) {
	t := v.Type()
	switch {
	case !v.IsKnown():
		return nil, ErrNotKnown
	case v.IsNull():
		return nil, nil
	case t == cty.String:
		return v.AsString(), nil
	case t == cty.Bool:
		return v.True(), nil
	case t == cty.Number:
		f := v.AsBigFloat()
		if n, accuracy := f.Int64(); accuracy == 0 {
			return n, nil
		}
		n, _ := f.Float64()
		return n, nil
	case t.IsObjectType() || t.IsMapType():
		out := map[string]any{}
		for k, e := range v.AsValueMap() {
			p, err := plain(e)
			if err != nil {
				return nil, err
			}
			out[k] = p
		}
		return out, nil
	case t.IsListType() || t.IsTupleType() || t.IsSetType():
		out := []any{}
		for _, e := range v.AsValueSlice() {
			p, err := plain(e)
			if err != nil {
				return nil, err
			}
			out = append(out, p)
		}
		return out, nil
	}
	return nil, fmt.Errorf("a value of type %s has no plain form", t.FriendlyName())
}

// Text gives a value as a shell wants it: a string as it is, everything else as JSON.
func Text(v cty.Value) (string, error) {
	v, _ = v.UnmarkDeep()
	if v.IsKnown() && !v.IsNull() && v.Type() == cty.String {
		return v.AsString(), nil
	}
	b, err := JSON(v)
	return string(b), err
}

func names[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}

func quote(s string) string { return strconv.Quote(s) }
