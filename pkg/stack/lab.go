// Package stack is the model of a lab: lab.hcl, its environments, the numbered stacks of a target and how their inputs
// are wired to the outputs of earlier ones. It is pure: it reads its own files and runs nothing.
package stack

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	"github.com/zclconf/go-cty/cty/function"
)

// FileName is the file at the root of a lab.
const FileName = "lab.hcl"

// ErrNoLab says that no lab.hcl was found.
var ErrNoLab = errors.New("no " + FileName + " found")

// nameRule keeps names usable as a directory, a host name and a Kubernetes name.
var nameRule = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,30}[a-z0-9])?$`)

const nameHint = "Use lower-case letters, digits and hyphens, beginning with a letter, at most 32."

// Lab is what lab.hcl says about the whole lab.
type Lab struct {
	Name         string
	File         string // lab.hcl, absolute
	Dir          string // the directory of lab.hcl; .lab lies here
	Source       string // the directory that holds stacks/, charts/, services/ and images/
	Environments map[string]*Environment
	Engine       *EngineRequirement // nil where any engine will do
	Retry        Retry
}

// Environment is one instance of the lab on one target.
type Environment struct {
	Name      string
	Target    string
	Protected bool
	Vars      map[string]cty.Value
	GitOps    *GitOps // nil: no Argo CD
	ClusterOf string  // the environment whose cluster this one is in; "": it has its own

	targetRange, clusterRange hcl.Range
}

// Find gives the path of the nearest lab.hcl in dir or above it. The error wraps ErrNoLab.
func Find(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("find %s: %w", FileName, err)
	}
	for d := abs; ; d = filepath.Dir(d) {
		file := filepath.Join(d, FileName)
		if info, err := os.Stat(file); err == nil && !info.IsDir() {
			return file, nil
		}
		if filepath.Dir(d) == d {
			return "", fmt.Errorf("%w in %s or above it; go to the lab's directory or name the file with --file PATH", ErrNoLab, abs)
		}
	}
}

// loader gathers diagnostics and the sources that they point into.
type loader struct {
	parser    *hclparse.Parser
	diags     hcl.Diagnostics
	lab       *Lab
	resources map[string]cty.Type          // Options.ResourceTypes
	functions map[string]function.Function // Terraform's
	tofu      bool                         // the engine is OpenTofu
}

func (l *loader) display(path string) string {
	if l.lab == nil {
		return filepath.Base(path)
	}
	return relative(path, l.lab.Source, l.lab.Dir)
}

// err gives all that was found as a *ConfigError, or nil.
func (l *loader) err() error {
	if !l.diags.HasErrors() {
		return nil
	}
	sources := map[string][]byte{}
	for name, src := range l.parser.Sources() {
		sources[name] = src
	}
	return &ConfigError{Diagnostics: l.diags, sources: sources, display: l.display}
}

func (l *loader) add(d ...*hcl.Diagnostic) { l.diags = append(l.diags, d...) }

// unparsed says whether a file could not be parsed. Of its errors the first is kept: the others mostly follow from it.
func (l *loader) unparsed(f *hcl.File, diags hcl.Diagnostics) bool {
	if !diags.HasErrors() {
		l.add(diags...)
		return f == nil
	}
	for _, d := range diags {
		if d.Severity == hcl.DiagError {
			if strings.Contains(d.Detail, "end of the file") || strings.Contains(d.Summary, "Unclosed") {
				d.Detail += " Is a bracket or a brace not closed?"
			}
			l.add(d)
			break
		}
	}
	return true
}

// labFile reads lab.hcl.
func (l *loader) labFile(file string) *Lab {
	abs, err := filepath.Abs(file)
	if err != nil {
		abs = file
	}
	lab := &Lab{File: abs, Dir: filepath.Dir(abs), Source: filepath.Dir(abs), Environments: map[string]*Environment{}, Retry: defaultRetry()}
	l.lab = lab
	f, diags := l.parser.ParseHCLFile(abs)
	if l.unparsed(f, diags) {
		return lab
	}
	content, diags := f.Body.Content(&hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{
		{Type: "lab", LabelNames: []string{"name"}},
		{Type: "environment", LabelNames: []string{"name"}},
		{Type: "retry"},
	}})
	l.add(diags...)
	start := hcl.Range{Filename: abs, Start: hcl.InitialPos, End: hcl.InitialPos}
	for i, block := range content.Blocks.OfType("lab") {
		if i > 0 {
			l.add(problem("duplicate-block", block.DefRange, "Keep one of them.", "a second lab block"))
			continue
		}
		l.labBlock(lab, block)
	}
	for i, block := range content.Blocks.OfType("retry") {
		if i > 0 {
			l.add(problem("duplicate-block", block.DefRange, "Keep one of them.", "a second retry block"))
			continue
		}
		lab.Retry = l.retryBlock(block)
	}
	if lab.Name == "" && !l.diags.HasErrors() {
		l.add(problem("no-lab", start, `Add the line: lab "chat" {}`, "no lab block: the lab has no name"))
	}
	for _, block := range content.Blocks.OfType("environment") {
		l.environmentBlock(lab, block)
	}
	l.shareClusters(lab)
	if len(lab.Environments) == 0 && !l.diags.HasErrors() {
		l.add(problem("no-environment", start, `Add a block such as: environment "local" { target = "local" }`, "no environment block"))
	}
	return lab
}

func (l *loader) labBlock(lab *Lab, block *hcl.Block) {
	lab.Name = block.Labels[0]
	if !nameRule.MatchString(lab.Name) {
		l.add(problem("bad-name", block.LabelRanges[0], nameHint, "%q cannot be a lab's name", lab.Name))
	}
	content, diags := block.Body.Content(&hcl.BodySchema{Attributes: []hcl.AttributeSchema{{Name: "source"}, {Name: "required_engine"}}})
	l.add(diags...)
	if attr, ok := content.Attributes["required_engine"]; ok {
		lab.Engine = l.engine(attr)
	}
	attr, ok := content.Attributes["source"]
	if !ok {
		return
	}
	source, ok := l.literal(attr, cty.String)
	if !ok {
		return
	}
	dir := source.AsString()
	if !filepath.IsAbs(dir) {
		dir = filepath.Join(lab.Dir, dir)
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		l.add(problem("no-such-directory", attr.Expr.Range(), "Name the directory that holds stacks/, charts/, services/ and images/, relative to "+FileName+".", "source %q is not a directory", source.AsString()))
		return
	}
	lab.Source = filepath.Clean(dir)
}

func (l *loader) environmentBlock(lab *Lab, block *hcl.Block) {
	env := &Environment{Name: block.Labels[0], Vars: map[string]cty.Value{}}
	if !nameRule.MatchString(env.Name) {
		l.add(problem("bad-name", block.LabelRanges[0], nameHint, "%q cannot be an environment's name", env.Name))
	}
	if _, twice := lab.Environments[env.Name]; twice {
		l.add(problem("duplicate-block", block.LabelRanges[0], "Keep one of them.", "a second environment %q", env.Name))
		return
	}
	lab.Environments[env.Name] = env
	content, diags := block.Body.Content(&hcl.BodySchema{
		Attributes: []hcl.AttributeSchema{{Name: "target"}, {Name: "protected"}, {Name: "vars"}, {Name: "cluster_of"}},
		Blocks:     []hcl.BlockHeaderSchema{{Type: "gitops"}},
	})
	l.add(diags...)
	for i, block := range content.Blocks {
		if i > 0 {
			l.add(problem("duplicate-block", block.DefRange, "Keep one of them.", "a second gitops block"))
			continue
		}
		env.GitOps = l.gitOpsBlock(env, block)
	}
	if attr, ok := content.Attributes["cluster_of"]; ok {
		env.clusterRange = attr.Expr.Range()
		if v, ok := l.literal(attr, cty.String); ok {
			env.ClusterOf = v.AsString()
		}
	}
	switch _, has := content.Attributes["target"]; {
	case has && env.ClusterOf != "":
		l.add(problem("two-targets", content.Attributes["target"].Range, "Remove it: the target is that of environment "+quote(env.ClusterOf)+".", "an environment in another's cluster has no target of its own"))
	case !has && env.clusterRange.Empty():
		l.add(problem("no-target", block.DefRange, `Add target = "local", or cluster_of = "NAME" for an environment in another one's cluster.`, "environment %q has no target", env.Name))
	}
	if attr, ok := content.Attributes["target"]; ok {
		env.targetRange = attr.Expr.Range()
		if v, ok := l.literal(attr, cty.String); ok {
			env.Target = v.AsString()
			if !nameRule.MatchString(env.Target) {
				l.add(problem("bad-name", env.targetRange, nameHint, "%q cannot be a target's name", env.Target))
			}
		}
	}
	if attr, ok := content.Attributes["protected"]; ok {
		if v, ok := l.literal(attr, cty.Bool); ok {
			env.Protected = v.True()
		}
	}
	if attr, ok := content.Attributes["vars"]; ok {
		v, diags := attr.Expr.Value(nil)
		if diags.HasErrors() {
			l.add(plainOnly(attr, diags)...)
		}
		switch {
		case diags.HasErrors():
		case v.IsNull() || !(v.Type().IsObjectType() || v.Type().IsMapType()):
			l.add(problem("wrong-type", attr.Expr.Range(), `Write vars = { name = "value" }.`, "vars: an object is required, not %s", kindOf(v)))
		default:
			env.Vars = v.AsValueMap()
			if env.Vars == nil {
				env.Vars = map[string]cty.Value{}
			}
		}
	}
}

