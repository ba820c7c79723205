package status_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	ktesting "k8s.io/client-go/testing"

	"github.com/labctl/labctl/pkg/status"
)

// until reads snapshots to the first of which holds is true.
func until(t *testing.T, snapshots <-chan *status.Snapshot, what string, holds func(*status.Snapshot) bool) *status.Snapshot {
	t.Helper()
	limit := time.After(30 * time.Second)
	var last *status.Snapshot
	for {
		select {
		case s, more := <-snapshots:
			require.True(t, more, "no more snapshots before %s", what)
			if last = s; holds(s) {
				return s
			}
		case <-limit:
			require.FailNow(t, "waited for "+what, "%+v", last)
		}
	}
}

func reached(t *testing.T, goal string) func(*status.Snapshot) bool {
	t.Helper()
	g, err := status.ParseGoal(goal)
	require.NoError(t, err)
	return func(s *status.Snapshot) bool {
		yes, _ := s.Reached(g)
		return yes
	}
}

// What changes in the cluster is seen without a question.
func TestWatchFollowsTheCluster(t *testing.T) {
	api := cluster(node(corev1.ConditionTrue, ""), deployment("chat", "auth", 1, 1), pod("chat", "auth", "auth-1", running(0)))
	snapshots := status.Watch(t.Context(), lab(api, status.Up, status.Up, status.Up, status.Up).sources())
	before := until(t, snapshots, "the lab", reached(t, "up"))

	d := deployment("chat", "auth", 0, 1)
	_, err := api.AppsV1().Deployments("chat").UpdateStatus(t.Context(), d, metav1.UpdateOptions{})
	require.NoError(t, err)
	p := pod("chat", "auth", "auth-1", container(corev1.ContainerStatus{State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "OOMKilled"}}}))
	_, err = api.CoreV1().Pods("chat").UpdateStatus(t.Context(), p, metav1.UpdateOptions{})
	require.NoError(t, err)
	after := until(t, snapshots, "the pod's end", func(s *status.Snapshot) bool {
		return reached(t, "deployment/chat/auth=down")(s) && reached(t, "pod/auth-1=pending")(s)
	})
	require.Equal(t, []string{
		"lab/chat is partial: deployment/auth in namespace chat is not ready: container main ended with exit code 137 (OOMKilled)",
		"deployment/chat/auth is down: container main ended with exit code 137 (OOMKilled)",
		"pod/chat/auth-1 is pending: container main ended with exit code 137 (OOMKilled)",
	}, after.Since(before))
	require.Equal(t, status.Up, before.Namespaces[0].Workloads[0].State, "a snapshot does not change")

	require.NoError(t, api.CoreV1().Pods("chat").Delete(t.Context(), "auth-1", metav1.DeleteOptions{}))
	gone := until(t, snapshots, "the pod to be gone", reached(t, "pod/chat/auth-1=down"))
	require.Contains(t, gone.Since(after), "pod/chat/auth-1 is gone")
}

// A cluster that does not answer leaves what was seen last, as unknown, and is found again.
func TestWatchOverALostCluster(t *testing.T) {
	api := cluster(node(corev1.ConditionTrue, ""), deployment("chat", "auth", 1, 1))
	var dead atomic.Bool
	api.PrependReactor("*", "*", func(ktesting.Action) (bool, runtime.Object, error) {
		return dead.Load(), nil, errors.New("connection refused")
	})
	from := lab(api, status.Up, status.Up, status.Up, status.Up)
	from.access.Every = 20 * time.Millisecond
	snapshots := status.Watch(t.Context(), from.sources())
	until(t, snapshots, "the lab", reached(t, "up"))
	dead.Store(true)
	s := until(t, snapshots, "the loss", reached(t, "source/cluster=unknown"))
	require.Equal(t, []string{"the cluster cannot be reached: connection refused"}, s.Problems)
	require.True(t, reached(t, "deployment/auth=unknown")(s))
	require.True(t, reached(t, "node/chat=unknown")(s))
	require.True(t, reached(t, "stack/1-cluster")(s), "other sources go on")
	dead.Store(false)
	until(t, snapshots, "the cluster", reached(t, "up"))
}

