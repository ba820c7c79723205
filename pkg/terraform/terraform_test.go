package terraform_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/zclconf/go-cty/cty"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/interrupt"
	"github.com/labctl/labctl/pkg/iostreams"
	"github.com/labctl/labctl/pkg/secret"
	"github.com/labctl/labctl/pkg/stack"
	"github.com/labctl/labctl/pkg/terraform"
)

const killEnv = "LABCTL_TEST_KILL_DIR"

// TestMain applies a stack that never ends where a test asks for it, so that the test can kill the process.
func TestMain(m *testing.M) {
	if os.Getenv(pluginCookie) != "" {
		serveTiny()
	}
	if dir := os.Getenv(killEnv); dir != "" {
		b := &bench{dir: dir}
		_, err := b.runner().Apply(context.Background(), b.work(nil), nil)
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

type bench struct{ dir string }

func newBench(t *testing.T, files map[string]string) *bench {
	t.Helper()
	_, err := exec.LookPath("terraform")
	require.NoError(t, err, "these tests need terraform on PATH")
	b := &bench{dir: t.TempDir()}
	for name, content := range files {
		b.write(t, name, content)
	}
	return b
}

func (b *bench) source() string { return filepath.Join(b.dir, "stacks", "3-test") }
func (b *bench) state() string  { return filepath.Join(b.dir, "state") }
func (b *bench) work3() string  { return terraform.WorkDir(b.state(), "3-test") }

func (b *bench) write(t *testing.T, name, content string) {
	t.Helper()
	path := filepath.Join(b.source(), name)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
}

func (b *bench) runner() *terraform.Runner {
	return terraform.New(terraform.Options{
		Dir:     b.state(),
		Find:    func(context.Context, event.Report) (string, error) { return exec.LookPath("terraform") },
		Environ: append(os.Environ(), "TF_VAR_secret=from-the-environment", "TF_CLI_ARGS=-nonsense"),
		Plugins: filepath.Join(b.dir, "cache", "plugins"), // which nobody has made
	})
}

func (b *bench) work(inputs map[string]cty.Value) stack.RunRequest {
	files, err := filepath.Glob(filepath.Join(b.source(), "*.tf"))
	if err != nil {
		panic(err)
	}
	set := &secret.Set{}
	for _, v := range inputs {
		set.Add(stack.Secrets(v)...)
	}
	return stack.RunRequest{
		Stack: &stack.Stack{ID: "3-test", Number: 3, Name: "test", Dir: b.source(), Real: b.source(), Files: files}, Inputs: inputs, Secrets: set,
		Path: func(p string) string {
			rel, err := filepath.Rel(b.dir, p)
			if err != nil {
				return p
			}
			return rel
		},
	}
}

func (b *bench) read(t *testing.T) *stack.State {
	t.Helper()
	st, err := stack.ReadState(terraform.StateFile(b.state(), "3-test"))
	require.NoError(t, err)
	return st
}

// events gathers what a run reports.
type events struct {
	mu  sync.Mutex
	all []event.Event
}

func (e *events) report(ev event.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, ev)
}

func (e *events) text() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var b strings.Builder
	for _, ev := range e.all {
		b.WriteString(ev.Message + "\n")
	}
	return b.String()
}

const simple = `
variable "secret" {
  type      = string
  sensitive = true
}
variable "list" { type = list(number) }
resource "terraform_data" "a" { input = var.list }
output "secret" {
  value     = var.secret
  sensitive = true
}
output "list" { value = terraform_data.a.output }
`

func inputs(secret string, numbers ...int64) map[string]cty.Value {
	var list []cty.Value
	for _, n := range numbers {
		list = append(list, cty.NumberIntVal(n))
	}
	return map[string]cty.Value{"secret": cty.StringVal(secret).Mark(stack.Sensitive), "list": cty.TupleVal(list)}
}

