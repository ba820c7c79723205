package lab_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/lab"
	"github.com/labctl/labctl/test/scope"
)

const (
	// killChild makes this test's binary work on the mesh in that directory.
	killChild = "LABCTL_TEST_KILL_MESH"
	// killUser makes it take remote locks in that name.
	killUser = "LABCTL_TEST_KILL_USER"
)

// killMesh is five stacks which note everything that is made or unmade in files of their own, each with an id that
// terraform knows, too: so whatever is made twice or lost shows.
func killMesh(t *testing.T) *mesh {
	m := newMesh(t, "", diamond())
	for id := range diamond() {
		m.append(t, "stacks/local/"+id+"/main.tf", `
resource "terraform_data" "noted" {
  count = 2
  input = "`+m.dir+`/made/`+id+`-${count.index}-${terraform_data.this.id}"
  provisioner "local-exec" { command = "mkdir -p `+m.dir+`/made && touch ${self.input}" }
  provisioner "local-exec" {
    when    = destroy
    command = "rm -f ${self.input}"
  }
}
output "noted" { value = terraform_data.noted[*].input }
`)
	}
	return m
}

// TestKillInside kills labctl with SIGKILL at random moments: between steps, while terraform starts, plans, applies,
// destroys and writes its state. After the next up, states and journal agree, and nothing was made twice or lost.
// -run 'TestKillInside/seed_N$' repeats one of them.
func TestKillInside(t *testing.T) {
	t.Parallel()
	for seed := range scope.Of[uint64](12, 100) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			killAtRandom(t, seed)
		})
	}
}

func killAtRandom(t *testing.T, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 1))
	m, ctx := killMesh(t), context.Background()
	verb := "up"
	if random.IntN(3) == 0 {
		verb = "down"
		_, err := m.up(ctx, func(o *lab.Options) { o.Parallel = 4 })
		require.NoError(t, err)
	}
	m.options.Parallel = []int{1, 4}[random.IntN(2)]
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), killChild+"="+m.dir, childVerb+"="+verb, "PARALLEL="+strconv.Itoa(m.options.Parallel))
	require.NoError(t, cmd.Start())
	// A run takes about a second; the moment is what the seed is for, and no moment is wrong.
	after := time.NewTimer(time.Duration(random.IntN(1500)) * time.Millisecond)
	<-after.C
	require.NoError(t, cmd.Process.Signal(syscall.SIGKILL))
	_ = cmd.Wait() // killed, or done before
	taken := takenDown(t, m, verb)
	if random.IntN(4) == 0 {
		_, err := m.down(ctx)
		require.NoError(t, err)
		require.NoDirExists(t, filepath.Join(m.dir, ".lab"))
	}
	_, err := m.up(ctx)
	require.NoError(t, err)
	require.Equal(t, map[string]string{"a": "0", "b": "10", "c": "20", "d": "31020", "e": "4"}, m.outputs(t))

	l, err := m.lab()
	require.NoError(t, err)
	outputs, err := l.Outputs(ctx)
	require.NoError(t, err)
	var known []string
	for _, of := range outputs {
		for _, v := range of["noted"].AsValueSlice() {
			known = append(known, filepath.Base(v.AsString()))
		}
	}
	var made []string
	entries, err := os.ReadDir(filepath.Join(m.dir, "made"))
	require.NoError(t, err)
	for _, e := range entries {
		made = append(made, e.Name())
	}
	slices.Sort(known)
	require.Equal(t, len(slices.Compact(slices.Clone(known))), len(known))
	for _, k := range known {
		// The provisioner of a destroy can have done its work before terraform was killed, with the state not written yet.
		// terraform_data has no way to look whether it is there, so it stays in the state.
		if !slices.Contains(made, k) {
			require.Contains(t, taken, strings.Join(strings.SplitN(k, "-", 3)[:2], "-"), "%s is known to a state, and was made", k)
		}
	}
	// A provisioner whose terraform was killed with it can have made a file that no state knows: terraform itself says
	// that of provisioners. What was made and noted is never made again under another id.
	for _, f := range made {
		if !slices.Contains(known, f) {
			id := strings.SplitN(f, "-", 4)
			require.Equal(t, 1, len(slices.DeleteFunc(slices.Clone(known), func(k string) bool { return !strings.HasPrefix(k, strings.Join(id[:3], "-")) })), f)
		}
	}
	summary, err := m.up(ctx)
	require.NoError(t, err)
	for _, r := range summary.Results {
		require.Equal(t, lab.EndUnchanged, r.Ending, "state and journal agree on %s", r.Stack)
	}
	_, err = m.down(ctx)
	require.NoError(t, err)
	require.NoDirExists(t, filepath.Join(m.dir, ".lab"))
}

