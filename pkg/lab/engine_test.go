package lab_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/hook"
	"github.com/labctl/labctl/pkg/lab"
	"github.com/labctl/labctl/pkg/provider"
	"github.com/labctl/labctl/pkg/stack"
	"github.com/labctl/labctl/pkg/terraform"
)

// mesh is a lab of terraform_data stacks: real terraform, real hooks, and nothing else.
type mesh struct {
	dir     string
	options lab.Options
	mu      sync.Mutex
	events  []event.Event
	pauses  []time.Duration
	sink    func(event.Event)
	locks   lab.RemoteLocks // nil: none are taken
}

// newMesh writes stacks given as "0-a" → the names of those that it needs. Each takes their outputs called value, and
// gives one of its own.
func newMesh(t *testing.T, labFile string, needs map[string][]string) *mesh {
	t.Helper()
	_, err := exec.LookPath("terraform")
	require.NoError(t, err, "these tests need terraform on PATH")
	m := &mesh{dir: t.TempDir()}
	if labFile == "" {
		labFile = "lab \"mesh\" {}\nenvironment \"local\" { target = \"local\" }\n"
	}
	m.write(t, "lab.hcl", labFile)
	for id, others := range needs {
		var inputs, variables, sum strings.Builder
		for _, o := range others {
			fmt.Fprintf(&inputs, "  %s = stack.%s.value\n", o, o)
			fmt.Fprintf(&variables, "variable %q { type = string }\n", o)
			fmt.Fprintf(&sum, "${var.%s}", o)
		}
		m.write(t, "stacks/local/"+id+"/stack.hcl", "inputs = {\n"+inputs.String()+"}\n")
		m.write(t, "stacks/local/"+id+"/main.tf", variables.String()+
			"resource \"terraform_data\" \"this\" { input = \""+id[:1]+sum.String()+"\" }\n"+
			"output \"value\" { value = terraform_data.this.input }\noutput \"id\" { value = terraform_data.this.id }\n")
	}
	return m
}

func (m *mesh) write(t *testing.T, name, content string) {
	t.Helper()
	path := filepath.Join(m.dir, name)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(t, os.WriteFile(path, []byte(content), 0o700))
}

func (m *mesh) append(t *testing.T, name, content string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(m.dir, name))
	require.NoError(t, err)
	m.write(t, name, string(data)+content)
}

type noResources struct{}

func (noResources) CheckHealth(_ context.Context, st *stack.State) (string, bool, error) {
	return provider.New(provider.Options{}).CheckHealth(context.Background(), st)
}
func (noResources) Sweep(context.Context, event.Report) error { return nil }

type realHooks struct{}

func (realHooks) Run(ctx context.Context, s lab.HookSpec, report event.Report) error {
	return hook.Run(ctx, s.Dir, s.Command, s.Env, report)
}

func (m *mesh) lab() (*lab.Lab, error) {
	g, err := stack.Open(stack.Options{Dir: m.dir})
	if err != nil {
		return nil, err
	}
	tf := terraform.New(terraform.Options{
		Dir:  g.Dir,
		Find: func(context.Context, event.Report) (string, error) { return exec.LookPath("terraform") },
	})
	return lab.New(g, lab.Deps{Terraform: tf, Shell: tf, Resources: noResources{}, Hooks: realHooks{}, Locks: m.locks,
		Pause: func(ctx context.Context, d time.Duration) error {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.pauses = append(m.pauses, d)
			return ctx.Err()
		}}), nil
}

func (m *mesh) opts() lab.Options {
	o := m.options
	o.Command = "labctl up"
	if o.User == "" {
		o.User = "ada"
	}
	o.Sink = event.SinkFunc(func(e event.Event) {
		m.mu.Lock()
		m.events = append(m.events, e)
		m.mu.Unlock()
		if m.sink != nil {
			m.sink(e)
		}
	})
	return o
}

func (m *mesh) up(ctx context.Context, change ...func(*lab.Options)) (*lab.Summary, error) {
	l, err := m.lab()
	if err != nil {
		return nil, err
	}
	o := m.opts()
	for _, c := range change {
		c(&o)
	}
	return l.Up(ctx, o)
}

