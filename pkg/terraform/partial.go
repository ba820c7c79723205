package terraform

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/zclconf/go-cty/cty"

	"github.com/labctl/labctl/pkg/atomicfile"
	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/stack"
)

const (
	// ownPrefix begins the names of what is in that root beside the stack.
	ownPrefix = "labctl_"
	// innerModule is the stack as a module of the root that PlanPartly writes.
	innerModule = ownPrefix + "stack"
	// innerPrefix begins the addresses of all that is the stack's there.
	innerPrefix = "module." + innerModule + "."
	// rootFile is that root.
	rootFile = "labctl.tf.json"
	// unknownResource has an id that only an apply makes known. Whatever is made of that is unknown to terraform.
	unknownResource = ownPrefix + "unknown"
	// unknownValue is unknown and of any type: terraform gives it the type of the variable that takes it. An apply could do
	// nothing with it, because the id, a UUID, is no JSON.
	unknownValue = "${jsondecode(terraform_data." + unknownResource + ".id)}"
	// asidePrefix begins the names of directories in which such plans are made.
	asidePrefix = ".aside-"
)

// PlanPartly says what an apply would do as far as the inputs are known: w.Inputs may be unknown in whole or in part, and
// w.Waits says for what. The stack is planned as a module of a root that exists for this plan alone, with a copy of the
// state, because only an input from a resource can be unknown to terraform. The root lies beside the stack's work directory, so that the
// relative paths in the stack's files lead where they always do. Nothing is kept: neither the plan nor anything
// that it was made in. The error is a *stack.UnplannableError where terraform cannot plan with so little, or a provider
// would have to look into the world without knowing where.
func (r *Runner) PlanPartly(ctx context.Context, w stack.RunRequest, report event.Report) (_ *stack.Plan, err error) {
	files, err := readModule(w.Stack.Files)
	if err != nil {
		return nil, err
	}
	if err := files.rejectUnknownProviderConfig(w); err != nil {
		return nil, err
	}
	state, err := r.rawState(ctx, w, report)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	s, err := r.aside(ctx, w, report)
	if err != nil {
		return nil, err
	}
	defer func() {
		s.close()
		err = errors.Join(err, os.RemoveAll(s.dir)) // its files hold the inputs in clear
	}()
	if err := s.writeRoot(files, state); err != nil {
		return nil, fmt.Errorf("plan stack %q as far as it is known: %w", w.Stack.ID, err)
	}
	if !s.installed {
		if err := s.initNow(ctx); err != nil {
			return nil, unplannable(err)
		}
	}
	out, err := s.plan(ctx)
	if err != nil {
		return nil, unplannable(err)
	}
	shown, err := s.readPlan(ctx, filepath.Join(s.notes, planNote))
	if err != nil {
		return nil, err
	}
	plan := &stack.Plan{Changes: out.changes, Outputs: shown.outputs}
	plan.Changes.Added-- // the root's own resource
	unknown := files.unknownAttributes(w, shown)
	for _, a := range out.planned {
		if a.Address != "terraform_data."+unknownResource {
			a.Unknown = unknown[a.Address]
			plan.Actions = append(plan.Actions, a)
		}
	}
	plan.Actions = ordered(plan.Actions)
	for name, v := range plan.Outputs { // the root says of all that they are sensitive
		if o, has := w.Stack.Outputs[name]; has && !o.Sensitive {
			plan.Outputs[name], _ = v.Unmark()
		}
	}
	return plan, nil
}

// unplannable takes terraform's refusal for what it is: a plan of all inputs may well succeed.
func unplannable(err error) error {
	var refused *Error
	if !errors.As(err, &refused) {
		return err
	}
	why := refused.Output
	if len(refused.Diagnostics) > 0 {
		d := refused.Diagnostics[0]
		d.Code, d.Detail = "", ""
		why = d.String()
	}
	return &stack.UnplannableError{Why: why, Err: err}
}

// rawState gives the content of the stack's state, wherever it is. The error wraps fs.ErrNotExist where there is none.
func (r *Runner) rawState(ctx context.Context, w stack.RunRequest, report event.Report) ([]byte, error) {
	if id := r.home(w.Stack); !r.inBackend(id) {
		data, err := os.ReadFile(StateFile(r.options.Dir, id))
		if err == nil && len(data) == 0 {
			err = fs.ErrNotExist
		}
		if err != nil && (w.Backend == nil || w.Backend.Type == "" || !errors.Is(err, fs.ErrNotExist)) {
			return nil, fmt.Errorf("read the state of stack %q: %w", w.Stack.ID, err)
		}
		if err == nil {
			return data, nil
		}
	}
	data, err := r.pullRaw(ctx, w, report)
	if err == nil && len(data) == 0 {
		err = fmt.Errorf("read the state of stack %q: %w", w.Stack.ID, fs.ErrNotExist)
	}
	return data, err
}

// aside opens a session in a directory of its own beside the stack's work directory, which the caller removes.
func (r *Runner) aside(ctx context.Context, w stack.RunRequest, report event.Report) (_ *session, err error) {
	keep := w
	keep.Inputs = nil // those that are known are written into the root
	s, err := r.open(ctx, keep, report)
	if err != nil {
		return nil, err
	}
	s.work, s.inner = w, true
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	parent := filepath.Dir(s.dir)
	// What a killed run left: the lab's lock says that nobody is at it now.
	left, err := filepath.Glob(filepath.Join(escapeGlob(parent), asidePrefix+w.Stack.ID+"-*"))
	if err != nil {
		return nil, fmt.Errorf("plan beside the stack: %w", err)
	}
	for _, dir := range left {
		if err := os.RemoveAll(dir); err != nil {
			return nil, fmt.Errorf("plan beside the stack: %w", err)
		}
	}
	s.stackDir = s.dir
	if s.dir, err = os.MkdirTemp(parent, asidePrefix+w.Stack.ID+"-"); err != nil { // MkdirTemp makes it 0700
		return nil, fmt.Errorf("plan beside the stack: %w", err)
	}
	s.notes = filepath.Join(s.dir, ".notes")
	return s, os.Mkdir(s.notes, 0o700)
}

