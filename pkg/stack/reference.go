package stack

import (
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
)

// scope says what an expression may refer to beside lab, env and the stacks before its own.
type scope struct {
	own     bool   // its own stack's outputs
	ownHint string // why not
	images  bool   // its own stack's images
	skipped bool   // those that are left out, too
	static  bool   // no stack at all: it must be known before anything runs
}

type references struct {
	refs   []Ref
	images []string
	ok     bool      // nothing is wrong with the expression
	value  cty.Value // what is known of it
}

// check follows every reference of expr and evaluates it with what is known now, so that whatever is wrong however the
// unknown parts turn out is found here.
func (g *Graph) check(s *Stack, expr hcl.Expression, in scope) references {
	var found references
	before := len(g.loader.diags)
	for _, t := range expr.Variables() {
		g.reference(s, t, in, &found)
	}
	if len(g.loader.diags) > before {
		return found
	}
	v, diags := expr.Value(g.unknownContext(found))
	for _, d := range diags {
		d.EvalContext, d.Expression = nil, nil
		if d.Summary == "Call to unknown function" {
			d.Detail += " There are: " + strings.Join(names(functions()), ", ") + "."
		}
	}
	g.loader.add(diags...)
	found.ok, found.value = !diags.HasErrors(), v
	return found
}

func (g *Graph) reference(s *Stack, t hcl.Traversal, in scope, found *references) {
	l, rng := g.loader, t.SourceRange()
	switch root := t.RootName(); root {
	case "lab":
		name, ok := step(t, 1)
		s.HasCluster = s.HasCluster || name == "cluster_dir"
		if !ok || !g.labValue().Type().HasAttribute(name) {
			l.add(problem("unknown-reference", rng, "Known: lab.name, lab.environment, lab.target, lab.dir, lab.gitops, lab.cluster_of, lab.cluster_dir, lab.suffix.", "unknown reference %s", text(t)))
		}
	case "env":
		name, ok := step(t, 1)
		if len(t) == 1 {
			return // the whole object, for lookup(env, …)
		}
		if _, has := g.Env.Vars[name]; !ok || !has {
			hint := suggest(name, "variables of the environment", names(g.Env.Vars))
			l.add(problem("unknown-env-variable", rng, hint+" Set it in vars of environment "+quote(g.Env.Name)+" in "+FileName+".", "environment %q has no variable %q", g.Env.Name, name))
		}
	case "stack":
		g.stackReference(s, t, in, found)
	case "image":
		name, ok := step(t, 1)
		if !in.images {
			l.add(problem("image-out-of-scope", rng, "image.NAME can be used in a release's values.", "images are not known here"))
			return
		}
		var known []string
		for _, img := range s.Images {
			known = append(known, img.Name)
			if ok && img.Name == name {
				found.images = append(found.images, name)
				return
			}
		}
		if at, left := s.skipped[name]; ok && left {
			if found.images = append(found.images, name); !in.skipped {
				l.add(problem("image-left-out", rng, "Give the release the same when, or drop that of the image.", "image %q is left out by its when at %s", name, l.place(at)))
			}
			return
		}
		l.add(problem("unknown-image", rng, suggest(name, "images of this stack", known), "stack %q has no image %q", s.ID, name))
	default:
		l.add(problem("unknown-reference", rng, "Expressions can use lab, env, stack and, in a release, image.", "unknown reference %s", text(t)))
	}
}

func (g *Graph) stackReference(s *Stack, t hcl.Traversal, in scope, found *references) {
	l, rng := g.loader, t.SourceRange()
	name, ok := step(t, 1)
	output, ok2 := step(t, 2)
	if !ok || !ok2 {
		l.add(problem("incomplete-reference", rng, "Write stack.NAME.OUTPUT, such as stack.cluster.kubeconfig.", "the reference %s names no output", text(t)))
		return
	}
	if in.static {
		l.add(problem("not-static", rng, "Use lab and env here.", "this must be known before any stack runs, so it cannot use a stack's output"))
		return
	}
	target := g.byName(name)
	if target == nil {
		var known []string
		for _, o := range g.Stacks {
			if o.Number < s.Number {
				known = append(known, o.Name)
			}
		}
		l.add(problem("unknown-stack", rng, suggest(name, "stacks before this one", known), "there is no stack %q", name))
		return
	}
	if target == s && !in.own {
		hint := "An input comes from an earlier stack, lab or env."
		if in.ownHint != "" {
			hint = in.ownHint
		}
		l.add(problem("own-output", rng, hint, "stack %q refers to its own output", s.ID))
		return
	}
	if target.Number > s.Number {
		l.add(problem("later-stack", rng, "Stacks run in the order of their numbers, so an output of "+target.ID+" does not exist yet when "+s.ID+" runs.", "stack %q refers to the later stack %q", s.ID, target.ID))
		return
	}
	if _, declared := target.Outputs[output]; !declared && !target.broken {
		l.add(problem("unknown-output", rng, suggest(output, "outputs of "+target.ID, names(target.Outputs)), "stack %q has no output %q", target.ID, output))
		return
	}
	if g.used[name] == nil {
		g.used[name] = map[string]bool{}
	}
	g.used[name][output] = true
	found.refs = append(found.refs, Ref{Stack: name, Output: output, Range: rng})
}

// step gives the name at position i of a traversal, whether written .name or ["name"].
func step(t hcl.Traversal, i int) (string, bool) {
	if i >= len(t) {
		return "", false
	}
	switch p := t[i].(type) {
	case hcl.TraverseAttr:
		return p.Name, true
	case hcl.TraverseIndex:
		if p.Key.Type() == cty.String && p.Key.IsKnown() && !p.Key.IsNull() {
			return p.Key.AsString(), true
		}
	}
	return "", false
}

// text writes a traversal as its author did, up to the first index.
func text(t hcl.Traversal) string {
	parts := []string{t.RootName()}
	for i := 1; i < len(t); i++ {
		name, ok := step(t, i)
		if !ok {
			break
		}
		parts = append(parts, name)
	}
	return strings.Join(parts, ".")
}

func (g *Graph) staticContext() *hcl.EvalContext {
	return &hcl.EvalContext{
		Variables: map[string]cty.Value{"lab": g.labValue(), "env": cty.ObjectVal(g.Env.Vars)},
		Functions: functions(),
	}
}

// unknownContext knows lab and env, and of outputs and images what can be said before anything runs.
func (g *Graph) unknownContext(found references) *hcl.EvalContext {
	outputs := map[string]map[string]cty.Value{}
	for _, r := range found.refs {
		v := cty.DynamicVal
		if o := g.byName(r.Stack).Outputs[r.Output]; o != nil {
			if v = o.shape; o.Sensitive {
				v = v.Mark(Sensitive)
			}
		}
		if outputs[r.Stack] == nil {
			outputs[r.Stack] = map[string]cty.Value{}
		}
		outputs[r.Stack][r.Output] = v
	}
	images := map[string]cty.Value{}
	for _, name := range found.images {
		images[name] = cty.UnknownVal(cty.String)
	}
	return g.context(outputs, images)
}

// context knows lab, env, and the given outputs and images.
func (g *Graph) context(outputs map[string]map[string]cty.Value, images map[string]cty.Value) *hcl.EvalContext {
	ctx := g.staticContext()
	stacks := map[string]cty.Value{}
	for name, o := range outputs {
		stacks[name] = cty.ObjectVal(o)
	}
	ctx.Variables["stack"], ctx.Variables["image"] = cty.ObjectVal(stacks), cty.ObjectVal(images)
	return ctx
}
