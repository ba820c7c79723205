package workload

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Kinds gives the kinds of what belongs to a shadow: what Side and Comparer give, and what the cluster makes of it. In
// this order they are deleted: what makes others comes before them, and the pods are closed as long as they are there.
func Kinds() []schema.GroupVersionKind {
	return []schema.GroupVersionKind{
		{Group: "apps", Version: "v1", Kind: "Deployment"},
		{Group: "apps", Version: "v1", Kind: "ReplicaSet"},
		{Version: "v1", Kind: "Pod"},
		{Version: "v1", Kind: "Service"},
		{Group: "discovery.k8s.io", Version: "v1", Kind: "EndpointSlice"},
		{Group: "networking.k8s.io", Version: "v1", Kind: "NetworkPolicy"},
		{Version: "v1", Kind: "ServiceAccount"},
	}
}

// Selector selects what belongs to a service's shadow.
func Selector(service string) labels.Set { return labels.Set{Label: service} }

// PodsOf selects the pods of a part of a service's shadow: a side, or the comparer.
func PodsOf(service, part string) labels.Set { return labels.Set{nameLabel: part, Label: service} }

// lister is what kube.Client does.
type lister interface {
	List(ctx context.Context, gvk schema.GroupVersionKind, namespace string, with labels.Set) ([]unstructured.Unstructured, error)
}

// List gives everything in a namespace that belongs to a service's shadow, in the order of Kinds.
func List(ctx context.Context, c lister, namespace, service string) (all []unstructured.Unstructured, err error) {
	for _, kind := range Kinds() {
		found, err := c.List(ctx, kind, namespace, Selector(service))
		if err != nil {
			return nil, fmt.Errorf("list the shadow of %s, kind %s: %w", service, kind.Kind, err)
		}
		all = append(all, found...)
	}
	return all, nil
}