// writeRoot makes the session's directory a root module that calls the stack, with a copy of its state.
func (s *session) writeRoot(files *moduleFiles, state []byte) error {
	entries, err := os.ReadDir(s.stackDir)
	if err != nil {
		return err
	}
	inner := filepath.Join("..", filepath.Base(s.stackDir))
	for _, e := range entries { // what path.root means in a stack lies in the root
		name := e.Name()
		base := strings.TrimSuffix(name, ".json")
		if ownedByTerraform(name) || slices.Contains([]string{".tf", ".tofu", ".tfvars"}, filepath.Ext(base)) {
			continue
		}
		if err := os.Symlink(filepath.Join(inner, name), filepath.Join(s.dir, name)); err != nil {
			return err
		}
	}
	lock, err := os.ReadFile(filepath.Join(s.stackDir, lockFile)) // the providers that the stack uses already
	if err == nil {
		err = atomicfile.Write(filepath.Join(s.dir, lockFile), lock)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := s.installModule(inner); err != nil {
		return err
	}
	call := map[string]any{"source": filepath.ToSlash(inner)}
	for name, v := range s.work.Inputs {
		call[name] = expression(v)
	}
	outputs := map[string]any{}
	for name := range s.work.Stack.Outputs {
		outputs[name] = map[string]any{"value": "${" + innerPrefix + name + "}", "sensitive": true}
	}
	content := map[string]any{
		"resource": map[string]any{"terraform_data": map[string]any{unknownResource: map[string]any{}}},
		"module":   map[string]any{innerModule: call},
	}
	if len(outputs) > 0 { // an empty object would be a block without its label
		content["output"] = outputs
	}
	root, err := json.Marshal(content)
	if err == nil {
		err = atomicfile.Write(filepath.Join(s.dir, rootFile), root)
	}
	if err != nil || state == nil {
		return err
	}
	if state, err = files.innerState(state); err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(s.dir, stateFile), state)
}

// installModule notes for terraform that the stack is installed as a module, where nothing else has to be: terraform init would only
// write the same note, and a start costs as much as a plan.
func (s *session) installModule(dir string) error {
	if s.needs.download {
		return nil
	}
	note, err := json.Marshal(map[string]any{"Modules": []map[string]string{
		{"Key": "", "Source": "", "Dir": "."},
		{"Key": innerModule, "Source": filepath.ToSlash(dir), "Dir": filepath.ToSlash(dir)},
	}})
	if err != nil {
		return err
	}
	modules := filepath.Join(s.dir, ".terraform", "modules")
	if err := os.MkdirAll(modules, 0o700); err != nil {
		return err
	}
	s.installed = true
	return atomicfile.Write(filepath.Join(modules, "modules.json"), note)
}

// literal writes text so that terraform's JSON syntax takes it for that text, and for no template.
func literal(text string) string { return strings.NewReplacer("${", "$${", "%{", "%%{").Replace(text) }

// expression writes a value as terraform's JSON syntax has expressions, what is unknown as an expression that is.
func expression(v cty.Value) any {
	v, _ = v.Unmark()
	t := v.Type()
	switch {
	case !v.IsKnown():
		return unknownValue
	case v.IsNull():
		return nil
	case t == cty.String:
		return literal(v.AsString())
	case t == cty.Bool:
		return v.True()
	case t == cty.Number:
		return json.Number(v.AsBigFloat().Text('f', -1))
	case t.IsObjectType() || t.IsMapType():
		out := map[string]any{}
		for name, e := range v.AsValueMap() {
			out[literal(name)] = expression(e)
		}
		return out
	}
	out := []any{}
	for _, e := range v.AsValueSlice() {
		out = append(out, expression(e))
	}
	return out
}

// innerState gives the state with everything in it moved into the module that the stack is there. It is for reading only:
// no apply ever follows.
func (m *moduleFiles) innerState(data []byte) ([]byte, error) {
	var st map[string]any
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber() // a float64 would round long ids
	if err := decoder.Decode(&st); err != nil {
		return nil, fmt.Errorf("read the state: %w", err)
	}
	resources, _ := st["resources"].([]any)
	for _, e := range resources {
		res, ok := e.(map[string]any)
		if !ok {
			continue
		}
		module, nested := res["module"].(string)
		res["module"] = strings.TrimSuffix(innerPrefix, ".")
		if nested {
			res["module"] = innerPrefix + module
		}
		if p, ok := res["provider"].(string); ok && (!strings.HasPrefix(p, "provider[") || m.configures(p)) {
			res["provider"] = innerPrefix + p
		}
		instances, _ := res["instances"].([]any)
		for _, e := range instances {
			in, ok := e.(map[string]any)
			if !ok {
				continue
			}
			needs, _ := in["dependencies"].([]any)
			for i, d := range needs {
				if address, ok := d.(string); ok {
					needs[i] = innerPrefix + address
				}
			}
		}
	}
	outputs, _ := st["outputs"].(map[string]any)
	for _, e := range outputs { // as the root declares them, else all would seem to change
		if o, ok := e.(map[string]any); ok {
			o["sensitive"] = true
		}
	}
	delete(st, "check_results")
	return json.Marshal(st)
}
