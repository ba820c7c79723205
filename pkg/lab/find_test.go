package lab_test

import (
	"context"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/lab"
)

// newFoundMesh is a checkout of the lab of newRemoteMesh, in whose lab.hcl stands where the states are; "" for a lab in
// which nobody has written it there yet.
func newFoundMesh(t *testing.T, s *stateServer, store string) *mesh {
	m := newRemoteMesh(t, s)
	vars := ""
	if store != "" {
		vars = "\n  vars = { store = \"" + store + "\" }"
	}
	m.write(t, "lab.hcl", "lab \"mesh\" {}\nenvironment \"local\" {\n  target = \"local\""+vars+"\n}\n")
	const at = `try("${lookup(env, "store", null)}/a", null)`
	const find = "  find = {\n    address        = " + at + "\n    lock_address   = " + at + "\n    unlock_address = " + at + "\n  }\n}\n"
	m.write(t, "stacks/local/0-a/stack.hcl", strings.TrimSuffix(readFile(t, m, "stacks/local/0-a/stack.hcl"), "}\n")+find)
	return m
}

func TestAnotherMachineFindsTheState(t *testing.T) {
	t.Parallel()
	s, ctx := newStateServer(t), context.Background()
	first := newFoundMesh(t, s, "")
	_, err := first.up(ctx)
	require.NoError(t, err)
	require.Equal(t, []string{"0-a/state: only this machine knows where the state of 0-a is: find in stacks/local/0-a/stack.hcl lacks " +
		"address = " + s.URL + "/a, lock_address = " + s.URL + "/a, unlock_address = " + s.URL + "/a"}, first.said(event.Warning))

	second := newFoundMesh(t, s, s.URL)
	require.Equal(t, map[string]string{"a": "0", "b": "10"}, second.outputs(t), "without having done anything")
	for _, p := range second.plan(t, "") {
		require.Zero(t, p.Changes, p.Stack)
		require.Empty(t, p.Waits)
	}
	l, err := second.lab()
	require.NoError(t, err)
	drift, err := l.Drift(ctx, second.opts())
	require.NoError(t, err)
	for _, d := range drift {
		require.False(t, d.Any() || d.Absent, d.Stack)
	}
	before := ids(t, first)
	summary, err := second.up(ctx)
	require.NoError(t, err)
	require.Equal(t, []string{"0-a: unchanged", "1-b: unchanged"}, endings(summary))
	require.Equal(t, before, ids(t, second), "nothing was made twice")
	require.Empty(t, second.said(event.Warning))
	second.write(t, "stacks/local/0-a/main.tf", strings.Replace(readFile(t, second, "stacks/local/0-a/main.tf"), `input = "0"`, `input = "zero"`, 1))
	_, err = second.up(ctx)
	require.NoError(t, err)
	require.Equal(t, map[string]string{"a": "zero", "b": "1zero"}, first.outputs(t), "it is one lab")

	// A third one takes it down without ever having had it up.
	third := newFoundMesh(t, s, s.URL)
	summary, err = third.down(ctx)
	require.NoError(t, err)
	require.Equal(t, []string{"1-b: changed", "0-a: changed"}, endings(summary))
	require.Equal(t, 0, s.resources(t, "/a"))
	require.Equal(t, 0, s.resources(t, "/b"))
	require.NoDirExists(t, filepath.Join(third.dir, ".lab"))
	require.Empty(t, s.locks)
	// And the next one begins anew there.
	_, err = newFoundMesh(t, s, s.URL).up(ctx)
	require.NoError(t, err)
	require.Equal(t, 1, s.resources(t, "/a"))
}

func ids(t *testing.T, m *mesh) map[string]string {
	t.Helper()
	l, err := m.lab()
	require.NoError(t, err)
	all, err := l.Outputs(context.Background())
	require.NoError(t, err)
	out := map[string]string{}
	for name, outputs := range all {
		out[name] = outputs["id"].AsString()
	}
	return out
}

func TestWhereNoStateIsYetOneBegins(t *testing.T) {
	t.Parallel()
	s, ctx := newStateServer(t), context.Background()
	for _, tc := range []struct {
		name string
		code int // of the place where the state would be
		want string
	}{
		{"an empty place", 0, ""},
		{"no such place", http.StatusNotFound, ""},
		{"no way to know", http.StatusForbidden, `look for the state of stack "0-a" in its backend (stacks/local/0-a/stack.hcl): terraform init failed`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := newFoundMesh(t, s, s.URL)
			s.mu.Lock()
			s.code = tc.code
			clear(s.states)
			s.mu.Unlock()
			_, err := m.up(ctx, func(o *lab.Options) { o.Selection.Only = []string{"a"} })
			if tc.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tc.want)
			require.Empty(t, s.states, "nothing is made where there may be something already")
		})
	}
}
