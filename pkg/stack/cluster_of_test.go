package stack_test

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/zclconf/go-cty/cty"

	"github.com/labctl/labctl/pkg/stack"
)

// shared is a lab of two environments in one cluster.
func shared(prod string) map[string]string {
	files := maps.Clone(good)
	files["lab.hcl"] = `lab "chat" {}
environment "local" {
  target = "local"
  vars   = { location = "laptop", api_port = 6443 }
}
environment "prod" {
  ` + prod + `
}
`
	files["stacks/local/1-cluster/stack.hcl"] = `inputs = {
  name = lab.cluster_of == "" ? stack.foundation.name : lab.cluster_dir
  port = env.api_port
}
`
	files["stacks/local/5-release/stack.hcl"] = strings.Replace(good["stacks/local/5-release/stack.hcl"], `"chat"
  values`, `"chat${lab.suffix}"
  values`, 1)
	return files
}

func TestAnEnvironmentCanBeInTheClusterOfAnother(t *testing.T) {
	dir := write(t, shared("cluster_of = \"local\"\n  vars = { location = \"elsewhere\" }"))
	local, err := stack.Open(stack.Options{Dir: dir})
	require.NoError(t, err)
	prod, err := stack.Open(stack.Options{Dir: dir, Env: "prod"})
	require.NoError(t, err)
	require.Equal(t, "local", prod.Env.Target)
	require.Equal(t, cty.StringVal("elsewhere"), prod.Env.Vars["location"], "its own before the other's")
	require.True(t, prod.Env.Vars["api_port"].RawEquals(local.Env.Vars["api_port"]))
	require.Equal(t, cty.StringVal("laptop"), local.Env.Vars["location"])
	require.Equal(t, local.Dir, prod.ClusterDir())
	require.Equal(t, local.Dir, local.ClusterDir())
	for g, namespace := range map[*stack.Graph]string{local: "chat", prod: "chat-prod"} {
		s, err := g.Stack("release")
		require.NoError(t, err)
		require.Equal(t, namespace, s.Releases[0].Namespace)
		s, err = g.Stack("cluster")
		require.NoError(t, err)
		require.True(t, s.HasCluster)
	}
	require.Empty(t, local.InCluster(), "it is not up")
	require.NoError(t, os.MkdirAll(filepath.Join(prod.Dir), 0o700))
	require.Equal(t, []string{"prod"}, local.InCluster())
	require.Empty(t, prod.InCluster())
}

func TestWhoseClusterIsRefused(t *testing.T) {
	for name, tc := range map[string]struct{ prod, want string }{
		"nobody's":                {`cluster_of = "locl"`, `no environment "locl"`},
		"its own":                 {`cluster_of = "prod"`, `environment "prod" has no cluster of its own`},
		"two targets":             {"cluster_of = \"local\"\n  target = \"local\"", "an environment in another's cluster has no target of its own"},
		"no target":               {"protected = true", `environment "prod" has no target`},
		"nothing for Argo CD":     {"cluster_of = \"local\"\n  gitops {}", `nothing installs Argo CD in the cluster of environment "local"`},
		"stacks that do not know": {`cluster_of = "local"`, `the stacks of target "local" cannot be in another environment's cluster`},
	} {
		t.Run(name, func(t *testing.T) {
			files := shared(tc.prod)
			if strings.HasPrefix(name, "stacks") {
				files["stacks/local/1-cluster/stack.hcl"] = good["stacks/local/1-cluster/stack.hcl"]
			}
			_, err := stack.Open(stack.Options{Dir: write(t, files), Env: "prod"})
			require.ErrorContains(t, err, tc.want)
			require.ErrorContains(t, err, "lab.hcl:")
		})
	}
}
