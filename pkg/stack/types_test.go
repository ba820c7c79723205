package stack_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/zclconf/go-cty/cty"

	"github.com/labctl/labctl/pkg/stack"
)

// TestInputsAreOfTheVariablesType holds values that only the run brings to what the variables ask for.
func TestInputsAreOfTheVariablesType(t *testing.T) {
	const list = `list(object({ size = number, zone = optional(string, "z1"), tag = optional(string) }))`
	obj := func(m map[string]cty.Value) cty.Value { return cty.ObjectVal(m) }
	for _, tc := range []struct {
		name, variable string
		value          cty.Value
		want, wrong    string
	}{
		{"number of text", "type = number", cty.StringVal("8080"), "8080", ""},
		{"text of number", "type = string", cty.NumberIntVal(8080), `"8080"`, ""},
		{"any", "type = any", cty.TupleVal([]cty.Value{cty.True, cty.StringVal("a")}), `[true,"a"]`, ""},
		{"no type", "default = 1", cty.True, "true", ""},
		{"set", "type = set(string)", cty.TupleVal([]cty.Value{cty.StringVal("b"), cty.StringVal("a"), cty.StringVal("b")}), `["a","b"]`, ""},
		{"old list", "type = list", cty.TupleVal([]cty.Value{cty.StringVal("b"), cty.NumberIntVal(1)}), `["b","1"]`, ""},
		{"old map", "type = map", obj(map[string]cty.Value{"a": cty.NumberIntVal(1)}), `{"a":1}`, ""},
		{"optional attributes", "type = " + list, cty.TupleVal([]cty.Value{obj(map[string]cty.Value{"size": cty.StringVal("3"), "more": cty.True})}),
			`[{"size":3,"tag":null,"zone":"z1"}]`, ""},
		{"a default for null", "type = string\n  default = \"d\"\n  nullable = false", cty.NullVal(cty.String), "", ""},
		{"no number", "type = number", cty.StringVal("high"), "", `stacks/local/3-more/stack.hcl:1:20: value: a number is required, and "high" is none`},
		{"deep", "type = " + list, cty.TupleVal([]cty.Value{obj(map[string]cty.Value{"size": cty.StringVal("x")})}), "", `value[0].size: a number is required, and "x" is none`},
		{"missing", "type = " + list, cty.ListVal([]cty.Value{obj(map[string]cty.Value{"zone": cty.StringVal("x")})}), "", `value[0]: the attribute "size" is missing`},
		{"map for object", "type = object({ a = number })", cty.MapVal(map[string]cty.Value{"a": cty.StringVal("x")}), "", `value.a: a number is required`},
		{"set of lists", "type = set(list(number))", cty.SetVal([]cty.Value{cty.ListVal([]cty.Value{cty.StringVal("x")})}), "", `value[0][0]: a number is required`},
		{"not of one type", "type = list(any)", cty.TupleVal([]cty.Value{cty.StringVal("x"), cty.EmptyObjectVal}), "", `value: all list elements must have the same type`},
		{"null", "type = string", cty.NullVal(cty.DynamicPseudoType), "null", ""},
		{"null beside a default", "type = string\n  default = \"d\"", cty.NullVal(cty.String), "null", ""},
		{"null refused", "type = string\n  nullable = false", cty.NullVal(cty.String), "", `the required variable "value" is set to null`},
		{"secret", "type = number\n  sensitive = true", cty.StringVal("hunter2").Mark(stack.Sensitive), "", "and the (sensitive) value is none"},
		{"secret inside", "type = map(number)\n  sensitive = true", obj(map[string]cty.Value{"a": cty.StringVal("hunter2")}).Mark(stack.Sensitive), "", "(sensitive)"},
		{"plain value of a secret variable", "type = number\n  sensitive = true", cty.StringVal("hunter2"), "", "(sensitive)"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g, err := stack.Open(stack.Options{Dir: write(t, map[string]string{
				"stacks/local/2-source/main.tf": "resource \"x\" \"y\" {}\noutput \"value\" { value = x.y.z }\n",
				"stacks/local/3-more/main.tf":   "variable \"value\" {\n  " + tc.variable + "\n}\n",
				"stacks/local/3-more/stack.hcl": "inputs = { value = stack.source.value }\n",
			})})
			require.NoError(t, err)
			s, err := g.Stack("more")
			require.NoError(t, err)
			in, err := g.Inputs(s, stack.Known{Outputs: map[string]map[string]cty.Value{"source": {"value": tc.value}}})
			if tc.wrong != "" {
				var config *stack.ConfigError
				require.ErrorAs(t, err, &config)
				require.ErrorContains(t, err, tc.wrong)
				require.ErrorContains(t, err, "stacks/local/3-more/stack.hcl:1:20")
				require.NotContains(t, err.Error(), "hunter2")
				return
			}
			require.NoError(t, err)
			if tc.want == "" {
				require.NotContains(t, in, "value")
				return
			}
			b, err := stack.JSON(in["value"])
			require.NoError(t, err)
			require.JSONEq(t, tc.want, string(b))
		})
	}
}

