package kube

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"

	"github.com/labctl/labctl/pkg/event"
)

// Object names one object of a cluster.
type Object struct {
	GVK       schema.GroupVersionKind
	Namespace string // "" where the object is cluster-scoped
	Name      string
	Complete  bool // a pod must have succeeded; without it, a pod that is ready will do
	Optional  bool // the object may be gone, such as a finished job with a time to live
}

// String gives "deployment/auth".
func (o Object) String() string { return strings.ToLower(o.GVK.Kind) + "/" + o.Name }

// verdict is what one look at an object found.
type verdict struct {
	ready  bool
	failed bool   // waiting does not help
	why    string // for people
	live   *unstructured.Unstructured
}

// WaitObjects waits until every object is current by the rules of kstatus
// (https://github.com/kubernetes-sigs/cli-utils/tree/master/pkg/kstatus), which cover custom resources too. It is
// stricter than kstatus in five places: a job must have completed, a pod must not have failed, a StatefulSet that is
// updated on delete must have its replicas ready, an APIService must be available, and an object must exist. It is more patient in two: a deployment
// beyond its progress deadline may still recover, and a volume claim may wait for its first consumer.
//
// It gives up at once on what does not mend itself (an image that does not exist, a refused configuration, a failed
// job) or after crashLimit restarts, with a *NotReadyError. At the end of ctx's time the error is a *NotReadyError too.
func (c *Client) WaitObjects(ctx context.Context, objects []Object, report event.Report) error {
	w := &objectWait{client: c, remembered: map[string]*NotReadyError{}, looked: map[string]time.Time{}}
	pending := slices.Clone(objects)
	var again []Object // what was not current at first sight is looked at once more when all is
	first := true
	err := poll(ctx, 250*time.Millisecond, "the objects to be ready", func(ctx context.Context) (bool, string, error) {
		var waiting []Object
		var names []string
		w.last = nil
		for _, o := range pending {
			v, err := w.look(ctx, o)
			if err != nil {
				return false, "", err
			}
			if v.ready {
				continue
			}
			waiting = append(waiting, o)
			names = append(names, o.String())
			if w.last == nil {
				w.last = &pendingObject{o, v}
			}
			if e := w.giveUp(ctx, o, v); e != nil {
				return false, "", e
			}
			if first {
				again = append(again, o)
			}
		}
		first = false
		report.At(int64(len(objects)-len(waiting)), int64(len(objects)), "%s", waitingFor(names))
		if len(waiting) == 0 && len(again) > 0 {
			pending, again = again, nil
			return false, "", nil
		}
		pending = waiting
		return len(waiting) == 0, strings.Join(names, ", "), nil
	})
	var notReady *NotReadyError
	if err == nil || errors.As(err, &notReady) || !errors.Is(ctx.Err(), context.DeadlineExceeded) || w.last == nil {
		return err
	}
	aside, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	e := w.explain(aside, w.last.Object, w.last.verdict)
	e.Err = err
	return e
}

type pendingObject struct {
	Object
	verdict
}

// objectWait is what one wait has seen so far.
type objectWait struct {
	client     *Client
	last       *pendingObject            // the first object of the last look that was not ready
	remembered map[string]*NotReadyError // by job: what its pod said, because a job that fails may delete its pods
	looked     map[string]time.Time      // by job: when
}

func (w *objectWait) look(ctx context.Context, o Object) (verdict, error) {
	live, err := w.client.get(ctx, o)
	switch {
	case apierrors.IsNotFound(err) || meta.IsNoMatchError(err):
		return verdict{ready: o.Optional, why: "it is missing"}, nil
	case apierrors.IsMethodNotSupported(err):
		return verdict{ready: true}, nil // a review: it is answered, not stored
	case transient(err):
		return verdict{why: err.Error()}, nil
	case err != nil:
		return verdict{}, fmt.Errorf("read %s: %w", o, err)
	}
	v, err := w.judge(ctx, o, live)
	if err != nil {
		return verdict{}, fmt.Errorf("read the status of %s: %w", o, err)
	}
	return v, nil
}