// shareClusters gives the environments in others' clusters what they have of those: the target, and the variables that they do not
// set themselves.
func (l *loader) shareClusters(lab *Lab) {
	for _, name := range environmentNames(lab) {
		env := lab.Environments[name]
		if env.ClusterOf == "" {
			continue
		}
		other, ok := lab.Environments[env.ClusterOf]
		switch {
		case !ok:
			l.add(problem("unknown-environment", env.clusterRange, suggest(env.ClusterOf, "environments", environmentNames(lab)), "no environment %q", env.ClusterOf))
			continue
		case other == env || other.ClusterOf != "":
			l.add(problem("no-cluster", env.clusterRange, "Name one that has a cluster of its own.", "environment %q has no cluster of its own", env.ClusterOf))
			continue
		case env.GitOps != nil && other.GitOps == nil:
			l.add(problem("no-argocd", env.clusterRange, "Add gitops {} to environment "+quote(env.ClusterOf)+", too.", "nothing installs Argo CD in the cluster of environment %q", env.ClusterOf))
		}
		env.Target, env.targetRange = other.Target, other.targetRange
		vars := maps.Clone(other.Vars)
		maps.Copy(vars, env.Vars)
		env.Vars = vars
	}
}

// literal evaluates an attribute that may not refer to anything, as a non-null value of type want.
func (l *loader) literal(attr *hcl.Attribute, want cty.Type) (cty.Value, bool) {
	return l.static(attr, want, nil)
}