func (m *mesh) down(ctx context.Context, change ...func(*lab.Options)) (*lab.Summary, error) {
	l, err := m.lab()
	if err != nil {
		return nil, err
	}
	o := m.opts()
	for _, c := range change {
		c(&o)
	}
	return l.Down(ctx, o)
}

func (m *mesh) outputs(t *testing.T) map[string]string {
	t.Helper()
	l, err := m.lab()
	require.NoError(t, err)
	all, err := l.Outputs(context.Background())
	require.NoError(t, err)
	out := map[string]string{}
	for name, outputs := range all {
		if v, ok := outputs["value"]; ok {
			out[name] = v.AsString()
		}
	}
	return out
}

// endings gives "0-a: changed" and so on.
func endings(s *lab.Summary) []string {
	var out []string
	for _, r := range s.Results {
		out = append(out, r.Stack+": "+string(r.Ending))
	}
	return out
}

func (m *mesh) said(kind event.Kind) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []string
	for _, e := range m.events {
		if e.Kind == kind {
			out = append(out, e.Step+": "+e.Message)
		}
	}
	return out
}

func diamond() map[string][]string {
	return map[string][]string{"0-a": nil, "1-b": {"a"}, "2-c": {"a"}, "3-d": {"b", "c"}, "4-e": nil}
}

func only(names ...string) func(*lab.Options) {
	return func(o *lab.Options) { o.Selection.Only = names }
}

func TestSelection(t *testing.T) {
	t.Parallel()
	m, ctx := newMesh(t, "", diamond()), context.Background()
	for _, tc := range []struct {
		name   string
		choose lab.Selection
		want   []string
	}{
		{"one and what it needs", lab.Selection{Stacks: []string{"1-b"}}, []string{"0-a: changed", "1-b: changed"}},
		{"just one", lab.Selection{Only: []string{"c"}}, []string{"2-c: changed"}},
		{"by number", lab.Selection{Only: []string{"4"}}, []string{"4-e: changed"}},
		{"a range", lab.Selection{From: "1", To: "2-c"}, []string{"1-b: unchanged", "2-c: unchanged"}},
		{"to", lab.Selection{To: "b"}, []string{"0-a: unchanged", "1-b: unchanged"}},
		{"without", lab.Selection{Skip: []string{"0-a", "e"}}, []string{"1-b: unchanged", "2-c: unchanged", "3-d: changed"}},
		{"what it needs, by the graph", lab.Selection{Stacks: []string{"b..."}}, []string{"0-a: unchanged", "1-b: unchanged"}},
		{"what needs it", lab.Selection{Stacks: []string{"...b"}}, []string{"1-b: unchanged", "3-d: unchanged"}},
		{"both", lab.Selection{Stacks: []string{"...b..."}}, []string{"0-a: unchanged", "1-b: unchanged", "3-d: unchanged"}},
		{"what changed", lab.Selection{Changed: []string{filepath.Join(m.dir, "stacks/local/2-c/main.tf")}}, []string{"2-c: unchanged", "3-d: unchanged"}},
		{"nothing changed", lab.Selection{Changed: []string{filepath.Join(m.dir, "README.md")}}, nil},
		{"lab.hcl changed", lab.Selection{Only: []string{"a"}, Changed: []string{filepath.Join(m.dir, "lab.hcl")}}, []string{"0-a: unchanged"}},
		{"all", lab.Selection{}, []string{"0-a: unchanged", "1-b: unchanged", "2-c: unchanged", "3-d: unchanged", "4-e: unchanged"}},
	} {
		summary, err := m.up(ctx, func(o *lab.Options) { o.Selection = tc.choose })
		require.NoError(t, err, tc.name)
		require.Equal(t, tc.want, endings(summary), tc.name)
	}
	require.Equal(t, map[string]string{"a": "0", "b": "10", "c": "20", "d": "31020", "e": "4"}, m.outputs(t))

	for _, tc := range []struct {
		choose lab.Selection
		want   string
	}{
		{lab.Selection{Stacks: []string{"x"}}, `no stack "x"`},
		{lab.Selection{From: "3", To: "1"}, "--from 3 comes after --to 1"},
		{lab.Selection{Only: []string{"a"}, From: "1"}, "name stacks, or use --only, or --from and --to"},
		{lab.Selection{Only: []string{"a"}, Skip: []string{"a"}}, "no stack is left"},
	} {
		_, err := m.up(ctx, func(o *lab.Options) { o.Selection = tc.choose })
		require.ErrorIs(t, err, lab.ErrSelection)
		require.ErrorContains(t, err, tc.want)
	}

	summary, err := m.down(ctx, func(o *lab.Options) { o.Selection = lab.Selection{Stacks: []string{"c"}} })
	require.NoError(t, err)
	require.Equal(t, []string{"3-d: changed", "2-c: changed"}, endings(summary), "what needs it goes first")
	require.Equal(t, map[string]string{"a": "0", "b": "10", "e": "4"}, m.outputs(t))
	_, err = m.up(ctx, only("d"))
	require.ErrorIs(t, err, stack.ErrNotKnown)
	require.ErrorContains(t, err, `output "value" of stack "c"`)
	_, err = m.down(ctx)
	require.NoError(t, err)
	require.NoDirExists(t, filepath.Join(m.dir, ".lab"))
}

