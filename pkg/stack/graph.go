package stack

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
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
}

// Graph is one environment of a lab with its stacks in order, checked: every reference leads somewhere.
type Graph struct {
	Lab    *Lab
	Env    *Environment
	Dir    string // the environment's state directory, <lab>/.lab/<env>; Open does not create it
	Stacks []*Stack

	loader *loader
	used   map[string]map[string]bool // stack → outputs that something refers to
}

// Stack is one numbered directory.
type Stack struct {
	ID        string // "1-cluster"
	Number    int
	Name      string // "cluster", as in stack.cluster.kubeconfig
	Dir       string
	Files     []string // its *.tf, absolute; empty for a stack without Terraform
	Variables map[string]*Variable
	Outputs   map[string]*Output
	Inputs    []Input
	Images    []*Image
	Releases  []*Release
	Hooks     []*Hook
	Backend   *Backend      // nil: the state stays in the lab's own directory
	Timeout   time.Duration // of one run of the stack; 0 means none

	skipped    map[string]hcl.Range // images that are left out by their when
	stateBlock *hcl.Range           // a backend or cloud block in its *.tf
	broken     bool                 // a file could not be parsed, so what it declares is not known
}

// HasTerraform says whether there is anything for terraform to do.
func (s *Stack) HasTerraform() bool { return len(s.Files) > 0 }

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
	Chart       string // a directory or archive, absolute; else "oci://…", or the name of a chart in Repository
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
	g := &Graph{Lab: lab, Env: env, Dir: filepath.Join(lab.Dir, ".lab", env.Name), loader: l, used: map[string]map[string]bool{}}
	g.discover()
	for _, s := range g.Stacks {
		l.module(s)
	}
	for _, s := range g.Stacks {
		g.wiring(s)
	}
	if err := l.err(); err != nil {
		return nil, err
	}
	return g, nil
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
		if !e.IsDir() || !numbered.MatchString(e.Name()) {
			continue
		}
		dir := filepath.Join(root, e.Name())
		number, name, ok := strings.Cut(e.Name(), "-")
		n, err := strconv.Atoi(number)
		if !ok || err != nil || !nameRule.MatchString(name) {
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
		s := &Stack{ID: e.Name(), Number: n, Name: name, Dir: dir, Variables: map[string]*Variable{}, Outputs: map[string]*Output{}, skipped: map[string]hcl.Range{}}
		if s.Files, err = terraformFiles(dir); err != nil {
			l.add(problem("unreadable", hcl.Range{Filename: dir}, "", "cannot be read: %v", err))
			continue
		}
		if _, err := os.Stat(filepath.Join(dir, "stack.hcl")); err != nil && len(s.Files) == 0 {
			l.add(problem("empty-stack", hcl.Range{Filename: dir}, "Add *.tf, or a stack.hcl with images or releases.", "the stack is empty"))
			continue
		}
		g.Stacks = append(g.Stacks, s)
	}
	sort.SliceStable(g.Stacks, func(i, j int) bool { return g.Stacks[i].Number < g.Stacks[j].Number })
	if len(g.Stacks) == 0 && !l.diags.HasErrors() {
		l.add(problem("unknown-target", g.Env.targetRange, "A stack is a directory such as "+l.display(filepath.Join(root, "0-foundation"))+".", "target %q has no stacks", g.Env.Target))
	}
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
	})
}
