package stack

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/labctl/labctl/pkg/secret"
)

// mark is the type of this package's cty marks.
type mark string

// Sensitive marks values that nobody may see. It travels with a value through every expression.
const Sensitive mark = "sensitive"

// ErrNotKnown says that a value depends on a stack that has not been applied yet. Errors that wrap it because of a missing
// output are a *NotKnownError.
var ErrNotKnown = errors.New("not known yet")

// ErrNoInputs says that a stack was never run, so that there are no values of a last run.
var ErrNoInputs = errors.New("the stack has no inputs of an earlier run")

// NotKnownError says which outputs and images a value waits for.
type NotKnownError struct {
	Refs   []Ref             // each output once
	Images []string          // each image once
	Why    map[string]string // name of a stack → why its outputs do not count, where it was applied
}

func (e *NotKnownError) Error() string {
	var parts []string
	for _, r := range e.Refs {
		part := fmt.Sprintf("output %q of stack %q", r.Output, r.Stack)
		if why := e.Why[r.Stack]; why != "" {
			part += " (" + why + ")"
		}
		parts = append(parts, part)
	}
	for _, name := range e.Images {
		parts = append(parts, fmt.Sprintf("image %q", name))
	}
	be := "is"
	if len(parts) > 1 {
		be = "are"
	}
	return fmt.Sprintf("%s %s %s: run `%s`", strings.Join(parts, ", "), be, ErrNotKnown, e.Command())
}

// Command makes known what is missing.
func (e *NotKnownError) Command() string {
	command := "labctl up"
	if len(e.Images) > 0 { // each is of a stack that an image's name does not tell
		return command
	}
	for i, r := range e.Refs {
		if !slices.ContainsFunc(e.Refs[:i], func(o Ref) bool { return o.Stack == r.Stack }) {
			command += " " + r.Stack
		}
	}
	return command
}

// Is makes it an ErrNotKnown.
func (e *NotKnownError) Is(target error) bool { return target == ErrNotKnown }

func (e *NotKnownError) add(other *NotKnownError) {
	for _, r := range other.Refs {
		if !slices.ContainsFunc(e.Refs, func(o Ref) bool { return o.Stack == r.Stack && o.Output == r.Output }) {
			e.Refs = append(e.Refs, r)
		}
	}
	for _, name := range other.Images {
		if !slices.Contains(e.Images, name) {
			e.Images = append(e.Images, name)
		}
	}
	if e.Why == nil {
		e.Why = map[string]string{}
	}
	maps.Copy(e.Why, other.Why)
}

// Known is what has been found out so far. An output that is missing is not known; one that is null is known to be null, and
// one that is unknown is known to change.
type Known struct {
	Outputs map[string]map[string]cty.Value // stack name → output → value, sensitive ones marked
	Images  map[string]string               // image name → pull reference
	Why     map[string]string               // stack name → why what its state holds does not count: "its last run failed"
}

// RunRequest is one stack with the values for its variables: what a runner of Terraform needs.
type RunRequest struct {
	Stack   *Stack
	Root    string                   // Graph.Root
	Path    func(path string) string // shows a source path as people know it
	Inputs  map[string]cty.Value     // nil: keep the values of the last run
	Waits   map[string][]string      // of inputs that are not known: what makes them known, "1-cluster: kubeconfig"
	Backend *StateBackend            // nil: the state is a file of the lab
	Digest  string                   // of the stack's files; an apply keeps a copy of them under this name. "" keeps none
	Secrets *secret.Set
}

// ExecOptions say how terraform runs as its user types it.
type ExecOptions struct {
	// Beside says that another run may be at work: the stack's work directory is used as it is.
	Beside bool
	// Ready, if not nil, is called when nothing more is changed in the work directory by a command that only reads.
	Ready func()
}

// Changes counts what an apply or a destroy did.
type Changes struct{ Added, Changed, Destroyed int }

// Any says whether anything was done.
func (c Changes) Any() bool { return c.Added+c.Changed+c.Destroyed > 0 }

// String says it as people do.
func (c Changes) String() string {
	return fmt.Sprintf("%d added, %d changed, %d destroyed", c.Added, c.Changed, c.Destroyed)
}

// Inputs gives the values of s's variables, each of its variable's type. The error wraps ErrNotKnown where an output is
// missing; a value that its variable cannot take is a *ConfigError.
func (g *Graph) Inputs(s *Stack, k Known) (map[string]cty.Value, error) {
	values := map[string]cty.Value{}
	var missing NotKnownError
	for _, in := range s.Inputs {
		v, err := g.value(in.Expr, in.Refs, nil, k)
		if one := (*NotKnownError)(nil); errors.As(err, &one) {
			missing.add(one)
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("input %q of stack %q: %w", in.Name, s.ID, err)
		}
		if err := g.setInput(values, s.Variables[in.Name], in, v); err != nil {
			return nil, err
		}
	}
	if len(missing.Refs) > 0 {
		return nil, fmt.Errorf("inputs of stack %q: %w", s.ID, &missing)
	}
	return values, nil
}

// setInput adds the value of an input to values, as its variable has it. None is added for null where the variable does not take it:
// Terraform takes the default then.
func (g *Graph) setInput(values map[string]cty.Value, variable *Variable, in Input, v cty.Value) error {
	if v.IsNull() && !variable.Nullable {
		if variable.Required {
			return g.fail(g.refused(variable, in.Expr))
		}
		return nil
	}
	v, at := variable.take(v)
	if at != nil {
		return g.fail(problem("wrong-type", within(in.Expr, at.path), g.loader.typeOf(variable), "%s", at))
	}
	values[in.Name] = v
	return nil
}