// TestParallel shows that stacks which do not need each other run at once, and others never: b and c each wait for the
// other's file, d checks that both are done.
func TestParallel(t *testing.T) {
	t.Parallel()
	m, ctx := newMesh(t, "", diamond()), context.Background()
	meet := func(mine, other string) string {
		return fmt.Sprintf(`
resource "terraform_data" "meet" {
  provisioner "local-exec" {
    command = "touch %[1]s/%[2]s; for i in $(seq 600); do test -e %[1]s/%[3]s && exit 0; read -t 0.05 <> <(:) || true; done; exit 1"
    interpreter = ["bash", "-c"]
  }
}
`, m.dir, mine, other)
	}
	m.append(t, "stacks/local/1-b/main.tf", meet("b", "c"))
	m.append(t, "stacks/local/2-c/main.tf", meet("c", "b"))
	m.append(t, "stacks/local/3-d/main.tf", "resource \"terraform_data\" \"check\" {\n  lifecycle {\n    precondition {\n      condition = var.b != \"\" && fileexists(\""+m.dir+"/b\") && fileexists(\""+m.dir+"/c\")\n      error_message = \"too early\"\n    }\n  }\n}\n")
	summary, err := m.up(ctx, func(o *lab.Options) { o.Parallel = 2 })
	require.NoError(t, err)
	require.Equal(t, []string{"0-a: changed", "1-b: changed", "2-c: changed", "3-d: changed", "4-e: changed"}, endings(summary))
	require.Equal(t, "31020", m.outputs(t)["d"])
	_, err = m.down(ctx, func(o *lab.Options) { o.Parallel = 4 })
	require.NoError(t, err)
	require.NoDirExists(t, filepath.Join(m.dir, ".lab"))
}

const fails = "\nresource \"terraform_data\" \"fails\" {\n  provisioner \"local-exec\" { command = \"echo broken on purpose; exit 3\" }\n}\n"

func TestAFailureStopsWhatNeedsIt(t *testing.T) {
	t.Parallel()
	m, ctx := newMesh(t, "", diamond()), context.Background()
	m.append(t, "stacks/local/1-b/main.tf", fails)
	summary, err := m.up(ctx)
	var failed *lab.FailedError
	require.ErrorAs(t, err, &failed)
	require.Len(t, failed.Failures, 1)
	require.Equal(t, "1-b", failed.Failures[0].Stack)
	require.Regexp(t, `^apply stack "1-b": terraform apply failed\nstacks/local/1-b/main.tf:7:\d+: terraform_data.fails: local-exec provisioner error`, err.Error())
	require.Equal(t, []string{"0-a: changed", "1-b: failed", "2-c: changed", "3-d: blocked", "4-e: changed"}, endings(summary))
	require.Equal(t, "it needs 1-b, which did not end well", summary.Results[3].Detail)
	log, err := os.ReadFile(summary.Results[1].Log)
	require.NoError(t, err)
	require.Contains(t, string(log), "broken on purpose")

	summary, err = m.up(ctx, func(o *lab.Options) { o.FailFast = true })
	require.Error(t, err)
	require.Equal(t, []string{"0-a: unchanged", "1-b: failed", "2-c: not started", "3-d: not started", "4-e: not started"}, endings(summary))

	m.append(t, "stacks/local/4-e/main.tf", fails)
	_, err = m.up(ctx)
	require.ErrorAs(t, err, &failed)
	require.Len(t, failed.Failures, 2)
	require.ErrorContains(t, err, "\n\nand 4-e failed, too: apply stack \"4-e\"")
}

