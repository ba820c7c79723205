package graph

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/iostreams"
	"github.com/labctl/labctl/pkg/stack"
	"github.com/labctl/labctl/test/golden"
)

var files = map[string]string{
	"lab.hcl": "lab \"chat\" {}\n\nenvironment \"local\" {\n  target = \"local\"\n}\n",
	"stacks/local/0-foundation/main.tf": `output "name" { value = "n" }
output "bucket" { value = "b" }
`,
	"stacks/local/1-cluster/main.tf": `variable "name" {}
output "kubeconfig" {
  value     = "k"
  sensitive = true
}
output "registry" { value = { push = "a", pull = "b" } }
output "url" { value = "u" }
`,
	"stacks/local/1-cluster/stack.hcl": `inputs = { name = stack.foundation.name }
backend "s3" {
  bucket = stack.foundation.bucket
}
`,
	"stacks/local/5-release/main.tf": "variable \"url\" {}\n",
	"stacks/local/5-release/stack.hcl": `inputs = { url = stack.cluster.url }
image "auth" {
  source   = "services/auth"
  registry = stack.cluster.registry
}
image "gateway" {
  source   = "services/auth"
  registry = stack.cluster.registry
}
release "chat" {
  kubeconfig = stack.cluster.kubeconfig
  chart      = "charts/chat"
  namespace  = "chat"
  values     = { name = stack.foundation.name, url = stack.cluster.url }
}
hook "smoke" {
  when    = "after"
  command = ["curl", stack.cluster.url]
}
`,
	"services/auth/main.go":  "package main\n",
	"charts/chat/Chart.yaml": "name: chat\n",
}

func example(t *testing.T) *cli.Factory {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	}
	return &cli.Factory{WorkDir: dir}
}

func TestFormats(t *testing.T) {
	for _, format := range formats() {
		t.Run(format, func(t *testing.T) {
			f := example(t)
			streams, out, _ := iostreams.Test()
			f.IO = streams
			cmd := NewCmdGraph(f, nil)
			cmd.SetArgs([]string{"--format", format})
			require.NoError(t, cmd.Execute())
			if format == "text" {
				for line := range strings.Lines(out.String()) {
					require.LessOrEqual(t, len(strings.TrimRight(line, "\n")), columns, line)
				}
			}
			golden.Equal(t, format+".golden", out.String())
		})
	}
}

func TestUnknownFormat(t *testing.T) {
	cmd := NewCmdGraph(&cli.Factory{}, func(*Options) error { t.Error("it ran"); return nil })
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs([]string{"--format", "svg"})
	var usage *cli.UsageError
	require.ErrorAs(t, cmd.Execute(), &usage)
	require.ErrorContains(t, usage, "text, dot, mermaid, json")
}

// TestText wraps long lists below their first item, and says what else a stack has.
func TestText(t *testing.T) {
	many := []string{}
	edges := []stack.Edge{{From: "0-a", To: "1-b", Output: "token", Sensitive: true, Kind: "hook", Name: "check"}}
	for _, n := range []string{"gateway", "messaging", "presence", "groups", "frontend", "authority", "moderation"} {
		many = append(many, n)
		edges = append(edges, stack.Edge{From: "0-a", To: "1-b", Output: "registry", Kind: "image", Name: n})
	}
	got := text(lab{Lab: "l", Environment: "e", Target: "t", Edges: edges, Stacks: []node{
		{ID: "0-a", Terraform: true, Backend: "azurerm"},
		{ID: "1-b", Images: many, Hooks: []string{"check"}, Needs: []string{"0-a"}},
	}})
	require.Equal(t, `lab "l", environment "e" on target "t"

0-a   terraform, state in azurerm

1-b   7 images, hook check
  from 0-a
    registry  images gateway, messaging, presence, groups, frontend, authority,
              moderation
    token *   hook check

* sensitive
`, got)
	require.NotContains(t, text(lab{Stacks: []node{{ID: "0-a"}}}), "sensitive")
}
