package stack

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2/ext/tryfunc"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
)

// functions are what expressions in stack.hcl may call.
func functions() map[string]function.Function {
	return map[string]function.Function{"lookup": lookup(), "try": tryfunc.TryFunc, "fingerprint": fingerprint()}
}

// fingerprint(value) changes when the value does, and nobody learns the value from it as long as it cannot be guessed.
func fingerprint() function.Function {
	return function.New(&function.Spec{
		Description: "Sixteen digits that change with the value and are not sensitive.",
		Params:      []function.Parameter{{Name: "value", Type: cty.DynamicPseudoType, AllowNull: true, AllowMarked: true, AllowUnknown: true, AllowDynamicType: true}},
		Type:        function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			v, _ := args[0].UnmarkDeep()
			if !v.IsWhollyKnown() {
				return cty.UnknownVal(cty.String), nil
			}
			text, err := JSON(v)
			if err != nil {
				return cty.NilVal, err
			}
			sum := sha256.Sum256(text)
			return cty.StringVal(hex.EncodeToString(sum[:8])), nil
		},
	})
}

// lookup(object, name, default) makes a variable of the environment optional. Unlike Terraform's function its default may
// be null and of any type.
func lookup() function.Function {
	return function.New(&function.Spec{
		Description: "The object's attribute of that name, or the default.",
		Params: []function.Parameter{
			{Name: "object", Type: cty.DynamicPseudoType},
			{Name: "name", Type: cty.String},
			{Name: "default", Type: cty.DynamicPseudoType, AllowNull: true, AllowDynamicType: true}, // a bare null has the dynamic type
		},
		Type: func(args []cty.Value) (cty.Type, error) {
			if !args[0].Type().IsObjectType() {
				return cty.NilType, function.NewArgErrorf(0, "must be an object, such as env")
			}
			if !args[1].IsKnown() {
				return cty.DynamicPseudoType, nil
			}
			if name := args[1].AsString(); args[0].Type().HasAttribute(name) {
				return args[0].Type().AttributeType(name), nil
			}
			return args[2].Type(), nil
		},
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			if name := args[1].AsString(); args[0].Type().HasAttribute(name) {
				return args[0].GetAttr(name), nil
			}
			return args[2], nil
		},
	})
}

// terraformFunctions stand for those of Terraform where only the type of the result matters. Functions of providers and
// those that are newer than this list are not among them.
func terraformFunctions() map[string]function.Function {
	out := map[string]function.Function{
		"can": tryfunc.CanFunc, "try": tryfunc.TryFunc,
		"tobool": stdlib.MakeToFunc(cty.Bool), "tonumber": stdlib.MakeToFunc(cty.Number), "tostring": stdlib.MakeToFunc(cty.String),
		"tolist": stdlib.MakeToFunc(cty.List(cty.DynamicPseudoType)), "tomap": stdlib.MakeToFunc(cty.Map(cty.DynamicPseudoType)),
		"toset": stdlib.MakeToFunc(cty.Set(cty.DynamicPseudoType)),
	}
	for name, f := range map[string]function.Function{
		"chunklist": stdlib.ChunklistFunc, "coalesce": stdlib.CoalesceFunc, "coalescelist": stdlib.CoalesceListFunc,
		"compact": stdlib.CompactFunc, "concat": stdlib.ConcatFunc, "distinct": stdlib.DistinctFunc, "element": stdlib.ElementFunc,
		"flatten": stdlib.FlattenFunc, "formatlist": stdlib.FormatListFunc, "jsondecode": stdlib.JSONDecodeFunc, "keys": stdlib.KeysFunc,
		"merge": stdlib.MergeFunc, "range": stdlib.RangeFunc, "regex": stdlib.RegexFunc, "regexall": stdlib.RegexAllFunc,
		"reverse": stdlib.ReverseListFunc, "setintersection": stdlib.SetIntersectionFunc, "setproduct": stdlib.SetProductFunc,
		"setsubtract": stdlib.SetSubtractFunc, "setunion": stdlib.SetUnionFunc, "slice": stdlib.SliceFunc, "sort": stdlib.SortFunc,
		"split": stdlib.SplitFunc, "values": stdlib.ValuesFunc, "zipmap": stdlib.ZipmapFunc,
	} {
		out[name] = typeOf(f)
	}
	for t, list := range map[cty.Type]string{
		cty.Bool:   "alltrue anytrue contains endswith fileexists startswith",
		cty.Number: "abs ceil floor index length log max min parseint pow signum sum timecmp",
		cty.String: `abspath base64decode base64encode base64gzip base64sha256 base64sha512 basename bcrypt chomp cidrhost
			cidrnetmask cidrsubnet dirname file filebase64 filebase64sha256 filebase64sha512 filemd5 filesha1 filesha256 filesha512
			format formatdate indent join jsonencode lower md5 pathexpand plantimestamp replace rsadecrypt sha1 sha256 sha512
			strrev substr templatefile templatestring textdecodebase64 textencodebase64 timeadd timestamp title trim trimprefix trimspace
			trimsuffix upper urlencode uuid uuidv5 yamlencode`,
		cty.List(cty.String):  "cidrsubnets",
		cty.Set(cty.String):   "fileset",
		cty.DynamicPseudoType: "csvdecode ephemeralasnull issensitive lookup matchkeys one transpose yamldecode",
	} {
		for name := range strings.FieldsSeq(list) {
			out[name] = returns(t)
		}
	}
	out["nonsensitive"], out["sensitive"] = same(), same()
	return out
}

// anything takes all arguments there are.
func anything() *function.Parameter {
	return &function.Parameter{Name: "args", Type: cty.DynamicPseudoType, AllowNull: true, AllowUnknown: true, AllowDynamicType: true, AllowMarked: true}
}

// returns is a function of which only the type of the result is known.
func returns(t cty.Type) function.Function {
	return function.New(&function.Spec{
		VarParam: anything(),
		Type:     function.StaticReturnType(t),
		Impl:     func([]cty.Value, cty.Type) (cty.Value, error) { return cty.UnknownVal(t), nil },
	})
}

// typeOf is f without its values, as Terraform's functions of the same name and type differ in those.
func typeOf(f function.Function) function.Function {
	return function.New(&function.Spec{
		VarParam: anything(),
		Type: func(args []cty.Value) (cty.Type, error) {
			return f.ReturnTypeForValues(converted(args, f))
		},
		Impl: func(_ []cty.Value, t cty.Type) (cty.Value, error) { return cty.UnknownVal(t), nil },
	})
}

// converted gives args as a call of f converts them: sort, for one, takes a set or a tuple for its list. What cannot be
// converted stays, and f refuses it.
func converted(args []cty.Value, f function.Function) []cty.Value {
	out := slices.Clone(args)
	for i, arg := range args {
		takes := f.VarParam()
		if params := f.Params(); i < len(params) {
			takes = &params[i]
		}
		if takes == nil {
			break
		}
		if v, err := convert.Convert(arg, takes.Type); err == nil {
			out[i] = v
		}
	}
	return out
}

// same gives its only argument back.
func same() function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{*anything()},
		Type:   func(args []cty.Value) (cty.Type, error) { return args[0].Type(), nil },
		Impl:   func(args []cty.Value, _ cty.Type) (cty.Value, error) { return args[0], nil },
	})
}
