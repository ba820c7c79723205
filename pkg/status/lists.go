package status

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/labctl/labctl/pkg/kube"
)

// lists are the objects of a cluster, kept up to date by watches.
type lists struct {
	nodes, deployments, statefulSets, daemonSets, pods *list
	watched
}

// watched are some lists together.
type watched struct {
	all     []*list
	changed chan struct{} // holds something when an object has changed
}

// list is the objects of one kind.
type list struct {
	what     string
	informer cache.SharedIndexInformer

	mu     sync.Mutex
	failed error // why they could not be listed, as long as they are not
}

// watchLists begins to list and watch, until ctx ends.
func watchLists(ctx context.Context, api kubernetes.Interface) *lists {
	f := newInformers(api)
	l := &lists{watched: newWatched()}
	l.nodes = l.add(ctx, "nodes", f.Core().V1().Nodes().Informer())
	l.deployments = l.add(ctx, "deployments", f.Apps().V1().Deployments().Informer())
	l.statefulSets = l.add(ctx, "stateful sets", f.Apps().V1().StatefulSets().Informer())
	l.daemonSets = l.add(ctx, "daemon sets", f.Apps().V1().DaemonSets().Informer())
	l.pods = l.add(ctx, "pods", f.Core().V1().Pods().Informer())
	return l
}

func newInformers(api kubernetes.Interface) informers.SharedInformerFactory {
	return informers.NewSharedInformerFactoryWithOptions(api, 0, informers.WithTransform(strip))
}

func newWatched() watched { return watched{changed: make(chan struct{}, 1)} }

// add begins to list and watch one kind, until ctx ends.
func (w *watched) add(ctx context.Context, what string, informer cache.SharedIndexInformer) *list {
	one := &list{what: what, informer: informer}
	w.all = append(w.all, one)
	// Both fail only for an informer that runs or has ended, which this one has not begun.
	_ = informer.SetWatchErrorHandler(func(_ *cache.Reflector, err error) {
		one.mu.Lock()
		one.failed = err
		one.mu.Unlock()
		w.nudge()
	})
	_, _ = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { w.nudge() }, UpdateFunc: func(any, any) { w.nudge() }, DeleteFunc: func(any) { w.nudge() },
	})
	go informer.RunWithContext(ctx)
	return one
}

// strip drops what nobody reads of an object, which for pods is most of it.
func strip(o any) (any, error) {
	if m, ok := o.(metav1.ObjectMetaAccessor); ok {
		meta, _ := m.GetObjectMeta().(*metav1.ObjectMeta)
		if meta != nil {
			meta.ManagedFields, meta.Annotations = nil, nil
		}
	}
	switch o := o.(type) {
	case *corev1.Pod:
		o.Spec = corev1.PodSpec{NodeName: o.Spec.NodeName}
	case *corev1.Event: // of which there may be many thousands
		return &corev1.Event{
			ObjectMeta:     metav1.ObjectMeta{Namespace: o.Namespace, Name: o.Name, ResourceVersion: o.ResourceVersion, CreationTimestamp: o.CreationTimestamp},
			InvolvedObject: corev1.ObjectReference{Kind: o.InvolvedObject.Kind, Namespace: o.InvolvedObject.Namespace, Name: o.InvolvedObject.Name},
			Type:           o.Type, Reason: o.Reason, Message: o.Message, Count: o.Count, Series: o.Series, EventTime: o.EventTime, LastTimestamp: o.LastTimestamp,
		}, nil
	}
	return o, nil
}

