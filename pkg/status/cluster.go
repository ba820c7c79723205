package status

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/kubernetes"

	"github.com/labctl/labctl/pkg/kube"
)

// workloads is what a cluster's API answered.
type workloads struct {
	reachable  bool
	reason     string
	version    string
	nodes      []Node
	namespaces []Namespace
	problems   []string
}

// look asks a cluster what runs in it. A list that the API refuses is missing and counts as a problem. A cluster is not
// reachable when every question fails.
func look(ctx context.Context, api kubernetes.Interface) workloads {
	var (
		out          workloads
		nodes        *corev1.NodeList
		deployments  *appsv1.DeploymentList
		statefulSets *appsv1.StatefulSetList
		daemonSets   *appsv1.DaemonSetList
		pods         *corev1.PodList
	)
	questions := []struct {
		what string
		ask  func() error
		err  error
	}{
		{what: "version", ask: func() (err error) {
			out.version, err = within(ctx, func() (string, error) { return serverVersion(api.Discovery()) })
			return err
		}},
		{what: "nodes", ask: func() (err error) { nodes, err = list(ctx, api.CoreV1().Nodes().List); return err }},
		{what: "deployments", ask: func() (err error) { deployments, err = list(ctx, api.AppsV1().Deployments("").List); return err }},
		{what: "stateful sets", ask: func() (err error) { statefulSets, err = list(ctx, api.AppsV1().StatefulSets("").List); return err }},
		{what: "daemon sets", ask: func() (err error) { daemonSets, err = list(ctx, api.AppsV1().DaemonSets("").List); return err }},
		{what: "pods", ask: func() (err error) { pods, err = list(ctx, api.CoreV1().Pods("").List); return err }},
	}
	var wg sync.WaitGroup
	for i := range questions {
		wg.Go(func() { questions[i].err = questions[i].ask() })
	}
	wg.Wait()
	for _, q := range questions {
		if q.err == nil {
			out.reachable = true
			continue
		}
		out.problems = append(out.problems, fmt.Sprintf("%s cannot be listed: %s", q.what, brief(q.err)))
		if out.reason == "" {
			out.reason = brief(q.err)
		}
	}
	if !out.reachable {
		out.problems = nil // one reason is enough
		return out
	}
	out.reason = ""

	if questions[1].err == nil {
		for i := range nodes.Items {
			out.nodes = append(out.nodes, node(&nodes.Items[i]))
		}
	}
	byNamespace := map[string][]corev1.Pod{}
	if questions[5].err == nil {
		for _, p := range pods.Items {
			byNamespace[p.Namespace] = append(byNamespace[p.Namespace], p)
		}
	}
	add := func(kind string, m metav1.ObjectMeta, selector *metav1.LabelSelector, ready, desired int32, stuck string) {
		w := Workload{Kind: kind, Name: m.Name, Ready: ready, Desired: desired, Created: m.CreationTimestamp.UTC()}
		w.Restarts, w.Reason = sift(byNamespace[m.Namespace], selector)
		switch {
		case ready >= desired:
			w.Reason = ""
		case stuck != "":
			w.Reason = stuck
		case w.Reason == "":
			w.Reason = fmt.Sprintf("%d of %d pods ready", ready, desired)
		}
		i := slices.IndexFunc(out.namespaces, func(n Namespace) bool { return n.Name == m.Namespace })
		if i < 0 {
			i = len(out.namespaces)
			out.namespaces = append(out.namespaces, Namespace{Name: m.Namespace})
		}
		out.namespaces[i].Workloads = append(out.namespaces[i].Workloads, w)
	}
	if questions[2].err == nil {
		for i := range deployments.Items {
			d := &deployments.Items[i]
			stuck := ""
			for _, c := range d.Status.Conditions {
				if c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue {
					stuck = c.Message
				}
			}
			ready := d.Status.AvailableReplicas
			if d.Status.ObservedGeneration < d.Generation || d.Status.UpdatedReplicas < desired(d.Spec.Replicas) {
				// Old pods still answer, but the version that is wanted is not there.
				ready = min(ready, d.Status.UpdatedReplicas)
			}
			add("deployment", d.ObjectMeta, d.Spec.Selector, ready, desired(d.Spec.Replicas), stuck)
		}
	}
	if questions[3].err == nil {
		for i := range statefulSets.Items {
			s := &statefulSets.Items[i]
			ready := s.Status.ReadyReplicas
			if s.Status.UpdateRevision != s.Status.CurrentRevision {
				ready = min(ready, s.Status.UpdatedReplicas)
			}
			add("statefulset", s.ObjectMeta, s.Spec.Selector, ready, desired(s.Spec.Replicas), "")
		}
	}
	if questions[4].err == nil {
		for i := range daemonSets.Items {
			d := &daemonSets.Items[i]
			add("daemonset", d.ObjectMeta, d.Spec.Selector, d.Status.NumberAvailable, d.Status.DesiredNumberScheduled, "")
		}
	}
	slices.SortFunc(out.namespaces, func(a, b Namespace) int { return strings.Compare(a.Name, b.Name) })
	for _, n := range out.namespaces {
		slices.SortFunc(n.Workloads, func(a, b Workload) int { return strings.Compare(a.Kind+"/"+a.Name, b.Kind+"/"+b.Name) })
	}
	return out
}

