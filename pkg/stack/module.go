package stack

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/zclconf/go-cty/cty"
)

// Variable is a variable block of a stack's Terraform.
type Variable struct {
	Name       string
	Type       hcl.Expression // nil where the block has no type
	Constraint cty.Type       // what Type says, with optional attributes; cty.DynamicPseudoType for any
	Required   bool           // it has no default
	Nullable   bool
	Sensitive  bool
	Ephemeral  bool // it is in no plan and no state
	Range      hcl.Range

	defaults *typeexpr.Defaults // of optional attributes
	fallback hcl.Expression     // the default
}

// Output is an output block of a stack's Terraform.
type Output struct {
	Name      string
	Sensitive bool
	Range     hcl.Range

	expr  hcl.Expression
	shape cty.Value // what is known of its value before anything runs; at least its type, where that can be told
}

// Type is what is known of the output's type before anything runs; cty.DynamicPseudoType where nothing is.
func (o *Output) Type() cty.Type {
	if o.shape == cty.NilVal {
		return cty.DynamicPseudoType
	}
	return o.shape.Type()
}

var moduleSchema = &hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{
	{Type: "variable", LabelNames: []string{"name"}},
	{Type: "output", LabelNames: []string{"name"}},
	{Type: "locals"},
	{Type: "resource", LabelNames: []string{"type", "name"}},
	{Type: "terraform"},
}}

var terraformSchema = &hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{
	{Type: "backend", LabelNames: []string{"type"}},
	{Type: "cloud"},
}}

// module reads what a stack's *.tf and *.tf.json declare, and leaves the rest to Terraform.
func (l *loader) module(s *Stack) {
	in := &inference{s: s, functions: l.functions, resources: l.resources, locals: map[string]hcl.Expression{}, single: map[string]bool{}, done: map[string]cty.Value{}}
	for _, path := range s.Files {
		var f *hcl.File
		var diags hcl.Diagnostics
		if strings.HasSuffix(path, ".json") {
			f, diags = l.parser.ParseJSONFile(path)
		} else {
			f, diags = l.parser.ParseHCLFile(path)
		}
		if l.unparsed(f, diags) {
			s.broken = true
			continue
		}
		content, _, diags := f.Body.PartialContent(moduleSchema)
		l.add(diags...)
		override := isOverride(path)
		for _, block := range content.Blocks {
			switch block.Type {
			case "variable":
				l.variable(s, block, override)
			case "output":
				l.output(s, block, override)
			case "locals":
				attrs, diags := block.Body.JustAttributes()
				l.add(diags...)
				for name, attr := range attrs {
					in.locals[name] = attr.Expr
				}
			case "resource":
				content, _, _ := block.Body.PartialContent(&hcl.BodySchema{Attributes: []hcl.AttributeSchema{{Name: "count"}, {Name: "for_each"}}})
				in.single[block.Labels[0]+"."+block.Labels[1]] = len(content.Attributes) == 0
			case "terraform":
				l.stateBlock(s, block)
			}
		}
	}
	for _, name := range names(s.Variables) {
		l.variableType(s.Variables[name])
	}
	if !s.broken {
		for _, o := range s.Outputs {
			o.shape = in.value(o.expr)
		}
	}
}

// stateBlock looks for a place of the state that Terraform would choose by itself.
func (l *loader) stateBlock(s *Stack, block *hcl.Block) {
	content, _, diags := block.Body.PartialContent(terraformSchema)
	l.add(diags...)
	for _, b := range content.Blocks {
		if s.stateBlock == nil {
			s.stateBlock = &b.DefRange
		}
	}
}

