package kube

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	corev1apply "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/labctl/labctl/pkg/event"
)

// Set names the objects that one caller of Apply owns. What belongs to it is written down in the cluster as an ApplySet
// (https://github.com/kubernetes/enhancements/tree/master/keps/sig-cli/3659-kubectl-apply-prune): each member carries the
// set's id as a label, and a config map in kube-system, the set's parent, says which kinds and namespaces to look in.
type Set struct {
	Name      string // of the parent; unique in the cluster
	Namespace string // of namespaced objects that name none; where it is "", they are an error
	Owner     Owner  // whose set it is; the parent has its labels
}

const (
	setNamespace = "kube-system" // of the parents: it is there in every cluster

	labelMember    = "applyset.kubernetes.io/part-of"
	labelParent    = "applyset.kubernetes.io/id"
	noteTooling    = "applyset.kubernetes.io/tooling"
	noteKinds      = "applyset.kubernetes.io/contains-group-kinds"
	noteNamespaces = "applyset.kubernetes.io/additional-namespaces"

	tooling = "labctl/v1"
)

// Owner says whose the set called name is; ok is false where there is none.
func (c *Client) Owner(ctx context.Context, name string) (owner Owner, ok bool, err error) {
	parent, err := c.Core.CoreV1().ConfigMaps(setNamespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return owner, false, nil
	}
	if err != nil {
		return owner, false, fmt.Errorf("read the set %s: %w", name, err)
	}
	return OwnerOf(parent.Labels), true, nil
}

// ReleaseSet names the set of a release. Dots part the kind of the set, the namespace and the release, whose names have none.
func ReleaseSet(kind, namespace, release string) string {
	return kind + "." + namespace + "." + release
}

// OwnedRelease is a release that has a set.
type OwnedRelease struct {
	Namespace, Name string
	Owner           Owner
}

// OwnedReleases gives the releases of an owner that have a set of that kind, in the order of their namespaces and names.
func (c *Client) OwnedReleases(ctx context.Context, owner Owner, kind string) ([]OwnedRelease, error) {
	sets, err := c.Owned(ctx, owner, kind+".")
	if err != nil {
		return nil, err
	}
	var out []OwnedRelease
	for _, name := range slices.Sorted(maps.Keys(sets)) {
		namespace, release, ok := strings.Cut(strings.TrimPrefix(name, kind+"."), ".")
		if ok {
			out = append(out, OwnedRelease{Namespace: namespace, Name: release, Owner: sets[name]})
		}
	}
	return out, nil
}

// Owned gives the sets of an owner whose names begin with prefix.
func (c *Client) Owned(ctx context.Context, owner Owner, prefix string) (map[string]Owner, error) {
	list, err := c.Core.CoreV1().ConfigMaps(setNamespace).List(ctx, metav1.ListOptions{LabelSelector: labels.Set(owner.Labels()).String()})
	if err != nil {
		return nil, fmt.Errorf("list the sets %s…: %w", prefix, err)
	}
	owned := map[string]Owner{}
	for _, parent := range list.Items {
		if strings.HasPrefix(parent.Name, prefix) {
			owned[parent.Name] = OwnerOf(parent.Labels)
		}
	}
	return owned, nil
}

// id is made as the specification demands.
func (s Set) id() string {
	sum := sha256.Sum256([]byte(s.Name + "." + setNamespace + ".ConfigMap."))
	return "applyset-" + base64.RawURLEncoding.EncodeToString(sum[:]) + "-v1"
}

// member gives an object as it is applied: with the set's label, and with a namespace where its kind has one.
func (s Set) member(o *unstructured.Unstructured, namespaced bool) *unstructured.Unstructured {
	o = o.DeepCopy()
	labels := o.GetLabels()
	if labels == nil {
		labels = map[string]string{}
	}
	labels[labelMember] = s.id()
	o.SetLabels(labels)
	switch {
	case !namespaced:
		o.SetNamespace("")
	case o.GetNamespace() == "":
		o.SetNamespace(s.Namespace)
	}
	return o
}

// scope is where the members of a set are looked for.
type scope struct {
	kinds      map[string]bool // "Deployment.apps"
	namespaces map[string]bool
}

func newScope() scope { return scope{kinds: map[string]bool{}, namespaces: map[string]bool{}} }

func (s scope) add(other scope) {
	maps.Copy(s.kinds, other.kinds)
	maps.Copy(s.namespaces, other.namespaces)
}

// applyRun is one run of Apply.
type applyRun struct {
	client  *Client
	set     Set
	report  event.Report
	total   int
	applied map[types.UID]bool
	before  scope // of the set as it was
	now     scope // of the objects that were applied
}