func TestApplyChangeDestroy(t *testing.T) {
	b, ctx := newBench(t, map[string]string{"main.tf": simple, "stack.hcl": "", "sub/file.txt": "x"}), context.Background()
	r := b.runner()
	changes, err := r.Apply(ctx, b.work(inputs("hunter2", 1, 2)), nil)
	require.NoError(t, err)
	require.Equal(t, stack.Changes{Added: 1}, changes)
	st := b.read(t)
	text, err := stack.Text(st.Outputs["list"])
	require.NoError(t, err)
	require.Equal(t, "[1,2]", text)
	require.Equal(t, []string{"hunter2"}, stack.Secrets(st.Outputs["secret"]))
	require.FileExists(t, filepath.Join(b.work3(), "sub", "file.txt"))
	made := filepath.Join(b.work3(), "sub", "made.txt")
	require.NoError(t, os.WriteFile(made, nil, 0o600))

	// Whatever holds values is for the owner's eyes; nothing is left in the source tree.
	for _, name := range []string{"run/3-test/inputs.tfvars.json", "run/3-test/good.tfstate"} {
		info, err := os.Stat(filepath.Join(b.state(), name))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), name)
	}
	info, err := os.Stat(b.work3())
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	require.NoFileExists(t, filepath.Join(b.state(), "run", "3-test", "plan"))
	require.NoFileExists(t, filepath.Join(b.state(), "run", "3-test", "process"))
	entries, err := os.ReadDir(b.source())
	require.NoError(t, err)
	require.Len(t, entries, 3)

	var seen events
	changes, err = r.Apply(ctx, b.work(inputs("hunter2", 1, 2)), seen.report)
	require.NoError(t, err)
	require.False(t, changes.Any())
	require.NotContains(t, seen.text(), "terraform init", "init runs again only when its inputs changed")

	b.write(t, "more.tf", `resource "terraform_data" "b" {}`)
	seen = events{}
	changes, err = r.Apply(ctx, b.work(inputs("hunter2", 3)), seen.report)
	require.NoError(t, err)
	require.Equal(t, stack.Changes{Added: 1, Changed: 1}, changes)
	require.NotContains(t, seen.text(), "terraform init", "there is nothing to initialise")

	// A file that the stack no longer has goes from the work directory, too. What a run made stays.
	require.NoError(t, os.Remove(filepath.Join(b.source(), "more.tf")))
	require.NoError(t, os.RemoveAll(filepath.Join(b.source(), "sub")))
	plan, err := r.Plan(ctx, b.work(inputs("hunter2", 3)), "", nil)
	require.NoError(t, err)
	require.Equal(t, []stack.Action{{Address: "terraform_data.b", Verb: "delete"}}, plan.Actions)
	require.Equal(t, stack.Changes{Destroyed: 1}, plan.Changes)
	require.NoFileExists(t, filepath.Join(b.work3(), "sub", "file.txt"))
	require.FileExists(t, made)
	require.Len(t, b.read(t).Resources, 2, "a plan changes nothing")

	changes, err = r.Destroy(ctx, b.work(nil), nil) // with the inputs of the last run
	require.NoError(t, err)
	require.Equal(t, 2, changes.Destroyed)
	require.Empty(t, b.read(t).Resources)
}

