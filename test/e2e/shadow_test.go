package e2e

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/load"
	"github.com/labctl/labctl/pkg/shadow"
	"github.com/labctl/labctl/pkg/shadow/exchange"
	"github.com/labctl/labctl/pkg/shadow/verdict"
	"github.com/labctl/labctl/services/client"
	"github.com/labctl/labctl/test/scope"
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
	for range 20 {
		_, _, err := talk.alice.History(t.Context(), talk.conversation, client.Page{Limit: 10})
		require.NoError(t, err)
	}
	var e shadow.Evidence
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		out, code := l.try(t.Context(), "shadow", "status", "messaging", "--json")
		require.Zero(c, code, out)
		require.NoError(c, json.Unmarshal([]byte(out[strings.Index(out, "{"):]), &e))
		require.Greater(c, e.Verdict.Samples, int64(200))
		require.Zero(c, e.Sides["candidate"].Lag)
		require.GreaterOrEqual(c, e.Requests, int64(20), "what the ingress was asked is compared, too")
	}, 2*time.Minute, time.Second)
	require.Empty(t, e.Error)
	require.Equal(t, verdict.Fail, e.Verdict.State, e.Verdict.Why)
	require.InDelta(t, 1, e.Verdict.Agreement.Baseline, 0.05, "the live version comes to the same twice, but for requests that read what is being written")
	require.Zero(t, e.LeftOut[exchange.Dropped], e.LeftOut)
	require.Zero(t, e.Sides["candidate"].Restarts+e.Sides["baseline"].Restarts)
	require.Positive(t, e.Sides["candidate"].Memory)
	out, code = l.try(t.Context(), "shadow", "diff", "messaging")
	require.Equal(t, 2, code, out)
	require.Contains(t, out, "edit: outputs[*] missing")
	require.Contains(t, l.run("shadow", "report", "messaging"), "# Shadow of messaging: fail")

	l.run("shadow", "abort", "messaging")
	require.Equal(t, before, l.objects(t))
	left := l.podsByAddress(t)
	for address, name := range pods {
		require.Equal(t, name, left[address], "no live pod was touched")
	}
	for _, name := range left {
		require.NotRegexp(t, "-(shadow|baseline|comparer)-", name)
	}
	out, code = l.try(t.Context(), "shadow", "status", "messaging")
	require.Equal(t, 1, code, out)
	require.Contains(t, out, "there is no shadow of messaging")
	l.run("shadow", "abort", "messaging") // nothing is left to do
	l.shadowedByRequests(t, talk)
	l.shadowedTogether(t)
	l.promoted(t)
}

// shadowedByRequests gives copies of a service that follows no topic the live requests. They read the live database.
func (l *testLab) shadowedByRequests(t *testing.T, talk *talk) {
	if !scope.Full() {
		return
	}
	before := l.objects(t)
	l.run("shadow", "start", "groups", "--working-tree")
	var e shadow.Evidence
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		_, err := talk.alice.CreateGroup(t.Context(), "readers", talk.bob.User.ID)
		require.NoError(c, err)
		for range 10 {
			_, err := talk.bob.Groups(t.Context())
			require.NoError(c, err)
		}
		out, code := l.try(t.Context(), "shadow", "status", "groups", "--json")
		require.Zero(c, code, out)
		require.NoError(c, json.Unmarshal([]byte(out[strings.Index(out, "{"):]), &e))
		require.GreaterOrEqual(c, e.Requests, int64(20))
		require.Positive(c, e.LeftOut[exchange.Method], "nobody makes a group twice")
	}, 2*time.Minute, time.Second)
	require.Empty(t, e.Error)
	require.InDelta(t, 1, e.Verdict.Agreement.Candidate, 1e-9, e.Verdict.Why)
	require.Zero(t, e.LeftOut[exchange.Dropped], e.LeftOut)
	l.run("shadow", "abort", "groups")
	require.Equal(t, before, l.objects(t))
}

// shadowedTogether gives copies of the gateway the sockets that open at the live one, while presence is tried, too.
func (l *testLab) shadowedTogether(t *testing.T) {
	if !scope.Full() {
		return
	}
	before := l.objects(t)
	l.run("shadow", "start", "gateway", "--working-tree")
	l.run("shadow", "start", "presence", "--working-tree")
	out, code := l.try(t.Context(), "shadow", "status")
	require.Equal(t, 1, code, out)
	require.Contains(t, out, "there are shadows of gateway, presence")
	status := func(service string) (e shadow.Evidence) {
		out := l.run("shadow", "status", service, "--json")
		require.NoError(t, json.Unmarshal([]byte(out[strings.Index(out, "{"):]), &e))
		require.Empty(t, e.Error)
		return e
	}
	e := status("gateway")
	for end := time.Now().Add(3 * time.Minute); e.Verdict.Samples < 100; e = status("gateway") {
		require.True(t, time.Now().Before(end), "%d results are compared: %+v", e.Verdict.Samples, e.Sockets)
		talk := startTalk(t, l.url()) // sockets that were open before are not mirrored
		talk.more(20)
		talk.finish()
	}
	require.InDelta(t, 1, e.Verdict.Agreement.Candidate, 1e-9, "%+v", e.Differing)
	require.Zero(t, e.Sockets.Broken+e.Sockets.Dropped, "%+v", e.Sockets)
	require.NotEqual(t, verdict.Fail, status("presence").Verdict.State)
	l.run("shadow", "abort", "gateway")
	l.run("shadow", "abort", "presence")
	require.Equal(t, before, l.objects(t))
}