func desired(n *int32) int32 {
	if n == nil {
		return 1
	}
	return *n
}

// list asks for all objects of a kind.
func list[T any](ctx context.Context, ask func(context.Context, metav1.ListOptions) (T, error)) (T, error) {
	return within(ctx, func() (T, error) { return ask(ctx, metav1.ListOptions{}) })
}

// within ends at the end of ctx even where ask does not: ServerVersion takes no context, and a client that gets its token
// from another program (as kubelogin's users do) waits for that program.
func within[T any](ctx context.Context, ask func() (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	ch := make(chan answer, 1)
	go func() {
		value, err := ask()
		ch <- answer{value, err}
	}()
	select {
	case a := <-ch:
		return a.value, a.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

func serverVersion(d discovery.DiscoveryInterface) (string, error) {
	info, err := d.ServerVersion()
	if err != nil {
		return "", err
	}
	return info.GitVersion, nil
}

// brief gives an error's first line, for a table.
func brief(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "no answer in time"
	}
	text, _, _ := strings.Cut(err.Error(), "\n")
	return text
}

func node(n *corev1.Node) Node {
	out := Node{Name: n.Name, Version: n.Status.NodeInfo.KubeletVersion, Created: n.CreationTimestamp.UTC(), Reason: "it has not reported yet"}
	for _, c := range n.Status.Conditions {
		switch {
		case c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue:
			out.Ready, out.Reason = true, ""
		case c.Type == corev1.NodeReady:
			out.Ready, out.Reason = false, or(c.Message, c.Reason)
		}
	}
	if !out.Ready {
		return out
	}
	for _, c := range n.Status.Conditions {
		if c.Type != corev1.NodeReady && c.Status == corev1.ConditionTrue {
			out.Reason = or(c.Message, c.Reason) // pressure on disk, memory or process ids
		}
	}
	return out
}

// sift counts the restarts of the pods that a selector picks, and tells why the newest unready one is not ready.
func sift(pods []corev1.Pod, selector *metav1.LabelSelector) (restarts int32, reason string) {
	picks, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		return 0, ""
	}
	var newest *corev1.Pod
	for i := range pods {
		p := &pods[i]
		if p.DeletionTimestamp != nil || !picks.Matches(labels.Set(p.Labels)) {
			continue
		}
		for _, c := range p.Status.ContainerStatuses {
			restarts += c.RestartCount
		}
		why, _, _ := strings.Cut(kube.WhyNotReady(p), "\n") // a line of a table
		if why != "" && (newest == nil || newest.CreationTimestamp.Before(&p.CreationTimestamp)) {
			newest, reason = p, why
		}
	}
	return restarts, reason
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