func TestErrors(t *testing.T) {
	for _, tc := range []struct {
		name, tf string
		want     []string
	}{
		{"provisioner", "variable \"secret\" {}\nresource \"terraform_data\" \"a\" {\n  provisioner \"local-exec\" { command = \"echo about-to-fail; exit 3\" }\n}\n",
			[]string{"stacks/3-test/main.tf:3:", "terraform_data.a: local-exec provisioner error", "exit status 3", `provisioner "local-exec"`, "labctl exec 3-test -- plan", "3-test.log"}},
		{"unknown reference", "variable \"secret\" {}\noutput \"a\" { value = var.nope }\n",
			[]string{"stacks/3-test/main.tf:2:", "Reference to undeclared input variable"}},
		{"provider that nobody serves", "variable \"secret\" {}\nterraform {\n  required_providers {\n    lab = { source = \"labctl.local/labctl/lab\" }\n  }\n}\n",
			[]string{"labctl.local/labctl/lab"}},
		{"input of the wrong type", "variable \"secret\" { type = number }\n",
			[]string{"Invalid value for input variable", "stacks/3-test/stack.hcl: ", "declared at main.tf:1"}},
		{"precondition", "variable \"secret\" {}\nresource \"terraform_data\" \"a\" {\n  lifecycle {\n    precondition {\n      condition     = var.secret == \"\"\n      error_message = \"it must be ${var.secret}\"\n    }\n  }\n}\n",
			[]string{`resource "terraform_data" "a"`, "Resource precondition failed", "it must be (sensitive)"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t, map[string]string{"main.tf": tc.tf})
			_, err := b.runner().Apply(context.Background(), b.work(map[string]cty.Value{"secret": cty.StringVal("hunter2").Mark(stack.Sensitive)}), nil)
			var failed *terraform.Error
			require.ErrorAs(t, err, &failed)
			for _, want := range tc.want {
				require.Contains(t, err.Error(), want)
			}
			require.NotContains(t, err.Error(), "hunter2")
			require.NotContains(t, err.Error(), b.work3(), "the error names the source, not the copy")
			log, err := os.ReadFile(failed.Log)
			require.NoError(t, err)
			require.NotContains(t, string(log), "hunter2")
			require.Contains(t, string(log), tc.want[0])
		})
	}
}

// TestSecretsStayHidden has a provisioner print the secret, which terraform itself masks only if it knows.
func TestSecretsStayHidden(t *testing.T) {
	b := newBench(t, map[string]string{"main.tf": `
variable "secret" { type = string }
resource "terraform_data" "a" {
  input = var.secret
  provisioner "local-exec" { command = "echo the password is ${var.secret}; echo ${var.secret} >&2" }
}
output "plain" { value = "x${var.secret}y" }
`})
	var seen events
	_, err := b.runner().Apply(context.Background(), b.work(map[string]cty.Value{"secret": cty.StringVal("hunter2").Mark(stack.Sensitive)}), seen.report)
	require.NoError(t, err)
	require.Contains(t, seen.text(), "the password is (sensitive)")
	require.NotContains(t, seen.text(), "hunter2")
	log, err := os.ReadFile(filepath.Join(b.state(), "logs", "3-test.log"))
	require.NoError(t, err)
	require.Contains(t, string(log), "the password is (sensitive)")
	require.NotContains(t, string(log), "hunter2")
}

// endless is a stack whose second resource ends only when the file `go` appears. It says so by the file `here`.
func endless(dir string) map[string]string {
	return map[string]string{"main.tf": `
resource "terraform_data" "first" { input = 1 }
resource "terraform_data" "second" {
  depends_on = [terraform_data.first]
  provisioner "local-exec" {
    command = "echo $$ $PPID > ` + dir + `/here.tmp && mv ` + dir + `/here.tmp ` + dir + `/here; until [ -e ` + dir + `/go ]; do sleep 0.05; done"
  }
}
`}
}

// await waits for the file and gives its content.
func await(t *testing.T, path string) string {
	t.Helper()
	var data []byte
	require.Eventually(t, func() bool {
		var err error
		data, err = os.ReadFile(path)
		return err == nil
	}, 30*time.Second, 10*time.Millisecond, "%s does not appear", path)
	return string(data)
}

func TestInterruptKeepsState(t *testing.T) {
	sync := t.TempDir()
	b := newBench(t, endless(sync))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		_, err := b.runner().Apply(ctx, b.work(nil), nil)
		done <- err
	}()
	await(t, filepath.Join(sync, "here"))
	cancel()
	err := <-done
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, "its state is kept")
	st := b.read(t)
	require.NotEmpty(t, st.Resources)
	require.Equal(t, "terraform_data.first", st.Resources[0].Address)

	require.NoError(t, os.WriteFile(filepath.Join(sync, "go"), nil, 0o600))
	_, err = b.runner().Apply(context.Background(), b.work(nil), nil)
	require.NoError(t, err)
	require.Len(t, b.read(t).Resources, 2)
}

