package kube

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/labctl/labctl/pkg/event"
)

// Delete deletes all that Apply made of a set, and waits until it is gone. Namespaces and definitions of kinds go last, since
// all that is in them goes with them. A set that is not there, or half there, is no error. One that waits for a finalizer
// until ctx ends is one, and names it.
func (c *Client) Delete(ctx context.Context, set Set, report event.Report) error {
	a := &applyRun{client: c, set: set, report: report}
	found, err := a.read(ctx)
	if err != nil || !found {
		return err
	}
	var basis, rest []schema.GroupKind
	for _, name := range slices.Sorted(maps.Keys(a.before.kinds)) {
		if kind := schema.ParseGroupKind(name); isBasisKind(kind) {
			basis = append(basis, kind)
		} else {
			rest = append(rest, kind)
		}
	}
	for _, kinds := range [][]schema.GroupKind{rest, basis} {
		for _, kind := range kinds {
			if err := a.prune(ctx, kind); err != nil {
				return fmt.Errorf("delete the set %s: %w", set.Name, err)
			}
		}
		if err := a.waitGone(ctx, kinds); err != nil {
			return err
		}
	}
	err = c.Core.CoreV1().ConfigMaps(setNamespace).Delete(ctx, set.Name, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete the set %s: %w", set.Name, err)
	}
	return nil
}

// waitGone waits until the set has no member of these kinds.
func (a *applyRun) waitGone(ctx context.Context, kinds []schema.GroupKind) error {
	return poll(ctx, pollEvery, "the set "+a.set.Name+" to be gone", func(ctx context.Context) (bool, string, error) {
		var left []string
		for _, kind := range kinds {
			mapping, err := a.client.mapper.RESTMapping(kind)
			if meta.IsNoMatchError(err) {
				continue
			}
			if err != nil {
				return false, err.Error(), nil
			}
			members, err := a.members(ctx, mapping)
			if err != nil {
				return false, err.Error(), nil
			}
			for _, o := range members {
				left = append(left, describe(o)+because(o))
			}
		}
		if len(left) == 0 {
			return true, "", nil
		}
		seen := "there is still " + strings.Join(left, ", ")
		a.report.Doing("waiting until it is gone: %s", left[0])
		return false, seen, nil
	})
}

// DeleteAll deletes the objects of a kind in a namespace that have the labels, and waits until they are gone. A kind that is not known has none.
func (c *Client) DeleteAll(ctx context.Context, gvk schema.GroupVersionKind, namespace string, with labels.Set, report event.Report) error {
	mapping, err := c.mapping(gvk)
	if meta.IsNoMatchError(err) {
		return nil
	}
	if err != nil {
		return err
	}
	objects := c.dynamic.Resource(mapping.Resource).Namespace(namespace)
	return poll(ctx, pollEvery, "the objects of kind "+gvk.Kind+" to be gone", func(ctx context.Context) (bool, string, error) {
		list, err := objects.List(ctx, metav1.ListOptions{LabelSelector: with.String()})
		if apierrors.IsNotFound(err) {
			return true, "", nil // the kind's definition went, which the mapper does not know yet
		}
		if transient(err) {
			return false, err.Error(), nil
		}
		if err != nil || len(list.Items) == 0 {
			return err == nil, "", err
		}
		for i := range list.Items {
			o := &list.Items[i]
			if o.GetDeletionTimestamp() != nil {
				continue
			}
			report.Doing("deleting %s", describe(o))
			if err := objects.Delete(ctx, o.GetName(), metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
				return false, err.Error(), nil
			}
		}
		return false, "there is still " + describe(&list.Items[0]) + because(&list.Items[0]), nil
	})
}

// DropFinalizers lets the objects of a kind in a namespace that have the labels go without waiting for anybody. A kind that is not known has
// none.
func (c *Client) DropFinalizers(ctx context.Context, gvk schema.GroupVersionKind, namespace string, with labels.Set) error {
	mapping, err := c.mapping(gvk)
	if meta.IsNoMatchError(err) {
		return nil
	}
	if err != nil {
		return err
	}
	objects := c.dynamic.Resource(mapping.Resource).Namespace(namespace)
	list, err := objects.List(ctx, metav1.ListOptions{LabelSelector: with.String()})
	if err != nil {
		return err
	}
	for i := range list.Items {
		_, err := objects.Patch(ctx, list.Items[i].GetName(), types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("let go of %s: %w", describe(&list.Items[i]), err)
		}
	}
	return nil
}