func TestTransientErrorsAreTriedAgain(t *testing.T) {
	t.Parallel()
	flaky := func(t *testing.T, m *mesh, text string, good int) {
		m.append(t, "stacks/local/0-a/main.tf", fmt.Sprintf(`
resource "terraform_data" "flaky" {
  provisioner "local-exec" {
    command = "echo x >> %[1]s/tries; test $(wc -l < %[1]s/tries) -ge %[2]d || { echo '%[3]s' >&2; exit 1; }"
  }
}
`, m.dir, good, text))
	}
	tries := func(m *mesh) int {
		data, err := os.ReadFile(filepath.Join(m.dir, "tries"))
		require.NoError(t, err)
		return strings.Count(string(data), "x")
	}
	stacks := map[string][]string{"0-a": nil}
	t.Run("it passes", func(t *testing.T) {
		m := newMesh(t, "", stacks)
		flaky(t, m, "read tcp: connection reset by peer", 3)
		_, err := m.up(context.Background())
		require.NoError(t, err)
		require.Equal(t, 3, tries(m))
		require.Equal(t, []time.Duration{5 * time.Second, 10 * time.Second}, m.pauses, "each wait is twice the last")
		require.Contains(t, strings.Join(m.said(event.Warning), "\n"), "again in 10s (try 3 of 3)")
	})
	t.Run("not for ever", func(t *testing.T) {
		m := newMesh(t, "", stacks)
		flaky(t, m, "unexpected status 503 Service Unavailable", 9)
		_, err := m.up(context.Background())
		require.ErrorContains(t, err, "tried 3 times")
		require.Equal(t, 3, tries(m))
	})
	t.Run("no other error", func(t *testing.T) {
		m := newMesh(t, "", stacks)
		flaky(t, m, "the name is taken", 2)
		_, err := m.up(context.Background())
		require.Error(t, err)
		require.Equal(t, 1, tries(m))
		require.Empty(t, m.pauses)
	})
	t.Run("the lab's own", func(t *testing.T) {
		m := newMesh(t, "lab \"mesh\" {}\nretry {\n  on = [\"name is taken\"]\n  attempts = 2\n  wait = \"1s\"\n}\nenvironment \"local\" { target = \"local\" }\n", stacks)
		flaky(t, m, "the name is taken", 2)
		_, err := m.up(context.Background())
		require.NoError(t, err)
		require.Equal(t, []time.Duration{time.Second}, m.pauses)
	})
}

