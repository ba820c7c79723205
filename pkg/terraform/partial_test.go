package terraform_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/zclconf/go-cty/cty"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/stack"
	"github.com/labctl/labctl/pkg/terraform"
)

const partial = `
terraform {
  backend "http" { address = "http://127.0.0.1:1/nobody" } # a root's alone
}
variable "known" { type = string }
variable "list" { type = list(string) }
variable "tags" { type = map(string) }
variable "secret" {
  type      = string
  sensitive = true
}
locals { all = [for e in var.list : upper(e)] }
resource "terraform_data" "known" { input = var.known }
resource "terraform_data" "list" { input = local.all }
resource "terraform_data" "tags" {
  for_each = var.tags
  input    = each.value
}
resource "terraform_data" "secret" { triggers_replace = [var.secret, file("${path.root}/note.txt")] }
output "known" { value = terraform_data.known.input }
output "list" { value = terraform_data.list.input }
output "secret" {
  value     = var.secret
  sensitive = true
}
`

// partialWork is that of the stack above, with the inputs that an apply of others would make known left open.
func (b *bench) partialWork(known string) stack.RunRequest {
	w := b.work(map[string]cty.Value{
		"known":  cty.StringVal(known),
		"list":   cty.UnknownVal(cty.List(cty.String)),
		"tags":   cty.MapVal(map[string]cty.Value{"a": cty.StringVal("${x} %{y} $${z}"), "b": cty.UnknownVal(cty.String)}),
		"secret": cty.UnknownVal(cty.String).Mark(stack.Sensitive),
	})
	w.Waits = map[string][]string{"list": {"0-net: subnets"}, "tags": {"0-net: id"}, "secret": {"1-db: password"}}
	w.Stack.Outputs = map[string]*stack.Output{"known": {Name: "known"}, "list": {Name: "list"}, "secret": {Name: "secret", Sensitive: true}}
	return w
}

// aside is what lies beside the stacks' own directories after a plan in part: nothing.
func (b *bench) aside(t *testing.T) []string {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(b.state(), "tree", ".aside*"))
	require.NoError(t, err)
	return left
}

func TestPlanPartly(t *testing.T) {
	b, ctx := newBench(t, map[string]string{"main.tf": partial, "note.txt": "noted"}), t.Context()
	var seen events
	plan, err := b.runner().PlanPartly(ctx, b.partialWork("one"), seen.report)
	require.NoError(t, err)
	require.Equal(t, stack.Changes{Added: 5}, plan.Changes)
	unknown := map[string][]stack.Unknown{}
	var addresses []string
	for _, a := range plan.Actions {
		require.Equal(t, "create", a.Verb)
		addresses = append(addresses, a.Address)
		if a.Unknown != nil {
			unknown[a.Address] = a.Unknown
		}
	}
	require.ElementsMatch(t, []string{
		"terraform_data.known", "terraform_data.list", `terraform_data.tags["a"]`, `terraform_data.tags["b"]`, "terraform_data.secret",
		"output.known", "output.list", "output.secret",
	}, addresses)
	require.Equal(t, map[string][]stack.Unknown{
		"terraform_data.list":      {{Attribute: "input", After: []string{"0-net: subnets"}}},
		`terraform_data.tags["b"]`: {{Attribute: "input", After: []string{"0-net: id"}}},
		"terraform_data.secret":    {{Attribute: "triggers_replace", After: []string{"1-db: password"}}},
	}, unknown)
	require.Equal(t, cty.StringVal("one"), plan.Outputs["known"])
	require.False(t, plan.Outputs["list"].IsKnown())
	require.True(t, plan.Outputs["secret"].IsMarked())
	require.Empty(t, b.aside(t), "nothing of it can be applied")
	require.NoFileExists(t, filepath.Join(b.work3(), "terraform.tfstate"), "nothing of it is the stack's own")
	require.NotContains(t, seen.text(), "labctl_")
	require.NotContains(t, seen.text(), "Backend configuration ignored")
}

