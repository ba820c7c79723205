package stack

import (
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
)

// GitOps says where Git holds what Argo CD makes an environment's cluster be.
type GitOps struct {
	Repo     string // the repository's URL; "" is that on the lab's own Git server
	Path     string // the environment's directory in it, "environments/local"
	Revision string // the branch, "main"
}

// scpRule is a repository as people write it for SSH: git@github.com:me/lab.git.
var scpRule = regexp.MustCompile(`^[A-Za-z0-9._-]+@[A-Za-z0-9.-]+:[^:]+$`)

// gitOpsBlock reads the gitops block of an environment.
func (l *loader) gitOpsBlock(env *Environment, block *hcl.Block) *GitOps {
	g := &GitOps{Path: "environments/" + env.Name, Revision: "main"}
	content, diags := block.Body.Content(&hcl.BodySchema{Attributes: []hcl.AttributeSchema{{Name: "repo"}, {Name: "path"}, {Name: "revision"}}})
	l.add(diags...)
	for name, field := range map[string]*string{"repo": &g.Repo, "path": &g.Path, "revision": &g.Revision} {
		attr, has := content.Attributes[name]
		if !has {
			continue
		}
		v, ok := l.literal(attr, cty.String)
		if !ok {
			continue
		}
		*field = v.AsString()
		if hint := wrongGitOps(name, *field); hint != "" {
			l.add(problem("wrong-value", attr.Expr.Range(), hint, "%s %q cannot be used", name, *field))
		}
	}
	return g
}

// wrongGitOps gives a hint where a value of a gitops block is not what it must be.
func wrongGitOps(name, value string) string {
	switch name {
	case "repo":
		u, err := url.Parse(value)
		if err == nil && u.User != nil && u.Scheme != "ssh" {
			return "Leave out who you are: credentials do not belong into a file that everybody reads. labctl takes a token from LABCTL_GIT_TOKEN."
		}
		if !scpRule.MatchString(value) && (err != nil || u.Host == "" || !slices.Contains([]string{"https", "http", "ssh"}, u.Scheme)) {
			return `Write the URL of a repository, such as "https://github.com/me/lab.git".`
		}
	case "path":
		if value == "" || path.Clean(value) != value || strings.HasPrefix(value, "/") || strings.HasPrefix(value, "..") || value == "." {
			return `Write a directory of the repository, such as "environments/local".`
		}
	case "revision":
		if value == "" || strings.ContainsAny(value, " ~^:?*[\\") || strings.HasPrefix(value, "-") {
			return `Write the name of a branch, such as "main".`
		}
	}
	return ""
}

// applications reads into which Applications of Argo CD a release is split.
func (g *Graph) applications(s *Stack, rel *Release, attr *hcl.Attribute) {
	l := g.loader
	if rel.Builtin != "" {
		l.add(problem("two-sources", attr.Range, "Remove it.", "a release of %s%s takes no applications", builtin, rel.Builtin))
		return
	}
	rel.Applications = []string{}
	for _, name := range g.textList(attr, `Write applications = ["auth", "gateway"], or [] for one that is the whole chart.`) {
		switch {
		case !nameRule.MatchString(name):
			l.add(problem("bad-name", attr.Expr.Range(), nameHint, "%q cannot be an application's name", name))
		case slices.Contains(rel.Applications, name):
			l.add(problem("duplicate-block", attr.Expr.Range(), "Keep one of them.", "a second application %q", name))
		default:
			rel.Applications = append(rel.Applications, name)
		}
	}
	if g.Env.GitOps == nil {
		rel.Applications = nil // Helm has it
		return
	}
	if g.Env.ClusterOf != "" {
		return // it is the other environment that installs it, see shareClusters
	}
	installed := func(of *Stack) bool {
		return slices.ContainsFunc(of.Releases, func(r *Release) bool { return r.Builtin == argoCD })
	}
	if !installed(s) && !slices.ContainsFunc(s.Needs, installed) {
		l.add(problem("no-argocd", attr.Range, `Add needs = ["argocd"] with the stack that has a release of builtin://argocd, or remove the gitops block of the environment.`,
			"release %q has applications, but the stack needs none that installs Argo CD", rel.Name))
	}
}

// secretInGit says which values of a release would be written to Git although nobody may see them.
func secretInGit(rel *Release, expr hcl.Expression, v cty.Value) hcl.Diagnostics {
	if rel.Applications == nil {
		return nil
	}
	var diags hcl.Diagnostics
	_, marked := v.UnmarkDeepWithPaths()
	for _, m := range marked {
		if _, ok := m.Marks[Sensitive]; !ok {
			continue
		}
		at := append(cty.GetAttrPath("values"), m.Path...)
		diags = append(diags, problem("secret-in-git", within(expr, at),
			"Give it to the cluster by a release of builtin://secrets, and name that Secret here. What shall only change with it is fingerprint(value).",
			"%s is sensitive, and the values of a release with applications are written to Git", pathText(at)))
	}
	return diags
}
