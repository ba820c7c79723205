package stack

import (
	"os"
	"path/filepath"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
)

var stackSchema = &hcl.BodySchema{
	Attributes: []hcl.AttributeSchema{{Name: "inputs"}, {Name: "timeout"}, {Name: "moved_from"}, {Name: "needs"}},
	Blocks: []hcl.BlockHeaderSchema{
		{Type: "image", LabelNames: []string{"name"}},
		{Type: "release", LabelNames: []string{"name"}},
		{Type: "hook", LabelNames: []string{"name"}},
		{Type: "backend", LabelNames: []string{"type"}},
	},
}

// wiring reads s's stack.hcl and checks it against the stacks before it and against its own Terraform.
func (g *Graph) wiring(s *Stack) {
	l := g.loader
	path := filepath.Join(s.Dir, "stack.hcl")
	var content *hcl.BodyContent
	if _, err := os.Stat(path); err == nil {
		f, diags := l.parser.ParseHCLFile(path)
		if l.unparsed(f, diags) {
			return
		}
		content, diags = f.Body.Content(stackSchema)
		l.add(diags...)
	} else {
		content = &hcl.BodyContent{}
	}
	ok := true
	if attr, has := content.Attributes["inputs"]; has {
		ok = g.inputs(s, attr)
	}
	if ok && !s.broken {
		g.checkInputs(s, path)
	}
	if attr, has := content.Attributes["timeout"]; has && g.check(s, attr.Expr, scope{static: true}).ok {
		s.Timeout, _ = l.duration(attr, g.staticContext())
	}
	if attr, has := content.Attributes["moved_from"]; has {
		g.movedFrom(s, attr)
	}
	if attr, has := content.Attributes["needs"]; has {
		g.needs(s, attr)
	}
	for _, block := range content.Blocks.OfType("image") {
		g.image(s, block)
	}
	for _, block := range content.Blocks.OfType("release") {
		g.release(s, block)
	}
	for _, block := range content.Blocks.OfType("hook") {
		g.hook(s, block)
	}
	for _, block := range content.Blocks.OfType("backend") {
		g.backend(s, block)
	}
}

func (g *Graph) inputs(s *Stack, attr *hcl.Attribute) bool {
	pairs, diags := hcl.ExprMap(attr.Expr)
	if diags.HasErrors() {
		g.loader.add(problem("wrong-type", attr.Expr.Range(), "Write inputs = { variable = expression }.", "inputs must be an object"))
		return false
	}
	seen := map[string]bool{}
	for _, pair := range pairs {
		key, diags := pair.Key.Value(nil)
		if diags.HasErrors() || key.IsNull() || key.Type() != cty.String {
			g.loader.add(problem("bad-input-name", pair.Key.Range(), "Write the variable's name as it is, without an expression.", "an input's name must be a plain word"))
			continue
		}
		name := key.AsString()
		if seen[name] {
			g.loader.add(problem("duplicate-input", pair.Key.Range(), "Keep one of them.", "input %q is set twice", name))
			continue
		}
		seen[name] = true
		v, declared := s.Variables[name]
		if !declared && !s.broken {
			hint := suggest(name, "variables", names(s.Variables))
			if !s.HasTerraform() {
				hint = "The stack has no *.tf, so it takes no inputs."
			}
			g.loader.add(problem("undeclared-input", pair.Key.Range(), hint, "stack %q has no variable %q", s.ID, name))
		}
		found := g.check(s, pair.Value, scope{})
		s.Inputs = append(s.Inputs, Input{Name: name, Expr: pair.Value, Refs: found.refs})
		if also, set := s.varFiles[name]; set {
			d := problem("set-twice", also, "The wiring wins. Remove the line here, or the input at "+g.loader.place(pair.Key.Range())+".",
				"variable %q of stack %q is set here and wired in stack.hcl", name, s.ID)
			d.Severity = hcl.DiagWarning
			g.loader.add(d)
		}
		if declared && found.ok {
			g.checkInput(s, v, pair.Value, found)
		}
	}
	return true
}