func TestHooks(t *testing.T) {
	t.Parallel()
	m, ctx := newMesh(t, "", map[string][]string{"0-a": nil, "1-b": {"a"}}), context.Background()
	m.write(t, "stacks/local/1-b/note.sh", "#!/bin/sh\necho \"$1 $LABCTL_STACK $LABCTL_COMMAND $VALUE $LABCTL_ERROR\" | head -n 1 >> "+m.dir+"/notes\ntest ! -e "+m.dir+"/bad-$1\n")
	m.append(t, "stacks/local/1-b/stack.hcl", `
hook "first" {
  when    = "before"
  on      = ["up", "down"]
  command = ["./note.sh", "first"]
  env     = { VALUE = stack.a.value }
}
hook "last" {
  when    = "after"
  command = ["./note.sh", "last"]
  env     = { VALUE = stack.b.value }
}
hook "cleanup" {
  when    = "error"
  command = ["./note.sh", "cleanup"]
}
`)
	notes := func() []string {
		data, err := os.ReadFile(filepath.Join(m.dir, "notes"))
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		require.NoError(t, err)
		require.NoError(t, os.Remove(filepath.Join(m.dir, "notes")))
		var out []string
		for line := range strings.Lines(string(data)) {
			out = append(out, strings.TrimSpace(line))
		}
		return out
	}
	_, err := m.up(ctx)
	require.NoError(t, err)
	require.Equal(t, []string{"first 1-b up 0", "last 1-b up 10"}, notes())
	_, err = m.up(ctx)
	require.NoError(t, err)
	require.Empty(t, notes(), "nothing was done, so there is nothing to do beside it")

	m.append(t, "stacks/local/1-b/main.tf", "# changed\n")
	m.write(t, "bad-last", "")
	summary, err := m.up(ctx)
	require.ErrorContains(t, err, `hook "last" of stack "1-b" (stacks/local/1-b/stack.hcl:11): run ./note.sh: exit status 1`)
	require.Equal(t, lab.EndFailed, summary.Results[1].Ending)
	got := notes()
	require.Equal(t, []string{"first 1-b up 0", "last 1-b up 10"}, got[:2])
	require.Contains(t, got[2], "cleanup 1-b up")
	require.Contains(t, got[2], `hook "last" of stack "1-b"`)
	require.NoError(t, os.Remove(filepath.Join(m.dir, "bad-last")))
	_, err = m.up(ctx)
	require.NoError(t, err)
	require.Equal(t, []string{"last 1-b up 10"}, notes(), "it is still due, though the stack did not change since")

	m.write(t, "bad-first", "")
	m.append(t, "stacks/local/1-b/main.tf", "resource \"terraform_data\" \"more\" {}\n")
	_, err = m.up(ctx)
	require.ErrorContains(t, err, `hook "first"`)
	st, err := stack.ReadState(filepath.Join(m.dir, ".lab/local/stacks/1-b/terraform.tfstate"))
	require.NoError(t, err)
	require.Len(t, st.Resources, 1, "nothing is applied after a hook before it failed")
	require.NoError(t, os.Remove(filepath.Join(m.dir, "bad-first")))
	notes()
	_, err = m.down(ctx)
	require.NoError(t, err)
	require.Equal(t, []string{"first 1-b down 0"}, notes())
}

func TestOnlySensitiveValuesOfHooksAreMasked(t *testing.T) {
	t.Parallel()
	m := newMesh(t, "", map[string][]string{"0-a": nil})
	m.write(t, "stacks/local/0-a/say.sh", "#!/bin/sh\necho \"$PLACE $TOKEN\"\n")
	m.append(t, "stacks/local/0-a/main.tf", "output \"token\" {\n  value     = \"hunter2\"\n  sensitive = true\n}\n")
	m.append(t, "stacks/local/0-a/stack.hcl", `
hook "say" {
  when    = "after"
  command = ["./say.sh"]
  env     = { PLACE = "local", TOKEN = stack.a.token }
}
`)
	_, err := m.up(context.Background())
	require.NoError(t, err)
	require.Contains(t, m.said(event.Log), "0-a/hook say: local (sensitive)")
}

func TestNoChangeIsMadeThatIsNotAllowed(t *testing.T) {
	t.Parallel()
	m, ctx := newMesh(t, "", map[string][]string{"0-a": nil}), context.Background()
	m.append(t, "stacks/local/0-a/stack.hcl", "hook \"first\" {\n  when    = \"before\"\n  command = [\"touch\", \""+m.dir+"/ran\"]\n}\n")
	refused := errors.New("not confirmed")
	refuse := func(o *lab.Options) { o.MayChange = func(string) error { return refused } }
	_, err := m.up(ctx, refuse)
	require.ErrorIs(t, err, refused)
	require.NoFileExists(t, filepath.Join(m.dir, "ran"), "a hook is part of the change")
	require.NoFileExists(t, filepath.Join(m.dir, ".lab/local/stacks/0-a/terraform.tfstate"))
	_, err = m.up(ctx)
	require.NoError(t, err)
	_, err = m.up(ctx, refuse)
	require.NoError(t, err, "there is nothing to change")
}

