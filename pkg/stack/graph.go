package stack

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/zclconf/go-cty/cty"
)

// Options say which lab and which of its environments is meant.
type Options struct {
	File string // lab.hcl; "" means the nearest one in Dir or above it
	Dir  string // where the search begins; "" means the working directory
	Env  string // "" means local
	// ResourceTypes are the types of resources' attributes, by the resource's type ("lab_cluster"), as far as they are
	// known: with them the types of outputs are known that come from such a resource.
	ResourceTypes map[string]cty.Type
	// Tofu says that OpenTofu runs the stacks where lab.hcl names no engine. It reads *.tofu beside, and instead of, *.tf.
	Tofu bool
}

// Graph is one environment of a lab with its stacks in order, checked: every reference leads somewhere.
type Graph struct {
	Lab    *Lab
	Env    *Environment
	Dir    string // the environment's state directory, <lab>/.lab/<env>; Open does not create it
	Root   string // the highest directory that the stacks' files lead to by relative paths, without links; the lab's source or above
	Stacks []*Stack

	loader *loader
	used   map[string]map[string]bool // stack → outputs that something refers to
}

// Stack is one numbered directory.
type Stack struct {
	ID     string // "1-cluster"
	Number int
	Name   string // "cluster", as in stack.cluster.kubeconfig
	Dir    string
	// HasCluster says that the stack makes the cluster, or adopts that of another environment: it asks for lab.cluster_dir.
	HasCluster bool
	Real       string   // Dir with every link resolved
	Files      []string // the files that the engine reads in Dir (*.tf, of OpenTofu *.tofu, too); empty for a stack without Terraform
	Modules    []string // directories outside Real of the local modules that it calls, also by other modules, without links
	Impure     string   // why a run may give something else although no file and no input changed; "" where it cannot
	Variables  map[string]*Variable
	Outputs    map[string]*Output
	Inputs     []Input
	Images     []*Image
	Releases   []*Release
	Hooks      []*Hook
	Backend    *Backend      // nil: the state stays in the lab's own directory
	Timeout    time.Duration // of one run of the stack; 0 means none
	MovedFrom  []string      // ids that the stack had before; a state under one of them is its own
	Needs      []*Stack      // earlier stacks that it must wait for, beside those whose outputs it uses
	Orphan     bool          // a state without a stack: it is here to be destroyed, by the files that it was last applied with

	skipped    map[string]hcl.Range // images that are left out by their when
	stateBlock *hcl.Range           // a backend or cloud block in its *.tf
	broken     bool                 // a file could not be parsed, so what it declares is not known
	reach      string               // the highest directory that a relative path in its files leads to
	varFiles   map[string]hcl.Range // variables that a *.tfvars file of the stack sets, and where
}

// HasTerraform says whether there is anything for terraform to do.
func (s *Stack) HasTerraform() bool { return len(s.Files) > 0 }

// HasEphemeral says whether the stack has a variable that no plan holds.
func (s *Stack) HasEphemeral() bool {
	for _, v := range s.Variables {
		if v.Ephemeral {
			return true
		}
	}
	return false
}

// Input is one entry of a stack's inputs.
type Input struct {
	Name string
	Expr hcl.Expression
	Refs []Ref
}

// Image is an image block.
type Image struct {
	Name     string
	Source   string // directory below the lab's source, "services/auth"
	Registry hcl.Expression
	Refs     []Ref
}

// Release is a release block.
type Release struct {
	Name        string
	Chart       string // a directory or archive, absolute; else "oci://…", or the name of a chart in Repository; "" for one that labctl has
	Builtin     string // what labctl installs without a chart: "argocd" or "secrets"; "" for charts
	Repository  string // the URL of a chart repository; "" for other charts
	Version     string // a constraint, "^1.2"; only of a chart in a repository or a registry
	LockFile    string // charts.lock.hcl beside stack.hcl, absolute; it need not be there
	ValuesFiles []string
	UpgradeCRDs bool // bring the definitions in the chart's crds/ up to date, too
	Adopt       bool // take over objects that stand already and are no release's
	Namespace   string
	Kubeconfig  hcl.Expression
	Values      hcl.Expression // nil where there are none
	Refs        []Ref          // outputs that kubeconfig and values need
	Cluster     []Ref          // the part of Refs that kubeconfig needs
	Images      []string       // labels of the images that it uses
	// Applications are the parts of the chart of which Argo CD makes an Application each, by way of Git; empty: one of the whole chart; nil:
	// Helm installs it.
	Applications []string

	known cty.Value // what the check of Values found
}

