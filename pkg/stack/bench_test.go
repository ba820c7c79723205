package stack_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/stack"
)

// BenchmarkOpen reads and checks 50 stacks, each with two files of Terraform, twenty variables and five outputs, wired to
// the one before it.
func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	put := func(name, content string) {
		path := filepath.Join(dir, name)
		require.NoError(b, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(b, os.WriteFile(path, []byte(content), 0o600))
	}
	put("lab.hcl", good["lab.hcl"])
	for n := range 50 {
		variables, outputs, wiring := "", "locals { all = { for k, v in { a = var.v0, b = var.v1 } : k => v } }\n", "inputs = {\n"
		for v := range 20 {
			variables += fmt.Sprintf("variable \"v%d\" {\n  description = \"One of many.\"\n  type = object({ name = string, sizes = optional(list(number), []) })\n  default = { name = \"n\" }\n}\n", v)
		}
		for o := range 5 {
			outputs += fmt.Sprintf("output \"o%d\" {\n  value = { name = \"${var.v%d.name}-x\", sizes = concat(var.v%d.sizes, [1]) }\n}\nresource \"terraform_data\" \"r%d\" { input = var.v%d }\n", o, o, o, o, o)
			if n > 0 {
				wiring += fmt.Sprintf("  v%d = stack.s%d.o%d\n", o, n-1, o)
			}
		}
		at := fmt.Sprintf("stacks/local/%d-s%d/", n, n)
		put(at+"variables.tf", variables)
		put(at+"main.tf", outputs)
		put(at+"stack.hcl", wiring+"}\n")
	}
	for b.Loop() {
		g, err := stack.Open(stack.Options{Dir: dir})
		require.NoError(b, err)
		require.Empty(b, g.Warnings())
	}
}
