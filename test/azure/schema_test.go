package azure_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	tfjson "github.com/hashicorp/terraform-json"
	"github.com/stretchr/testify/require"
)

const (
	schemaFile = "testdata/schema.json" // what of azurerm's schema the stacks use
	azurerm    = "registry.terraform.io/hashicorp/azurerm"
)

var (
	update = flag.Bool("update", false, "write "+schemaFile+" from the file that -schema names")
	whole  = flag.String("schema", "", "compare "+schemaFile+" with this output of terraform providers schema -json")
)

// TestStacksFitTheSchema checks the Azure stacks against azurerm's schema without the provider: which types, attributes and
// blocks there are, which must be there, which may be set, and what a reference names. tools/azure.sh asks the provider
// itself, which also knows what values are allowed, and holds the committed schema to it.
func TestStacksFitTheSchema(t *testing.T) {
	files, err := filepath.Glob("../../stacks/azure/*/*.tf")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	parser := hclparse.NewParser()
	var bodies []*hclsyntax.Body
	for _, file := range files {
		parsed, diags := parser.ParseHCLFile(file)
		require.False(t, diags.HasErrors(), diags)
		bodies = append(bodies, parsed.Body.(*hclsyntax.Body))
	}
	if *whole != "" {
		reduced := reduce(t, *whole, bodies)
		if *update {
			require.NoError(t, os.MkdirAll(filepath.Dir(schemaFile), 0o755))
			require.NoError(t, os.WriteFile(schemaFile, reduced, 0o644))
		}
		committed, err := os.ReadFile(schemaFile)
		require.NoError(t, err)
		require.True(t, string(committed) == string(reduced), "%s differs from the provider; tools/azure.sh --schema writes it anew", schemaFile)
	}
	b, err := os.ReadFile(schemaFile)
	require.NoError(t, err)
	var s tfjson.ProviderSchema
	require.NoError(t, json.Unmarshal(b, &s))
	c := checker{schema: &s}
	for _, body := range bodies {
		c.file(body)
	}
	require.Empty(t, c.faults)
	require.Greater(t, c.checked, 40, "resources and data sources")
}

// reduce gives what of the schemas in a file the bodies use, without descriptions.
func reduce(t *testing.T, file string, bodies []*hclsyntax.Body) []byte {
	t.Helper()
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	var all struct {
		Providers map[string]*tfjson.ProviderSchema `json:"provider_schemas"`
	}
	require.NoError(t, json.Unmarshal(b, &all))
	from := all.Providers[azurerm]
	require.NotNil(t, from, "no %s in %s", azurerm, file)
	out := tfjson.ProviderSchema{
		ConfigSchema: from.ConfigSchema, ResourceSchemas: map[string]*tfjson.Schema{}, DataSourceSchemas: map[string]*tfjson.Schema{},
	}
	plain(out.ConfigSchema.Block)
	for _, body := range bodies {
		for _, block := range body.Blocks {
			to, of := out.ResourceSchemas, from.ResourceSchemas
			if block.Type == "data" {
				to, of = out.DataSourceSchemas, from.DataSourceSchemas
			} else if block.Type != "resource" {
				continue
			}
			if name := block.Labels[0]; of[name] != nil {
				plain(of[name].Block)
				to[name] = of[name]
			}
		}
	}
	reduced, err := json.MarshalIndent(out, "", " ")
	require.NoError(t, err)
	return append(reduced, '\n')
}

func plain(b *tfjson.SchemaBlock) {
	b.Description, b.DescriptionKind = "", ""
	for _, a := range b.Attributes {
		a.Description, a.DescriptionKind = "", ""
	}
	for _, nested := range b.NestedBlocks {
		plain(nested.Block)
	}
}

// checker compares configuration with the schema and notes what does not fit.
type checker struct {
	schema  *tfjson.ProviderSchema
	checked int
	faults  []string
}