func TestTerraformOutlivesAKilledLabctl(t *testing.T) {
	sync := t.TempDir()
	b := newBench(t, endless(sync))
	cmd := exec.Command(os.Args[0]) //nolint:gosec // this test binary
	cmd.Env = append(os.Environ(), killEnv+"="+b.dir)
	require.NoError(t, cmd.Start())
	pids := strings.Fields(await(t, filepath.Join(sync, "here")))
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	running, err := b.runner().Running()
	require.NoError(t, err)
	require.Len(t, running, 1, "terraform goes on without labctl")
	require.Equal(t, pids[1], strconv.Itoa(running[0].PID))
	require.Equal(t, "apply", running[0].Command)

	interrupted, cancel := context.WithCancel(context.Background())
	var seen events
	waited := make(chan error, 1)
	go func() { waited <- b.runner().Await(interrupted, seen.report) }()
	require.Eventually(t, func() bool { return strings.Contains(seen.text(), "kill -INT "+pids[1]) }, 30*time.Second, 10*time.Millisecond)
	cancel()
	require.ErrorIs(t, <-waited, context.Canceled, "whoever waits can be interrupted")

	require.NoError(t, os.WriteFile(filepath.Join(sync, "go"), nil, 0o600))
	require.NoError(t, b.runner().Await(context.Background(), nil))
	require.Len(t, b.read(t).Resources, 2, "what it made is in the state")
	changes, err := b.runner().Apply(context.Background(), b.work(nil), nil)
	require.NoError(t, err)
	require.False(t, changes.Any(), "nothing is made twice")
	require.NoFileExists(t, filepath.Join(b.work3(), ".terraform.tfstate.lock.info"))
}

// An insisting user is not kept waiting, and terraform saves its state all the same.
func TestWhoInsistsLeavesTerraformToItself(t *testing.T) {
	sync := t.TempDir()
	b := newBench(t, endless(sync))
	ctx, insist := interrupt.WithInsist(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := b.runner().Apply(ctx, b.work(nil), nil)
		done <- err
	}()
	await(t, filepath.Join(sync, "here"))
	insist()
	var left *terraform.LeftError
	require.ErrorAs(t, <-done, &left)
	require.Equal(t, "3-test", left.Process.Stack)
	require.NoError(t, os.WriteFile(filepath.Join(sync, "go"), nil, 0o600))
	require.NoError(t, b.runner().Await(context.Background(), nil))
	require.Len(t, b.read(t).Resources, 2)
}

func TestStateCutOffInTheMiddle(t *testing.T) {
	b, ctx := newBench(t, map[string]string{"main.tf": simple}), context.Background()
	_, err := b.runner().Apply(ctx, b.work(inputs("hunter2", 1)), nil)
	require.NoError(t, err)
	path := terraform.StateFile(b.state(), "3-test")
	good, err := os.ReadFile(path)
	require.NoError(t, err)

	for _, cut := range [][]byte{good[:len(good)/2], nil} {
		require.NoError(t, os.WriteFile(path, cut, 0o600))
		var seen events
		changes, err := b.runner().Apply(ctx, b.work(inputs("hunter2", 1)), seen.report)
		require.NoError(t, err)
		require.False(t, changes.Any(), "nothing is created twice")
		require.Contains(t, seen.text(), "went back to the last good one")
	}

	require.NoError(t, os.Remove(filepath.Join(b.state(), "run", "3-test", "good.tfstate")))
	_ = os.Remove(path + ".backup")
	require.NoError(t, os.WriteFile(path, good[:len(good)/2], 0o600))
	_, err = b.runner().Apply(ctx, b.work(inputs("hunter2", 1)), nil)
	require.ErrorContains(t, err, "cannot be read")
}

