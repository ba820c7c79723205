package kube

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// NotReadyError says which workload did not get ready, why, and what its pod said last.
type NotReadyError struct {
	Namespace string
	Workload  string // "deployment/auth"
	Pod       string // empty when there is none
	Container string
	Reason    string
	LastLines []string
	Err       error // what ended the waiting
}

func (e *NotReadyError) Error() string {
	var b strings.Builder
	b.WriteString(e.Workload)
	if e.Namespace != "" {
		b.WriteString(" in namespace " + e.Namespace)
	}
	b.WriteString(" is not ready: " + e.Reason)
	if len(e.LastLines) > 0 {
		fmt.Fprintf(&b, "\nlast lines of pod %s, container %s:", e.Pod, e.Container)
		for _, line := range e.LastLines {
			b.WriteString("\n    " + line)
		}
	}
	return b.String()
}

func (e *NotReadyError) Unwrap() error { return e.Err }

// Hint is the next command to type.
func (e *NotReadyError) Hint() string {
	kind, name, _ := strings.Cut(e.Workload, "/")
	if kind == "application" { // of Argo CD
		return "labctl gitops status"
	}
	describe := "labctl kubectl "
	if e.Namespace != "" {
		describe += "-n " + e.Namespace + " "
	}
	describe += "describe " + e.Workload
	switch kind {
	case "deployment", "statefulset", "daemonset":
		return fmt.Sprintf("labctl logs %s   (or: %s)", name, describe)
	}
	return describe
}

// workload is what an object that runs pods says of its roll-out.
type workload struct {
	name        string // "deployment/auth"
	selector    *metav1.LabelSelector
	pod         string     // instead of a selector: its one pod
	mayCrash    bool       // a container that crashes again and again is no reason to give up
	newest      labels.Set // what only the pods of the newest revision have
	want, ready int32
	seen        bool // the controller has seen the newest generation
	stuck       string
}

func waitingFor(names []string) string {
	if len(names) == 0 {
		return "all ready"
	}
	return "waiting for " + strings.Join(names, ", ")
}

func ofDeployment(d *appsv1.Deployment) workload {
	w := workload{name: "deployment/" + d.Name, selector: d.Spec.Selector, want: Replicas(d.Spec.Replicas), ready: d.Status.AvailableReplicas}
	w.seen = d.Status.ObservedGeneration >= d.Generation
	for _, cond := range d.Status.Conditions {
		if cond.Type == appsv1.DeploymentReplicaFailure && cond.Status == corev1.ConditionTrue {
			w.stuck = cond.Message
		}
	}
	return w
}

func ofStatefulSet(s *appsv1.StatefulSet) workload {
	w := workload{name: "statefulset/" + s.Name, selector: s.Spec.Selector, want: Replicas(s.Spec.Replicas), ready: s.Status.ReadyReplicas}
	w.seen = s.Status.ObservedGeneration >= s.Generation
	w.newest = labels.Set{appsv1.ControllerRevisionHashLabelKey: s.Status.UpdateRevision}
	return w
}

func ofDaemonSet(d *appsv1.DaemonSet) workload {
	return workload{
		name: "daemonset/" + d.Name, selector: d.Spec.Selector, want: max(d.Status.DesiredNumberScheduled, 1), ready: d.Status.NumberAvailable,
		seen: d.Status.ObservedGeneration >= d.Generation,
	}
}

// newestReplicaSet gives the label of the pods of a deployment's newest revision, or of all where it has none yet.
func (c *Client) newestReplicaSet(ctx context.Context, d *appsv1.Deployment) (labels.Set, error) {
	list, err := c.Core.AppsV1().ReplicaSets(d.Namespace).List(ctx, metav1.ListOptions{LabelSelector: metav1.FormatLabelSelector(d.Spec.Selector)})
	if err != nil {
		return nil, err
	}
	const hash = appsv1.DefaultDeploymentUniqueLabelKey
	newest, revision := labels.Set{}, int64(-1)
	for i := range list.Items {
		rs := &list.Items[i]
		n, err := strconv.ParseInt(rs.Annotations["deployment.kubernetes.io/revision"], 10, 64)
		if err == nil && n > revision && metav1.IsControlledBy(rs, d) {
			newest, revision = labels.Set{hash: rs.Labels[hash]}, n
		}
	}
	return newest, nil
}

// Replicas is how many pods are wanted: one where nothing is said.
func Replicas(n *int32) int32 {
	if n == nil {
		return 1
	}
	return *n
}

// crashLimit is after how many restarts a container is given up: the first may be for a database that is not there
// yet, and waiting longer only shows the error later.
const crashLimit = 3