func TestTimeout(t *testing.T) {
	t.Parallel()
	m, ctx := newMesh(t, "", map[string][]string{"0-a": nil, "1-b": nil}), context.Background()
	m.append(t, "stacks/local/0-a/stack.hcl", "timeout = \"6s\"\n")
	m.append(t, "stacks/local/0-a/main.tf", "resource \"terraform_data\" \"slow\" {\n  provisioner \"local-exec\" { command = \"exec sleep 600\" }\n}\n")
	summary, err := m.up(ctx)
	var late *lab.TimeoutError
	require.ErrorAs(t, err, &late)
	require.ErrorContains(t, err, `stack "0-a" took longer than its timeout of 6s`)
	require.Equal(t, []string{"0-a: failed", "1-b: changed"}, endings(summary))
	st, err := stack.ReadState(filepath.Join(m.dir, ".lab/local/stacks/0-a/terraform.tfstate"))
	require.NoError(t, err, "terraform was asked to end, and kept its state")
	require.NotEmpty(t, st.Resources)
}

func TestAffectedAndWhy(t *testing.T) {
	t.Parallel()
	m, ctx := newMesh(t, "", diamond()), context.Background()
	_, err := m.up(ctx)
	require.NoError(t, err)
	m.events = nil
	data, err := os.ReadFile(filepath.Join(m.dir, "stacks/local/1-b/main.tf"))
	require.NoError(t, err)
	m.write(t, "stacks/local/1-b/main.tf", strings.Replace(string(data), `input = "1`, `input = "one-`, 1))
	summary, err := m.up(ctx, func(o *lab.Options) { o.Affected, o.Why = true, true })
	require.NoError(t, err)
	require.Equal(t, []string{"0-a: unchanged", "1-b: changed", "2-c: unchanged", "3-d: changed", "4-e: unchanged"}, endings(summary))
	require.Equal(t, []string{"1-b: 0 added, 1 changed, 0 destroyed (main.tf changed)", "3-d: 0 added, 1 changed, 0 destroyed (input b changed)"}, m.said(event.Done))
}

