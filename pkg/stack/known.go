package stack

import (
	"github.com/zclconf/go-cty/cty"
)

// KnownValues gives what is known of a release's values before anything is applied, and whether that is all of them.
// What depends on an output or an image is left out.
func (r *Release) KnownValues() (values map[string]any, complete bool) {
	if r.Values == nil {
		return nil, true
	}
	if r.known == cty.NilVal {
		return nil, false
	}
	v, _ := r.known.UnmarkDeep()
	part, complete := knownPart(v)
	values, _ = part.(map[string]any)
	return values, complete
}

// knownPart is plain without what is not known.
func knownPart(v cty.Value) (any, bool) {
	if !v.IsKnown() {
		return nil, false
	}
	t := v.Type()
	if v.IsNull() || !t.IsObjectType() && !t.IsMapType() {
		p, err := plain(v)
		return p, err == nil
	}
	out, complete := map[string]any{}, true
	for name, element := range v.AsValueMap() {
		part, whole := knownPart(element)
		complete = complete && whole
		if part != nil || whole {
			out[name] = part
		}
	}
	return out, complete
}