// takenDown is which stacks a killed down was taking down, as the journal has it.
func takenDown(t *testing.T, m *mesh, verb string) []string {
	t.Helper()
	var ids []string
	if verb != "down" {
		return ids
	}
	l, err := m.lab()
	require.NoError(t, err)
	steps, err := l.Steps()
	require.NoError(t, err)
	for _, s := range steps {
		if s.State == lab.Begun {
			ids = append(ids, s.Stack)
		}
	}
	return ids
}

// killed is what the child of killAtRandom runs.
func killed(dir string) int {
	m := &mesh{dir: dir}
	if user := os.Getenv(killUser); user != "" {
		m.shared(user)
	}
	m.options.Parallel, _ = strconv.Atoi(os.Getenv("PARALLEL"))
	run := m.up
	if os.Getenv(childVerb) == "down" {
		run = m.down
	}
	if _, err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// TestKillWhileAStateMoves kills labctl at each request that moving states makes to the place where they go.
func TestKillWhileAStateMoves(t *testing.T) {
	t.Parallel()
	for _, verb := range []string{"up", "down"} {
		for at := 1; at <= 12; at += scope.Of(3, 1) {
			t.Run(fmt.Sprintf("%s %d", verb, at), func(t *testing.T) {
				t.Parallel()
				s := newStateServer(t)
				m, ctx := newRemoteMesh(t, s), context.Background()
				if verb == "down" {
					_, err := m.up(ctx)
					require.NoError(t, err)
				}
				cmd := exec.Command(os.Args[0])
				cmd.Env = append(os.Environ(), killChild+"="+m.dir, childVerb+"="+verb)
				n := 0
				s.mu.Lock()
				s.before = func() {
					if n++; n == at {
						_ = cmd.Process.Signal(syscall.SIGKILL) // it can be gone already
					}
				}
				require.NoError(t, cmd.Start())
				s.mu.Unlock()
				_ = cmd.Wait() // killed, or done before
				waitForNobody(t, m.dir)
				s.mu.Lock()
				s.before = nil
				clear(s.locks) // those of a terraform that was killed, as `labctl exec STACK -- force-unlock` would
				s.mu.Unlock()
				_, err := m.up(ctx)
				require.NoError(t, err)
				require.Equal(t, map[string]string{"a": "0", "b": "10"}, m.outputs(t))
				require.Equal(t, 1, s.resources(t, "/a"))
				summary, err := m.up(ctx)
				require.NoError(t, err)
				require.Equal(t, []string{"0-a: unchanged", "1-b: unchanged"}, endings(summary))
				_, err = m.down(ctx)
				require.NoError(t, err)
				require.NoDirExists(t, filepath.Join(m.dir, ".lab"))
			})
		}
	}
}

// waitForNobody waits until no process works below dir: the kernel ends a terraform whose labctl was killed, in a moment.
func waitForNobody(t *testing.T, dir string) {
	t.Helper()
	require.Eventually(t, func() bool {
		processes, err := filepath.Glob("/proc/[0-9]*/cwd")
		require.NoError(t, err)
		for _, p := range processes {
			if at, err := os.Readlink(p); err == nil && strings.HasPrefix(at, dir) {
				return false
			}
		}
		return true
	}, time.Minute, 10*time.Millisecond)
}

// FuzzJournal gives openJournal anything: it must take it for a journal or for an empty one, and be able to go on.
func FuzzJournal(f *testing.F) {
	f.Add([]byte(`{"version": 2, "steps": {"1-cluster": {"state": "done", "parts": {"main.tf": "1"}, "serial": 3}}}`))
	f.Add([]byte(`{"version": 2, "steps": null}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m := &mesh{dir: t.TempDir()}
		m.write(t, "lab.hcl", "lab \"mesh\" {}\nenvironment \"local\" { target = \"local\" }\n")
		m.write(t, "stacks/local/0-a/stack.hcl", "")
		m.write(t, ".lab/local/journal.json", string(data))
		l, err := m.lab()
		require.NoError(t, err)
		steps, err := l.Steps()
		require.NoError(t, err)
		require.Empty(t, steps)
		_, err = m.up(context.Background())
		require.NoError(t, err)
		if saved, err := os.ReadFile(filepath.Join(m.dir, ".lab/local/journal.json")); err == nil && string(saved) != string(data) {
			require.True(t, json.Valid(saved))
		}
	})
}
