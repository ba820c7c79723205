package stack

import (
	"regexp"
	"strings"
	"time"

	"github.com/hashicorp/go-version"
	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
)

// EngineRequirement says which program may run the stacks' Terraform.
type EngineRequirement struct {
	Name        string              // "terraform", "tofu", or "" for either
	Constraint  string              // ">= 1.6"; "" for any version
	Constraints version.Constraints // Constraint, parsed; nil for any version
	Range       hcl.Range           // of the expression in lab.hcl
}

// Retry says which failures of Terraform are tried again, beside those that labctl itself knows to pass.
type Retry struct {
	On       []*regexp.Regexp // any match in Terraform's output
	Attempts int              // in all, the first included; 1 to 10
	Wait     time.Duration    // before the second attempt
}

// defaultRetry holds where lab.hcl says nothing.
func defaultRetry() Retry { return Retry{Attempts: 3, Wait: 5 * time.Second} }

const (
	maxAttempts  = 10
	engineHint   = `Write required_engine = "terraform >= 1.6", "tofu ~> 1.8", or ">= 1.6" for either.`
	durationHint = `Write a number and a unit, such as "90s", "30m" or "1h30m".`
)

func (l *loader) engine(attr *hcl.Attribute) *EngineRequirement {
	v, ok := l.literal(attr, cty.String)
	if !ok {
		return nil
	}
	out := &EngineRequirement{Range: attr.Expr.Range()}
	rest := strings.TrimSpace(v.AsString())
	if end := strings.IndexFunc(rest, func(r rune) bool { return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') }); end != 0 && rest != "" {
		if end < 0 {
			end = len(rest)
		}
		out.Name, rest = rest[:end], strings.TrimSpace(rest[end:])
	}
	if out.Name != "" && out.Name != "terraform" && out.Name != "tofu" {
		l.add(problem("bad-engine", out.Range, engineHint, "%q is no engine that labctl knows", out.Name))
		return nil
	}
	if out.Constraint = rest; rest == "" {
		if out.Name == "" {
			l.add(problem("bad-engine", out.Range, engineHint, "required_engine is empty"))
			return nil
		}
		return out
	}
	constraints, err := version.NewConstraint(rest)
	if err != nil {
		l.add(problem("bad-engine", out.Range, engineHint, "%q is no version constraint", rest))
		return nil
	}
	out.Constraints = constraints
	return out
}

func (l *loader) retryBlock(block *hcl.Block) Retry {
	out := defaultRetry()
	content, diags := block.Body.Content(&hcl.BodySchema{Attributes: []hcl.AttributeSchema{{Name: "on"}, {Name: "attempts"}, {Name: "wait"}}})
	l.add(diags...)
	if attr, ok := content.Attributes["on"]; ok {
		out.On = l.patterns(attr)
	}
	if attr, ok := content.Attributes["attempts"]; ok {
		if v, ok := l.literal(attr, cty.Number); ok {
			n, accuracy := v.AsBigFloat().Int64()
			if accuracy != 0 || n < 1 || n > maxAttempts {
				l.add(problem("wrong-value", attr.Expr.Range(), "The first attempt counts, so 1 means: do not try again.", "attempts must be a whole number from 1 to %d", maxAttempts))
			} else {
				out.Attempts = int(n)
			}
		}
	}
	if attr, ok := content.Attributes["wait"]; ok {
		if d, ok := l.duration(attr, nil); ok {
			out.Wait = d
		}
	}
	return out
}

func (l *loader) patterns(attr *hcl.Attribute) []*regexp.Regexp {
	v, ok := l.literal(attr, cty.List(cty.String))
	if !ok {
		return nil
	}
	var out []*regexp.Regexp
	items, _ := hcl.ExprList(attr.Expr)
	for i, e := range v.AsValueSlice() {
		rng := attr.Expr.Range()
		if i < len(items) {
			rng = items[i].Range()
		}
		if e.IsNull() {
			l.add(problem("bad-pattern", rng, "Write a regular expression, such as \"connection reset\".", "on holds a null"))
			continue
		}
		pattern, err := regexp.Compile(e.AsString())
		if err != nil {
			l.add(problem("bad-pattern", rng, "Write it as Go does: https://pkg.go.dev/regexp/syntax.", "%q is no regular expression: %s", e.AsString(), strings.TrimPrefix(err.Error(), "error parsing regexp: ")))
			continue
		}
		if pattern.MatchString("") {
			l.add(problem("bad-pattern", rng, "Name a part of the message that passes by itself, such as \"connection reset\".", "%q matches every failure", e.AsString()))
			continue
		}
		out = append(out, pattern)
	}
	return out
}

// duration evaluates an attribute that holds a positive length of time as Go writes it.
func (l *loader) duration(attr *hcl.Attribute, ctx *hcl.EvalContext) (time.Duration, bool) {
	v, ok := l.static(attr, cty.String, ctx)
	if !ok {
		return 0, false
	}
	d, err := time.ParseDuration(v.AsString())
	switch {
	case err != nil:
		l.add(problem("bad-duration", attr.Expr.Range(), durationHint, "%s: %q is no length of time", attr.Name, v.AsString()))
	case d <= 0:
		l.add(problem("bad-duration", attr.Expr.Range(), durationHint, "%s must be longer than nothing", attr.Name))
	default:
		return d, true
	}
	return 0, false
}
