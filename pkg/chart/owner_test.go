package chart

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"helm.sh/helm/v3/pkg/action"

	"github.com/labctl/labctl/pkg/kube"
)

// The cluster remembers which stack of which lab made a release, for machines that did not make it.
func TestOwnedOnAnAPI(t *testing.T) {
	c, _ := api(t)
	lab := in(t)
	owned := func() []Owned {
		t.Helper()
		out, err := c.Owned(t.Context(), lab, "local")
		require.NoError(t, err)
		return out
	}
	require.Empty(t, owned())
	r := smallIn(t, nil)
	must(t, c, r, true)
	require.Empty(t, owned(), "a release without an owner is nobody's")

	r.Owner, r.Values = kube.Owner{Lab: lab, Environment: "local", Stack: "2-app"}, map[string]any{"port": 81}
	must(t, c, r, true)
	other := smallIn(t, nil)
	other.Namespace += "b"
	other.Owner = kube.Owner{Lab: lab, Environment: "staging", Stack: "2-app"}
	must(t, c, other, true)
	require.Equal(t, []Owned{{Namespace: r.Namespace, Name: r.Name, Stack: "2-app"}}, owned())

	// The stack that made it last counts, and one that was taken off by hand is nobody's, also with its history kept.
	r.Owner.Stack, r.Values = "3-app", map[string]any{"port": 82}
	must(t, c, r, true)
	require.Equal(t, []Owned{{Namespace: r.Namespace, Name: r.Name, Stack: "3-app"}}, owned())
	s, err := c.open(t.Context(), r.Namespace, func(string) {})
	require.NoError(t, err)
	a := action.NewUninstall(s.cfg)
	a.KeepHistory = true
	_, err = a.Run(r.Name)
	require.NoError(t, err)
	require.Empty(t, owned())
	must(t, c, r, true)
	require.Len(t, owned(), 1)
	require.NoError(t, c.Remove(t.Context(), r.Namespace, r.Name, time.Minute, nil))
	require.Empty(t, owned())
	require.NoError(t, c.Remove(t.Context(), other.Namespace, other.Name, time.Minute, nil))
}
