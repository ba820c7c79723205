package status

import (
	"fmt"

	"github.com/zclconf/go-cty/cty"

	"github.com/labctl/labctl/pkg/stack"
)

// The names by which the stacks give a cluster.
const (
	clusterResource  = "lab_cluster"
	clusterStack     = "cluster"
	kubeconfigOutput = "kubeconfig"
)

// access is how a lab's cluster can be asked.
type access struct {
	declared   bool   // the stacks declare a cluster
	kubeconfig string // its content; empty where it is not known
	source     string // what gave the kubeconfig
	missing    string // why there is no kubeconfig
}

// findCluster looks for the lab's cluster in what the stacks declare and in their outputs: stack name → output → value,
// without the stacks that were not applied. The stack called cluster comes first, then the releases, then any output
// called kubeconfig. Of several clusters the first is taken.
func findCluster(g *stack.Graph, outputs map[string]map[string]cty.Value) access {
	found := access{declared: g.Declares(clusterResource)}
	for _, s := range g.Stacks {
		if s.Name == clusterStack {
			found.fromOutput(s, outputs)
		}
	}
	for _, s := range g.Stacks {
		for _, r := range s.Releases {
			found.declared = true
			kubeconfig, err := g.Kubeconfig(s, r, stack.Known{Outputs: outputs})
			if err != nil {
				found.explain(fmt.Sprintf("the kubeconfig of release %q of stack %q is not known yet", r.Name, s.ID))
				continue
			}
			found.take(kubeconfig, fmt.Sprintf("the kubeconfig of release %q of stack %q", r.Name, s.ID))
		}
	}
	for _, s := range g.Stacks {
		if s.Name != clusterStack {
			found.fromOutput(s, outputs)
		}
	}
	found.explain("no stack has an output called kubeconfig")
	return found
}

// fromOutput takes the kubeconfig from the output of s called so. An output alone declares a cluster only as long as it
// may still get a value: a target without a cluster leaves it empty.
func (a *access) fromOutput(s *stack.Stack, outputs map[string]map[string]cty.Value) {
	if s.Outputs[kubeconfigOutput] == nil {
		return
	}
	values, applied := outputs[s.Name]
	if !applied {
		a.declared = true
		a.explain(fmt.Sprintf("stack %q, which gives its kubeconfig, is not applied yet", s.ID))
		return
	}
	source := fmt.Sprintf("output %q of stack %q", kubeconfigOutput, s.ID)
	kubeconfig := text(values[kubeconfigOutput])
	if kubeconfig == "" {
		a.explain(source + " is empty")
		return
	}
	a.take(kubeconfig, source)
}

// take keeps the first kubeconfig.
func (a *access) take(kubeconfig, source string) {
	if a.kubeconfig == "" {
		a.declared, a.kubeconfig, a.source = true, kubeconfig, source
	}
}

// explain keeps the first reason why there is no kubeconfig.
func (a *access) explain(missing string) {
	if a.missing == "" {
		a.missing = missing
	}
}

// text gives a string as it is and another value as JSON. A value that is null, unknown or missing is empty.
func text(v cty.Value) string {
	if v == cty.NilVal {
		return ""
	}
	v, _ = v.UnmarkDeep()
	if v.IsNull() || !v.IsWhollyKnown() {
		return ""
	}
	out, err := stack.Text(v)
	if err != nil {
		return ""
	}
	return out
}