// checkInput holds what is known of an input to its variable.
func (g *Graph) checkInput(s *Stack, v *Variable, expr hcl.Expression, found references) {
	l := g.loader
	if found.value.ContainsMarked() && !v.Sensitive {
		l.add(problem("sensitive-input", expr.Range(), "Add sensitive = true to the variable at "+l.place(v.Range)+", so that Terraform does not show the value.",
			"%s is sensitive, and variable %q is not", g.secretOf(found.refs), v.Name))
	}
	if found.value.IsNull() {
		if v.Required && !v.Nullable {
			l.add(g.refused(v, expr))
		}
		return
	}
	if _, at := v.take(found.value); at != nil {
		l.add(problem("wrong-type", within(expr, at.path), l.typeOf(v), "%s", at))
		return
	}
	l.surplus(expr, v.Constraint, v.Name)
}

// secretOf names the sensitive output among refs.
func (g *Graph) secretOf(refs []Ref) string {
	for _, r := range refs {
		if t := g.byName(r.Stack); t != nil && t.Outputs[r.Output] != nil && t.Outputs[r.Output].Sensitive {
			return "stack." + r.Stack + "." + r.Output
		}
	}
	return "the value"
}

// checkInputs sees to it that every variable without a default gets a value.
func (g *Graph) checkInputs(s *Stack, stackFile string) {
	given := map[string]bool{}
	for _, in := range s.Inputs {
		given[in.Name] = true
	}
	for name := range s.varFiles {
		given[name] = true
	}
	for _, name := range names(s.Variables) {
		if v := s.Variables[name]; v.Required && !given[name] {
			g.loader.add(problem("missing-input", v.Range, "Add it to inputs in "+g.Path(stackFile)+", or give the variable a default.", "nothing sets the required variable %q", name))
		}
	}
}

func (g *Graph) image(s *Stack, block *hcl.Block) {
	l := g.loader
	img := &Image{Name: block.Labels[0]}
	if !nameRule.MatchString(img.Name) {
		l.add(problem("bad-name", block.LabelRanges[0], nameHint, "%q cannot be an image's name", img.Name))
	}
	content, diags := block.Body.Content(&hcl.BodySchema{Attributes: []hcl.AttributeSchema{{Name: "source", Required: true}, {Name: "registry", Required: true}, {Name: "when"}}})
	l.add(diags...)
	if g.when(s, content) {
		for _, other := range g.Stacks {
			for _, o := range other.Images {
				if o.Name == img.Name {
					l.add(problem("duplicate-image", block.LabelRanges[0], "Image names are unique in a lab, because `labctl ship NAME` takes one.", "a second image %q (the first is in %s)", img.Name, other.ID))
					return
				}
			}
		}
		s.Images = append(s.Images, img)
	} else {
		s.skipped[img.Name] = content.Attributes["when"].Range
	}
	if attr, ok := content.Attributes["source"]; ok {
		img.Source, _ = g.directory(s, attr, "services/auth or images/kafka")
	}
	if attr, ok := content.Attributes["registry"]; ok {
		img.Registry = attr.Expr
		found := g.check(s, attr.Expr, scope{own: true})
		img.Refs = found.refs
		g.fits("registry", attr.Expr, found, registryType(), registryHint)
		if found.ok && found.value.ContainsMarked() {
			l.add(problem("sensitive-registry", attr.Expr.Range(), "The address of an image is shown everywhere. Use an output that is not sensitive.", "%s is sensitive, and a registry's address is not", g.secretOf(found.refs)))
		}
	}
}