func (c *checker) fault(at hcl.Range, format string, args ...any) {
	c.faults = append(c.faults, fmt.Sprintf("%s:%d: ", filepath.Base(filepath.Dir(at.Filename))+"/"+filepath.Base(at.Filename), at.Start.Line)+
		fmt.Sprintf(format, args...))
}

func (c *checker) file(body *hclsyntax.Body) {
	for _, block := range body.Blocks {
		var schema *tfjson.Schema
		switch {
		case len(block.Labels) == 0 || !strings.HasPrefix(block.Labels[0], "azurerm"):
			continue
		case block.Type == "provider":
			schema = c.schema.ConfigSchema
		case block.Type == "resource":
			schema = c.schema.ResourceSchemas[block.Labels[0]]
		case block.Type == "data":
			schema = c.schema.DataSourceSchemas[block.Labels[0]]
		}
		if schema == nil {
			c.fault(block.TypeRange, "there is no %s %s in %s", block.Type, block.Labels[0], schemaFile)
			continue
		}
		c.checked++
		meta := []string{"count", "for_each", "provider", "depends_on", "lifecycle", "provisioner", "connection", "timeouts"}
		if block.Type == "provider" {
			meta = []string{"alias", "version"}
		}
		c.body(block.Labels[0], block.Body, block.TypeRange, schema.Block, meta)
	}
	_ = hclsyntax.VisitAll(body, func(n hclsyntax.Node) hcl.Diagnostics { // it gives what this function gives: nothing
		if e, ok := n.(*hclsyntax.ScopeTraversalExpr); ok {
			c.reference(e.Traversal)
		}
		return nil
	})
}

func (c *checker) body(where string, body *hclsyntax.Body, at hcl.Range, schema *tfjson.SchemaBlock, meta []string) {
	for name, a := range body.Attributes {
		of := schema.Attributes[name]
		switch {
		case slices.Contains(meta, name):
		case of == nil && schema.NestedBlocks[name] != nil:
			c.fault(a.NameRange, "%s: %s is a block, not an argument", where, name)
		case of == nil:
			c.fault(a.NameRange, "%s has no argument %s", where, name)
		case !of.Optional && !of.Required:
			c.fault(a.NameRange, "%s: %s cannot be set", where, name)
		}
	}
	count, dynamic := map[string]uint64{}, map[string]bool{}
	for _, block := range body.Blocks {
		name, content := block.Type, block.Body
		if name == "dynamic" {
			name = block.Labels[0]
			dynamic[name] = true
			content = nil
			for _, inner := range block.Body.Blocks {
				if inner.Type == "content" {
					content = inner.Body
				}
			}
		} else {
			count[name]++
		}
		of := schema.NestedBlocks[name]
		switch {
		case slices.Contains(meta, name):
		case of == nil:
			c.fault(block.TypeRange, "%s has no block %s", where, name)
		case content == nil:
			c.fault(block.TypeRange, "%s: dynamic %s has no content", where, name)
		default:
			c.body(where+"."+name, content, block.TypeRange, of.Block, nil)
		}
	}
	for name, a := range schema.Attributes {
		if a.Required && body.Attributes[name] == nil {
			c.fault(at, "%s lacks %s", where, name)
		}
	}
	for name, of := range schema.NestedBlocks {
		if !dynamic[name] && count[name] < of.MinItems {
			c.fault(at, "%s lacks a block %s", where, name)
		}
		if of.MaxItems > 0 && count[name] > of.MaxItems {
			c.fault(at, "%s has %d blocks %s, and %d are allowed", where, count[name], name, of.MaxItems)
		}
	}
}

// reference checks that what is read of a resource or a data source is there.
func (c *checker) reference(t hcl.Traversal) {
	schemas, at := c.schema.ResourceSchemas, 0
	if t.RootName() == "data" {
		schemas, at = c.schema.DataSourceSchemas, 1
	}
	names := []string{t.RootName()}
	for _, step := range t[1:] {
		if name, ok := step.(hcl.TraverseAttr); ok {
			names = append(names, name.Name)
		} else if len(names) < at+2 {
			return
		}
	}
	if len(names) < at+3 || !strings.HasPrefix(names[at], "azurerm_") || schemas[names[at]] == nil {
		return // no attribute is read, or the type was missed where it is declared
	}
	block := schemas[names[at]].Block
	if name := names[at+2]; block.Attributes[name] == nil && block.NestedBlocks[name] == nil {
		c.fault(t.SourceRange(), "%s has no %s", names[at], name)
	}
}