// TestWaitsFor names everything that a stack's inputs wait for, unknown parts of a plan included.
func TestWaitsFor(t *testing.T) {
	g, err := stack.Open(stack.Options{Dir: write(t, map[string]string{
		"stacks/local/1-cluster/stack.hcl": "inputs = {\n  name = \"${stack.foundation.name}-${stack.foundation.name}\"\n  port = stack.foundation.ports.http\n}\n",
	})})
	require.NoError(t, err)
	_, err = g.Inputs(g.Stacks[1], stack.Known{Outputs: map[string]map[string]cty.Value{"foundation": {
		"name":  cty.UnknownVal(cty.String),
		"ports": cty.ObjectVal(map[string]cty.Value{"http": cty.UnknownVal(cty.Number)}),
	}}})
	require.ErrorIs(t, err, stack.ErrNotKnown)
	var missing *stack.NotKnownError
	require.ErrorAs(t, err, &missing)
	require.Len(t, missing.Refs, 2)
	require.ErrorContains(t, err, `output "name" of stack "foundation", output "ports" of stack "foundation" are not known yet: run `+"`labctl up foundation`")
}

// TestInference wires an output into a variable that takes it only when the output's type was seen.
func TestInference(t *testing.T) {
	node := map[string]cty.Type{"lab_node": cty.Object(map[string]cty.Type{"ports": cty.List(cty.Number), "name": cty.String})}
	const module = `
variable "text" { type = string }
variable "items" { type = list(string) }
variable "anything" {}
variable "shape" { type = object({ a = number, b = optional(string) }) }
locals {
  joined = "${var.text}-${local.suffix}"
  suffix = "x"
  one    = local.two
  two    = local.one
}
resource "lab_node" "only" {}
resource "lab_node" "many" { count = 2 }
resource "other" "one" {}
data "lab_node" "read" {}
module "m" { source = "./m" }
`
	for _, tc := range []struct{ name, value, takes, refuses string }{
		{"literal", `{ a = ["x"] }`, "object({ a = list(string) })", "map(number)"},
		{"variable", "var.items", "set(string)", "string"},
		{"optional attribute", "var.shape", "map(string)", "list(string)"},
		{"local", "local.joined", "string", "list(string)"},
		{"for", "[for i in var.items : { name = i }]", "list(object({ name = string }))", ""}, // of a list that is not known yet
		{"splat of objects", "[var.shape][*].a", "list(number)", "map(number)"},
		{"conditional", "var.text == \"\" ? 1 : 2", "number", "list(number)"},
		{"function of a fixed type", "jsonencode(var.anything)", "string", "list(string)"},
		{"function whose type follows", "merge({ a = 1 }, { b = 2 })", "map(number)", "list(number)"},
		{"conversion", "tolist([local.joined])", "list(string)", "map(string)"},
		{"sensitive", "sensitive(var.items)", "list(string)", "string"},
		{"resource", "lab_node.only.ports", "list(number)", "string"},
		{"try", "try(lab_node.only.ports, [])", "list(number)", ""},
		{"counted resource", "lab_node.many[0].name", "list(string)", ""},
		{"all of a counted resource", "lab_node.many", "list(object({ name = string }))", ""},
		{"other resource", "other.one.id", "list(string)", ""},
		{"data", "data.lab_node.read.name", "list(string)", ""},
		{"module", "module.m.x", "list(string)", ""},
		{"variable of any type", "var.anything", "list(string)", ""},
		{"cycle", "local.one", "list(string)", ""},
		{"unknown function", "provider::x::y(1)", "list(string)", ""},
		{"undeclared", "var.nothing", "list(string)", ""},
		{"evaluation fails", "1 + \"x\"", "list(string)", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			open := func(of string) error {
				_, err := stack.Open(stack.Options{ResourceTypes: node, Dir: write(t, map[string]string{
					"stacks/local/2-source/m/x.tf":    "output \"x\" { value = [] }\n",
					"stacks/local/2-source/main.tf":   module + "output \"value\" { value = " + tc.value + " }\n",
					"stacks/local/2-source/stack.hcl": "inputs = { text = \"t\", items = [], anything = 1, shape = { a = 1 } }\n",
					"stacks/local/3-more/main.tf":     "variable \"value\" { type = " + of + " }\n",
					"stacks/local/3-more/stack.hcl":   "inputs = { value = stack.source.value }\n",
				})})
				return err
			}
			require.NoError(t, open(tc.takes))
			if tc.refuses != "" {
				require.ErrorContains(t, open(tc.refuses), "required, not ")
			}
		})
	}
}