// Ref is a reference to an output of a stack: an edge of the graph.
type Ref struct {
	Stack  string // the name without the number
	Output string
	Range  hcl.Range
}

// Open loads lab.hcl and the stacks of the environment's target and checks all of it in one pass. The error is a
// *ConfigError, or wraps ErrNoLab.
func Open(o Options) (*Graph, error) {
	file := o.File
	if file == "" {
		dir := o.Dir
		if dir == "" {
			dir = "."
		}
		found, err := Find(dir)
		if err != nil {
			return nil, err
		}
		file = found
	} else if _, err := os.Stat(file); err != nil {
		return nil, fmt.Errorf("%w at %s: %w", ErrNoLab, file, err)
	}
	l := &loader{parser: hclparse.NewParser(), resources: o.ResourceTypes, functions: terraformFunctions()}
	lab := l.labFile(file)
	if err := l.err(); err != nil {
		return nil, err
	}
	name := o.Env
	if name == "" {
		name = "local"
	}
	env, ok := lab.Environments[name]
	if !ok {
		l.add(problem("unknown-environment", hcl.Range{Filename: lab.File}, suggest(name, "environments", environmentNames(lab)), "no environment %q", name))
		return nil, l.err()
	}
	l.tofu = o.Tofu
	if lab.Engine != nil && lab.Engine.Name != "" {
		l.tofu = lab.Engine.Name == "tofu"
	}
	g := &Graph{Lab: lab, Env: env, Dir: stateDir(lab, env.Name), loader: l, used: map[string]map[string]bool{}}
	g.discover()
	for _, s := range g.Stacks {
		l.module(s)
		l.variableFiles(s)
	}
	for _, s := range g.Stacks {
		g.wiring(s)
		l.sources(s)
	}
	g.checkMoves()
	if env.ClusterOf != "" && !slices.ContainsFunc(g.Stacks, func(s *Stack) bool { return s.HasCluster }) && !l.diags.HasErrors() {
		l.add(problem("no-cluster", env.clusterRange, "Give the environment a cluster of its own: target = "+quote(env.Target)+".",
			"the stacks of target %q cannot be in another environment's cluster: none of them asks for lab.cluster_dir", env.Target))
	}
	if err := l.err(); err != nil {
		return nil, err
	}
	g.Root = g.root()
	return g, nil
}

func stateDir(lab *Lab, env string) string { return filepath.Join(lab.Dir, ".lab", env) }

// OpenForgotten gives an environment that lab.hcl does not name, with no stacks of its own, so that what is left of it can be
// taken down. The error is as that of Open.
func OpenForgotten(o Options) (*Graph, error) {
	file := o.File
	if file == "" {
		found, err := Find(o.Dir)
		if err != nil {
			return nil, err
		}
		file = found
	}
	l := &loader{parser: hclparse.NewParser(), resources: o.ResourceTypes, functions: terraformFunctions()}
	lab := l.labFile(file)
	if err := l.err(); err != nil {
		return nil, err
	}
	g := &Graph{Lab: lab, Env: &Environment{Name: o.Env, Vars: map[string]cty.Value{}}, Dir: stateDir(lab, o.Env), loader: l, used: map[string]map[string]bool{}}
	g.Root = g.root()
	return g, nil
}