// TestSchemaFaultsAreFound tries the checker itself.
func TestSchemaFaultsAreFound(t *testing.T) {
	var s tfjson.ProviderSchema
	require.NoError(t, json.Unmarshal([]byte(`{"provider": {"version": 0, "block": {}}, "resource_schemas": {"azurerm_thing": {"version": 0, "block": {
		"attributes": {"name": {"type": "string", "required": true}, "size": {"type": "number", "optional": true}, "id": {"type": "string", "computed": true}},
		"block_types": {"rule": {"nesting_mode": "list", "min_items": 1, "max_items": 1, "block": {"attributes": {"port": {"type": "number", "required": true}}}}}
	}}}, "data_source_schemas": {"azurerm_seen": {"version": 0, "block": {"attributes": {"id": {"type": "string", "computed": true}}}}}}`), &s))
	for _, c := range []struct{ name, text, fault string }{
		{"as it must be", `name = "a"
			rule { port = 1 }`, ""},
		{"a dynamic block", `name = "a"
			dynamic "rule" {
				for_each = []
				content { port = 1 }
			}`, ""},
		{"what terraform itself knows", `name = "a"
			count = 2
			rule { port = 1 }
			lifecycle { prevent_destroy = true }`, ""},
		{"references", `name = azurerm_thing.b[0].id
			size = data.azurerm_seen.c.id
			rule { port = 1 }`, ""},
		{"an unknown argument", `name = "a"
			sise = 1
			rule { port = 1 }`, "azurerm_thing has no argument sise"},
		{"no name", `rule { port = 1 }`, "azurerm_thing lacks name"},
		{"no rule", `name = "a"`, "azurerm_thing lacks a block rule"},
		{"two rules", `name = "a"
			rule { port = 1 }
			rule { port = 2 }`, "azurerm_thing has 2 blocks rule, and 1 are allowed"},
		{"a block as an argument", `name = "a"
			rule = { port = 1 }
			rule { port = 1 }`, "azurerm_thing: rule is a block, not an argument"},
		{"an unknown block", `name = "a"
			role {}
			rule { port = 1 }`, "azurerm_thing has no block role"},
		{"inside a block", `name = "a"
			rule { ports = 1 }`, "azurerm_thing.rule has no argument ports"},
		{"inside a dynamic block", `name = "a"
			dynamic "rule" {
				for_each = []
				content { ports = 1 }
			}`, "azurerm_thing.rule has no argument ports"},
		{"what is only read", `name = "a"
			id = "b"
			rule { port = 1 }`, "azurerm_thing: id cannot be set"},
		{"a reference to what is not there", `name = azurerm_thing.b.idd
			rule { port = 1 }`, "azurerm_thing has no idd"},
	} {
		t.Run(c.name, func(t *testing.T) {
			parsed, diags := hclsyntax.ParseConfig([]byte("resource \"azurerm_thing\" \"a\" {\n"+c.text+"\n}\n"), "a.tf", hcl.InitialPos)
			require.False(t, diags.HasErrors(), diags)
			check := checker{schema: &s}
			check.file(parsed.Body.(*hclsyntax.Body))
			if c.fault == "" {
				require.Empty(t, check.faults)
				return
			}
			require.Contains(t, strings.Join(check.faults, "\n"), c.fault)
		})
	}
	parsed, diags := hclsyntax.ParseConfig([]byte(`resource "azurerm_nothing" "a" {}`), "a.tf", hcl.InitialPos)
	require.False(t, diags.HasErrors(), diags)
	check := checker{schema: &s}
	check.file(parsed.Body.(*hclsyntax.Body))
	require.Len(t, check.faults, 1)
}
