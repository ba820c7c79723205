package lab_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/lab"
	"github.com/labctl/labctl/pkg/stack"
)

// chain is 0-a, whose id nobody knows before it is made, 1-b made of that, and 2-c made of 1-b.
func chain(t *testing.T) *mesh {
	t.Helper()
	m := newMesh(t, "", map[string][]string{"0-a": nil})
	m.write(t, "stacks/local/1-b/stack.hcl", "inputs = {\n  id   = \"of-${stack.a.id}\"\n  tags = { from = stack.a.id, by = lab.name }\n}\n")
	m.write(t, "stacks/local/1-b/main.tf", `
variable "id" { type = string }
variable "tags" { type = object({ from = string, by = string, note = optional(string, "none") }) }
resource "terraform_data" "this" { input = var.id }
resource "terraform_data" "by" { input = "${var.tags.by}/${var.tags.note}" }
output "by" { value = terraform_data.by.input }
output "id" { value = terraform_data.this.input }
`)
	m.write(t, "stacks/local/2-c/stack.hcl", "inputs = {\n  by = stack.b.by\n  id = stack.b.id\n}\n")
	m.write(t, "stacks/local/2-c/main.tf", `
variable "by" { type = string }
variable "id" { type = string }
resource "terraform_data" "for" {
  for_each = toset([var.by])
}
resource "terraform_data" "id" { input = var.id }
output "all" { value = [terraform_data.id.output, var.by] }
`)
	return m
}

func (m *mesh) plan(t *testing.T, keep string, change ...func(*lab.Options)) []*lab.StackPlan {
	t.Helper()
	l, err := m.lab()
	require.NoError(t, err)
	o := m.opts()
	for _, c := range change {
		c(&o)
	}
	plans, err := l.Plan(context.Background(), o, keep)
	require.NoError(t, err)
	return plans
}

func TestPlanAsFarAsItIsKnown(t *testing.T) {
	t.Parallel()
	m, keep := chain(t), filepath.Join(t.TempDir(), "plans")
	plans := m.plan(t, keep)
	after := func(attribute, what string) []stack.Unknown {
		return []stack.Unknown{{Attribute: attribute, After: []string{what}}}
	}
	require.Equal(t, &lab.StackPlan{
		Stack: "1-b", Waits: []string{"0-a: id"}, Partial: true, Changes: stack.Changes{Added: 2},
		Actions: []stack.Action{
			{Address: "output.by", Verb: "create"}, {Address: "output.id", Verb: "create"},
			{Address: "terraform_data.by", Verb: "create"}, {Address: "terraform_data.this", Verb: "create", Unknown: after("input", "0-a: id")},
		},
	}, sorted(plans[1]))
	require.Equal(t, &lab.StackPlan{
		// What 1-b's plan says of output by is known here; an apply waits for it all the same.
		Stack: "2-c", Waits: []string{"1-b: by, id"}, Partial: true, Changes: stack.Changes{Added: 2},
		Actions: []stack.Action{
			{Address: "output.all", Verb: "create"}, {Address: `terraform_data.for["mesh/none"]`, Verb: "create"},
			{Address: "terraform_data.id", Verb: "create", Unknown: after("input", "1-b: id")},
		},
	}, sorted(plans[2]))
	entries, err := os.ReadDir(keep)
	require.NoError(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	require.Equal(t, []string{"0-a.tfplan", "plans.json"}, names, "what is planned in part is not kept")
	require.Empty(t, m.outputs(t))
	states, err := filepath.Glob(filepath.Join(m.dir, ".lab/local/stacks/*/*.tfstate"))
	require.NoError(t, err)
	require.Empty(t, states)

	// Applied, and then the first stack is to be made anew: the others are planned against what there is.
	_, err = m.up(context.Background())
	require.NoError(t, err)
	before := m.outputs(t)
	m.write(t, "stacks/local/0-a/main.tf", strings.Replace(readFile(t, m, "stacks/local/0-a/main.tf"), "input =", "triggers_replace = 1\n  input =", 1))
	m.write(t, "stacks/local/0-a/main.tf", strings.Replace(readFile(t, m, "stacks/local/0-a/main.tf"), "{ triggers", "{\n  triggers", 1))
	m.write(t, "stacks/local/0-a/main.tf", strings.Replace(readFile(t, m, "stacks/local/0-a/main.tf"), "\"0\" }", "\"0\"\n}", 1))
	plans = m.plan(t, "")
	require.Equal(t, []string{"0-a: id"}, plans[1].Waits)
	require.Equal(t, stack.Changes{Changed: 1}, plans[1].Changes, "by stays as it is")
	require.Equal(t, stack.Changes{Changed: 1}, plans[2].Changes)
	require.Equal(t, before, m.outputs(t))
	_, err = m.up(context.Background())
	require.NoError(t, err)
	for _, p := range m.plan(t, "") {
		require.False(t, p.Any(), p.Stack)
	}
}

func sorted(p *lab.StackPlan) *lab.StackPlan {
	out := *p
	out.Actions = append([]stack.Action(nil), p.Actions...)
	slices.SortFunc(out.Actions, func(a, b stack.Action) int { return strings.Compare(a.Address, b.Address) })
	return &out
}

func TestWhatCannotBePlannedInPartIsNamed(t *testing.T) {
	t.Parallel()
	m := chain(t)
	m.write(t, "stacks/local/1-b/main.tf", readFile(t, m, "stacks/local/1-b/main.tf")+"resource \"terraform_data\" \"many\" {\n  count = length(var.id)\n}\n")
	plans := m.plan(t, "")
	require.Equal(t, &lab.StackPlan{
		Stack: "1-b", Waits: []string{"0-a: id"}, Unplanned: `stacks/local/1-b/main.tf:9:11: resource "terraform_data" "many": Invalid count argument`,
	}, plans[1])
	require.Equal(t, []string{"1-b: by, id"}, plans[2].Waits)
	require.False(t, plans[2].Partial, "for_each needs what 1-b's plan would have said")
	require.Contains(t, plans[2].Unplanned, "Invalid for_each argument")
}

// TestPlanInPartWithTheLabsProvider plans a lab of the lab's own resources from nothing: the provider that labctl serves
// must be there for a module, too.
func TestPlanInPartWithTheLabsProvider(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write(t, "stacks/local/5-release/main.tf", "terraform {\n  required_providers {\n    lab = { source = \"labctl.local/labctl/lab\" }\n  }\n}\nvariable \"url\" { type = string }\n"+
		"resource \"lab_workspace\" \"this\" { path = \"/tmp/${var.url}\" }\noutput \"url\" { value = var.url }\n")
	l, err := w.lab()
	require.NoError(t, err)
	plans, err := l.Plan(context.Background(), w.options("labctl plan"), "")
	require.NoError(t, err)
	last := plans[len(plans)-1]
	require.Equal(t, "5-release", last.Stack)
	require.Empty(t, last.Unplanned)
	require.Equal(t, []string{"1-cluster: url"}, last.Waits)
	require.Equal(t, []stack.Action{
		{Address: "lab_workspace.this", Verb: "create", Unknown: []stack.Unknown{{Attribute: "path", After: []string{"1-cluster: url"}}}},
		{Address: "output.url", Verb: "create"},
	}, last.Actions)
	require.Empty(t, w.there(t), "a plan makes nothing")
}