func (w *watched) nudge() {
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// await returns when each kind was listed, or could not be.
func (w *watched) await(ctx context.Context, limit time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for slices.ContainsFunc(w.all, func(one *list) bool { return one.missing() == errUnanswered }) {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
	}
}

var errUnanswered = errors.New(noAnswer)

// missing says why the objects of a kind are not known.
func (l *list) missing() error {
	if l.informer.HasSynced() {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed != nil {
		return l.failed
	}
	return errUnanswered
}

// read sums up what is known now.
func (l *lists) read() (nodes []Node, namespaces []Namespace, unlisted []string) {
	for _, one := range l.all {
		if err := one.missing(); err != nil {
			unlisted = append(unlisted, fmt.Sprintf("%s cannot be listed: %s", one.what, brief(err)))
		}
	}
	for _, n := range objects[*corev1.Node](l.nodes) {
		nodes = append(nodes, node(n))
	}
	slices.SortFunc(nodes, func(a, b Node) int { return strings.Compare(a.Name, b.Name) })
	pods := map[string][]*corev1.Pod{}
	for _, p := range objects[*corev1.Pod](l.pods) {
		pods[p.Namespace] = append(pods[p.Namespace], p)
	}
	by := map[string][]Workload{}
	add := func(r rollout) {
		by[r.meta.Namespace] = append(by[r.meta.Namespace], r.workload(pods[r.meta.Namespace]))
	}
	for _, d := range objects[*appsv1.Deployment](l.deployments) {
		add(ofDeployment(d))
	}
	for _, s := range objects[*appsv1.StatefulSet](l.statefulSets) {
		add(ofStatefulSet(s))
	}
	for _, d := range objects[*appsv1.DaemonSet](l.daemonSets) {
		add(ofDaemonSet(d))
	}
	for name, workloads := range by {
		slices.SortFunc(workloads, func(a, b Workload) int { return strings.Compare(string(a.Kind)+"/"+a.Name, string(b.Kind)+"/"+b.Name) })
		namespaces = append(namespaces, Namespace{name, workloads})
	}
	slices.SortFunc(namespaces, func(a, b Namespace) int { return strings.Compare(a.Name, b.Name) })
	return nodes, namespaces, unlisted
}

func objects[T any](l *list) (all []T) {
	for _, o := range l.informer.GetStore().List() {
		if t, ok := o.(T); ok {
			all = append(all, t)
		}
	}
	return all
}

// rollout is what an object that runs pods says of them.
type rollout struct {
	kind           Kind
	meta           metav1.ObjectMeta
	selector       *metav1.LabelSelector
	ready, desired int32
	rolling        bool   // pods of the version that is wanted are still to come
	stuck          string // why they can't
}

func ofDeployment(d *appsv1.Deployment) rollout {
	r := rollout{kind: KindDeployment, meta: d.ObjectMeta, selector: d.Spec.Selector, ready: d.Status.AvailableReplicas, desired: kube.Replicas(d.Spec.Replicas)}
	for _, c := range d.Status.Conditions {
		if c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue {
			r.stuck = c.Message
		}
	}
	if d.Status.ObservedGeneration < d.Generation || d.Status.UpdatedReplicas < r.desired {
		// Old pods still answer, but the version that is wanted is not there.
		r.ready, r.rolling = min(r.ready, d.Status.UpdatedReplicas), true
	}
	return r
}

func ofStatefulSet(s *appsv1.StatefulSet) rollout {
	r := rollout{kind: KindStatefulSet, meta: s.ObjectMeta, selector: s.Spec.Selector, ready: s.Status.ReadyReplicas, desired: kube.Replicas(s.Spec.Replicas)}
	if s.Status.UpdateRevision != s.Status.CurrentRevision {
		r.ready, r.rolling = min(r.ready, s.Status.UpdatedReplicas), true
	}
	return r
}

func ofDaemonSet(d *appsv1.DaemonSet) rollout {
	return rollout{kind: KindDaemonSet, meta: d.ObjectMeta, selector: d.Spec.Selector, ready: d.Status.NumberAvailable, desired: d.Status.DesiredNumberScheduled}
}

// workload sums up a roll-out and its pods, which are among those of its namespace.
func (r rollout) workload(pods []*corev1.Pod) Workload {
	w := Workload{Kind: r.kind, Name: r.meta.Name, Ready: r.ready, Desired: r.desired, Created: r.meta.CreationTimestamp.UTC()}
	w.Since = w.Created
	var newest time.Time
	picks, err := metav1.LabelSelectorAsSelector(r.selector)
	for _, p := range pods {
		if err != nil || !picks.Matches(labels.Set(p.Labels)) {
			continue
		}
		one := pod(p)
		w.Pods = append(w.Pods, one)
		if p.DeletionTimestamp != nil {
			continue
		}
		w.Restarts += one.Restarts
		if one.Reason != "" && (w.Reason == "" || one.Created.After(newest)) {
			w.Reason, newest = one.Reason, one.Created // the newest pod that is not ready speaks for all
		}
	}
	slices.SortFunc(w.Pods, func(a, b Pod) int { return strings.Compare(a.Name, b.Name) })
	if r.ready >= r.desired {
		w.State, w.Reason = Up, ""
		return w
	}
	switch {
	case r.stuck != "":
		w.State, w.Reason = Failed, r.stuck
	case r.rolling:
		w.State = Working
	case r.ready > 0:
		w.State = Partial
	default:
		w.State = Down
	}
	if w.Reason == "" {
		w.Reason = fmt.Sprintf("%d of %d pods ready", r.ready, r.desired)
	}
	w.Next = (&kube.NotReadyError{Namespace: r.meta.Namespace, Workload: string(r.kind) + "/" + r.meta.Name}).Hint()
	return w
}

func pod(p *corev1.Pod) Pod {
	out := Pod{Name: p.Name, Node: p.Spec.NodeName, Created: p.CreationTimestamp.UTC()}
	out.Since = out.Created
	for _, c := range p.Status.ContainerStatuses {
		out.Restarts += c.RestartCount
	}
	out.Reason, _, _ = strings.Cut(kube.WhyNotReady(p), "\n") // a line of a table
	switch {
	case p.DeletionTimestamp != nil:
		out.State, out.Reason = Working, "it is ending"
	case out.Reason == "":
		out.State = Up
	case p.Status.Phase == corev1.PodFailed:
		out.State = Failed
	case p.Status.Phase == corev1.PodRunning:
		out.State = Partial
	default:
		out.State = Pending
	}
	return out
}

func node(n *corev1.Node) Node {
	out := Node{Name: n.Name, Version: n.Status.NodeInfo.KubeletVersion, Created: n.CreationTimestamp.UTC()}
	out.State, out.Reason = Down, "it has not reported yet"
	out.Since = out.Created
	for _, c := range n.Status.Conditions {
		if c.Type != corev1.NodeReady {
			continue
		}
		if !c.LastTransitionTime.IsZero() {
			out.Since = c.LastTransitionTime.UTC()
		}
		if c.Status == corev1.ConditionTrue {
			out.State, out.Reason = Up, ""
		} else {
			out.Reason = cmp.Or(c.Message, c.Reason)
		}
	}
	if out.State != Up {
		return out
	}
	for _, c := range n.Status.Conditions {
		if c.Type != corev1.NodeReady && c.Status == corev1.ConditionTrue {
			out.State, out.Reason = Partial, cmp.Or(c.Message, c.Reason) // pressure on disk, memory or process ids
		}
	}
	return out
}
