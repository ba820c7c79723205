package terraform_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/zclconf/go-cty/cty"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/iostreams"
	"github.com/labctl/labctl/pkg/stack"
	"github.com/labctl/labctl/pkg/terraform"
)

var update = flag.Bool("update", false, "write docs/guide/environment.md anew")

// The guide's table is the one that the code works by.
func TestTheGuideListsTheEnvironment(t *testing.T) {
	var b strings.Builder
	b.WriteString("# Environment variables and terraform\n\nlabctl runs terraform with your environment. The variables in this table change what terraform does, so labctl handles each\nof them. All others reach terraform as they are, such as `HOME`, `PATH`, `HTTPS_PROXY`, `SSL_CERT_FILE`, `ARM_*`, `AWS_*` and\n`GOOGLE_*`. If labctl leaves out a variable that you have set, it prints a warning.\n\n| variable | what labctl does | why |\n|---|---|---|\n")
	for _, v := range terraform.Variables() {
		what := string(v.Handling)
		switch {
		case v.Value == "":
		case v.Handling == terraform.Pinned:
			what += " to `" + v.Value + "`"
		default:
			what += ", else `" + v.Value + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", v.Name, what, v.Why)
	}
	b.WriteString("\n- **pinned**: terraform always sees this value.\n- **left out**: terraform does not see the variable.\n- **exec only**: `labctl exec` passes your value on. In all other runs labctl leaves it out.\n- **filled in**: terraform sees your value, or labctl's where you have set none.\n- **passed on**: terraform sees your value.\n")
	path := filepath.Join("..", "..", "docs", "guide", "environment.md")
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(b.String()), 0o600))
	}
	have, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, b.String(), string(have), "write it anew: go test ./pkg/terraform -run TestTheGuide -update")
}

// What is set in the environment by accident changes nothing, and is said.
func TestTheEnvironmentChangesNothing(t *testing.T) {
	b := newBench(t, map[string]string{"main.tf": simple})
	var seen events
	run := func(environ ...string) {
		r := terraform.New(terraform.Options{
			Dir:     b.state(),
			Find:    func(context.Context, event.Report) (string, error) { return exec.LookPath("terraform") },
			Environ: append(os.Environ(), environ...),
		})
		_, err := r.Apply(t.Context(), b.work(inputs("hunter2", 1)), seen.report)
		require.NoError(t, err)
		var out bytes.Buffer
		code, err := r.Exec(t.Context(), b.work(map[string]cty.Value(nil)), []string{"state", "list"}, stack.ExecOptions{}, &iostreams.Streams{In: strings.NewReader(""), Out: &out, Err: &out})
		require.NoError(t, err)
		require.Zero(t, code)
		require.Contains(t, out.String(), "terraform_data.a")
	}
	run()
	before := b.read(t)
	run("TF_WORKSPACE=dev", "TF_DATA_DIR=/nowhere", "TF_CLI_ARGS=-nonsense", "TF_CLI_ARGS_apply=-destroy", "TF_VAR_secret=other", "TF_LOG=trace", "TF_INPUT=1", "HOME=")
	after := b.read(t)
	require.Equal(t, before.Serial, after.Serial)
	for _, name := range []string{"TF_WORKSPACE=dev", "TF_DATA_DIR", "TF_CLI_ARGS ", "TF_CLI_ARGS_apply", "TF_VAR_secret", "TF_LOG"} {
		require.Contains(t, seen.text(), name)
	}
}

// Terraform collects garbage less often where nothing that it starts would hear of that, and the user has not said otherwise.
func TestGarbageIsCollectedLessOften(t *testing.T) {
	const provisioner = "resource \"terraform_data\" \"a\" {\n  provisioner \"local-exec\" { command = \"true\" }\n}\n"
	for _, c := range []struct{ name, files, users, want string }{
		{"built in", "resource \"terraform_data\" \"a\" {}\n", "", "400"},
		{"the user's own", "resource \"terraform_data\" \"a\" {}\n", "50", "50"},
		{"with a program", provisioner, "", ""},
		{"with a provider", "resource \"tiny_thing\" \"a\" { name = \"a\" }\n", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, map[string]string{"main.tf": c.files})
			// It stands for terraform, says what it sees, and does nothing.
			saw := filepath.Join(b.dir, "saw")
			shim := filepath.Join(b.dir, "terraform")
			script := "#!/bin/sh\nif [ \"$1\" = version ]; then echo '{\"terraform_version\":\"1.11.4\"}'; else printf %s \"$GOGC\" >" + saw + "; exit 1; fi\n"
			require.NoError(t, os.WriteFile(shim, []byte(script), 0o700)) //nolint:gosec // a program
			_, err := terraform.New(terraform.Options{
				Dir:     b.state(),
				Find:    func(context.Context, event.Report) (string, error) { return shim, nil },
				Environ: append(os.Environ(), "GOGC="+c.users),
			}).Apply(t.Context(), b.work(nil), nil)
			require.Error(t, err)
			have, err := os.ReadFile(saw)
			require.NoError(t, err)
			require.Equal(t, c.want, string(have))
		})
	}
}