// promoted gives a version the place of the live one while people talk, and takes it back. Nothing is lost, doubled, out of order or leaked.
func (l *testLab) promoted(t *testing.T) {
	if !scope.Full() {
		return
	}
	l.expired(t)
	before := l.image("messaging")
	l.run("shadow", "start", "messaging", "--working-tree", "--tags", "faulty_memory")
	out, code := l.try(t.Context(), "shadow", "promote", "messaging")
	require.Equal(t, 1, code, out)
	require.Contains(t, out, "the verdict is no pass but inconclusive")
	finish := l.underLoad(t)
	l.run("shadow", "promote", "messaging", "--force", "--reason", "a test of the way", "--watch", "5s")
	after := l.image("messaging")
	require.NotEqual(t, before, after)
	require.Contains(t, l.run("shadow", "report", "messaging"), "with the tags faulty_memory")
	l.run("shadow", "rollback", "messaging", "--reason", "it never frees memory")
	require.Equal(t, before, l.image("messaging"))
	finish()
	out, code = l.try(t.Context(), "shadow", "rollback", "messaging")
	require.Equal(t, 1, code, out)
	require.Contains(t, out, "it was undone (it never frees memory)")
	l.undone(t)
}

// undone promotes a version that fails to answer a tenth of the requests for history: the version before comes back by itself.
func (l *testLab) undone(t *testing.T) {
	before := l.image("messaging")
	l.run("shadow", "start", "messaging", "--working-tree", "--tags", "faulty_history")
	talk := startTalk(t, l.url())
	talk.more(1)
	asking, stop := context.WithCancel(t.Context())
	var asks sync.WaitGroup
	asks.Go(func() {
		for each := time.NewTicker(50 * time.Millisecond); ; {
			select {
			case <-asking.Done():
				each.Stop()
				return
			case <-each.C:
				_, _, _ = talk.alice.History(asking, talk.conversation, client.Page{Limit: 1}) // errors of the fault are among them
			}
		}
	})
	out, code := l.try(t.Context(), "shadow", "promote", "messaging", "--force", "--reason", "a test of the way", "--watch", "2m")
	stop()
	asks.Wait()
	require.Equal(t, 1, code, out)
	require.Regexp(t, `it was rolled back: of \d+ requests \(GET /api/messages\) \d+ failed`, out)
	require.Equal(t, before, l.image("messaging"))
	talk.more(20)
	talk.finish()
	l.run("shadow", "abort", "messaging")
}

// underLoad puts the chat under the load of labctl load, until finish is called, which checks the promise. The load is light, since a version that is
// promoted under it never frees memory, of which a pod has little.
func (l *testLab) underLoad(t *testing.T) (finish func()) {
	t.Helper()
	shape, err := load.ParseShape("rooms:10")
	require.NoError(t, err)
	stop, begun, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	begin := sync.OnceFunc(func() { close(begun) })
	var res load.Result
	go func() {
		var err error
		res, err = load.Run(t.Context(), load.Options{
			Address: l.url(), Shape: shape, Seed: 26, Key: []byte("the key of a test's own users"), Size: 100,
			Users: 20, Devices: 2, Mix: load.Chat, Rate: 10, Duration: 30 * time.Minute, Stop: stop, Settle: 3 * time.Minute,
			Report: func(e event.Event) {
				if e.Message == load.Sending {
					begin()
				}
			},
		})
		ended <- err
	}()
	select {
	case <-begun:
	case err := <-ended:
		require.NoError(t, err)
	}
	return func() {
		t.Helper()
		close(stop)
		require.NoError(t, <-ended)
		require.True(t, res.Verdict.Kept(), "%+v", res.Verdict)
		require.Equal(t, res.Sent, res.Verdict.Acked)
		t.Logf("%d messages, all acknowledged, delivered %d times; the longest gap between two deliveries was %.0f ms", res.Sent, res.Verdict.Delivered, res.LongestGap)
	}
}

// expired starts a shadow whose lifetime is over at once: whoever looks at it removes the copies.
func (l *testLab) expired(t *testing.T) {
	t.Helper()
	l.run("shadow", "start", "messaging", "--working-tree", "--lifetime", "1s")
	require.Contains(t, l.run("shadow", "status", "messaging"), "the longest lifetime, 1s, is over")
	for _, name := range l.podsByAddress(t) {
		require.NotRegexp(t, "-(shadow|baseline)-", name)
	}
	l.run("shadow", "abort", "messaging")
}

// objects names what there is in the chat's namespace, but for what comes and goes by itself.
func (l *testLab) objects(t *testing.T) (names []string) {
	t.Helper()
	for line := range strings.Lines(l.run("kubectl", "-n", "chat", "get", "deployments,services,ingresses,networkpolicies,serviceaccounts,secrets,configmaps", "--output=name")) {
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
