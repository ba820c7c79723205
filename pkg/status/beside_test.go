package status_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	ktesting "k8s.io/client-go/testing"

	"github.com/labctl/labctl/pkg/status"
)

func happens(name, kind, object, text string, at time.Duration) *corev1.Event {
	return &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: "chat", Name: name}, InvolvedObject: corev1.ObjectReference{Namespace: "chat", Kind: kind, Name: object},
		Type: corev1.EventTypeWarning, Reason: "BackOff", Message: text, Count: 3, LastTimestamp: metav1.NewTime(ago(at)),
	}
}

// What the cluster says is there the newest first, and of many the newest only.
func TestEvents(t *testing.T) {
	objects := []runtime.Object{node(corev1.ConditionTrue, ""), happens("late", "Pod", "auth-1", "back-off 40s\nand more", time.Second)}
	for i := range 600 {
		objects = append(objects, happens(fmt.Sprintf("early-%d", i), "Pod", "auth-1", "back-off", time.Hour))
	}
	from := lab(cluster(objects...), status.Up, status.Up, status.Up, status.Up)
	sources := from.sources()
	sources.Followers = append(sources.Followers, status.FollowEvents(func(context.Context) status.Access { return from.access }))
	s := status.Collect(t.Context(), sources)
	require.Len(t, s.Events, 500)
	require.Equal(t, status.Event{
		Namespace: "chat", Name: "late", Kind: status.KindPod, Object: "auth-1", Warning: true, Reason: "BackOff", Text: "back-off 40s", Count: 3, At: ago(time.Second),
	}, s.Events[0])
	require.Equal(t, status.Up, s.State)
}

// A lab whose events nobody may list is up.
func TestEventsThatMayNotBeListed(t *testing.T) {
	api := cluster(node(corev1.ConditionTrue, ""))
	api.PrependReactor("list", "events", func(ktesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("events is forbidden")
	})
	from := lab(api, status.Up, status.Up, status.Up, status.Up)
	sources := from.sources()
	sources.Followers = append(sources.Followers, status.FollowEvents(func(context.Context) status.Access { return from.access }))
	s := status.Collect(t.Context(), sources)
	require.Equal(t, status.Up, s.State)
	require.Empty(t, s.Problems)
	yes, why := s.Reached(status.Goal{Part: "source/events", State: status.Unknown})
	require.True(t, yes, why)
	require.Contains(t, s.Sources[len(s.Sources)-1].Reason, "forbidden")
}

// What is asked for again and again stays, as unknown, while nobody answers, and since says when a state was seen to change.
func TestBeside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		from := status.Sources{Lab: "demo", Followers: []status.Follower{status.FollowGroups(func(context.Context) ([]status.Group, error) {
			g := status.Group{Name: "messaging", Lag: int64(10 * asked.Add(1)), Condition: status.Condition{State: status.Up}}
			if asked.Load() > 1 {
				return nil, errors.New("no broker answers")
			}
			return []status.Group{g}, nil
		})}}
		snapshots := status.Watch(t.Context(), from)
		s := until(t, snapshots, "the group", reached(t, "group/messaging"))
		require.Equal(t, []float64{10}, s.Groups[0].History)
		require.Zero(t, s.Groups[0].Since, "nobody knows since when")
		s = until(t, snapshots, "no answer", reached(t, "group/messaging=unknown"))
		require.Equal(t, "no broker answers", s.Groups[0].Reason)
		require.Equal(t, int64(10), s.Groups[0].Lag, "as it was seen last")
		require.Equal(t, status.Up, s.State, "it is beside the lab")
		require.NotZero(t, s.Groups[0].Since)
	})
}

func TestAnApplicationThatFailsIsAProblem(t *testing.T) {
	from := status.Sources{Followers: []status.Follower{
		status.FollowJournal(steps(status.Up, status.Up, status.Up, status.Up)),
		status.FollowApplications(func(context.Context) ([]status.Application, error) {
			return []status.Application{{Name: "chat", Condition: status.Condition{State: status.Failed, Reason: "deployment/auth: image is missing", Next: "labctl gitops status"}}}, nil
		}),
	}}
	s := status.Collect(t.Context(), from)
	require.Equal(t, status.Partial, s.State)
	require.Equal(t, []string{"application chat is not as Git has it: deployment/auth: image is missing"}, s.Problems)
	require.Equal(t, "labctl gitops status", s.Next)
}