// WithOrphans gives the graph with stacks that it does not describe any more, in the order of the numbers.
func (g *Graph) WithOrphans(orphans []*Stack) *Graph {
	out := *g
	out.Stacks = append(slices.Clone(g.Stacks), orphans...)
	sort.SliceStable(out.Stacks, func(i, j int) bool { return out.Stacks[i].Number < out.Stacks[j].Number })
	return &out
}

// root gives the directory that holds the lab's source, every stack, and all that their relative paths lead to.
func (g *Graph) root() string {
	root := real(g.Lab.Source)
	for _, s := range g.Stacks {
		for _, dir := range append([]string{s.Real, s.reach}, s.Modules...) {
			if dir != "" {
				root = commonDir(root, dir)
			}
		}
	}
	return root
}

// Stack gives the stack that ref means: "1-cluster", "cluster" or "1".
func (g *Graph) Stack(ref string) (*Stack, error) {
	var known []string
	for _, s := range g.Stacks {
		if ref == s.ID || ref == s.Name || ref == strconv.Itoa(s.Number) {
			return s, nil
		}
		known = append(known, s.Name)
	}
	return nil, fmt.Errorf("no stack %q in environment %q. %s", ref, g.Env.Name, suggest(ref, "stacks", known))
}

// Path shows a path as people know it, relative to the lab.
func (g *Graph) Path(path string) string { return g.loader.display(path) }

// numbered matches a directory that means to be a stack.
var numbered = regexp.MustCompile(`^[0-9]`)

func (g *Graph) discover() {
	l := g.loader
	root := filepath.Join(g.Lab.Source, "stacks", g.Env.Target)
	entries, err := os.ReadDir(root)
	if err != nil {
		if g.Env.Target != "" {
			l.add(problem("unknown-target", g.Env.targetRange, suggest(g.Env.Target, "targets in "+l.display(filepath.Dir(root)), directories(filepath.Dir(root))), "target %q has no stacks: there is no directory %s", g.Env.Target, l.display(root)))
		}
		return
	}
	byNumber, byName := map[int]string{}, map[string]string{}
	for _, e := range entries {
		if !numbered.MatchString(e.Name()) {
			continue
		}
		dir := filepath.Join(root, e.Name())
		number, name, ok := strings.Cut(e.Name(), "-")
		n, err := strconv.Atoi(number)
		wellNamed := ok && err == nil && nameRule.MatchString(name)
		if isDir, ok := l.stackDir(dir, e, wellNamed); !ok || !isDir {
			continue
		}
		if !wellNamed {
			l.add(problem("bad-name", hcl.Range{Filename: dir}, "Name the directory NUMBER-NAME, such as 3-monitoring. "+nameHint, "%q is no name for a stack", e.Name()))
			continue
		}
		if other, twice := byNumber[n]; twice {
			l.add(problem("duplicate-stack", hcl.Range{Filename: dir}, "Give one of them another number: the number is the order.", "stack number %d is taken by %s", n, other))
		}
		if other, twice := byName[name]; twice {
			l.add(problem("duplicate-stack", hcl.Range{Filename: dir}, "Give one of them another name: stack."+name+" would mean both.", "stack name %q is taken by %s", name, other))
		}
		byNumber[n], byName[name] = e.Name(), e.Name()
		s := &Stack{ID: e.Name(), Number: n, Name: name, Dir: dir, Real: real(dir), Variables: map[string]*Variable{}, Outputs: map[string]*Output{}, skipped: map[string]hcl.Range{}}
		if s.Files, err = terraformFiles(dir, l.tofu); err != nil {
			l.add(problem("unreadable", hcl.Range{Filename: dir}, "", "cannot be read: %v", err))
			continue
		}
		if _, err := os.Stat(filepath.Join(dir, "stack.hcl")); err != nil && len(s.Files) == 0 {
			hint := "Add *.tf, or a stack.hcl with images or releases."
			if others, _ := terraformFiles(dir, true); len(others) > 0 {
				hint = "Only OpenTofu reads its *.tofu files. Ask for it in lab.hcl: lab \"" + g.Lab.Name + "\" { required_engine = \"tofu >= 1.8\" }"
			}
			l.add(problem("empty-stack", hcl.Range{Filename: dir}, hint, "the stack is empty"))
			continue
		}
		g.Stacks = append(g.Stacks, s)
	}
	sort.SliceStable(g.Stacks, func(i, j int) bool { return g.Stacks[i].Number < g.Stacks[j].Number })
	if len(g.Stacks) == 0 && !l.diags.HasErrors() {
		l.add(problem("unknown-target", g.Env.targetRange, "A stack is a directory such as "+l.display(filepath.Join(root, "0-foundation"))+".", "target %q has no stacks", g.Env.Target))
	}
}