// TestOverride reads what Terraform merges.
func TestOverride(t *testing.T) {
	g, err := stack.Open(stack.Options{Dir: write(t, map[string]string{
		"stacks/local/1-cluster/main_override.tf.json": `{"variable": {"port": {"type": "list(number)", "sensitive": true}}, "output": {"kubeconfig": {"value": "other"}}}`,
		"stacks/local/1-cluster/stack.hcl":             "inputs = {\n  name = lab.name\n  port = [env.api_port]\n}\n",
	})})
	require.NoError(t, err)
	port := g.Stacks[1].Variables["port"]
	require.True(t, port.Required && port.Sensitive && port.Nullable)
	require.Equal(t, cty.List(cty.Number), port.Constraint)
	require.True(t, g.Stacks[1].Outputs["kubeconfig"].Sensitive)
}

// TestSensitiveTravels finds a sensitive value wherever it ends up in an input.
func TestSensitiveTravels(t *testing.T) {
	for _, expr := range []string{
		"stack.cluster.kubeconfig",
		`{ deep = ["x", stack.cluster.kubeconfig] }`,
		`stack.cluster.kubeconfig == "" ? 1 : 2`,
		`[for c in [stack.cluster.kubeconfig] : "x${c}"]`,
		`try(stack.cluster.kubeconfig, "x")`,
		`lookup({ a = stack.cluster.kubeconfig }, "a", "x")`,
	} {
		t.Run(expr, func(t *testing.T) {
			open := func(variable string) error {
				_, err := stack.Open(stack.Options{Dir: write(t, map[string]string{
					"stacks/local/3-more/main.tf":   variable,
					"stacks/local/3-more/stack.hcl": "inputs = { value = " + expr + " }\n",
				})})
				return err
			}
			require.ErrorContains(t, open("variable \"value\" {}\n"), "stack.cluster.kubeconfig is sensitive")
			require.NoError(t, open("variable \"value\" { sensitive = true }\n"))
		})
	}
	dir := write(t, map[string]string{"stacks/local/3-more/main.tf": "variable \"value\" {}\n", "stacks/local/3-more/stack.hcl": "inputs = { value = stack.cluster.registry }\n"})
	_, err := stack.Open(stack.Options{Dir: dir})
	require.NoError(t, err, "its neighbour is not")
}

func TestWarnings(t *testing.T) {
	g, err := stack.Open(stack.Options{Dir: write(t, map[string]string{"stacks/local/6-last/main.tf": "output \"free\" { value = 1 }\n"})})
	require.NoError(t, err)
	var said []string
	for _, w := range g.Warnings("ports") {
		said = append(said, w.String())
		d := w.Diagnostic()
		require.Equal(t, 2, d.Severity)
		require.Equal(t, "unused-output", d.Code)
	}
	require.Equal(t, []string{`stacks/local/1-cluster/main.tf:12:1: nothing uses output "node" of stack "1-cluster"
  12 | output "node" { value = lab_node.this.address }
     | ^^^^^^^^^^^^^
  No stack.hcl refers to it. Use it as stack.cluster.node, or remove it.`}, said)
	require.Empty(t, g.Warnings("foundation.ports", "cluster.node"))
}

// TestDiagnostic counts as the Language Server Protocol does.
func TestDiagnostic(t *testing.T) {
	_, err := stack.Open(stack.Options{Dir: write(t, map[string]string{
		"stacks/local/0-foundation/stack.hcl": "inputs = {\r\n  location = \"𝄞é\"\n  name     = \"𝄞é${env.nmae}\"\r\n}\r\n",
		"stacks/local/1-cluster/stack.hcl":    "inputs = {\n  name = = 1\n}\n",
		"stacks/local/1-other/main.tf":        "",
	})})
	var config *stack.ConfigError
	require.ErrorAs(t, err, &config)
	var got []stack.Diagnostic
	for _, f := range config.Findings() {
		got = append(got, f.Diagnostic())
	}
	require.Len(t, got, 3)
	at := func(line, from, to int) stack.Range {
		return stack.Range{Start: stack.Position{Line: line, Character: from}, End: stack.Position{Line: line, Character: to}}
	}
	require.Equal(t, stack.Diagnostic{File: "stacks/local/0-foundation/stack.hcl", Range: at(2, 19, 27), Severity: 1, Code: "unknown-env-variable", Source: "labctl",
		Message: `environment "local" has no variable "nmae"`, Detail: got[0].Detail}, got[0], "𝄞 is two units, é one")
	require.True(t, strings.HasPrefix(got[0].Detail, "Known variables"))
	require.Equal(t, "invalid-expression", got[1].Code)
	require.Equal(t, at(1, 9, 10), got[1].Range)
	require.Equal(t, stack.Diagnostic{File: "stacks/local/1-other", Severity: 1, Code: "duplicate-stack", Source: "labctl",
		Message: "stack number 1 is taken by 1-cluster", Detail: got[2].Detail}, got[2])
}