// read learns where the set's members were. There may be no such set.
func (a *applyRun) read(ctx context.Context) (found bool, err error) {
	var parent *corev1.ConfigMap
	err = poll(ctx, pollEvery, "the API to answer", func(ctx context.Context) (bool, string, error) {
		var err error
		parent, err = a.client.Core.CoreV1().ConfigMaps(setNamespace).Get(ctx, a.set.Name, metav1.GetOptions{})
		if transient(err) {
			return false, err.Error(), nil
		}
		return err == nil, "", err
	})
	a.before = newScope()
	switch {
	case apierrors.IsNotFound(err):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("read the set %s: %w", a.set.Name, err)
	case parent.Annotations[noteTooling] != tooling:
		return false, fmt.Errorf("config map %s in namespace %s is no set of labctl's (%s is %q): delete or rename it",
			a.set.Name, setNamespace, noteTooling, parent.Annotations[noteTooling])
	}
	split(a.before.kinds, parent.Annotations[noteKinds])
	split(a.before.namespaces, parent.Annotations[noteNamespaces])
	return true, nil
}

// begin writes down where the set's members will be and were, before anything is applied, so that no end of this run,
// however abrupt, leaves an object that the next does not find.
func (a *applyRun) begin(ctx context.Context, objects []*unstructured.Unstructured) error {
	if _, err := a.read(ctx); err != nil {
		return err
	}
	a.now = newScope()
	for _, o := range objects {
		a.now.kinds[o.GroupVersionKind().GroupKind().String()] = true
		if namespace := cmp.Or(o.GetNamespace(), a.set.Namespace); namespace != "" {
			a.now.namespaces[namespace] = true
		}
	}
	a.before.add(a.now)
	return a.write(ctx, a.before)
}

// finish deletes the members that were not applied this time. It does not wait until they are gone: one that waits for a
// finalizer is no reason to call the others not ready.
func (a *applyRun) finish(ctx context.Context) error {
	for _, kind := range slices.Sorted(maps.Keys(a.before.kinds)) {
		if err := a.prune(ctx, schema.ParseGroupKind(kind)); err != nil {
			return fmt.Errorf("delete what is no longer in the set %s: %w", a.set.Name, err)
		}
	}
	return a.write(ctx, a.now)
}

func (a *applyRun) prune(ctx context.Context, kind schema.GroupKind) error {
	mapping, err := a.client.mapper.RESTMapping(kind)
	if meta.IsNoMatchError(err) {
		return nil // its objects went with its definition
	}
	if err != nil {
		return err
	}
	members, err := a.members(ctx, mapping)
	if err != nil {
		return err
	}
	for _, o := range members {
		if a.applied[o.GetUID()] || o.GetDeletionTimestamp() != nil {
			continue
		}
		a.report.Doing("deleting %s, which is no longer wanted", describe(o))
		uid, background := o.GetUID(), metav1.DeletePropagationBackground
		options := metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}, PropagationPolicy: &background}
		err := a.client.dynamic.Resource(mapping.Resource).Namespace(o.GetNamespace()).Delete(ctx, o.GetName(), options)
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("delete %s: %w", describe(o), err)
		}
	}
	return nil
}

// members lists those of a kind, without what controllers made: Kubernetes copies a service's labels to its endpoint slices.
func (a *applyRun) members(ctx context.Context, mapping *meta.RESTMapping) ([]*unstructured.Unstructured, error) {
	list, err := a.client.dynamic.Resource(mapping.Resource).List(ctx, metav1.ListOptions{LabelSelector: labelMember + "=" + a.set.id()})
	if apierrors.IsNotFound(err) {
		return nil, nil // the kind's definition went, which the mapper does not know yet
	}
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", mapping.Resource.Resource, err)
	}
	var members []*unstructured.Unstructured
	for i := range list.Items {
		if o := &list.Items[i]; metav1.GetControllerOf(o) == nil {
			members = append(members, o)
		}
	}
	return members, nil
}

// write makes the set's parent say where its members are.
func (a *applyRun) write(ctx context.Context, s scope) error {
	parent := corev1apply.ConfigMap(a.set.Name, setNamespace).
		WithLabels(a.set.Owner.Labels()).WithLabels(map[string]string{labelParent: a.set.id()}).
		WithAnnotations(map[string]string{noteTooling: tooling, noteKinds: join(s.kinds), noteNamespaces: join(s.namespaces)})
	err := poll(ctx, pollEvery, "the API to take the set "+a.set.Name, func(ctx context.Context) (bool, string, error) {
		_, err := a.client.Core.CoreV1().ConfigMaps(setNamespace).Apply(ctx, parent, metav1.ApplyOptions{FieldManager: FieldOwner, Force: true})
		if transient(err) || apierrors.IsNotFound(err) { // a new cluster has no namespace for a moment
			return false, err.Error(), nil
		}
		return err == nil, "", err
	})
	if err != nil {
		return fmt.Errorf("write the set %s: %w", a.set.Name, err)
	}
	return nil
}

func split(into map[string]bool, list string) {
	for _, name := range strings.Split(list, ",") {
		if name != "" {
			into[name] = true
		}
	}
}

func join(names map[string]bool) string { return strings.Join(slices.Sorted(maps.Keys(names)), ",") }