func (c *Client) get(ctx context.Context, o Object) (*unstructured.Unstructured, error) {
	mapping, err := c.mapping(o.GVK)
	if err != nil {
		return nil, err
	}
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		return c.dynamic.Resource(mapping.Resource).Namespace(o.Namespace).Get(ctx, o.Name, metav1.GetOptions{})
	}
	return c.dynamic.Resource(mapping.Resource).Get(ctx, o.Name, metav1.GetOptions{})
}

// judge reads the status of an object.
func (w *objectWait) judge(ctx context.Context, o Object, u *unstructured.Unstructured) (verdict, error) {
	result, err := status.Compute(u)
	if err != nil {
		return verdict{}, err
	}
	v := verdict{ready: result.Status == status.CurrentStatus, failed: result.Status == status.FailedStatus, why: result.Message, live: u}
	switch o.GVK.GroupKind() {
	case schema.GroupKind{Group: "batch", Kind: "Job"}:
		return judgeJob(v)
	case schema.GroupKind{Kind: "Pod"}:
		return judgePod(v, o.Complete)
	case schema.GroupKind{Group: "apps", Kind: "Deployment"}:
		v.failed = false
	case schema.GroupKind{Group: "apiregistration.k8s.io", Kind: "APIService"}:
		return judgeAPIService(v)
	case schema.GroupKind{Group: "apps", Kind: "StatefulSet"}:
		var s appsv1.StatefulSet
		if err := convert(u, &s); err != nil {
			return v, err
		}
		if v.ready && s.Status.ReadyReplicas < Replicas(s.Spec.Replicas) {
			v.ready, v.why = false, fmt.Sprintf("%d of %d pods ready", s.Status.ReadyReplicas, Replicas(s.Spec.Replicas))
		}
	case schema.GroupKind{Kind: "PersistentVolumeClaim"}:
		if !v.ready {
			v.ready, err = w.client.waitsForConsumer(ctx, u)
		}
	}
	return v, err
}

func judgeJob(v verdict) (verdict, error) {
	var job batchv1.Job
	if err := convert(v.live, &job); err != nil {
		return v, err
	}
	v.ready = false
	v.why = fmt.Sprintf("%d of its pods run, %d failed", job.Status.Active, job.Status.Failed)
	if job.Spec.Suspend != nil && *job.Spec.Suspend {
		v.ready, v.why = true, "it is suspended"
	}
	for _, cond := range job.Status.Conditions {
		if cond.Status != corev1.ConditionTrue {
			continue
		}
		switch cond.Type {
		case batchv1.JobComplete:
			v.ready = true
		case batchv1.JobFailed:
			v.failed, v.why = true, strings.TrimSuffix("it failed: "+cond.Reason+": "+cond.Message, ": ")
		}
	}
	return v, nil
}

// judgeAPIService goes by the condition that the aggregator sets, which kstatus does not know.
func judgeAPIService(v verdict) (verdict, error) {
	conditions, _, err := unstructured.NestedSlice(v.live.Object, "status", "conditions")
	if err != nil {
		return v, err
	}
	v.ready, v.why = false, "nothing is known of it yet"
	for _, c := range conditions {
		if c, ok := c.(map[string]any); ok && c["type"] == "Available" {
			v.ready, v.why = c["status"] == "True", fmt.Sprint(c["message"])
		}
	}
	return v, nil
}

func judgePod(v verdict, complete bool) (verdict, error) {
	var p corev1.Pod
	if err := convert(v.live, &p); err != nil {
		return v, err
	}
	// An unschedulable or a crashing pod may recover; whyNotReady knows when it does not.
	v.failed = p.Status.Phase == corev1.PodFailed
	switch {
	case v.failed:
		v.ready, v.why = false, strings.TrimSuffix("it failed: "+cmp.Or(p.Status.Message, p.Status.Reason), ": ")
	case complete && p.Status.Phase != corev1.PodSucceeded:
		v.ready, v.why = false, strings.ToLower(string(p.Status.Phase))
	}
	return v, nil
}