// diagnose says why a workload is not ready. With onlyFatal it says nothing where waiting may still help.
func (c *Client) diagnose(ctx context.Context, namespace string, w workload, onlyFatal bool) *NotReadyError {
	e := &NotReadyError{Namespace: namespace, Workload: w.name}
	if w.stuck != "" {
		e.Reason = w.stuck
		return e
	}
	pods, err := c.pods(ctx, namespace, w)
	if err != nil {
		if onlyFatal {
			return nil
		}
		e.Reason = err.Error()
		return e
	}
	for i := range pods {
		p := &pods[i]
		reason, container, fatal := whyNotReady(p)
		if fatal && w.mayCrash && container != "" {
			fatal = false
		}
		if reason == "" || onlyFatal && !fatal {
			continue
		}
		e.Pod, e.Container, e.Reason = p.Name, container, reason
		if container != "" {
			e.LastLines = c.lastLines(ctx, p, container, 10)
		}
		return e
	}
	if onlyFatal {
		return nil
	}
	e.Reason = fmt.Sprintf("%d of %d pods ready", w.ready, w.want)
	return e
}

// WhyNotReady says why a pod is not ready, or "" where it is.
func WhyNotReady(p *corev1.Pod) string {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
			return ""
		}
	}
	if p.Status.Phase == corev1.PodFailed {
		return "pod failed: " + cmp.Or(p.Status.Message, p.Status.Reason)
	}
	if reason, _, _ := whyNotReady(p); reason != "" {
		return reason
	}
	return "not started yet"
}

// unsynced is what a kubelet says that has not been told in time of a pod's secrets and config maps. It asks again.
var unsynced = regexp.MustCompile(`^failed to sync (secret|configmap) cache`)

// whyNotReady reads a pod's status for people. Fatal reasons do not go away by waiting.
func whyNotReady(p *corev1.Pod) (reason, container string, fatal bool) {
	statuses := append(append([]corev1.ContainerStatus(nil), p.Status.InitContainerStatuses...), p.Status.ContainerStatuses...)
	for _, s := range statuses {
		if w := s.State.Waiting; w != nil {
			switch w.Reason {
			case "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull":
				return fmt.Sprintf("image %s cannot be pulled: %s", s.Image, cmp.Or(w.Message, w.Reason)), "", w.Reason != "ErrImagePull"
			case "CreateContainerConfigError", "CreateContainerError", "RunContainerError":
				return fmt.Sprintf("container %s cannot be made: %s", s.Name, cmp.Or(w.Message, w.Reason)), "", !unsynced.MatchString(w.Message)
			case "CrashLoopBackOff":
				return fmt.Sprintf("container %s ended %d times%s", s.Name, s.RestartCount, lastExit(s)), s.Name, s.RestartCount >= crashLimit
			}
		}
		if t := s.State.Terminated; t != nil && t.ExitCode != 0 {
			return fmt.Sprintf("container %s ended with exit code %d (%s)", s.Name, t.ExitCode, t.Reason), s.Name, false
		}
	}
	for _, cond := range p.Status.Conditions {
		if cond.Type == corev1.PodScheduled && cond.Status == corev1.ConditionFalse {
			return "cannot be scheduled: " + cond.Message, "", false
		}
	}
	for _, s := range statuses {
		if s.State.Running != nil && !s.Ready {
			return fmt.Sprintf("container %s runs, but its readiness probe fails", s.Name), s.Name, false
		}
		if s.State.Waiting != nil && s.State.Waiting.Reason != "" && s.State.Waiting.Reason != "PodInitializing" {
			return fmt.Sprintf("container %s: %s", s.Name, s.State.Waiting.Reason), "", false
		}
	}
	return "", "", false
}

func lastExit(s corev1.ContainerStatus) string {
	t := s.LastTerminationState.Terminated
	if t == nil {
		return ""
	}
	return fmt.Sprintf(", last with exit code %d (%s)", t.ExitCode, t.Reason)
}

// lastLines reads the end of a container's log; of one that has just been restarted, the end of its previous run.
func (c *Client) lastLines(ctx context.Context, p *corev1.Pod, container string, n int64) []string {
	for _, previous := range []bool{false, true} {
		stream, err := c.Core.CoreV1().Pods(p.Namespace).GetLogs(p.Name, &corev1.PodLogOptions{Container: container, TailLines: &n, Previous: previous}).Stream(ctx)
		if err != nil {
			continue
		}
		b, err := io.ReadAll(io.LimitReader(stream, 64<<10))
		_ = stream.Close() // read to its end
		if text := strings.TrimRight(string(b), "\n"); err == nil && text != "" {
			return strings.Split(text, "\n")
		}
	}
	return nil
}
