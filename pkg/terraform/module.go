package terraform

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/labctl/labctl/pkg/stack"
)

// moduleFiles is what a partial plan has to know of a stack's files: which providers are configured there, and which
// inputs an attribute is made of.
type moduleFiles struct {
	locals    map[string]hcl.Expression
	providers map[string][]hcl.Expression // local name → all that its configurations are made of
	sources   map[string]string           // local name → "hashicorp/azurerm"
	resources map[string]blockParts       // "TYPE.NAME"
}

// blockParts are what a block is made of: attribute, or kind of nested block → its expressions.
type blockParts map[string][]hcl.Expression

func (b blockParts) all() []hcl.Expression {
	return slices.Concat(slices.Collect(maps.Values(b))...)
}

// readModule reads a stack's files.
func readModule(files []string) (*moduleFiles, error) {
	m := &moduleFiles{locals: map[string]hcl.Expression{}, providers: map[string][]hcl.Expression{}, sources: map[string]string{}, resources: map[string]blockParts{}}
	parser := hclparse.NewParser()
	schema := &hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{
		{Type: "resource", LabelNames: []string{"type", "name"}},
		{Type: "provider", LabelNames: []string{"name"}},
		{Type: "locals"},
		{Type: "terraform"},
	}}
	for _, path := range files {
		var f *hcl.File
		var diags hcl.Diagnostics
		if strings.HasSuffix(path, ".json") {
			f, diags = parser.ParseJSONFile(path)
		} else {
			f, diags = parser.ParseHCLFile(path)
		}
		if diags.HasErrors() {
			return nil, fmt.Errorf("read the stack: %w", diags)
		}
		content, _, _ := f.Body.PartialContent(schema) // what is wrong with the rest is terraform's to say
		for _, b := range content.Blocks {
			switch b.Type {
			case "resource":
				m.resources[b.Labels[0]+"."+b.Labels[1]] = partsOf(b.Body)
			case "provider":
				m.providers[b.Labels[0]] = append(m.providers[b.Labels[0]], partsOf(b.Body).all()...)
			case "locals":
				attrs, _ := b.Body.JustAttributes()
				for name, a := range attrs {
					m.locals[name] = a.Expr
				}
			case "terraform":
				m.required(b.Body)
			}
		}
	}
	return m, nil
}

// required notes where the providers come from.
func (m *moduleFiles) required(body hcl.Body) {
	content, _, _ := body.PartialContent(&hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{{Type: "required_providers"}}})
	for _, b := range content.Blocks {
		attrs, _ := b.Body.JustAttributes()
		for name, a := range attrs {
			v, diags := a.Expr.Value(nil)
			if diags.HasErrors() || !v.Type().IsObjectType() || !v.Type().HasAttribute("source") {
				continue // configuration_aliases, or the version alone
			}
			if source := v.GetAttr("source"); source.IsKnown() && !source.IsNull() {
				m.sources[name] = source.AsString()
			}
		}
	}
}

// partsOf takes a block's body apart.
func partsOf(body hcl.Body) blockParts {
	parts := blockParts{}
	native, ok := body.(*hclsyntax.Body)
	if !ok { // JSON: nested blocks look like attributes
		attrs, _ := body.JustAttributes()
		for name, a := range attrs {
			parts[name] = append(parts[name], a.Expr)
		}
		return parts
	}
	for name, a := range native.Attributes {
		parts[name] = append(parts[name], a.Expr)
	}
	for _, b := range native.Blocks {
		name := b.Type
		if name == "dynamic" && len(b.Labels) > 0 {
			name = b.Labels[0]
		}
		parts[name] = append(parts[name], partsOf(b.Body).all()...)
	}
	return parts
}

// inputs gives the names of the inputs that expressions are made of, through locals.
func (m *moduleFiles) inputs(exprs []hcl.Expression) []string {
	found, followed := map[string]bool{}, map[string]bool{}
	for len(exprs) > 0 {
		expr := exprs[0]
		exprs = exprs[1:]
		for _, t := range expr.Variables() {
			name, ok := second(t)
			switch {
			case !ok:
			case t.RootName() == "var":
				found[name] = true
			case t.RootName() == "local" && !followed[name] && m.locals[name] != nil:
				followed[name] = true
				exprs = append(exprs, m.locals[name])
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// second is NAME of a traversal such as var.NAME.
func second(t hcl.Traversal) (string, bool) {
	if len(t) < 2 {
		return "", false
	}
	attr, ok := t[1].(hcl.TraverseAttr)
	return attr.Name, ok
}

// rejectUnknownProviderConfig refuses a plan in which a provider would not know what to look at: it would look somewhere else, and what it finds
// there means nothing.
func (m *moduleFiles) rejectUnknownProviderConfig(w stack.RunRequest) error {
	for _, name := range slices.Sorted(maps.Keys(m.providers)) {
		for _, input := range m.inputs(m.providers[name]) {
			if after, open := w.Waits[input]; open {
				return &stack.UnplannableError{Why: fmt.Sprintf("its provider %q is configured with input %q, which is known after %s", name, input, strings.Join(after, "; "))}
			}
		}
	}
	return nil
}

// configures says whether the files have a block for the provider at that address of a state, such as
// provider["registry.terraform.io/hashicorp/azurerm"].
func (m *moduleFiles) configures(address string) bool {
	_, rest, _ := strings.Cut(address, `["`)
	is, _, _ := strings.Cut(rest, `"]`)
	for name := range m.providers {
		source := m.sources[name]
		if source == "" {
			source = "hashicorp/" + name
		}
		if is == source || strings.Count(source, "/") == 1 && strings.HasSuffix(is, "/"+source) {
			return true
		}
	}
	return false
}

// unknownAttributes gives, by address, the attributes in a partial plan that depend on inputs which are not known, and
// for what they wait.
func (m *moduleFiles) unknownAttributes(w stack.RunRequest, plan *planned) map[string][]stack.Unknown {
	out := map[string][]stack.Unknown{}
	for address, attributes := range plan.unknown {
		address, ok := strings.CutPrefix(address, innerPrefix)
		if !ok || strings.HasPrefix(address, "module.") || strings.HasPrefix(address, "data.") {
			continue
		}
		resource, _, _ := strings.Cut(address, "[")
		parts := m.resources[resource]
		for _, name := range attributes {
			exprs, written := parts[name]
			if !written {
				continue
			}
			for _, e := range parts[name] {
				for _, t := range e.Variables() {
					if t.RootName() == "each" {
						exprs = append(slices.Clone(exprs), parts["for_each"]...)
					}
				}
			}
			var waits []string
			for _, input := range m.inputs(exprs) {
				waits = append(waits, w.Waits[input]...)
			}
			slices.Sort(waits)
			if waits = slices.Compact(waits); len(waits) > 0 {
				out[address] = append(out[address], stack.Unknown{Attribute: name, After: waits})
			}
		}
	}
	return out
}