// A reader that sleeps finds the last snapshot, and not the first of many.
func TestSlowReader(t *testing.T) {
	var told atomic.Int32
	said := make(chan struct{})
	from := status.Sources{Followers: []status.Follower{{Name: "counter", Follow: func(ctx context.Context, update status.Update) error {
		for range 50 {
			update(func(s *status.Snapshot) { s.Stacks = []status.Stack{{ID: string(rune('A' + told.Add(1)))}} })
		}
		close(said)
		<-ctx.Done()
		return ctx.Err()
	}}}}
	ctx, cancel := context.WithCancel(t.Context())
	snapshots := status.Watch(ctx, from)
	<-said
	var ids []string
	until(t, snapshots, "the last one", func(s *status.Snapshot) bool {
		for _, st := range s.Stacks {
			ids = append(ids, st.ID)
		}
		return slices.Contains(ids, string(rune('A'+50)))
	})
	require.LessOrEqual(t, len(ids), 3)
	cancel()
	for range snapshots { //nolint:revive // until it is closed
	}
}

// A source that fails is unknown with its reason, says nothing of the others, and is asked again.
func TestASourceThatFails(t *testing.T) {
	var calls atomic.Int32
	from := labWithout(false, "", status.Up)
	known := from.steps
	from.steps = func() ([]status.Step, error) {
		switch calls.Add(1) {
		case 1:
			return nil, errors.New("permission denied")
		case 2:
			panic("out of paper")
		}
		return known()
	}
	snapshots := status.Watch(t.Context(), from.sources())
	s := until(t, snapshots, "all sources", (*status.Snapshot).Complete)
	require.Equal(t, status.Partial, s.State)
	require.Equal(t, []string{"the journal cannot be read: permission denied"}, s.Problems)
	require.True(t, reached(t, "source/journal=unknown")(s))
	require.True(t, reached(t, "source/addresses")(s))
	until(t, snapshots, "the panic", func(s *status.Snapshot) bool { return slices.Contains(s.Problems, "journal: panic: out of paper") })
	until(t, snapshots, "the journal", reached(t, "stack/0-foundation"))
}

// A lab of which not all is known yet is not up.
func TestNotKnownYet(t *testing.T) {
	release := make(chan struct{})
	from := labWithout(false, "", status.Up)
	known := from.steps
	from.steps = func() ([]status.Step, error) {
		<-release
		return known()
	}
	snapshots := status.Watch(t.Context(), from.sources())
	s := until(t, snapshots, "the others", reached(t, "source/cluster"))
	require.False(t, s.Complete())
	require.Equal(t, status.Unknown, s.State)
	require.False(t, reached(t, "stack/0-foundation=down")(s), "what is not known is not gone")
	close(release)
	until(t, snapshots, "the journal", (*status.Snapshot).Complete)
}

func TestGoals(t *testing.T) {
	for text, want := range map[string]status.Goal{
		"up":                            {State: status.Up},
		"down":                          {State: status.Down},
		"stack/1-cluster":               {Part: "stack/1-cluster", State: status.Up},
		"deployment/chat/auth=up":       {Part: "deployment/chat/auth", State: status.Up},
		"step/5-release/image a=failed": {Part: "step/5-release/image a", State: status.Failed},
	} {
		got, err := status.ParseGoal(text)
		require.NoError(t, err)
		require.Equal(t, want, got)
		again, err := status.ParseGoal(got.String())
		require.NoError(t, err)
		require.Equal(t, got, again)
	}
	for text, want := range map[string]string{
		"ready":            `"ready" is no part of a lab`,
		"stack/":           `"stack/" is no part of a lab`,
		"stack/a=done":     `"done" is no state; the states are up, working,`,
		"table/kitchen=up": "the kinds are stack, step,",
		"":                 `"" is no part of a lab`,
	} {
		_, err := status.ParseGoal(text)
		require.ErrorContains(t, err, want)
	}
}

func TestReached(t *testing.T) {
	s := lab(cluster(deployment("a", "auth", 1, 1), deployment("b", "auth", 0, 1)), status.Up, status.Up, status.Up, status.Failed).collect(t)
	for text, want := range map[string]string{
		"stack/1-cluster":        "",
		"stack/5-release=failed": "",
		"deployment/a/auth":      "",
		"deployment/auth":        "deployment/b/auth is down: 0 of 1 pods ready",
		"deployment/gateway":     "there is no deployment/gateway",
		"pod/auth-1=down":        "",
		"up":                     "the lab is partial: 5-release/release chat failed: deployment/auth is not ready; deployment/auth in namespace b is not ready: 0 of 1 pods ready",
	} {
		g, err := status.ParseGoal(text)
		require.NoError(t, err)
		yes, why := s.Reached(g)
		require.Equal(t, want == "", yes, "%s: %s", text, why)
		if !yes {
			require.Equal(t, want, why)
		}
	}
}
