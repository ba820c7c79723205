package e2e

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/labctl/labctl/pkg/shadow"
	"github.com/labctl/labctl/pkg/shadow/verdict"
)

// shadowed gives a version that drops edits the live traffic: it is found, nobody notices it, and nothing of it is left.
func (l *testLab) shadowed(t *testing.T) {
	before, pods := l.objects(t), l.podsByAddress(t)
	l.run("shadow", "start", "messaging", "--working-tree", "--tags", "faulty_edits")
	out, code := l.try(t.Context(), "shadow", "start", "messaging", "--working-tree")
	require.NotZero(t, code, out)
	require.Contains(t, out, "there is a shadow already of messaging")
	require.Contains(t, out, "with the tags faulty_edits")

	talk := startTalk(t, l.url())
	l.run("load", "--rate", "40", "--duration", "15s", "--users", "20")
	talk.finish()
	var e shadow.Evidence
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		out, code := l.try(t.Context(), "shadow", "status", "messaging", "--json")
		require.Zero(c, code, out)
		require.NoError(c, json.Unmarshal([]byte(out[strings.Index(out, "{"):]), &e))
		require.Greater(c, e.Verdict.Samples, int64(200))
		require.Zero(c, e.Sides["candidate"].Lag)
	}, 2*time.Minute, time.Second)
	require.Empty(t, e.Error)
	require.Equal(t, verdict.Fail, e.Verdict.State, e.Verdict.Why)
	require.InDelta(t, 1, e.Verdict.Agreement.Baseline, 1e-9, "the live version comes to the same twice")
	require.Zero(t, e.Sides["candidate"].Restarts+e.Sides["baseline"].Restarts)
	require.Positive(t, e.Sides["candidate"].Memory)
	out, code = l.try(t.Context(), "shadow", "diff", "messaging")
	require.Equal(t, 2, code, out)
	require.Contains(t, out, "edit: outputs[*] missing")
	require.Contains(t, l.run("shadow", "report", "messaging"), "# Shadow of messaging: fail")

	l.run("shadow", "abort", "messaging")
	require.Equal(t, before, l.objects(t))
	require.Equal(t, pods, l.podsByAddress(t), "no live pod was touched")
	out, code = l.try(t.Context(), "shadow", "status", "messaging")
	require.Equal(t, 1, code, out)
	require.Contains(t, out, "there is no shadow of messaging")
	l.run("shadow", "abort", "messaging") // nothing is left to do
}

// objects names what there is in the chat's namespace, but for what comes and goes by itself.
func (l *testLab) objects(t *testing.T) (names []string) {
	t.Helper()
	for line := range strings.Lines(l.run("kubectl", "-n", "chat", "get", "deployments,services,networkpolicies,serviceaccounts,secrets,configmaps", "--output=name")) {
		if line = strings.TrimSpace(line); strings.Contains(line, "/") {
			names = append(names, line)
		}
	}
	sets, err := l.kube().Core.CoreV1().ConfigMaps("kube-system").List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	for _, s := range sets.Items {
		names = append(names, "kube-system/"+s.Name)
	}
	slices.Sort(names)
	return names
}
