package kube

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// List gives the objects of a kind in a namespace that have the labels. A kind that is not known has none.
func (c *Client) List(ctx context.Context, gvk schema.GroupVersionKind, namespace string, with labels.Set) ([]unstructured.Unstructured, error) {
	mapping, err := c.mapping(gvk)
	if meta.IsNoMatchError(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	list, err := c.dynamic.Resource(mapping.Resource).Namespace(namespace).List(ctx, metav1.ListOptions{LabelSelector: with.String()})
	if apierrors.IsNotFound(err) {
		return nil, nil // the kind's definition went, which the mapper does not know yet
	}
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

// Patch changes an object by a JSON merge patch (RFC 7396).
func (c *Client) Patch(ctx context.Context, gvk schema.GroupVersionKind, namespace, name string, patch []byte) error {
	mapping, err := c.mapping(gvk)
	if err != nil {
		return err
	}
	_, err = c.dynamic.Resource(mapping.Resource).Namespace(namespace).Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: FieldOwner})
	return err
}
