package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// Compare says why a set is not what Apply would make of manifests: "deployment/auth in namespace chat is missing", or "" where it is.
// The API itself says what it would make of each object, so defaults and what controllers write are no difference. An object that is
// not ready, by the rules of WaitObjects, is one.
func (c *Client) Compare(ctx context.Context, set Set, manifests []byte) (why string, err error) {
	objects, err := decode(manifests)
	if err != nil {
		return "", err
	}
	a := &applyRun{client: c, set: set}
	if found, err := a.read(ctx); err != nil {
		return "", err
	} else if !found {
		return "it is not there", nil
	}
	look := &objectWait{client: c, remembered: map[string]*NotReadyError{}, looked: map[string]time.Time{}}
	for _, o := range objects {
		if why, err := look.compare(ctx, set, o); why != "" || err != nil {
			return why, err
		}
	}
	return "", nil
}

func (w *objectWait) compare(ctx context.Context, set Set, o *unstructured.Unstructured) (string, error) {
	c := w.client
	mapping, err := c.mapping(o.GroupVersionKind())
	if meta.IsNoMatchError(err) {
		return describe(o) + " is missing, with its kind", nil
	}
	if err != nil {
		return "", err
	}
	o = set.member(o, mapping.Scope.Name() == meta.RESTScopeNameNamespace)
	objects := c.dynamic.Resource(mapping.Resource).Namespace(o.GetNamespace())
	live, err := objects.Get(ctx, o.GetName(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return describe(o) + " is missing", nil
	}
	if err != nil {
		return "", fmt.Errorf("look at %s: %w", describe(o), err)
	}
	body, err := json.Marshal(o)
	if err != nil {
		return "", err
	}
	force := true
	options := metav1.PatchOptions{FieldManager: FieldOwner, Force: &force, DryRun: []string{metav1.DryRunAll}}
	would, err := objects.Patch(ctx, o.GetName(), types.ApplyPatchType, body, options)
	if err != nil {
		return "", fmt.Errorf("compare %s: %w", describe(o), err)
	}
	ready, err := w.judge(ctx, Object{GVK: o.GroupVersionKind(), Namespace: o.GetNamespace(), Name: o.GetName()}, live)
	if err != nil {
		return "", err
	}
	for _, side := range []*unstructured.Unstructured{live, would} {
		side.SetManagedFields(nil)
		side.SetResourceVersion("")
		side.SetGeneration(0)
		delete(side.Object, "status") // the controllers' own, which may come between the two looks
	}
	if !equality.Semantic.DeepEqual(live.Object, would.Object) {
		return describe(o) + " was changed", nil
	}
	if !ready.ready {
		return describe(o) + " is not ready: " + ready.why, nil
	}
	return "", nil
}