// static evaluates an attribute that must be known before anything runs, as a non-null value of type want.
func (l *loader) static(attr *hcl.Attribute, want cty.Type, ctx *hcl.EvalContext) (cty.Value, bool) {
	v, diags := attr.Expr.Value(ctx)
	if diags.HasErrors() {
		if ctx == nil {
			diags = plainOnly(attr, diags)
		}
		l.add(diags...)
		return cty.NilVal, false
	}
	out, err := convert.Convert(v, want)
	at := cty.GetAttrPath(attr.Name)
	switch {
	case err != nil:
		found := compare(at, v, want)
		l.add(problem("wrong-type", within(attr.Expr, found.path), "", "%s", found))
	case out.IsNull():
		l.add(problem("wrong-type", attr.Expr.Range(), "", "%s: %s is required, not null", attr.Name, kind(want)))
	case !out.IsWhollyKnown():
		l.add(problem("unknown-value", attr.Expr.Range(), "", "the expression has no known value"))
	default:
		return out, true
	}
	return cty.NilVal, false
}

// plainOnly says why something went wrong where no expression may refer to anything.
func plainOnly(attr *hcl.Attribute, diags hcl.Diagnostics) hcl.Diagnostics {
	refers := len(attr.Expr.Variables()) > 0
	for _, d := range diags {
		if d.Severity == hcl.DiagError && d.Subject != nil && (refers || strings.HasPrefix(d.Summary, "Function")) {
			return hcl.Diagnostics{problem("not-plain", *d.Subject, "Write the value itself: nothing can be referred to, or called, here.", "%s must be a plain value", attr.Name)}
		}
	}
	return diags
}

func environmentNames(lab *Lab) []string {
	var names []string
	for n := range lab.Environments {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}