func TestPlan(t *testing.T) {
	t.Parallel()
	m, ctx := newMesh(t, "", diamond()), context.Background()
	m.write(t, "stacks/local/4-e/stack.hcl", "inputs = { id = stack.a.id }\n")
	m.append(t, "stacks/local/4-e/main.tf", "variable \"id\" { type = string }\n")
	l, err := m.lab()
	require.NoError(t, err)
	keep := filepath.Join(t.TempDir(), "plans")
	plans, err := l.Plan(ctx, m.opts(), keep)
	require.NoError(t, err)
	require.Len(t, plans, 5)
	for i, want := range []struct {
		stack string
		added int
		waits []string
	}{{"0-a", 1, nil}, {"1-b", 1, nil}, {"2-c", 1, nil}, {"3-d", 1, nil}, {"4-e", 1, []string{"0-a: id"}}} {
		require.Equal(t, want.stack, plans[i].Stack)
		require.Equal(t, want.added, plans[i].Changes.Added, want.stack)
		require.Equal(t, want.waits, plans[i].Waits, want.stack)
		require.Equal(t, want.waits != nil, plans[i].Partial, want.stack)
	}
	require.Equal(t, stack.Action{Address: "terraform_data.this", Verb: "create"}, plans[0].Actions[0])
	require.Empty(t, m.outputs(t), "a plan applies nothing")
	info, err := os.Stat(filepath.Join(keep, "0-a.tfplan"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	require.NoFileExists(t, filepath.Join(keep, "4-e.tfplan"), "what is not known has no plan that can be applied")

	kept, err := l.Plans(ctx, keep)
	require.NoError(t, err)
	require.Equal(t, []string{"0-a", "1-b", "2-c", "3-d"}, kept.Stacks)
	apply := func(o *lab.Options) { o.Plans, o.Selection.Only = kept, kept.Stacks }
	_, err = m.up(ctx, apply)
	require.NoError(t, err)
	require.Equal(t, "31020", m.outputs(t)["d"])
	require.NotContains(t, m.outputs(t), "e")

	_, err = l.Plans(ctx, keep)
	var moved *lab.MovedError
	require.ErrorAs(t, err, &moved)
	require.Contains(t, moved.Moved[0], "0-a: its state moved on (serial ")

	require.NoError(t, os.WriteFile(filepath.Join(keep, "mine.txt"), nil, 0o600))
	_, err = l.Plan(ctx, m.opts(), keep)
	require.ErrorContains(t, err, "it holds other files (mine.txt)")
}

func TestPlansAreForWhatTheyWereMadeOf(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for _, tc := range []struct {
		name   string
		change func(t *testing.T, m *mesh)
		want   string
	}{
		{"a file", func(t *testing.T, m *mesh) { m.append(t, "stacks/local/1-b/main.tf", "# new\n") }, "1-b: main.tf changed"},
		{"an input", func(t *testing.T, m *mesh) {
			m.write(t, "stacks/local/1-b/stack.hcl", "inputs = { a = \"other\" }\n")
		}, "1-b: input a changed"},
		{"a stack that is gone", func(t *testing.T, m *mesh) {
			require.NoError(t, os.RemoveAll(filepath.Join(m.dir, "stacks/local/1-b")))
		}, "1-b: there is no such stack any more"},
		{"an apply in between", func(t *testing.T, m *mesh) {
			m.append(t, "stacks/local/0-a/main.tf", "# new\n")
			_, err := m.up(ctx)
			require.NoError(t, err)
		}, "0-a: main.tf changed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := newMesh(t, "", map[string][]string{"0-a": nil, "1-b": {"a"}})
			l, err := m.lab()
			require.NoError(t, err)
			keep := filepath.Join(t.TempDir(), "plans")
			_, err = l.Plan(ctx, m.opts(), keep)
			require.NoError(t, err)
			tc.change(t, m)
			l, err = m.lab()
			require.NoError(t, err)
			_, err = l.Plans(ctx, keep)
			var moved *lab.MovedError
			require.ErrorAs(t, err, &moved)
			require.Contains(t, moved.Moved, tc.want)
		})
	}
	m := newMesh(t, "", map[string][]string{"0-a": nil})
	l, err := m.lab()
	require.NoError(t, err)
	_, err = l.Plans(ctx, t.TempDir())
	require.ErrorContains(t, err, "make them with `labctl plan --out")
}

func TestDrift(t *testing.T) {
	t.Parallel()
	w, ctx := newWorld(t), context.Background()
	require.NoError(t, w.up(ctx))
	look := func() string {
		l, err := w.lab()
		require.NoError(t, err)
		found, err := l.Drift(ctx, w.options("labctl drift"))
		require.NoError(t, err)
		var differ []*lab.StackDrift
		for _, d := range found {
			if d.Any() {
				differ = append(differ, d)
			}
		}
		data, err := json.Marshal(differ)
		require.NoError(t, err)
		return string(data)
	}
	require.Equal(t, "null", look())
	require.NoError(t, os.RemoveAll(filepath.Join(w.dir, ".lab/local/workspace")))
	require.NoError(t, os.RemoveAll(w.path("release", "")))
	w.read = func(provider.ClusterSpec) string { return "the node does not run" }
	require.JSONEq(t, `[
		{"stack":"0-foundation","resources":[{"address":"lab_workspace.this","action":"delete"}]},
		{"stack":"1-cluster","resources":[{"address":"lab_cluster.this","action":"update"}]},
		{"stack":"5-release","releases":[{"name":"chat","why":"1-cluster: lab_cluster.this: the node does not run"}]}
	]`, look())
	require.Equal(t, look(), look(), "looking changes nothing")
	w.read = nil
	require.NoError(t, w.up(ctx))
	require.Equal(t, "null", look(), "up repairs it")
}

// A link that leads nowhere is left to terraform, which stumbles over it only if it needs what is not there.
func TestLinksThatLeadNowhereDoNotMatter(t *testing.T) {
	t.Parallel()
	m, ctx := newMesh(t, "", map[string][]string{"0-a": nil}), context.Background()
	for name, to := range map[string]string{"loop": "loop", "file": "main.tf/x", "none": "nowhere", "long": strings.Repeat("x", 300)} {
		require.NoError(t, os.Symlink(to, filepath.Join(m.dir, "stacks/local/0-a", name)))
	}
	_, err := m.up(ctx)
	require.NoError(t, err)
	summary, err := m.up(ctx)
	require.NoError(t, err)
	require.Equal(t, lab.EndUnchanged, summary.Results[0].Ending)
	_, err = m.down(ctx)
	require.NoError(t, err)
}
