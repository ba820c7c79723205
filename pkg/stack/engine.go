package stack

import (
	"strings"

	"github.com/hashicorp/go-version"
)

// CheckEngine refuses an engine, such as "terraform 1.11.4", that lab.hcl's required_engine does not want. The error is a
// *ConfigError.
func (g *Graph) CheckEngine(engine string) error {
	want := g.Lab.Engine
	if want == nil {
		return nil
	}
	name, number, _ := strings.Cut(engine, " ")
	hint := "Put the one that is wanted on PATH, or change required_engine."
	if want.Name != "" && want.Name != name {
		return g.fail(problem("wrong-engine", want.Range, hint, "the lab wants %s, and %s is what there is", want.Name, engine))
	}
	if want.Constraints == nil {
		return nil
	}
	is, err := version.NewVersion(number)
	if err != nil || !want.Constraints.Check(is) {
		return g.fail(problem("wrong-engine", want.Range, hint, "the lab wants version %s, and %s is what there is", want.Constraint, engine))
	}
	return nil
}
