package lab_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/lab"
	"github.com/labctl/labctl/pkg/lease"
)

// lockOfA is the path of the lock that lies beside the state of stack a.
const lockOfA = "/a.labctl-lock"

// shared makes the mesh take locks that other machines see.
func (m *mesh) shared(user string) {
	m.locks = lease.New(lease.Options{Getenv: func(string) string { return "" }})
	m.options.User, m.options.Host = user, user+"-laptop"
}

// newSharedMesh is one machine's checkout of the lab of newFoundMesh.
func newSharedMesh(t *testing.T, s *stateServer, store, user string) *mesh {
	m := newFoundMesh(t, s, store)
	m.shared(user)
	return m
}

// at calls do when a step begins, while the run waits.
func (m *mesh) at(step string, do func()) {
	m.sink = func(e event.Event) {
		if e.Kind == event.Started && e.Step == step {
			m.sink = nil
			done := make(chan struct{})
			go func() { // whose end, where a requirement fails, does not hold the run up
				defer close(done)
				do()
			}()
			<-done
		}
	}
}

func requireLocked(t *testing.T, err error, user string, pid int) {
	t.Helper()
	var locked *lab.LockedError
	require.ErrorAs(t, err, &locked)
	require.Equal(t, user, locked.User)
	require.Equal(t, user+"-laptop", locked.Host)
	require.Equal(t, "labctl up", locked.Command)
	require.Equal(t, pid, locked.PID)
	require.WithinDuration(t, time.Now(), locked.Since, time.Minute)
	require.WithinDuration(t, time.Now().Add(time.Minute), locked.Expires, 30*time.Second)
	require.ErrorContains(t, err, "`labctl up` of "+user+" on "+user+"-laptop (process ")
	require.ErrorContains(t, err, lockOfA+") expires at ")
}

func TestAnotherMachineIsRefused(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		store func(*stateServer) string // what the first machine's lab.hcl says
		when  string
	}{
		{"where lab.hcl says where the state is, from the start", func(s *stateServer) string { return s.URL }, "0-a"},
		{"else once the state has moved there", func(*stateServer) string { return "" }, "1-b"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, ctx := newStateServer(t), context.Background()
			first, second := newSharedMesh(t, s, tc.store(s), "ada"), newSharedMesh(t, s, s.URL, "ben")
			asked := false
			first.at(tc.when, func() {
				asked = true
				_, err := second.up(ctx)
				requireLocked(t, err, "ada", os.Getpid())
				_, err = second.down(ctx)
				requireLocked(t, err, "ada", os.Getpid())
				l, err := second.lab()
				require.NoError(t, err)
				_, err = l.Exec(ctx, "a", []string{"state", "rm", "terraform_data.this"}, nil, second.opts())
				requireLocked(t, err, "ada", os.Getpid())
				_, err = l.Outputs(ctx)
				require.NoError(t, err, "who only reads takes no lock")
			})
			_, err := first.up(ctx)
			require.NoError(t, err)
			require.True(t, asked)
			require.Empty(t, s.locks)
			_, err = second.up(ctx)
			require.NoError(t, err)
			require.Empty(t, second.said(event.Warning), "nobody died")

			// A down holds the lock until nothing is left in that place, but not while the place is destroyed.
			second.at("1-b", func() {
				_, err := first.up(ctx)
				requireLocked(t, err, "ben", os.Getpid())
			})
			_, err = second.down(ctx)
			require.NoError(t, err)
			_, err = newSharedMesh(t, s, s.URL, "cyd").up(ctx)
			require.NoError(t, err)
			third := newSharedMesh(t, s, s.URL, "dan")
			asked = false
			third.at("0-a", func() {
				asked = true
				require.Nil(t, s.locks[lockOfA])
				require.Equal(t, 0, s.resources(t, "/a"), "the state is here while its place is destroyed")
				require.FileExists(t, filepath.Join(third.dir, ".lab/local/stacks/0-a/terraform.tfstate"))
			})
			_, err = third.down(ctx)
			require.NoError(t, err)
			require.True(t, asked)
			require.Empty(t, s.locks)
		})
	}
}

// killInside runs up on the mesh in a process, and kills that with SIGKILL while it holds the lock.
func killInside(t *testing.T, m *mesh, s *stateServer, user string) (pid int) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), killChild+"="+m.dir, killUser+"="+user, childVerb+"=up")
	killed := false
	s.mu.Lock()
	s.before = func() {
		if s.locks[lockOfA] != nil && s.states["/a"] != nil && !killed {
			killed = cmd.Process.Signal(syscall.SIGKILL) == nil
		}
	}
	require.NoError(t, cmd.Start())
	s.mu.Unlock()
	require.Error(t, cmd.Wait())
	waitForNobody(t, m.dir)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = nil
	require.True(t, killed)
	for name := range s.locks { // those of a terraform that was killed, too
		if name != lockOfA {
			delete(s.locks, name)
		}
	}
	require.NotNil(t, s.locks[lockOfA])
	return cmd.Process.Pid
}

