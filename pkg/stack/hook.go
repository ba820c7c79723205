package stack

import (
	"fmt"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

const commandHint = `Write command = ["./check.sh", env.location]: the program, then its arguments.`

// Hook is a command that runs beside a stack.
type Hook struct {
	Name    string
	When    string         // "before", "after" or "error"
	On      []string       // of "up" and "down"
	Command hcl.Expression // a list of strings, none of them sensitive
	Env     hcl.Expression // an object of strings; nil where there is none
	Refs    []Ref          // outputs that command and env need
	Range   hcl.Range      // of the block's head

	command, env []Ref // the parts of Refs
}

func (g *Graph) hook(s *Stack, block *hcl.Block) {
	l := g.loader
	h := &Hook{Name: block.Labels[0], On: []string{"up"}, Range: block.DefRange}
	if !nameRule.MatchString(h.Name) {
		l.add(problem("bad-name", block.LabelRanges[0], nameHint, "%q cannot be a hook's name", h.Name))
	}
	for _, o := range s.Hooks {
		if o.Name == h.Name {
			l.add(problem("duplicate-block", block.LabelRanges[0], "Keep one of them.", "a second hook %q", h.Name))
			return
		}
	}
	s.Hooks = append(s.Hooks, h)
	content, diags := block.Body.Content(&hcl.BodySchema{Attributes: []hcl.AttributeSchema{
		{Name: "when", Required: true}, {Name: "on"}, {Name: "command", Required: true}, {Name: "env"},
	}})
	l.add(diags...)
	if attr, ok := content.Attributes["when"]; ok {
		if v, ok := l.literal(attr, cty.String); ok {
			if h.When = v.AsString(); !slices.Contains([]string{"before", "after", "error"}, h.When) {
				l.add(problem("bad-hook-when", attr.Expr.Range(), `A hook runs "before" its stack, "after" it, or on its "error".`, "when cannot be %q", h.When))
			}
		}
	}
	if attr, ok := content.Attributes["on"]; ok {
		h.On = g.hookOn(attr)
	}
	in := scope{own: h.When == "after" && !slices.Contains(h.On, "down"), ownHint: "The stack's own outputs are there only after `up`: in a hook with when = \"after\" and on = [\"up\"]."}
	if attr, ok := content.Attributes["command"]; ok {
		h.Command = attr.Expr
		found := g.check(s, attr.Expr, in)
		h.command = found.refs
		g.fits("command", attr.Expr, found, cty.List(cty.String), commandHint)
		if found.ok {
			g.command(h, found.value)
		}
	}
	if attr, ok := content.Attributes["env"]; ok {
		h.Env = attr.Expr
		found := g.check(s, attr.Expr, in)
		h.env = found.refs
		g.fits("env", attr.Expr, found, cty.Map(cty.String), `Write env = { NAME = "value" }.`)
	}
	h.Refs = append(slices.Clone(h.command), h.env...)
}

func (g *Graph) hookOn(attr *hcl.Attribute) []string {
	l := g.loader
	v, ok := l.literal(attr, cty.Set(cty.String))
	if !ok {
		return nil
	}
	var on []string
	for _, e := range v.AsValueSlice() {
		if e.IsNull() || (e.AsString() != "up" && e.AsString() != "down") {
			l.add(problem("bad-hook-on", attr.Expr.Range(), `Write on = ["up"], ["down"] or ["up", "down"].`, "a hook runs on up and on down only"))
			return nil
		}
		on = append(on, e.AsString())
	}
	if len(on) == 0 {
		l.add(problem("bad-hook-on", attr.Expr.Range(), `Write on = ["up"], ["down"] or ["up", "down"].`, "the hook never runs: on is empty"))
	}
	return on
}

// command checks what is known of a hook's command beside its type.
func (g *Graph) command(h *Hook, v cty.Value) {
	if v.ContainsMarked() {
		g.loader.add(g.secretCommand(h))
		return
	}
	if v.IsNull() || (v.IsKnown() && v.CanIterateElements() && v.LengthInt() == 0) {
		g.loader.add(problem("wrong-value", h.Command.Range(), commandHint, "hook %q: command is empty", h.Name))
	}
}

func (g *Graph) secretCommand(h *Hook) *hcl.Diagnostic {
	return problem("sensitive-command", h.Command.Range(), `Everybody on the machine sees a command's arguments. Give it by env: env = { NAME = … }.`, "hook %q: command holds a sensitive value", h.Name)
}

// HookCommand gives the program and the arguments of h, a hook of s. The error wraps ErrNotKnown where an output is
// missing; a sensitive value is a *ConfigError.
func (g *Graph) HookCommand(s *Stack, h *Hook, k Known) ([]string, error) {
	v, err := g.value(h.Command, h.command, nil, k)
	if err != nil {
		return nil, fmt.Errorf("hook %q of stack %q: %w", h.Name, s.ID, err)
	}
	if v.ContainsMarked() {
		return nil, g.fail(g.secretCommand(h))
	}
	list, err := convert.Convert(v, cty.List(cty.String))
	if err != nil || list.IsNull() || list.LengthInt() == 0 {
		return nil, g.fail(problem("wrong-type", h.Command.Range(), commandHint, "hook %q: command is no list of strings", h.Name))
	}
	var out []string
	for i, e := range list.AsValueSlice() {
		if e.IsNull() {
			return nil, g.fail(problem("wrong-value", h.Command.Range(), "", "hook %q: part %d of the command is null", h.Name, i))
		}
		out = append(out, e.AsString())
	}
	return out, nil
}

// HookEnv gives the environment variables that h, a hook of s, gets beside labctl's own, and which of their values are
// sensitive. A null leaves its variable out. The error wraps ErrNotKnown where an output is missing.
func (g *Graph) HookEnv(s *Stack, h *Hook, k Known) (env map[string]string, sensitive []string, err error) {
	env = map[string]string{}
	if h.Env == nil {
		return env, nil, nil
	}
	v, err := g.value(h.Env, h.env, nil, k)
	if err != nil {
		return nil, nil, fmt.Errorf("hook %q of stack %q: %w", h.Name, s.ID, err)
	}
	v, err = convert.Convert(v, cty.Map(cty.String))
	if err != nil {
		return nil, nil, g.fail(problem("wrong-type", h.Env.Range(), `Write env = { NAME = "value" }.`, "hook %q: env is no object of strings", h.Name))
	}
	allSensitive := v.HasMark(Sensitive)
	v, _ = v.Unmark()
	if v.IsNull() {
		return env, nil, nil
	}
	for name, e := range v.AsValueMap() {
		isSensitive := allSensitive || e.HasMark(Sensitive)
		if e, _ = e.Unmark(); e.IsNull() {
			continue
		}
		env[name] = e.AsString()
		if isSensitive {
			sensitive = append(sensitive, env[name])
		}
	}
	slices.Sort(sensitive)
	return env, sensitive, nil
}
