package stack

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// TestInferenceAgreesWithTerraform lets the real terraform evaluate outputs, and holds what was inferred to the types that
// it wrote into its state.
func TestInferenceAgreesWithTerraform(t *testing.T) {
	terraform, err := exec.LookPath("terraform")
	require.NoError(t, err, "this test needs terraform on PATH")
	const head = `
variable "text" { default = "abc" }
variable "name" {
  type    = string
  default = "abc"
}
variable "n" {
  type    = number
  default = 2
}
variable "flag" {
  type    = bool
  default = true
}
variable "items" {
  type    = list(string)
  default = ["b", "a"]
}
variable "set" {
  type    = set(string)
  default = ["x"]
}
variable "map" {
  type    = map(number)
  default = { a = 1 }
}
variable "object" {
  type    = object({ a = number, b = optional(string, "x"), c = optional(list(number)) })
  default = { a = 1, c = [2] }
}
variable "tuple" {
  type    = tuple([string, number])
  default = ["a", 1]
}
variable "loose" {
  type    = map(any)
  default = { a = true }
}
locals {
  greeting = "${var.name}-${local.tail}"
  tail     = upper(var.name)
}
`
	// Of these nothing can be said before terraform runs, or we do not try.
	anyType := map[string]bool{"var.text": true, "var.loose": true, "jsondecode(var.name == \"\" ? \"1\" : \"[1]\")": true, "lookup(var.map, \"z\", 3)": true,
		"one(var.set)": true, "matchkeys(var.items, [1, 2], [1])": true, "yamldecode(\"a: 1\")": true, "csvdecode(\"a,b\\n1,2\")": true,
		"transpose({ a = [\"b\"] })": true, "[for i in var.items : upper(i)]": true, "{ for i in var.items : i => 1 }": true,
		"flatten([var.items, var.items])": true,
		"element(var.tuple, var.n)":       true, "var.object[*].a": true, "coalescelist(var.items, [])": true, "concat(var.items, [\"z\"])": true,
		"merge(var.map, { b = 2 })": true, "try(var.object.a, 1)": true}
	expressions := []string{
		"1", `"a"`, "null", "[]", "{}", `[1, "a"]`, `{ a = [true] }`, "var.text", "var.name", "var.n", "var.flag", "var.items", "var.set", "var.map",
		"var.object", "var.object.c", "var.object.b", "var.tuple", "var.tuple[1]", "var.loose", "local.greeting", "local.tail",
		`"${var.n}"`, `"x-${var.n}"`, "var.flag ? 1 : 2", `var.flag ? "a" : 1`, "var.flag ? var.object : null", "var.flag ? [] : var.items",
		"var.n + 1", "var.n > 1", "!var.flag", "var.items[0]", "var.items[*]", "var.object[*].a", "[for i in var.items : upper(i)]", "{ for i in var.items : i => 1 }",
		"path.module", "terraform.workspace", "abs(var.n)", "alltrue([var.flag])", "basename(var.name)", "base64encode(var.name)", "can(var.object.z)",
		`chunklist(var.items, 1)`, `cidrhost("10.0.0.0/8", var.n)`, `cidrsubnet("10.0.0.0/8", 8, var.n)`, `cidrsubnets("10.0.0.0/8", 4, 8)`,
		`coalesce(var.name, "x")`, "coalescelist(var.items, [])", "compact(var.items)", `concat(var.items, ["z"])`, `concat([1], ["z"])`, `contains(var.items, "a")`,
		`csvdecode("a,b\n1,2")`, "distinct(var.items)", "element(var.items, 1)", "element(var.tuple, var.n)", `endswith(var.name, "c")`, "flatten([var.items, var.items])",
		`format("%s-%d", var.name, var.n)`, `formatlist("x-%s", var.items)`, "index(var.items, \"a\")", `join(",", var.items)`,
		`jsondecode("{\"a\":[1]}")`, `jsondecode(var.name == "" ? "1" : "[1]")`, "jsonencode(var.object)", "keys(var.map)", "keys(var.object)", "length(var.items)", "length(var.name)",
		`lookup(var.map, "z", 3)`, "matchkeys(var.items, [1, 2], [1])", "max(var.n, 3)", "merge(var.map, { b = 2 })", "merge({ a = 1 }, { b = \"x\" })", "min(1, var.n)",
		"one(var.set)", "range(var.n)", "range(1, 3)", `regex("b", var.name)`, `regex("(a)(b)", var.name)`, `regexall("b", var.name)`, `replace(var.name, "/b/", "x")`,
		"reverse(var.items)", "sensitive(var.items)[0] == \"\" ? 1 : 2", "nonsensitive(1)", "setintersection(var.set, var.set)", "setproduct(var.set, var.set)",
		"setsubtract(var.set, [\"x\"])", "setunion(var.set, [\"y\"])", "sha256(var.name)", "slice(var.items, 0, 1)", "slice(var.items, 0, var.n)", "sort(var.items)", "sort(var.set)", "sort([])", `split(",", var.name)`,
		`startswith(var.name, "a")`, "substr(var.name, 0, 1)", "sum([var.n, 1])", "title(var.name)", "tobool(\"true\")", "tolist(var.set)", "tolist([1, \"a\"])", "tomap({ a = 1, b = \"x\" })",
		"tonumber(var.name == \"\" ? \"1\" : \"2\")", "toset(var.items)", "tostring(var.n)", `transpose({ a = ["b"] })`, `trimprefix(var.name, "a")`, "trimspace(var.name)",
		"try(var.object.a, 1)", `try(jsondecode("{"), "x")`, "upper(var.name)", "values(var.map)", "values(var.object)", `yamldecode("a: 1")`, "yamlencode(var.object)", `zipmap(["a"], [var.n])`, "zipmap(var.items, var.items)", "zipmap([], sort([]))",
	}
	module := head
	for i, e := range expressions {
		sensitive := ""
		if strings.Contains(e, "sensitive(") {
			sensitive = "\n  sensitive = true"
		}
		module += fmt.Sprintf("output \"o%d\" {\n  value = %s%s\n}\n", i, e, sensitive)
	}
	dir := t.TempDir()
	source := filepath.Join(dir, "stacks", "local", "0-all")
	require.NoError(t, os.MkdirAll(source, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(source, "main.tf"), []byte(module), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, FileName), []byte("lab \"a\" {}\nenvironment \"local\" {\n  target = \"local\"\n}\n"), 0o600))
	g, err := Open(Options{Dir: dir})
	require.NoError(t, err)

	for _, args := range [][]string{{"init", "-input=false"}, {"apply", "-input=false", "-auto-approve", "-no-color"}} {
		cmd := exec.CommandContext(t.Context(), terraform, args...)
		cmd.Dir = source
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	state, err := ReadState(filepath.Join(source, "terraform.tfstate"))
	require.NoError(t, err)
	for i, e := range expressions {
		name := fmt.Sprintf("o%d", i)
		v, ok := state.Outputs[name]
		if !ok {
			require.Equal(t, "null", e, "only null is not in a state")
			continue
		}
		v, _ = v.Unmark()
		shape := g.Stacks[0].Outputs[name].shape
		assert.Equal(t, anyType[e], shape.Type() == cty.DynamicPseudoType, "%s: inferred %#v", e, shape)
		if shape.Type() != cty.DynamicPseudoType {
			_, err := convert.Convert(v, shape.Type())
			assert.NoError(t, err, e)
			assert.True(t, shape.Type().HasDynamicTypes() || shape.Type().Equals(v.Type()), "%s: inferred %s, terraform says %s", e, typeText(shape.Type()), typeText(v.Type()))
		}
		if shape.IsWhollyKnown() {
			assert.True(t, shape.RawEquals(v), "%s: inferred %#v, terraform says %#v", e, shape, v)
		}
	}
}