func TestTheLockOfAKilledMachineIsTakenOver(t *testing.T) {
	t.Parallel()
	t.Run("by another machine, when it has expired", func(t *testing.T) {
		s, ctx := newStateServer(t), context.Background()
		first, second := newSharedMesh(t, s, "", "ada"), newSharedMesh(t, s, s.URL, "ben")
		pid := killInside(t, first, s, "ada")
		_, err := second.up(ctx)
		requireLocked(t, err, "ada", pid)
		s.mu.Lock()
		s.ahead = 2 * time.Minute
		s.mu.Unlock()
		_, err = second.up(ctx)
		require.NoError(t, err)
		require.Contains(t, strings.Join(second.said(event.Warning), "\n"), "`labctl up` of ada on ada-laptop (process ")
		require.Equal(t, map[string]string{"a": "0", "b": "10"}, second.outputs(t))
		require.Empty(t, s.locks)
	})
	t.Run("by the same machine at once", func(t *testing.T) {
		s := newStateServer(t)
		first := newSharedMesh(t, s, "", "ada")
		killInside(t, first, s, "ada")
		_, err := first.up(context.Background())
		require.NoError(t, err)
		require.Len(t, first.said(event.Warning), 1, "it says once that the former run died")
		require.Empty(t, s.locks)
	})
}

func TestARunThatLosesTheLockIsInterrupted(t *testing.T) {
	t.Parallel()
	s, ctx := newStateServer(t), context.Background()
	m := newSharedMesh(t, s, s.URL, "ada")
	wake := make(chan time.Time)
	m.locks = lease.New(lease.Options{Getenv: func(string) string { return "" }, Clock: lease.Clock{
		Now: time.Now, After: func(time.Duration) <-chan time.Time { return wake },
	}})
	started := filepath.Join(m.dir, "started")
	require.NoError(t, syscall.Mkfifo(started, 0o600))
	m.append(t, "stacks/local/1-b/main.tf", `
resource "terraform_data" "slow" {
  depends_on = [terraform_data.this]
  provisioner "local-exec" { command = "echo >`+started+` && exec sleep 300" }
}
`)
	go func() {
		if _, err := os.ReadFile(started); err != nil { // it comes when terraform is in the middle of the apply
			panic(err)
		}
		s.mu.Lock() // somebody unlocks by hand, and somebody else takes the lock
		info, err := json.Marshal(map[string]string{"ID": "eve's"})
		if err != nil {
			panic(err)
		}
		s.locks[lockOfA] = info
		s.states[lockOfA] = []byte(`{"labctl_lock": {"id": "eve's", "user": "eve", "host": "ci", "command": "labctl down"}}`)
		s.mu.Unlock()
		wake <- time.Now()
	}()
	_, err := m.up(ctx)
	var lost *lab.LockLostError
	require.ErrorAs(t, err, &lost)
	require.NotErrorIs(t, err, context.Canceled, "the user did not interrupt it")
	require.ErrorContains(t, err, "interrupted at 1-b; what is done is kept, and `labctl up` resumes there: the lock in "+s.URL+lockOfA+" is lost: `labctl down` of eve on ci has taken it")
	require.Equal(t, 2, s.resources(t, "/b"), "terraform wrote its state")
	require.Contains(t, string(s.locks[lockOfA]), "eve's", "what is somebody else's is not released")
	l, err := m.lab()
	require.NoError(t, err)
	steps, err := l.Steps()
	require.NoError(t, err)
	require.Equal(t, lab.Begun, steps[1].State)
}

func TestABackendWithoutARemoteLock(t *testing.T) {
	t.Parallel()
	s := newStateServer(t)
	m := newRemoteMesh(t, s)
	m.shared("ada")
	for _, id := range []string{"0-a", "1-b"} {
		name := "stacks/local/" + id + "/stack.hcl"
		m.write(t, name, strings.ReplaceAll(strings.ReplaceAll(readFile(t, m, name), "  lock_address ", "  # "), "  unlock_address", "  # "))
	}
	_, err := m.up(context.Background())
	require.NoError(t, err)
	var said []string
	for _, line := range m.said(event.Log) {
		if strings.Contains(line, "other machines do not see") {
			said = append(said, line)
		}
	}
	require.Len(t, said, 1, "once")
	require.Contains(t, said[0], "http without lock_address")
}

// TestStatesThatWereReadBeforeTheLockDoNotCount has another machine change a state between a look at it and the run.
func TestStatesThatWereReadBeforeTheLockDoNotCount(t *testing.T) {
	t.Parallel()
	s, ctx := newStateServer(t), context.Background()
	first, second := newSharedMesh(t, s, s.URL, "ada"), newSharedMesh(t, s, s.URL, "ben")
	_, err := second.up(ctx)
	require.NoError(t, err)
	l, err := second.lab()
	require.NoError(t, err)
	_, err = l.Outputs(ctx)
	require.NoError(t, err)
	first.write(t, "stacks/local/0-a/main.tf", strings.Replace(readFile(t, first, "stacks/local/0-a/main.tf"), `input = "0"`, `input = "zero"`, 1))
	_, err = first.up(ctx)
	require.NoError(t, err)
	summary, err := l.Up(ctx, second.opts())
	require.NoError(t, err)
	require.Equal(t, []string{"0-a: changed", "1-b: changed"}, endings(summary))
}