func (l *loader) variable(s *Stack, block *hcl.Block, override bool) {
	name := block.Labels[0]
	v, twice := s.Variables[name]
	if twice && !override {
		l.add(problem("duplicate-variable", block.DefRange, "The first is at "+l.place(v.Range)+". Keep one of them.", "a second variable %q", name))
		return
	}
	if !twice {
		v = &Variable{Name: name, Required: true, Nullable: true, Range: block.DefRange, Constraint: cty.DynamicPseudoType}
		s.Variables[name] = v
	}
	content, _, diags := block.Body.PartialContent(&hcl.BodySchema{Attributes: []hcl.AttributeSchema{
		{Name: "type"}, {Name: "default"}, {Name: "sensitive"}, {Name: "nullable"}, {Name: "ephemeral"},
	}})
	l.add(diags...)
	if attr, ok := content.Attributes["type"]; ok {
		v.Type = attr.Expr
	}
	if attr, ok := content.Attributes["default"]; ok {
		v.Required, v.fallback = false, attr.Expr
	}
	l.flag(content.Attributes["sensitive"], &v.Sensitive)
	l.flag(content.Attributes["nullable"], &v.Nullable)
	l.flag(content.Attributes["ephemeral"], &v.Ephemeral)
}

func (l *loader) output(s *Stack, block *hcl.Block, override bool) {
	name := block.Labels[0]
	o, twice := s.Outputs[name]
	if twice && !override {
		l.add(problem("duplicate-output", block.DefRange, "The first is at "+l.place(o.Range)+". Keep one of them.", "a second output %q", name))
		return
	}
	if !twice {
		o = &Output{Name: name, Range: block.DefRange, shape: cty.DynamicVal}
		s.Outputs[name] = o
	}
	content, _, diags := block.Body.PartialContent(&hcl.BodySchema{Attributes: []hcl.AttributeSchema{{Name: "value"}, {Name: "sensitive"}}})
	l.add(diags...)
	if attr, ok := content.Attributes["value"]; ok {
		o.expr = attr.Expr
	}
	l.flag(content.Attributes["sensitive"], &o.Sensitive)
}

// flag sets what attr says, if there is one.
func (l *loader) flag(attr *hcl.Attribute, to *bool) {
	if attr == nil {
		return
	}
	if v, ok := l.literal(attr, cty.Bool); ok {
		*to = v.True()
	}
}

// ignored says whether the engine leaves a file out because it belongs to an editor (Terraform's IsIgnoredFile).
func ignored(name string) bool {
	return strings.HasPrefix(name, ".") || strings.HasSuffix(name, "~") || strings.HasPrefix(name, "#") && strings.HasSuffix(name, "#")
}

func isConfig(name string, tofu bool) bool {
	name = strings.TrimSuffix(name, ".json")
	return strings.HasSuffix(name, ".tf") || tofu && strings.HasSuffix(name, ".tofu")
}

// isOverride says whether Terraform merges path's blocks into those of other files.
func isOverride(path string) bool {
	base := strings.TrimSuffix(filepath.Base(path), ".json")
	base = strings.TrimSuffix(strings.TrimSuffix(base, ".tf"), ".tofu")
	return base == "override" || strings.HasSuffix(base, "_override")
}

// terraformFiles lists the configuration files in dir, overrides last as the engine reads them: *.tf and *.tf.json, for OpenTofu
// also *.tofu and *.tofu.json. There main.tofu stands for main.tf (OpenTofu 1.8).
func terraformFiles(dir string, tofu bool) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var files, overrides []string
	for _, e := range entries {
		name := e.Name()
		if e.IsDir() || ignored(name) || !isConfig(name, tofu) {
			continue
		}
		if tf, json := strings.CutSuffix(name, ".tf.json"); tofu && (json || strings.HasSuffix(name, ".tf")) {
			twin := strings.TrimSuffix(name, ".tf") + ".tofu"
			if json {
				twin = tf + ".tofu.json"
			}
			if slices.ContainsFunc(entries, func(o os.DirEntry) bool { return o.Name() == twin }) {
				continue
			}
		}
		path := filepath.Join(dir, name)
		if isOverride(path) {
			overrides = append(overrides, path)
		} else {
			files = append(files, path)
		}
	}
	return append(files, overrides...), nil
}
