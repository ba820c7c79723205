package stack

import (
	"slices"

	"github.com/hashicorp/hcl/v2"
)

// Edge is an output of one stack that another one uses.
type Edge struct {
	From      string `json:"from"` // the stack that has the output, "1-cluster"
	To        string `json:"to"`   // the stack that uses it
	Output    string `json:"output"`
	Sensitive bool   `json:"sensitive"`
	Kind      string `json:"kind"` // what uses it: input, image, release, hook or backend
	Name      string `json:"name"` // the input's, the image's, …; of a backend its type
}

// Edges gives what flows between stacks, each once, in the order of the stacks that use it, then in the order of its
// stack.hcl.
func (g *Graph) Edges() []Edge {
	var out []Edge
	for _, s := range g.Stacks {
		add := func(kind, name string, refs []Ref) {
			for _, r := range refs {
				from := g.byName(r.Stack)
				e := Edge{From: from.ID, To: s.ID, Output: r.Output, Kind: kind, Name: name}
				if o := from.Outputs[r.Output]; o != nil {
					e.Sensitive = o.Sensitive
				}
				if from != s && !slices.Contains(out, e) {
					out = append(out, e)
				}
			}
		}
		for _, w := range s.Wires() {
			add(w.Kind, w.Name, w.Refs)
		}
	}
	return out
}

// Wire is a part of a stack that takes outputs.
type Wire struct {
	Kind string // "input", "image", "release", "hook" or "backend"
	Name string
	Refs []Ref
}

// Wires gives all parts of a stack that can take outputs.
func (s *Stack) Wires() []Wire {
	var out []Wire
	for _, in := range s.Inputs {
		out = append(out, Wire{"input", in.Name, in.Refs})
	}
	for _, img := range s.Images {
		out = append(out, Wire{"image", img.Name, img.Refs})
	}
	for _, rel := range s.Releases {
		out = append(out, Wire{"release", rel.Name, rel.Refs})
	}
	for _, h := range s.Hooks {
		out = append(out, Wire{"hook", h.Name, h.Refs})
	}
	if s.Backend != nil {
		out = append(out, Wire{"backend", s.Backend.Type, s.Backend.Refs})
	}
	return out
}

// Used gives the outputs that something refers to, as STACK.OUTPUT.
func (g *Graph) Used() []string {
	var out []string
	for _, stack := range names(g.used) {
		for _, output := range names(g.used[stack]) {
			out = append(out, stack+"."+output)
		}
	}
	return out
}

// Overridden gives the lines of *.tfvars files that set what stack.hcl wires, as people read it.
func (g *Graph) Overridden() []string {
	var out []string
	for _, d := range g.loader.diags {
		if kind, ok := d.Extra.(code); ok && kind == "set-twice" {
			out = append(out, g.loader.place(*d.Subject)+": "+d.Summary+". "+d.Detail)
		}
	}
	return out
}

// Warnings gives what is not wrong, but probably not meant: outputs that nothing refers to. Left out are those of the
// last number, which nothing could refer to, and those in used: what labctl, people or another target read, as OUTPUT or STACK.OUTPUT.
func (g *Graph) Warnings(used ...string) []Finding {
	var diags hcl.Diagnostics
	for _, d := range g.loader.diags {
		if d.Severity == hcl.DiagWarning {
			diags = append(diags, d)
		}
	}
	for _, s := range g.Stacks {
		if s.Number == g.Stacks[len(g.Stacks)-1].Number {
			break
		}
		for _, name := range names(s.Outputs) {
			if g.used[s.Name][name] || slices.Contains(used, name) || slices.Contains(used, s.Name+"."+name) {
				continue
			}
			d := problem("unused-output", s.Outputs[name].Range, "No stack.hcl refers to it. Use it as stack."+s.Name+"."+name+", or remove it.", "nothing uses output %q of stack %q", name, s.ID)
			d.Severity = hcl.DiagWarning
			diags = append(diags, d)
		}
	}
	return findings(diags, g.loader.parser.Sources(), g.Path)
}
