package status

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// keptEvents is how many events a snapshot has. Clusters keep theirs for an hour, which may be many thousands.
const keptEvents = 500

// FollowEvents follows what a cluster says of its objects.
func FollowEvents(find func(context.Context) Access) Follower {
	return Follower{Name: "events", Beside: true, Follow: inCluster(find, Access.followEvents, func(s *Snapshot, _ Access) { s.Events = nil })}
}

func (a Access) followEvents(ctx context.Context, update Update) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w := newWatched()
	list := w.add(ctx, "events", newInformers(a.API).Core().V1().Events().Informer())
	w.await(ctx, a.Timeout)
	tell := func() error {
		if err := list.missing(); err != nil {
			return fmt.Errorf("events cannot be listed: %s", brief(err))
		}
		all := newest(objects[*corev1.Event](list))
		update(func(s *Snapshot) { s.Events = all })
		return nil
	}
	if err := tell(); err != nil {
		return err
	}
	ping := time.NewTicker(a.Every)
	defer ping.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ping.C: // the watch itself never says that its cluster is gone
			if _, err := a.ping(ctx); err != nil {
				return fmt.Errorf("the cluster cannot be reached: %s", brief(err))
			}
		case <-w.changed:
			if err := sleep(ctx, gatherFor); err != nil {
				return err
			}
			if err := tell(); err != nil {
				return err
			}
		}
	}
}

// newest gives the newest events, those first.
func newest(all []*corev1.Event) []Event {
	slices.SortFunc(all, func(a, b *corev1.Event) int {
		return cmp.Or(happened(b).Compare(happened(a)), strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name))
	})
	out := make([]Event, 0, min(len(all), keptEvents))
	for _, e := range all[:cap(out)] {
		text, _, _ := strings.Cut(strings.TrimSpace(e.Message), "\n")
		one := Event{
			Namespace: e.InvolvedObject.Namespace, Name: e.Name, Kind: Kind(strings.ToLower(e.InvolvedObject.Kind)), Object: e.InvolvedObject.Name,
			Warning: e.Type == corev1.EventTypeWarning, Reason: e.Reason, Text: text, Count: max(e.Count, 1), At: happened(e),
		}
		if e.Series != nil {
			one.Count = max(one.Count, e.Series.Count)
		}
		out = append(out, one)
	}
	return out
}

// happened is when an event happened last. Of the fields that may say so, the reporter fills one or another.
func happened(e *corev1.Event) time.Time {
	if e.Series != nil && !e.Series.LastObservedTime.IsZero() {
		return e.Series.LastObservedTime.UTC()
	}
	switch {
	case !e.LastTimestamp.IsZero():
		return e.LastTimestamp.UTC()
	case !e.EventTime.IsZero():
		return e.EventTime.UTC()
	}
	return e.CreationTimestamp.UTC()
}
