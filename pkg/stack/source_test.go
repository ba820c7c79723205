package stack_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/stack"
)

// lab writes a lab of its own, without the files that write adds.
func lab(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	all := map[string]string{"lab.hcl": "lab \"x\" {}\nenvironment \"local\" { target = \"local\" }\n"}
	for name, content := range files {
		all[name] = content
	}
	for name, content := range all {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	}
	return dir
}

func TestModulesAndReach(t *testing.T) {
	dir := lab(t, map[string]string{
		"repo/modules/a/main.tf":         "module \"b\" { source = \"../b\" }\n",
		"repo/modules/b/main.tf":         "",
		"repo/lab.hcl":                   "lab \"x\" {}\nenvironment \"local\" { target = \"local\" }\n",
		"repo/stacks/local/0-x/main.tf":  "module \"a\" { source = \"../../../modules/a\" }\nmodule \"own\" { source = \"./own\" }\n",
		"repo/stacks/local/0-x/own/a.tf": "",
		"repo/stacks/local/1-y/main.tf":  "output \"y\" { value = file(\"${path.module}/../../../../notice.txt\") }\n",
	})
	dir, err := filepath.EvalSymlinks(dir)
	require.NoError(t, err)
	g, err := stack.Open(stack.Options{Dir: filepath.Join(dir, "repo")})
	require.NoError(t, err)
	require.Equal(t, []string{filepath.Join(dir, "repo/modules/a"), filepath.Join(dir, "repo/modules/b")}, g.Stacks[0].Modules)
	require.Empty(t, g.Stacks[0].Impure, "modules are files that are looked at")
	require.Contains(t, g.Stacks[1].Impure, "outside")
	require.Equal(t, dir, g.Root, "the mirror reaches as high as a path of 1-y does")
}

func TestImpure(t *testing.T) {
	for name, tc := range map[string]struct{ tf, want string }{
		"plain":                   {"resource \"terraform_data\" \"a\" { input = file(\"${path.module}/x\") }", ""},
		"a data source":           {"data \"external\" \"a\" { program = [\"true\"] }", "data"},
		"the time":                {"output \"a\" { value = timestamp() }", "something else"},
		"a file of the machine":   {"output \"a\" { value = file(\"/etc/hostname\") }", "file outside"},
		"a file of some variable": {"output \"a\" { value = templatefile(var.x, {}) }\nvariable \"x\" { default = \"y\" }", "file outside"},
		"a module from elsewhere": {"module \"a\" { source = \"hashicorp/consul/aws\" }", "elsewhere"},
	} {
		t.Run(name, func(t *testing.T) {
			g, err := stack.Open(stack.Options{Dir: lab(t, map[string]string{"stacks/local/0-x/main.tf": tc.tf + "\n", "stacks/local/0-x/x": ""})})
			require.NoError(t, err)
			if tc.want == "" {
				require.Empty(t, g.Stacks[0].Impure)
			} else {
				require.Contains(t, g.Stacks[0].Impure, tc.want)
			}
		})
	}
}

func TestAMissingModuleIsFoundBeforeAnythingRuns(t *testing.T) {
	_, err := stack.Open(stack.Options{Dir: lab(t, map[string]string{"stacks/local/0-x/main.tf": "module \"a\" { source = \"../../../modules/a\" }\n"})})
	require.ErrorContains(t, err, "stacks/local/0-x/main.tf:1:23: there is no module at modules/a")
}

func TestTofuFiles(t *testing.T) {
	files := map[string]string{
		"lab.hcl":                     "lab \"x\" { required_engine = \"tofu\" }\nenvironment \"local\" { target = \"local\" }\n",
		"stacks/local/0-x/main.tofu":  "output \"engine\" { value = \"tofu\" }\n",
		"stacks/local/0-x/main.tf":    "output \"engine\" { value = \"terraform\" }\noutput \"more\" { value = 1 }\n",
		"stacks/local/0-x/other.tf":   "",
		"stacks/local/1-y/only.tofu":  "variable \"engine\" { type = string }\n",
		"stacks/local/1-y/stack.hcl":  "inputs = { engine = stack.x.engine }\n",
		"stacks/local/0-x/.#main.tf":  "not HCL",
		"stacks/local/0-x/backup.tf~": "not HCL",
	}
	g, err := stack.Open(stack.Options{Dir: lab(t, files)})
	require.NoError(t, err)
	require.Len(t, g.Stacks[0].Files, 2, "main.tofu stands for main.tf")
	require.NotContains(t, g.Stacks[0].Outputs, "more")

	delete(files, "stacks/local/1-y/stack.hcl")
	files["lab.hcl"] = "lab \"x\" { required_engine = \"terraform\" }\nenvironment \"local\" { target = \"local\" }\n"
	_, err = stack.Open(stack.Options{Dir: lab(t, files)})
	require.ErrorContains(t, err, "Only OpenTofu reads its *.tofu files")
}