// refused says that null is no value for a variable.
func (g *Graph) refused(v *Variable, expr hcl.Expression) *hcl.Diagnostic {
	return problem("missing-input", expr.Range(), "Variable "+quote(v.Name)+" at "+g.loader.place(v.Range)+" says nullable = false and has no default: give it a value.",
		"the required variable %q is set to null", v.Name)
}

// Registry is where an image goes: pushed to one address, pulled by the cluster from another.
type Registry struct{ Push, Pull string }

const registryHint = `It must be an object such as { push = "127.0.0.1:5050", pull = "localhost:5000" }.`

func registryType() cty.Type {
	return cty.Object(map[string]cty.Type{"push": cty.String, "pull": cty.String})
}

// Registry gives the addresses of the registry of img, an image of s.
func (g *Graph) Registry(s *Stack, img *Image, k Known) (Registry, error) {
	v, err := g.value(img.Registry, img.Refs, nil, k)
	if err != nil {
		return Registry{}, fmt.Errorf("image %q of stack %q: %w", img.Name, s.ID, err)
	}
	v, _ = v.UnmarkDeep()
	v, err = convert.Convert(v, registryType())
	if err != nil || v.IsNull() || v.GetAttr("push").IsNull() || v.GetAttr("pull").IsNull() {
		return Registry{}, g.fail(problem("wrong-value", img.Registry.Range(), registryHint, "image %q: registry has neither push nor pull", img.Name))
	}
	return Registry{Push: v.GetAttr("push").AsString(), Pull: v.GetAttr("pull").AsString()}, nil
}

// Kubeconfig gives the content of the kubeconfig of rel, a release of s.
func (g *Graph) Kubeconfig(s *Stack, rel *Release, k Known) (string, error) {
	v, err := g.value(rel.Kubeconfig, rel.Cluster, nil, k)
	if err != nil {
		return "", fmt.Errorf("release %q of stack %q: %w", rel.Name, s.ID, err)
	}
	v, _ = v.UnmarkDeep()
	v, err = convert.Convert(v, cty.String)
	if err != nil || v.IsNull() || v.AsString() == "" {
		return "", emptyKubeconfig{g.fail(problem("wrong-value", rel.Kubeconfig.Range(), "It must be the content of a kubeconfig.", "release %q: kubeconfig is empty", rel.Name))}
	}
	return v.AsString(), nil
}

// emptyKubeconfig is also ErrNotKnown: a cluster whose destruction was cut off has lost its outputs before itself.
type emptyKubeconfig struct{ error }

func (e emptyKubeconfig) Unwrap() error        { return e.error }
func (e emptyKubeconfig) Is(target error) bool { return target == ErrNotKnown }

// Values gives the Helm values of rel, a release of s. Sensitive parts are marked.
func (g *Graph) Values(s *Stack, rel *Release, k Known) (cty.Value, error) {
	if rel.Values == nil {
		return cty.EmptyObjectVal, nil
	}
	v, err := g.value(rel.Values, rel.Refs, rel.Images, k)
	if err != nil {
		return cty.NilVal, fmt.Errorf("release %q of stack %q: %w", rel.Name, s.ID, err)
	}
	if t := v.Type(); !t.IsObjectType() && !t.IsMapType() {
		return cty.NilVal, g.fail(problem("wrong-type", rel.Values.Range(), "Write values = { key = value }.", "release %q: values: an object is required, not %s", rel.Name, kindOf(v)))
	}
	if d := secretInGit(rel, rel.Values, v); d != nil { // a state knows better than *.tf whether an output is sensitive
		return cty.NilVal, g.fail(d...)
	}
	return v, nil
}

// value evaluates expr with what is known. The error is a *NotKnownError where something in refs or images is not.
func (g *Graph) value(expr hcl.Expression, refs []Ref, images []string, k Known) (cty.Value, error) {
	var missing NotKnownError
	outputs := map[string]map[string]cty.Value{}
	for _, ref := range refs {
		applied, ok := k.Outputs[ref.Stack]
		v, has := applied[ref.Output]
		if !ok || !has || !v.IsWhollyKnown() {
			missing.add(&NotKnownError{Refs: []Ref{ref}, Why: map[string]string{ref.Stack: k.Why[ref.Stack]}})
			continue
		}
		if outputs[ref.Stack] == nil {
			outputs[ref.Stack] = map[string]cty.Value{}
		}
		outputs[ref.Stack][ref.Output] = v
	}
	pulls := map[string]cty.Value{}
	for _, name := range images {
		ref, built := k.Images[name]
		if !built {
			missing.add(&NotKnownError{Images: []string{name}})
			continue
		}
		pulls[name] = cty.StringVal(ref)
	}
	if len(missing.Refs)+len(missing.Images) > 0 {
		return cty.NilVal, &missing
	}
	v, diags := expr.Value(g.context(outputs, pulls))
	if diags.HasErrors() {
		return cty.NilVal, g.fail(diags...)
	}
	if !v.IsWhollyKnown() { // everything referred to is known, so this is an expression that makes no sense
		return cty.NilVal, g.fail(problem("unknown-value", expr.Range(), "", "the expression has no known value"))
	}
	return v, nil
}

// fail makes an error of what only showed once values were known. It keeps no values, which could be sensitive.
func (g *Graph) fail(diags ...*hcl.Diagnostic) error {
	for _, d := range diags {
		d.EvalContext, d.Expression = nil, nil
	}
	return &ConfigError{Diagnostics: diags, sources: g.loader.parser.Sources(), display: g.Path}
}
