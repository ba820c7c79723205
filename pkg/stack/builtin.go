package stack

import (
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
)

// builtin is the scheme of what labctl installs without a chart.
const builtin = "builtin://"

// argoCD is the name of one of builtins.
const argoCD = "argocd"

// builtins are the releases that labctl installs without a chart.
var builtins = map[string]struct {
	values    cty.Type
	hint      string // of the values
	name      string // the only one that such a release can have; "" is any
	namespace string // likewise
}{
	// There is one in a cluster, and its own manifests name its namespace.
	argoCD: {
		values: cty.ObjectWithOptionalAttrs(map[string]cty.Type{
			"images": cty.Object(map[string]cty.Type{"argocd": cty.String, "redis": cty.String, "git": cty.String}),
			// By which the Git server is reached from the machine; without a class it is not, and without a namespace pods of all may connect.
			"ingress_class": cty.String, "ingress_namespace": cty.String,
		}, []string{"ingress_class", "ingress_namespace"}),
		hint:      `Write values = { images = { argocd = image.argocd, redis = image.redis, git = image.git } }.`,
		name:      argoCD,
		namespace: argoCD,
	},
	"secrets": {
		values: cty.Map(cty.Map(cty.String)),
		hint:   `Write values = { name = { key = stack.databases.password } }.`,
	},
}

// builtin reads a release of what labctl installs without a chart.
func (g *Graph) builtin(rel *Release, attr *hcl.Attribute, name string, attrs hcl.Attributes) {
	l := g.loader
	rel.Builtin = name
	b, known := builtins[name]
	if !known {
		var all []string
		for _, n := range names(builtins) {
			all = append(all, builtin+n)
		}
		l.add(problem("bad-chart", attr.Expr.Range(), "Write "+strings.Join(all, " or ")+", or name a chart.", "labctl has no %q to install", name))
		return
	}
	if b.name != "" && rel.Name != b.name {
		l.add(problem("bad-name", attr.Expr.Range(), `Write release "`+b.name+`": there is one in a cluster.`, "a release of %s%s cannot be called %q", builtin, name, rel.Name))
	}
	for _, other := range []string{"repository", "version", "values_files", "crds", "adopt"} {
		if attr, has := attrs[other]; has {
			l.add(problem("two-sources", attr.Range, "Remove it.", "a release of %s%s takes no %s", builtin, name, other))
		}
	}
}