func TestExec(t *testing.T) {
	b, ctx := newBench(t, map[string]string{"main.tf": simple}), context.Background()
	_, err := b.runner().Apply(ctx, b.work(inputs("hunter2", 1)), nil)
	require.NoError(t, err)
	for _, tc := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"output", "-json", "list"}, 0, "[1]"},
		{[]string{"state", "list"}, 0, "terraform_data.a"},
		{[]string{"plan", "-no-color", "-detailed-exitcode"}, 2, "terraform_data.a will be updated"},
		{[]string{"nonsense"}, 1, "nonsense"},
	} {
		t.Run(tc.args[0], func(t *testing.T) {
			var out bytes.Buffer
			code, err := b.runner().Exec(ctx, b.work(inputs("hunter2", 2)), tc.args, stack.ExecOptions{}, &iostreams.Streams{In: strings.NewReader(""), Out: &out, Err: &out})
			require.NoError(t, err)
			require.Equal(t, tc.code, code, out.String())
			require.Contains(t, out.String(), tc.want)
			require.NotContains(t, out.String(), "plugin cache")
		})
	}
}

func TestFindFails(t *testing.T) {
	b := newBench(t, map[string]string{"main.tf": simple})
	missing := errors.New("no terraform here")
	r := terraform.New(terraform.Options{Dir: b.state(), Find: func(context.Context, event.Report) (string, error) { return "", missing }})
	_, err := r.Apply(context.Background(), b.work(nil), nil)
	require.ErrorIs(t, err, missing)
}

// Looking while another labctl works leaves all that it works with alone: the note about its process, its inputs, and a state that terraform
// is just writing, which must not be taken for one that was cut off.
func TestReadingBesideARun(t *testing.T) {
	sync := t.TempDir()
	b := newBench(t, endless(sync))
	done := make(chan error, 1)
	go func() {
		_, err := b.runner().Apply(t.Context(), b.work(map[string]cty.Value{}), nil)
		done <- err
	}()
	await(t, filepath.Join(sync, "here"))
	state, notes := filepath.Join(b.work3(), "terraform.tfstate"), filepath.Join(b.state(), "run", "3-test", "inputs.tfvars.json")
	whole, err := os.ReadFile(state)
	require.NoError(t, err)
	require.NoError(t, os.Truncate(state, 10))
	before, err := os.Stat(state)
	require.NoError(t, err)
	inputs, err := os.ReadFile(notes)
	require.NoError(t, err)
	var out bytes.Buffer
	_, err = b.runner().Exec(t.Context(), b.work(map[string]cty.Value{"other": cty.True}), []string{"version"}, stack.ExecOptions{Beside: true}, &iostreams.Streams{In: strings.NewReader(""), Out: &out, Err: &out})
	require.NoError(t, err)
	require.Contains(t, out.String(), "Terraform v")
	running, err := b.runner().Running()
	require.NoError(t, err)
	require.Len(t, running, 1)
	after, err := os.Stat(state)
	require.NoError(t, err)
	require.True(t, os.SameFile(before, after))
	require.EqualValues(t, 10, after.Size())
	now, err := os.ReadFile(notes)
	require.NoError(t, err)
	require.Equal(t, string(inputs), string(now))
	read := make(chan error, 1)
	go func() {
		_, err := b.runner().State(t.Context(), b.work(nil), nil)
		read <- err
	}()
	file, err := os.OpenFile(state, os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = file.Write(whole)
	require.NoError(t, errors.Join(err, file.Close()))
	require.NoError(t, <-read)
	require.NoError(t, os.WriteFile(filepath.Join(sync, "go"), nil, 0o600))
	require.NoError(t, <-done)
	require.Len(t, b.read(t).Resources, 2)
}
