package lab_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/lab"
)

// stateServer keeps states as terraform's http backend wants it, with locks.
type stateServer struct {
	*httptest.Server
	mu     sync.Mutex
	states map[string][]byte
	locks  map[string][]byte
	reads  int
	refuse bool // every write fails
	code   int  // of every answer to a read that finds nothing, where it is not 0
	before func()
	ahead  time.Duration // how much later it is at the server
}

func newStateServer(t *testing.T) *stateServer {
	s := &stateServer{states: map[string][]byte{}, locks: map[string][]byte{}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *stateServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.before != nil {
		s.before()
	}
	w.Header().Set("Date", time.Now().Add(s.ahead).UTC().Format(http.TimeFormat))
	switch name := r.URL.Path; r.Method {
	case http.MethodGet:
		s.reads++
		if s.states[name] == nil {
			w.WriteHeader(max(s.code, http.StatusNoContent))
			return
		}
		_, _ = w.Write(s.states[name])
	case http.MethodPost:
		if s.refuse {
			http.Error(w, "no room", http.StatusInsufficientStorage)
			return
		}
		s.states[name] = body
	case "LOCK":
		if held := s.locks[name]; held != nil {
			w.WriteHeader(http.StatusLocked)
			_, _ = w.Write(held)
			return
		}
		s.locks[name] = body
	case "UNLOCK":
		delete(s.locks, name)
	default:
		w.WriteHeader(http.StatusMethodNotAllowed)
	}
}

// resources gives how many resources the state called name holds, -1 where there is none.
func (s *stateServer) resources(t *testing.T, name string) int {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	data, ok := s.states[name]
	if !ok {
		return -1
	}
	var st struct {
		Resources []any `json:"resources"`
	}
	require.NoError(t, json.Unmarshal(data, &st))
	return len(st.Resources)
}

// newRemoteMesh is a lab whose first stack says where all states live, its own included.
func newRemoteMesh(t *testing.T, s *stateServer) *mesh {
	m := newMesh(t, "", map[string][]string{"0-a": nil, "1-b": {"a"}})
	m.append(t, "stacks/local/0-a/main.tf", "output \"store\" { value = \""+s.URL+"\" }\n")
	for id, name := range map[string]string{"0-a": "a", "1-b": "b"} {
		m.append(t, "stacks/local/"+id+"/stack.hcl", `
backend "http" {
  address        = "${stack.a.store}/`+name+`"
  lock_address   = "${stack.a.store}/`+name+`"
  unlock_address = "${stack.a.store}/`+name+`"
}
`)
	}
	return m
}

func TestStatesMoveIntoWhatTheFirstStackMade(t *testing.T) {
	t.Parallel()
	s := newStateServer(t)
	m, ctx := newRemoteMesh(t, s), context.Background()
	_, err := m.up(ctx)
	require.NoError(t, err)
	require.Equal(t, 1, s.resources(t, "/a"), "its own state moved there")
	require.Equal(t, 1, s.resources(t, "/b"))
	for _, id := range []string{"0-a", "1-b"} {
		left, err := filepath.Glob(filepath.Join(m.dir, ".lab/local/stacks", id, "terraform.tfstate*"))
		require.NoError(t, err)
		require.Empty(t, left, "one state in one place")
	}
	require.Equal(t, map[string]string{"a": "0", "b": "10"}, m.outputs(t))
	summary, err := m.up(ctx)
	require.NoError(t, err)
	require.Equal(t, []string{"0-a: unchanged", "1-b: unchanged"}, endings(summary))
	require.Empty(t, s.locks)

	// Somebody else works on the same state: what we remember of it must not count.
	other := newRemoteMesh(t, s)
	other.write(t, "stacks/local/0-a/main.tf", strings.Replace(readFile(t, m, "stacks/local/0-a/main.tf"), `input = "0"`, `input = "zero"`, 1))
	require.NoError(t, os.CopyFS(filepath.Join(other.dir, ".lab"), os.DirFS(filepath.Join(m.dir, ".lab"))))
	_, err = other.up(ctx)
	require.NoError(t, err)
	require.Equal(t, map[string]string{"a": "zero", "b": "1zero"}, m.outputs(t), "outputs are never stale")

	_, err = m.down(ctx)
	require.NoError(t, err)
	require.NoDirExists(t, filepath.Join(m.dir, ".lab"))
	require.Equal(t, 0, s.resources(t, "/b"))
}

func readFile(t *testing.T, m *mesh, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(m.dir, name))
	require.NoError(t, err)
	return string(data)
}

func TestAStateIsNotMovedOverAnother(t *testing.T) {
	t.Parallel()
	s := newStateServer(t)
	first, second, ctx := newRemoteMesh(t, s), newRemoteMesh(t, s), context.Background()
	_, err := first.up(ctx)
	require.NoError(t, err)
	before := string(s.states["/a"])
	_, err = second.up(ctx)
	require.ErrorContains(t, err, `move the state of stack "0-a" to http: the backend of stack "0-a" holds another state already`)
	require.Equal(t, before, string(s.states["/a"]))
	require.FileExists(t, filepath.Join(second.dir, ".lab/local/stacks/0-a/terraform.tfstate"), "ours is still ours")
}

func TestAMoveThatFailsIsMadeUpFor(t *testing.T) {
	t.Parallel()
	s := newStateServer(t)
	m, ctx := newRemoteMesh(t, s), context.Background()
	s.refuse = true
	_, err := m.up(ctx)
	require.ErrorContains(t, err, `move the state of stack "0-a" to http`)
	require.Equal(t, map[string]string{"a": "0"}, m.outputs(t), "nothing is lost")
	s.refuse = false
	_, err = m.up(ctx)
	require.NoError(t, err)
	require.Equal(t, 1, s.resources(t, "/a"))
	require.Empty(t, s.locks)
	s.refuse = true
	_, err = m.down(ctx)
	require.Error(t, err)
	s.refuse = false
	_, err = m.down(ctx)
	require.NoError(t, err)
	require.NoDirExists(t, filepath.Join(m.dir, ".lab"))
}

func TestAStackMovesToAnotherBackend(t *testing.T) {
	t.Parallel()
	s := newStateServer(t)
	m, ctx := newRemoteMesh(t, s), context.Background()
	_, err := m.up(ctx)
	require.NoError(t, err)
	m.write(t, "stacks/local/1-b/stack.hcl", strings.ReplaceAll(readFile(t, m, "stacks/local/1-b/stack.hcl"), "/b\"", "/elsewhere\""))
	summary, err := m.up(ctx)
	require.NoError(t, err)
	require.Equal(t, []string{"0-a: unchanged", "1-b: unchanged"}, endings(summary), "nothing of it changed but its place")
	require.Equal(t, 1, s.resources(t, "/elsewhere"))
	require.Equal(t, map[string]string{"a": "0", "b": "10"}, m.outputs(t))

	// And home again.
	hcl := readFile(t, m, "stacks/local/1-b/stack.hcl")
	m.write(t, "stacks/local/1-b/stack.hcl", hcl[:strings.Index(hcl, "backend")])
	_, err = m.up(ctx, func(o *lab.Options) { o.Parallel = 4 })
	require.NoError(t, err)
	require.FileExists(t, filepath.Join(m.dir, ".lab/local/stacks/1-b/terraform.tfstate"))
	require.Equal(t, map[string]string{"a": "0", "b": "10"}, m.outputs(t))
}