// waitsForConsumer tells whether a volume claim is bound only once a pod uses it, and none does.
func (c *Client) waitsForConsumer(ctx context.Context, u *unstructured.Unstructured) (bool, error) {
	var claim corev1.PersistentVolumeClaim
	if err := convert(u, &claim); err != nil {
		return false, err
	}
	if claim.Spec.StorageClassName == nil || claim.Status.Phase == corev1.ClaimLost {
		return false, nil
	}
	class, err := c.Core.StorageV1().StorageClasses().Get(ctx, *claim.Spec.StorageClassName, metav1.GetOptions{})
	if err != nil || class.VolumeBindingMode == nil || *class.VolumeBindingMode != storagev1.VolumeBindingWaitForFirstConsumer {
		return false, nil //nolint:nilerr // a class that is missing is no reason to call the claim ready
	}
	pods, err := c.Core.CoreV1().Pods(claim.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return false, err
	}
	for i := range pods.Items {
		for _, volume := range pods.Items[i].Spec.Volumes {
			if volume.PersistentVolumeClaim != nil && volume.PersistentVolumeClaim.ClaimName == claim.Name {
				return false, nil
			}
		}
	}
	return true, nil
}

func convert(u *unstructured.Unstructured, into any) error {
	return runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, into)
}

// giveUp gives an error where waiting for the object does not help.
func (w *objectWait) giveUp(ctx context.Context, o Object, v verdict) *NotReadyError {
	if v.failed {
		return w.explain(ctx, o, v)
	}
	if v.live == nil {
		return nil
	}
	if o.GVK.Kind == "Job" {
		w.remember(ctx, o, v)
	}
	load, err := w.client.workloadOf(ctx, v.live)
	if err != nil || load == nil || !load.seen {
		return nil // the pods there are say nothing about what is wanted now
	}
	return w.client.diagnose(ctx, o.Namespace, *load, true)
}

// remember keeps what a job's pod says, once a second.
func (w *objectWait) remember(ctx context.Context, o Object, v verdict) {
	if time.Since(w.looked[o.String()]) < time.Second {
		return
	}
	if e := w.client.jobPod(ctx, o, v.live); e != nil {
		w.remembered[o.String()], w.looked[o.String()] = e, time.Now()
	}
}

// jobPod says how a job's newest pod is doing, with the last lines of its log; nil where it has none.
func (c *Client) jobPod(ctx context.Context, o Object, u *unstructured.Unstructured) *NotReadyError {
	var job batchv1.Job
	if convert(u, &job) != nil {
		return nil
	}
	pods, err := c.podsOf(ctx, o.Namespace, job.Spec.Selector)
	if err != nil || len(pods) == 0 {
		return nil
	}
	return c.podReport(ctx, &pods[0])
}

// podReport says how a pod is doing, with the last lines of its log.
func (c *Client) podReport(ctx context.Context, p *corev1.Pod) *NotReadyError {
	e := &NotReadyError{Pod: p.Name}
	e.Reason, e.Container, _ = whyNotReady(p)
	if e.Reason == "" {
		e.Reason = "last seen " + strings.ToLower(string(p.Status.Phase))
		if len(p.Spec.Containers) > 0 {
			e.Container = p.Spec.Containers[0].Name
		}
	}
	if e.Container != "" {
		e.LastLines = c.lastLines(ctx, p, e.Container, 10)
	}
	return e
}