func TestPlanPartlyKnowsTheState(t *testing.T) {
	ctx := t.Context()
	files := map[string]string{"note.txt": "noted", "main.tf": partial[len("\nterraform {\n  backend \"http\" { address = \"http://127.0.0.1:1/nobody\" } # a root's alone\n}"):]}
	b := newBench(t, files)
	b.write(t, "old.tf", `
resource "terraform_data" "old" { input = terraform_data.known.id }
module "inner" { source = "./inner" }
`)
	b.write(t, "inner/main.tf", "resource \"terraform_data\" \"deep\" {}\n")
	w := b.work(map[string]cty.Value{
		"known": cty.StringVal("one"), "list": cty.ListVal([]cty.Value{cty.StringVal("x")}), "secret": cty.StringVal("s3cret-value"),
		"tags": cty.MapVal(map[string]cty.Value{"a": cty.StringVal("${x} %{y} $${z}"), "b": cty.StringVal("there")}),
	})
	_, err := b.runner().Apply(ctx, w, nil)
	require.NoError(t, err)
	before, err := os.ReadFile(terraform.StateFile(b.state(), "3-test"))
	require.NoError(t, err)

	verbs := func(w stack.RunRequest) map[string]string {
		plan, err := b.runner().PlanPartly(ctx, w, nil)
		require.NoError(t, err)
		out := map[string]string{}
		for _, a := range plan.Actions {
			out[a.Address] = a.Verb
		}
		require.Empty(t, b.aside(t))
		return out
	}
	same := map[string]string{
		"terraform_data.list": "update", `terraform_data.tags["b"]`: "update", "terraform_data.secret": "replace",
		"output.list": "update", "output.secret": "update",
	}
	require.Equal(t, same, verbs(b.partialWork("one")), "what is known and the same does not change")
	require.NoError(t, os.Remove(filepath.Join(b.source(), "old.tf")))
	changed := map[string]string{"terraform_data.known": "update", "output.known": "update", "terraform_data.old": "delete", "module.inner.terraform_data.deep": "delete"}
	for k, v := range same {
		changed[k] = v
	}
	require.Equal(t, changed, verbs(b.partialWork("two")))
	after, err := os.ReadFile(terraform.StateFile(b.state(), "3-test"))
	require.NoError(t, err)
	require.Equal(t, string(before), string(after), "the state is not touched")
}

func TestPlanPartlySaysWhyNot(t *testing.T) {
	for _, tc := range []struct{ name, code, want string }{
		{"a provider is configured with it", "variable \"url\" { type = string }\nlocals { u = \"${var.url}/api\" }\nprovider \"tiny\" {\n  nested { url = local.u }\n}\n",
			`its provider "tiny" is configured with input "url", which is known after 1-cluster: url`},
		{"terraform must know how many", "variable \"url\" { type = string }\nresource \"terraform_data\" \"this\" {\n  count = length(var.url)\n}\n",
			"stacks/3-test/main.tf:3:11: resource \"terraform_data\" \"this\": Invalid count argument"},
		{"it is broken anyway", "variable \"url\" { type = string }\nresource \"terraform_data\" \"this\" {\n  nonsense = 1\n}\n",
			"stacks/3-test/main.tf:3:3: resource \"terraform_data\" \"this\": Unsupported argument"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t, map[string]string{"main.tf": tc.code})
			w := b.work(map[string]cty.Value{"url": cty.UnknownVal(cty.String)})
			w.Waits = map[string][]string{"url": {"1-cluster: url"}}
			_, err := b.runner().PlanPartly(t.Context(), w, nil)
			var refused *stack.UnplannableError
			require.ErrorAs(t, err, &refused)
			require.Equal(t, tc.want, refused.Why)
			require.Empty(t, b.aside(t))
		})
	}
}

// TestPlanPartlyWithAProvider has a provider that terraform starts, and that the state names: configured by the stack, or not.
func TestPlanPartlyWithAProvider(t *testing.T) {
	config := mirror(t)
	for _, tc := range []struct{ name, more string }{{"configured", "provider \"tiny\" {}\n"}, {"not configured", ""}} {
		t.Run(tc.name, func(t *testing.T) {
			const code = "terraform {\n  required_providers {\n    tiny = { source = \"example.test/test/tiny\" }\n  }\n}\nvariable \"name\" { type = string }\n"
			b := newBench(t, map[string]string{"main.tf": code + tc.more + "resource \"tiny_thing\" \"this\" { name = var.name }\nresource \"tiny_thing\" \"old\" { name = \"old\" }\n"})
			runner := terraform.New(terraform.Options{
				Dir:     b.state(),
				Find:    func(context.Context, event.Report) (string, error) { return exec.LookPath("terraform") },
				Environ: append(os.Environ(), "TF_CLI_CONFIG_FILE="+config),
				Plugins: filepath.Join(b.dir, "plugins"),
			})
			_, err := runner.Apply(t.Context(), b.work(map[string]cty.Value{"name": cty.StringVal("a")}), nil)
			require.NoError(t, err)
			b.write(t, "main.tf", code+tc.more+"resource \"tiny_thing\" \"this\" { name = var.name }\n")
			w := b.work(map[string]cty.Value{"name": cty.UnknownVal(cty.String)})
			w.Waits = map[string][]string{"name": {"0-net: id"}}
			plan, err := runner.PlanPartly(t.Context(), w, nil)
			require.NoError(t, err)
			require.Equal(t, []stack.Action{
				{Address: "tiny_thing.old", Verb: "delete"},
				{Address: "tiny_thing.this", Verb: "update", Unknown: []stack.Unknown{{Attribute: "name", After: []string{"0-net: id"}}}},
			}, plan.Actions)
			require.Equal(t, stack.Changes{Changed: 1, Destroyed: 1}, plan.Changes)
		})
	}
}
