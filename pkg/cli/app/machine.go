package app

import (
	"errors"
	"path/filepath"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	"github.com/zclconf/go-cty/cty/gocty"

	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/cluster"
	"github.com/labctl/labctl/pkg/doctor"
	"github.com/labctl/labctl/pkg/stack"
)

// Machine says what the machine has to have for a purpose. It also works where there is no lab, whose ports are then
// not looked at.
func Machine(f *cli.Factory, purpose doctor.Purpose) (doctor.Options, error) {
	cacheDir, err := f.CacheDir()
	if err != nil {
		return doctor.Options{}, err
	}
	built, err := filepath.Glob(filepath.Join(cacheDir, "programs", "kubernetes", "*", "kubernetes"))
	if err != nil {
		return doctor.Options{}, err
	}
	o := doctor.Options{For: purpose, CacheDir: cacheDir, Built: len(built) > 0}
	if purpose == doctor.Dev {
		return doctor.System(o), nil
	}
	g, err := f.Graph()
	switch {
	case errors.Is(err, stack.ErrNoLab):
	case err != nil:
		return doctor.Options{}, err
	default:
		o.Ports = ports(g)
	}
	return doctor.System(o), nil
}

// Embedded says whether the lab's cluster is a node on this machine itself, which wants a lot of it.
func (l *Lab) Embedded() bool { return l.Graph.Declares("lab_cluster") && embedded(l.Graph) }

// embedded says whether the cluster, if there is one, is embedded and the environment's own. The stacks decide that; those of this
// repository by the variable that is looked at here.
func embedded(g *stack.Graph) bool {
	if g.Env.ClusterOf != "" {
		return false
	}
	kind, ok := g.Env.Vars["cluster"]
	return !ok || kind.Type() == cty.String && kind.AsString() == cluster.Embedded
}

// ports are those that the embedded cluster will listen on, and does not hold yet.
func ports(g *stack.Graph) []doctor.Port {
	if !embedded(g) {
		return nil
	}
	if s, err := cluster.Inspect(filepath.Join(g.Dir, "cluster")); err == nil && s.Running {
		return nil
	}
	var out []doctor.Port
	for _, p := range []struct{ name, use string }{
		{"api_port", "the Kubernetes API"}, {"http_port", "the chat"}, {"registry_port", "the image registry"},
	} {
		value, ok := g.Env.Vars[p.name]
		if !ok {
			continue // this lab's stacks call it something else
		}
		var number int
		value, err := convert.Convert(value, cty.Number) // as terraform will
		if err != nil || gocty.FromCtyValue(value, &number) != nil {
			continue // terraform says what is wrong with it
		}
		out = append(out, doctor.Port{Number: number, Use: p.use + " (" + p.name + ")"})
	}
	return out
}