// explain says why an object is not ready: by its pod where it has one, else by its status.
func (w *objectWait) explain(ctx context.Context, o Object, v verdict) *NotReadyError {
	e := &NotReadyError{Namespace: o.Namespace, Workload: o.String(), Reason: v.why}
	if v.live == nil {
		return e
	}
	var pod *NotReadyError
	switch o.GVK.GroupKind() {
	case schema.GroupKind{Group: "batch", Kind: "Job"}:
		if pod = w.client.jobPod(ctx, o, v.live); pod == nil || len(pod.LastLines) == 0 && w.remembered[o.String()] != nil {
			pod = w.remembered[o.String()]
		}
	case schema.GroupKind{Kind: "Pod"}:
		var p corev1.Pod
		if convert(v.live, &p) == nil {
			pod = w.client.podReport(ctx, &p)
		}
	default:
		load, err := w.client.workloadOf(ctx, v.live)
		if err == nil && load != nil {
			return w.client.diagnose(ctx, o.Namespace, *load, false)
		}
	}
	if pod == nil {
		return e
	}
	if o.GVK.Kind == "Pod" && !v.failed {
		e.Reason = pod.Reason
	} else {
		e.Reason += ": pod " + pod.Pod + ": " + pod.Reason
	}
	e.Pod, e.Container, e.LastLines = pod.Pod, pod.Container, pod.LastLines
	return e
}

// workloadOf reads what runs pods; nil where the object runs none of its own.
func (c *Client) workloadOf(ctx context.Context, u *unstructured.Unstructured) (*workload, error) {
	var w workload
	switch u.GroupVersionKind().GroupKind() {
	case schema.GroupKind{Group: "apps", Kind: "Deployment"}:
		var d appsv1.Deployment
		if err := convert(u, &d); err != nil {
			return nil, err
		}
		newest, err := c.newestReplicaSet(ctx, &d)
		if err != nil {
			return nil, err
		}
		w = ofDeployment(&d)
		w.newest = newest
	case schema.GroupKind{Group: "apps", Kind: "StatefulSet"}:
		var s appsv1.StatefulSet
		if err := convert(u, &s); err != nil {
			return nil, err
		}
		w = ofStatefulSet(&s)
	case schema.GroupKind{Group: "apps", Kind: "DaemonSet"}:
		var d appsv1.DaemonSet
		if err := convert(u, &d); err != nil {
			return nil, err
		}
		w = ofDaemonSet(&d)
	case schema.GroupKind{Group: "apps", Kind: "ReplicaSet"}:
		var r appsv1.ReplicaSet
		if err := convert(u, &r); err != nil {
			return nil, err
		}
		w = workload{
			name: "replicaset/" + r.Name, selector: r.Spec.Selector, want: Replicas(r.Spec.Replicas), ready: r.Status.AvailableReplicas,
			seen: r.Status.ObservedGeneration >= r.Generation,
		}
	case schema.GroupKind{Group: "batch", Kind: "Job"}:
		var j batchv1.Job
		if err := convert(u, &j); err != nil {
			return nil, err
		}
		// How often its pods may fail is the job's own business.
		w = workload{name: "job/" + j.Name, selector: j.Spec.Selector, want: 1, seen: true, mayCrash: true}
	case schema.GroupKind{Kind: "Pod"}:
		w = workload{name: "pod/" + u.GetName(), pod: u.GetName(), want: 1, seen: true}
	default:
		return nil, nil
	}
	if w.selector == nil && w.pod == "" {
		return nil, nil
	}
	return &w, nil
}

// podsOf gives the pods that a selector picks, the newest first.
func (c *Client) podsOf(ctx context.Context, namespace string, selector *metav1.LabelSelector) ([]corev1.Pod, error) {
	if selector == nil {
		return nil, nil
	}
	list, err := c.Core.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: metav1.FormatLabelSelector(selector)})
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(list.Items, func(a, b corev1.Pod) int { return b.CreationTimestamp.Compare(a.CreationTimestamp.Time) })
	return list.Items, nil
}

// pods gives the pods of a workload's newest revision, the newest first.
func (c *Client) pods(ctx context.Context, namespace string, w workload) ([]corev1.Pod, error) {
	if w.pod != "" {
		p, err := c.Core.CoreV1().Pods(namespace).Get(ctx, w.pod, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		return []corev1.Pod{*p}, nil
	}
	all, err := c.podsOf(ctx, namespace, w.selector)
	return slices.DeleteFunc(all, func(p corev1.Pod) bool {
		return p.DeletionTimestamp != nil || !w.newest.AsSelector().Matches(labels.Set(p.Labels))
	}), err
}
