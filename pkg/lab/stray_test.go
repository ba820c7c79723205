package lab_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/lab"
)

const another = `
release "shop" {
  kubeconfig = stack.cluster.kubeconfig
  chart      = "charts/chat"
  namespace  = "shop"
}
`

// A release whose block is taken out is no orphan: the cluster knows whose it is, also for a machine that did not make it.
func TestAReleaseWhoseBlockIsGoneIsRemoved(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	before, err := os.ReadFile(filepath.Join(w.dir, "stacks/local/5-release/stack.hcl"))
	require.NoError(t, err)
	w.write(t, "stacks/local/5-release/stack.hcl", string(before)+another)
	require.NoError(t, w.up(ctx))
	require.Contains(t, w.there(t), "release/shop")

	w.write(t, "stacks/local/5-release/stack.hcl", string(before))
	require.NoError(t, os.Remove(filepath.Join(w.dir, ".lab/local/journal.json"))) // what this machine remembers
	l, err := w.lab()
	require.NoError(t, err)
	strays, err := l.Strays(ctx)
	require.NoError(t, err)
	require.Len(t, strays, 1)
	require.Equal(t, "release shop in namespace shop, made by stack 5-release, is in no stack's file any more: `labctl up 5-release` removes it", strays[0].String())

	plans, err := l.Plan(ctx, w.options("labctl plan"), "")
	require.NoError(t, err)
	last := plans[len(plans)-1]
	require.Equal(t, "5-release", last.Stack)
	require.Contains(t, last.Releases, lab.ReleasePlan{Name: "shop", Why: "no stack's file names it any more", Remove: true})
	drift, err := l.Drift(ctx, w.options("labctl drift"))
	require.NoError(t, err)
	require.Equal(t, strays[0].String(), drift[len(drift)-1].Orphan)

	// A run about other stacks leaves it alone, one about its own removes it.
	o := w.options("labctl up")
	o.Selection.Only = []string{"cluster"}
	_, err = l.Up(ctx, o)
	require.NoError(t, err)
	require.Contains(t, w.there(t), "release/shop")
	summary, err := l.Up(ctx, w.options("labctl up"))
	require.NoError(t, err)
	require.NotContains(t, w.there(t), "release/shop")
	require.Contains(t, w.there(t), "release/chat")
	require.True(t, summary.Changed())
	summary, err = l.Up(ctx, w.options("labctl up"))
	require.NoError(t, err)
	require.False(t, summary.Changed())
}

// The releases of a stack that is gone are named, left alone by up, and removed by down.
func TestReleasesOfAStackThatIsGone(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	w.write(t, "stacks/local/6-shop/stack.hcl", another)
	require.NoError(t, w.up(ctx))
	require.NoError(t, os.RemoveAll(filepath.Join(w.dir, "stacks/local/6-shop")))
	require.NoError(t, w.up(ctx))
	require.Contains(t, w.there(t), "release/shop")
	want := "release shop in namespace shop, made by stack 6-shop, is in no stack's file any more, and the stack is gone: remove it with `labctl down 6-shop`, or put it back"
	var said []string
	for _, e := range w.events {
		said = append(said, e.Message)
	}
	require.Contains(t, said, want)
	l, err := w.lab()
	require.NoError(t, err)
	plans, err := l.Plan(ctx, w.options("labctl plan"), "")
	require.NoError(t, err)
	require.Equal(t, want, plans[len(plans)-1].Orphan)

	o := w.options("labctl down 6-shop")
	o.Selection.Stacks = []string{"6-shop"}
	_, err = l.Down(ctx, o)
	require.NoError(t, err)
	require.NotContains(t, w.there(t), "release/shop")
	require.Contains(t, w.there(t), "release/chat")
	require.NoError(t, w.down(ctx))
	require.Empty(t, w.there(t))
}

// A cluster that does not answer keeps nobody from working on the rest.
func TestACatalogueThatCannotBeReadIsAWarning(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	w.replace(t, "stacks/local/0-foundation/main.tf", `output "name"`, "output \"kubeconfig\" { value = \"of another cluster\" }\noutput \"name\"")
	require.NoError(t, w.up(ctx))
	var warned bool
	for _, e := range w.events {
		warned = warned || strings.HasPrefix(e.Message, "not looked for releases that no stack names any more: no cluster answers")
	}
	require.True(t, warned)
	require.NoError(t, w.down(ctx))
}
