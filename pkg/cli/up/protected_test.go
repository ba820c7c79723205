package up

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/iostreams"
)

func TestAProtectedEnvironmentIsAskedFor(t *testing.T) {
	dir, cache := t.TempDir(), t.TempDir()
	write := func(name, content string) {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	}
	write("lab.hcl", "lab \"demo\" {}\nenvironment \"prod\" {\n  target    = \"t\"\n  protected = true\n}\n")
	write("stacks/t/0-net/main.tf", "resource \"terraform_data\" \"this\" { input = \"one\" }\n")
	write("stacks/t/0-net/stack.hcl", "")
	state := filepath.Join(dir, ".lab/prod/stacks/0-net/terraform.tfstate")
	up := func(typed string, args ...string) (string, error) {
		streams, _, stderr := iostreams.Test()
		streams.In, streams.Interactive = strings.NewReader(typed), typed != ""
		getenv := func(name string) string {
			if name == "LABCTL_CACHE" {
				return cache
			}
			return ""
		}
		f := &cli.Factory{IO: streams, Getenv: getenv, WorkDir: dir, Env: "prod", Args: append([]string{"up", "-e", "prod"}, args...)}
		cmd := NewCmdUp(f, nil)
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
		cmd.SetArgs(args)
		err := cmd.ExecuteContext(t.Context())
		return stderr.String(), err
	}
	const question = `Type its name to change it: `

	said, err := up("")
	require.ErrorContains(t, err, `the environment "prod" is protected, and its name was not confirmed`)
	require.Equal(t, []string{"labctl up -e prod --confirm prod"}, cli.Explain(err).Next)
	require.Contains(t, said, "+ terraform_data.this", "the plan is shown")
	require.NotContains(t, said, question, "nobody is there to be asked")
	require.NoFileExists(t, state)

	said, err = up("yes\n")
	require.ErrorContains(t, err, "was not confirmed")
	require.Contains(t, said, question)
	require.NoFileExists(t, state)

	_, err = up("", "--confirm", "local")
	require.ErrorContains(t, err, `--confirm names the environment "local"`)
	require.NoFileExists(t, state)

	said, err = up("prod\n")
	require.NoError(t, err)
	require.Less(t, strings.Index(said, "+ terraform_data.this"), strings.Index(said, question), "the plan comes before the question")
	require.FileExists(t, state)

	said, err = up("")
	require.NoError(t, err, "there is nothing to change")
	require.NotContains(t, said, question)

	write("stacks/t/0-net/main.tf", "resource \"terraform_data\" \"this\" { input = \"two\" }\n")
	_, err = up("")
	require.ErrorContains(t, err, "was not confirmed")
	said, err = up("", "--confirm", "prod")
	require.NoError(t, err)
	require.NotContains(t, said, question)
}
