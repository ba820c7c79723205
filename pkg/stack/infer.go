package stack

import (
	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
)

// inference finds out what can be said of the outputs of one stack before Terraform runs. It never says what is not
// sure: whatever it cannot follow is of any type.
type inference struct {
	s         *Stack
	functions map[string]function.Function
	resources map[string]cty.Type // resource type → type of its attributes
	locals    map[string]hcl.Expression
	single    map[string]bool      // "TYPE.NAME" → it has neither count nor for_each
	done      map[string]cty.Value // locals; any type while one is being followed, which ends cycles
	variables cty.Value
}

// value gives what is known of expr.
func (in *inference) value(expr hcl.Expression) cty.Value {
	if expr == nil {
		return cty.DynamicVal
	}
	locals, resources := map[string]cty.Value{}, map[string]map[string]cty.Value{}
	ctx := &hcl.EvalContext{Variables: map[string]cty.Value{}, Functions: in.functions}
	for _, t := range expr.Variables() {
		root := t.RootName()
		name, named := step(t, 1)
		switch {
		case root == "var":
			ctx.Variables["var"] = in.vars()
		case (root == "path" || root == "terraform") && named:
			ctx.Variables[root] = cty.UnknownVal(cty.Map(cty.String)) // all that they hold is strings
		case root == "local" && named:
			locals[name] = in.local(name)
		case named && in.single[root+"."+name] && in.resources[root] != cty.NilType:
			if resources[root] == nil {
				resources[root] = map[string]cty.Value{}
			}
			resources[root][name] = unknown(in.resources[root])
		case named && resources[root] != nil:
			resources[root][name] = cty.DynamicVal
		default:
			ctx.Variables[root] = cty.DynamicVal
		}
	}
	if len(locals) > 0 && ctx.Variables["local"] == cty.NilVal {
		ctx.Variables["local"] = cty.ObjectVal(locals)
	}
	for root, named := range resources {
		if ctx.Variables[root] == cty.NilVal {
			ctx.Variables[root] = cty.ObjectVal(named)
		}
	}
	v, diags := expr.Value(ctx)
	if diags.HasErrors() {
		return cty.DynamicVal
	}
	v, _ = v.UnmarkDeep()
	return v
}

func (in *inference) local(name string) cty.Value {
	if v, ok := in.done[name]; ok {
		return v
	}
	in.done[name] = cty.DynamicVal
	if expr, ok := in.locals[name]; ok {
		in.done[name] = in.value(expr)
	}
	return in.done[name]
}

func (in *inference) vars() cty.Value {
	if in.variables == cty.NilVal {
		vars := map[string]cty.Value{}
		for name, v := range in.s.Variables {
			vars[name] = unknown(v.Constraint)
		}
		in.variables = cty.ObjectVal(vars)
	}
	return in.variables
}

// unknown is some value of type t.
func unknown(t cty.Type) cty.Value {
	if t.HasDynamicTypes() {
		return cty.DynamicVal
	}
	return cty.UnknownVal(t.WithoutOptionalAttributesDeep())
}