func TestLinksToStacks(t *testing.T) {
	dir := lab(t, map[string]string{"shared/db/main.tf": "output \"name\" { value = 1 }\n", "stacks/local/0-x/main.tf": "", "stacks/local/0-README.md": "words"})
	require.NoError(t, os.Symlink("../../shared/db", filepath.Join(dir, "stacks/local/1-db")))
	g, err := stack.Open(stack.Options{Dir: dir})
	require.NoError(t, err)
	require.Len(t, g.Stacks, 2)
	real, err := filepath.EvalSymlinks(filepath.Join(dir, "shared/db"))
	require.NoError(t, err)
	require.Equal(t, real, g.Stacks[1].Real)

	require.NoError(t, os.Symlink("nowhere", filepath.Join(dir, "stacks/local/2-lost")))
	_, err = stack.Open(stack.Options{Dir: dir})
	require.ErrorContains(t, err, `the stack "2-lost" cannot be read`)

	require.NoError(t, os.Remove(filepath.Join(dir, "stacks/local/2-lost")))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "stacks/local/3-flat"), []byte("../../shared/db"), 0o600))
	_, err = stack.Open(stack.Options{Dir: dir})
	require.ErrorContains(t, err, `the stack "3-flat" is a file`)
	require.ErrorContains(t, err, "core.symlinks")
}

func TestFilesOfVariables(t *testing.T) {
	files := map[string]string{
		"stacks/local/0-x/main.tf":          "output \"name\" { value = \"net\" }\n",
		"stacks/local/1-y/main.tf":          "variable \"name\" { type = string }\nvariable \"size\" { type = number }\n",
		"stacks/local/1-y/stack.hcl":        "inputs = { name = stack.x.name }\n",
		"stacks/local/1-y/terraform.tfvars": "size = 3\n",
		"stacks/local/1-y/z.auto.tfvars":    "name = \"other\"\n",
	}
	g, err := stack.Open(stack.Options{Dir: lab(t, files)})
	require.NoError(t, err, "a file sets the required variable size")
	require.Len(t, g.Overridden(), 1)
	require.Contains(t, g.Overridden()[0], "stacks/local/1-y/z.auto.tfvars:1:1")

	files["stacks/local/1-y/terraform.tfvars"] = "size = \"v\"\n"
	_, err = stack.Open(stack.Options{Dir: lab(t, files)})
	require.ErrorContains(t, err, "stacks/local/1-y/terraform.tfvars:1:8: size: a number is required")
}

func TestMovesAndNeeds(t *testing.T) {
	files := map[string]string{
		"stacks/local/0-x/main.tf": "", "stacks/local/1-y/main.tf": "", "stacks/local/1-y/stack.hcl": "moved_from = [\"3-old\", \"4-older\"]\nneeds = [\"x\"]\n",
	}
	g, err := stack.Open(stack.Options{Dir: lab(t, files)})
	require.NoError(t, err)
	require.Equal(t, []string{"3-old", "4-older"}, g.Stacks[1].MovedFrom)
	require.Equal(t, []*stack.Stack{g.Stacks[0]}, g.Stacks[1].Needs)
	for text, want := range map[string]string{
		"moved_from = \"0-x\"": `is, or was, the stack "0-x"`,
		"moved_from = \"1-y\"": "is the stack's name now",
		"moved_from = \"old\"": "is no name of a stack",
		"needs = [\"z\"]":      `there is no stack "z"`,
		"needs = [\"y\"]":      "comes later",
	} {
		files["stacks/local/1-y/stack.hcl"] = text + "\n"
		_, err := stack.Open(stack.Options{Dir: lab(t, files)})
		require.ErrorContains(t, err, want, text)
	}
}