func (g *Graph) release(s *Stack, block *hcl.Block) {
	l := g.loader
	rel := &Release{Name: block.Labels[0]}
	if !nameRule.MatchString(rel.Name) {
		l.add(problem("bad-name", block.LabelRanges[0], nameHint, "%q cannot be a release's name", rel.Name))
	}
	content, diags := block.Body.Content(&hcl.BodySchema{Attributes: []hcl.AttributeSchema{
		{Name: "kubeconfig", Required: true}, {Name: "chart", Required: true}, {Name: "namespace", Required: true}, {Name: "values"}, {Name: "when"},
		{Name: "repository"}, {Name: "version"}, {Name: "values_files"}, {Name: "crds"}, {Name: "adopt"}, {Name: "applications"},
	}})
	l.add(diags...)
	kept := g.when(s, content)
	if kept {
		for _, o := range s.Releases {
			if o.Name == rel.Name {
				l.add(problem("duplicate-block", block.LabelRanges[0], "Keep one of them, or give each a when, so that one is left out.", "a second release %q", rel.Name))
				return
			}
		}
		s.Releases = append(s.Releases, rel)
	}
	g.chart(s, rel, content.Attributes)
	if attr, ok := content.Attributes["applications"]; ok && kept {
		g.applications(s, rel, attr)
	}
	if attr, ok := content.Attributes["namespace"]; ok && len(g.check(s, attr.Expr, scope{static: true}).refs) == 0 {
		if v, ok := l.static(attr, cty.String, g.staticContext()); ok {
			rel.Namespace = v.AsString()
			if !nameRule.MatchString(rel.Namespace) {
				l.add(problem("bad-name", attr.Expr.Range(), nameHint, "%q cannot be a namespace", rel.Namespace))
			}
			if only := builtins[rel.Builtin].namespace; only != "" && rel.Namespace != only {
				l.add(problem("bad-name", attr.Expr.Range(), `Write namespace = "`+only+`".`, "builtin://%s is in the namespace %s, not in %q", rel.Builtin, only, rel.Namespace))
			}
		}
	}
	if attr, ok := content.Attributes["kubeconfig"]; ok {
		rel.Kubeconfig = attr.Expr
		found := g.check(s, attr.Expr, scope{own: true})
		rel.Cluster = found.refs
		g.fits("kubeconfig", attr.Expr, found, cty.String, "It must be the content of a kubeconfig.")
		rel.Refs = append(rel.Refs, rel.Cluster...)
	}
	if _, ok := content.Attributes["values"]; !ok && rel.Builtin != "" {
		l.add(problem("missing-attribute", content.Attributes["chart"].Range, builtins[rel.Builtin].hint, "release %q has no values", rel.Name))
	}
	if attr, ok := content.Attributes["values"]; ok {
		rel.Values = attr.Expr
		found := g.check(s, attr.Expr, scope{own: true, images: true, skipped: !kept})
		rel.Refs = append(rel.Refs, found.refs...)
		rel.Images = found.images
		if found.ok {
			rel.known = found.value
			if t := found.value.Type(); t != cty.DynamicPseudoType && !t.IsObjectType() && !t.IsMapType() {
				l.add(problem("wrong-type", attr.Expr.Range(), "Write values = { key = value }.", "values: an object is required, not %s", kindOf(found.value)))
			}
			if b, ok := builtins[rel.Builtin]; ok {
				g.fits("values", attr.Expr, found, b.values, b.hint)
			}
			l.add(secretInGit(rel, attr.Expr, found.value)...)
		}
	}
}

// fits holds what is known of a value to the type that labctl needs.
func (g *Graph) fits(name string, expr hcl.Expression, found references, want cty.Type, hint string) {
	if !found.ok {
		return
	}
	if at := compare(cty.GetAttrPath(name), found.value, want); at != nil {
		g.loader.add(problem("wrong-type", within(expr, at.path), hint, "%s", at))
	}
}

// when says whether a block is kept. One whose when is wrong is.
func (g *Graph) when(s *Stack, content *hcl.BodyContent) bool {
	attr, has := content.Attributes["when"]
	if !has || !g.check(s, attr.Expr, scope{static: true}).ok {
		return true
	}
	v, ok := g.loader.static(attr, cty.Bool, g.staticContext())
	return !ok || v.True()
}

// directory evaluates an attribute that names an existing directory below the lab's source.
func (g *Graph) directory(s *Stack, attr *hcl.Attribute, example string) (string, bool) {
	l := g.loader
	before := len(l.diags)
	g.check(s, attr.Expr, scope{static: true})
	if len(l.diags) > before {
		return "", false
	}
	v, ok := l.static(attr, cty.String, g.staticContext())
	if !ok {
		return "", false
	}
	dir := filepath.Clean(v.AsString())
	if !filepath.IsLocal(dir) {
		l.add(problem("outside-of-the-lab", attr.Expr.Range(), "Name it from the lab's source, such as "+example+".", "%s %q lies outside of the lab", attr.Name, v.AsString()))
		return "", false
	}
	if info, err := os.Stat(filepath.Join(g.Lab.Source, dir)); err != nil || !info.IsDir() {
		l.add(problem("no-such-directory", attr.Expr.Range(), "Name a directory from the lab's source, such as "+example+".", "%s %q: there is no such directory", attr.Name, v.AsString()))
		return "", false
	}
	return dir, true
}
