package stack_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/stack"
)

// argoCDStack is one that installs Argo CD, and gitOpsLab a lab.hcl whose environment has the block gitops.
const argoCDStack = `release "argocd" {
  kubeconfig = stack.cluster.kubeconfig
  chart      = "builtin://argocd"
  namespace  = "argocd"
  values     = { images = { argocd = "a", redis = "b", git = "c" } }
  when       = lab.gitops
}`

func gitOpsLab(block string) string {
	return "lab \"chat\" {}\nenvironment \"local\" {\n  target = \"local\"\n  vars = { location = \"here\", api_port = 6443 }\n" + block + "\n}\n"
}

func applied(attributes string) string {
	return "needs = [\"argocd\"]\nrelease \"shop\" {\n  kubeconfig = stack.cluster.kubeconfig\n  namespace = \"shop\"\n  chart = \"charts/chat\"\n" + attributes + "\n}\n"
}

func TestGitOps(t *testing.T) {
	files := map[string]string{
		"lab.hcl":                          gitOpsLab("gitops {}"),
		"stacks/local/4-argocd/stack.hcl":  argoCDStack,
		"stacks/local/5-release/stack.hcl": applied("applications = [\"auth\", \"shared\"]\nvalues = { a = fingerprint(stack.cluster.kubeconfig) }"),
	}
	dir := write(t, files)
	open := func() *stack.Graph {
		g, err := stack.Open(stack.Options{Dir: dir})
		require.NoError(t, err)
		return g
	}
	g := open()
	require.Equal(t, &stack.GitOps{Path: "environments/local", Revision: "main"}, g.Env.GitOps)
	s, err := g.Stack("release")
	require.NoError(t, err)
	require.Equal(t, []string{"auth", "shared"}, s.Releases[0].Applications)

	files["lab.hcl"] = gitOpsLab(`gitops {
  repo     = "git@git.example.org:me/lab.git"
  path     = "here"
  revision = "next"
}`)
	dir = write(t, files)
	require.Equal(t, &stack.GitOps{Repo: "git@git.example.org:me/lab.git", Path: "here", Revision: "next"}, open().Env.GitOps)

	files["lab.hcl"] = gitOpsLab("")
	dir = write(t, files)
	g = open()
	require.Nil(t, g.Env.GitOps)
	s, err = g.Stack("release")
	require.NoError(t, err)
	require.Nil(t, s.Releases[0].Applications, "without gitops Helm has it")
	s, err = g.Stack("argocd")
	require.NoError(t, err)
	require.Empty(t, s.Releases)
}

func TestGitOpsRefusals(t *testing.T) {
	for name, tt := range map[string]struct{ block, release, want string }{
		"a password in the URL": {`gitops { repo = "https://me:hunter2@git.example.org/lab.git" }`, applied(""), "Leave out who you are"},
		"no URL":                {`gitops { repo = "lab" }`, applied(""), `repo "lab" cannot be used`},
		"a path outside":        {`gitops { path = "../other" }`, applied(""), `path "../other" cannot be used`},
		"no branch":             {`gitops { revision = "-f" }`, applied(""), `revision "-f" cannot be used`},
		"two blocks":            {"gitops {}\n gitops {}", applied(""), "a second gitops block"},
		"a secret":              {"gitops {}", applied("applications = []\nvalues = { a = { b = stack.cluster.kubeconfig } }"), "values.a.b is sensitive"},
		"twice the same":        {"gitops {}", applied(`applications = ["a", "a"]`), `a second application "a"`},
		"no name":               {"gitops {}", applied(`applications = ["A"]`), `"A" cannot be an application's name`},
		"without Argo CD":       {"gitops {}", strings.TrimPrefix(applied("applications = []"), `needs = ["argocd"]`), "needs none that installs Argo CD"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := write(t, map[string]string{
				"lab.hcl": gitOpsLab(tt.block), "stacks/local/4-argocd/stack.hcl": argoCDStack, "stacks/local/5-release/stack.hcl": tt.release,
			})
			_, err := stack.Open(stack.Options{Dir: dir})
			require.ErrorContains(t, err, tt.want)
			require.NotContains(t, err.Error(), "\thunter2")
		})
	}
}
