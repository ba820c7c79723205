package kube

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// Apply makes every object of a YAML stream stand as it says (server-side apply, taking over fields that others
// changed). It can be called again at any time, and waits out an API that is still starting.
func (c *Client) Apply(ctx context.Context, manifests []byte) error {
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(manifests), 4096)
	for {
		obj := &unstructured.Unstructured{}
		err := decoder.Decode(obj)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("decode manifest: %w", err)
		}
		if len(obj.Object) == 0 {
			continue // an empty document
		}
		name := obj.GetKind() + " " + obj.GetName()
		err = poll(ctx, 200*time.Millisecond, "the API to take "+name, func(ctx context.Context) (bool, string, error) {
			err := c.applyObject(ctx, obj)
			if transient(err) {
				return false, err.Error(), nil
			}
			return err == nil, "", err
		})
		if err != nil {
			return fmt.Errorf("apply %s: %w", name, err)
		}
	}
}

func (c *Client) applyObject(ctx context.Context, obj *unstructured.Unstructured) error {
	gvk := obj.GroupVersionKind()
	mapping, err := c.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if meta.IsNoMatchError(err) {
		c.mapper.Reset() // its definition may have come just now
		mapping, err = c.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	}
	if err != nil {
		return err
	}
	body, err := json.Marshal(obj)
	if err != nil {
		return err
	}
	resource := c.dynamic.Resource(mapping.Resource)
	force := true
	options := metav1.PatchOptions{FieldManager: FieldOwner, Force: &force}
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		_, err = resource.Namespace(obj.GetNamespace()).Patch(ctx, obj.GetName(), types.ApplyPatchType, body, options)
	} else {
		_, err = resource.Patch(ctx, obj.GetName(), types.ApplyPatchType, body, options)
	}
	return err
}
