package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/labctl/labctl/pkg/event"
)

// kindWithin bounds the wait for a kind that the API does not know yet.
const kindWithin = 2 * time.Minute

// pollEvery is how often an API that does not take something yet is asked again.
const pollEvery = 200 * time.Millisecond

// Apply makes every object of a YAML stream stand as it says, and waits until all are ready, by the rules of WaitObjects.
// What an earlier Apply of the set made and the manifests no longer have is deleted then, and not before, so that what
// takes its place is there first.
//
// Objects are applied on the server, and fields that others changed are taken over. Namespaces and definitions of kinds
// come first. Then comes the rest in the order of the manifests, except that objects of a kind that is not known yet wait,
// at most kindWithin, for whoever brings it. Manifests that cannot be read, or have no object, are an error before
// anything changes. Apply can be called again at any time, and waits out an API that is still starting.
func (c *Client) Apply(ctx context.Context, set Set, manifests []byte, report event.Report) error {
	objects, err := decode(manifests)
	if err != nil {
		return err
	}
	var basis, rest []*unstructured.Unstructured
	for _, o := range objects {
		if isBasisKind(o.GroupVersionKind().GroupKind()) {
			basis = append(basis, o)
		} else {
			rest = append(rest, o)
		}
	}
	a := &applyRun{client: c, set: set, report: report, total: len(objects), applied: map[types.UID]bool{}}
	if err := a.begin(ctx, objects); err != nil {
		return err
	}
	for _, stage := range [][]*unstructured.Unstructured{basis, rest} {
		names, err := a.applyAll(ctx, stage)
		if err != nil {
			return err
		}
		if err := c.WaitObjects(ctx, names, report); err != nil {
			return err
		}
	}
	return a.finish(ctx)
}

// isBasisKind tells whether other objects may need one of this kind to be there before they can be made.
func isBasisKind(kind schema.GroupKind) bool {
	switch kind {
	case schema.GroupKind{Kind: "Namespace"}, schema.GroupKind{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}:
		return true
	}
	return false
}

// applyAll applies objects and gives their names.
func (a *applyRun) applyAll(ctx context.Context, objects []*unstructured.Unstructured) ([]Object, error) {
	var names []Object
	pending := slices.Clone(objects)
	for _, patience := range []time.Duration{0, kindWithin} {
		var unknown []*unstructured.Unstructured
		for _, o := range pending {
			a.report.At(int64(len(a.applied)), int64(a.total), "applying %s", describe(o))
			live, err := a.client.applyWithin(ctx, a.set, o, patience)
			if meta.IsNoMatchError(err) && patience == 0 {
				unknown = append(unknown, o)
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("apply %s: %w", describe(o), err)
			}
			a.applied[live.GetUID()] = true
			names = append(names, Object{GVK: o.GroupVersionKind(), Namespace: live.GetNamespace(), Name: live.GetName()})
		}
		pending = unknown
	}
	return names, nil
}

// applyWithin applies one object. It waits out what passes by itself, and for the object's kind at most for patience.
func (c *Client) applyWithin(ctx context.Context, set Set, o *unstructured.Unstructured, patience time.Duration) (live *unstructured.Unstructured, err error) {
	limit := time.Now().Add(patience)
	err = poll(ctx, pollEvery, "the API to take "+describe(o), func(ctx context.Context) (bool, string, error) {
		var err error
		live, err = c.applyObject(ctx, set, o)
		if err == nil && live.GetDeletionTimestamp() != nil {
			return false, "it is being deleted" + because(live), nil // what comes after it is a new one
		}
		if transient(err) || meta.IsNoMatchError(err) && time.Now().Before(limit) {
			return false, err.Error(), nil
		}
		return err == nil, "", err
	})
	return live, err
}

func (c *Client) applyObject(ctx context.Context, set Set, o *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	mapping, err := c.mapping(o.GroupVersionKind())
	if err != nil {
		return nil, err
	}
	namespaced := mapping.Scope.Name() == meta.RESTScopeNameNamespace
	o = set.member(o, namespaced)
	if namespaced && o.GetNamespace() == "" {
		return nil, errNoNamespace
	}
	body, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	force := true
	options := metav1.PatchOptions{FieldManager: FieldOwner, Force: &force}
	return c.dynamic.Resource(mapping.Resource).Namespace(o.GetNamespace()).Patch(ctx, o.GetName(), types.ApplyPatchType, body, options)
}

var errNoNamespace = errors.New("it names no namespace")

// because says what an object that is being deleted waits for.
func because(o *unstructured.Unstructured) string {
	if finalizers := o.GetFinalizers(); len(finalizers) > 0 {
		return " and waits for " + strings.Join(finalizers, ", ")
	}
	return ""
}

// mapping finds the resource of a kind.
func (c *Client) mapping(kind schema.GroupVersionKind) (*meta.RESTMapping, error) {
	mapping, err := c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if meta.IsNoMatchError(err) {
		c.mapper.Reset() // its definition may have come just now
		mapping, err = c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	}
	return mapping, err
}