// stackDir says whether a numbered entry of a target's directory is a directory, by a link or not. An entry that cannot be one
// although its name says so is a problem; then ok is false.
func (l *loader) stackDir(path string, e os.DirEntry, wellNamed bool) (isDir, ok bool) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		l.add(problem("broken-link", hcl.Range{Filename: path}, "Mend the link, or remove it.", "the stack %q cannot be read: %v", e.Name(), err))
		return false, false
	case info.IsDir():
		return true, true
	case !wellNamed: // a file such as 0-README.md
		return false, true
	}
	hint := "A stack is a directory, or a link to one."
	if text, err := os.ReadFile(path); err == nil && len(text) < 1024 {
		if to, err := os.Stat(filepath.Join(filepath.Dir(path), strings.TrimSpace(string(text)))); err == nil && to.IsDir() {
			hint = "It looks like a link that Git wrote as a file: git config core.symlinks true, then git checkout -- " + l.display(path)
		}
	}
	l.add(problem("not-a-directory", hcl.Range{Filename: path}, hint, "the stack %q is a file", e.Name()))
	return false, false
}

// directories gives the names of the directories in dir, as far as they can be read.
func directories(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var out []string
	for _, e := range entries {
		if e.IsDir() {
			out = append(out, e.Name())
		}
	}
	return out
}

func (g *Graph) byName(name string) *Stack {
	for _, s := range g.Stacks {
		if s.Name == name {
			return s
		}
	}
	return nil
}

// Services gives the names of the images that are built from services/, in order.
func (g *Graph) Services() []string {
	var names []string
	for _, s := range g.Stacks {
		for _, img := range s.Images {
			if strings.HasPrefix(filepath.ToSlash(img.Source), "services/") {
				names = append(names, img.Name)
			}
		}
	}
	return names
}

// labValue is what `lab` means in an expression.
func (g *Graph) labValue() cty.Value {
	return cty.ObjectVal(map[string]cty.Value{
		"name":        cty.StringVal(g.Lab.Name),
		"environment": cty.StringVal(g.Env.Name),
		"target":      cty.StringVal(g.Env.Target),
		"dir":         cty.StringVal(g.Dir),
		"gitops":      cty.BoolVal(g.Env.GitOps != nil),
		"cluster_of":  cty.StringVal(g.Env.ClusterOf),
		"cluster_dir": cty.StringVal(g.ClusterDir()),
		"suffix":      cty.StringVal(g.suffix()),
	})
}

// ClusterDir is the state directory of the environment that has the cluster: this one, or another.
func (g *Graph) ClusterDir() string {
	if g.Env.ClusterOf == "" {
		return g.Dir
	}
	return filepath.Join(filepath.Dir(g.Dir), g.Env.ClusterOf)
}

// InCluster are the environments in this one's cluster that are up, as far as this machine knows.
func (g *Graph) InCluster() []string {
	var names []string
	for _, name := range environmentNames(g.Lab) {
		if g.Lab.Environments[name].ClusterOf != g.Env.Name {
			continue
		}
		if _, err := os.Stat(stateDir(g.Lab, name)); err == nil {
			names = append(names, name)
		}
	}
	return names
}

// suffix makes names unique in a cluster that environments share: "-prod", and nothing for the one that has the cluster.
func (g *Graph) suffix() string {
	if g.Env.ClusterOf == "" {
		return ""
	}
	return "-" + g.Env.Name
}
