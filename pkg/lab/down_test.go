package lab_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/lab"
)

// stateOf is what the journal says of a stack's Terraform.
func (m *mesh) stateOf(t *testing.T, id string) lab.State {
	t.Helper()
	l, err := m.lab()
	require.NoError(t, err)
	steps, err := l.Steps()
	require.NoError(t, err)
	for _, s := range steps {
		if s.Name == id {
			return s.State
		}
	}
	t.Fatalf("no step %s", id)
	return ""
}

// stubborn is a lab whose 1-b destroys one of its two resources, and then fails for as long as there is a file "bad" or
// waits for as long as there is a file "wait".
func stubborn(t *testing.T) *mesh {
	m := newMesh(t, "", map[string][]string{"0-a": nil, "1-b": {"a"}})
	m.append(t, "stacks/local/1-b/main.tf", `
resource "terraform_data" "first" {
  input = terraform_data.stubborn.id
}
resource "terraform_data" "stubborn" {
  input = "`+m.dir+`"
  provisioner "local-exec" {
    when    = destroy
    command = "if test -e ${self.input}/wait; then touch ${self.input}/waiting; exec sleep 600; fi; test ! -e ${self.input}/bad"
  }
}
`)
	_, err := m.up(context.Background())
	require.NoError(t, err)
	require.Equal(t, lab.Done, m.stateOf(t, "1-b"))
	return m
}

// takenUpAgain brings the lab up with nothing but what changed, and finds that what the down had begun is made good.
func takenUpAgain(t *testing.T, m *mesh, why string) {
	t.Helper()
	m.events = nil
	summary, err := m.up(context.Background(), func(o *lab.Options) { o.Affected, o.Why = true, true })
	require.NoError(t, err)
	require.Equal(t, []string{"0-a: unchanged", "1-b: changed"}, endings(summary))
	require.Len(t, m.said(event.Done), 1)
	require.Contains(t, m.said(event.Done)[0], "("+why+")")
	require.Equal(t, map[string]string{"a": "0", "b": "10"}, m.outputs(t))
	require.Equal(t, lab.Done, m.stateOf(t, "1-b"))
	_, err = m.down(context.Background())
	require.NoError(t, err)
	require.NoDirExists(t, filepath.Join(m.dir, ".lab"))
}

func TestADownThatFailedIsMadeGoodByUp(t *testing.T) {
	t.Parallel()
	m := stubborn(t)
	m.write(t, "bad", "")
	summary, err := m.down(context.Background())
	require.ErrorContains(t, err, `destroy stack "1-b"`)
	require.Equal(t, []string{"1-b: failed", "0-a: blocked"}, endings(summary))
	require.Equal(t, lab.Failed, m.stateOf(t, "1-b"))
	require.Equal(t, lab.Done, m.stateOf(t, "0-a"), "nothing was done to it")
	require.NoError(t, os.Remove(filepath.Join(m.dir, "bad")))
	takenUpAgain(t, m, "it failed")
}

func TestADownThatWasInterruptedIsMadeGoodByUp(t *testing.T) {
	t.Parallel()
	m := stubborn(t)
	m.write(t, "wait", "")
	ctx, interrupt := context.WithCancel(context.Background())
	defer interrupt()
	ended := make(chan error, 1)
	go func() {
		_, err := m.down(ctx)
		ended <- err
	}()
	require.Eventually(t, func() bool {
		_, err := os.Stat(filepath.Join(m.dir, "waiting"))
		return err == nil
	}, time.Minute, 10*time.Millisecond)
	interrupt()
	err := <-ended
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, lab.Begun, m.stateOf(t, "1-b"))
	require.NoError(t, os.Remove(filepath.Join(m.dir, "wait")))
	takenUpAgain(t, m, "it was interrupted")
}

func TestAClusterThatOthersAreInStays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.replace(t, "lab.hcl", "environment \"local\"", "environment \"prod\" {\n  cluster_of = \"local\"\n}\nenvironment \"local\"")
	w.replace(t, "stacks/local/1-cluster/stack.hcl", "${lab.dir}/cluster", "${lab.cluster_dir}/cluster")
	require.NoError(t, w.up(t.Context()))
	prod := filepath.Join(w.dir, ".lab", "prod")
	require.NoError(t, os.MkdirAll(prod, 0o700), "it is up")
	err := w.down(t.Context())
	require.ErrorContains(t, err, `stack "1-cluster" has the cluster of environment prod, too`)
	require.ErrorContains(t, err, "labctl down -e prod")
	l, err := w.lab()
	require.NoError(t, err)
	_, err = l.Down(t.Context(), lab.Options{Sink: event.SinkFunc(w.emit), Command: "labctl down release", User: "ada", Selection: lab.Selection{Stacks: []string{"release"}}})
	require.NoError(t, err, "what is not the cluster's may go")
	require.NoError(t, os.Remove(prod))
	require.NoError(t, w.down(t.Context()))
	require.NoDirExists(t, filepath.Join(w.dir, ".lab"))
}
