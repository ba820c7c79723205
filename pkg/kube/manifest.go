package kube

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// decode reads the objects of a YAML stream, with those of its lists, in the order in which they stand there. An object
// that the API could not take, or that stands there twice, is an error with the number of its document, from 1.
func decode(manifests []byte) ([]*unstructured.Unstructured, error) {
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(manifests), 4096)
	var all []*unstructured.Unstructured
	seen := map[string]int{}
	for document := 1; ; document++ {
		obj := &unstructured.Unstructured{}
		err := decoder.Decode(obj)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("document %d of the manifests: %w", document, err)
		}
		if len(obj.Object) == 0 {
			continue // an empty document
		}
		found := []*unstructured.Unstructured{obj}
		if obj.IsList() {
			found = nil
			err := obj.EachListItem(func(item runtime.Object) error {
				found = append(found, item.(*unstructured.Unstructured))
				return nil
			})
			if err != nil {
				return nil, fmt.Errorf("document %d of the manifests: %w", document, err)
			}
		}
		for _, o := range found {
			if o.GetAPIVersion() == "" || o.GetKind() == "" || o.GetName() == "" {
				return nil, fmt.Errorf("document %d of the manifests: an object needs apiVersion, kind and metadata.name; it has %q, %q and %q",
					document, o.GetAPIVersion(), o.GetKind(), o.GetName())
			}
			key := o.GroupVersionKind().GroupKind().String() + " " + o.GetNamespace() + "/" + o.GetName()
			if other, ok := seen[key]; ok {
				return nil, fmt.Errorf("documents %d and %d of the manifests are the same object, %s", other, document, describe(o))
			}
			seen[key] = document
			all = append(all, o)
		}
	}
	if len(all) == 0 {
		return nil, errors.New("the manifests have no object")
	}
	return all, nil
}

// describe gives "deployment/auth in namespace chat".
func describe(o *unstructured.Unstructured) string {
	name := Object{GVK: o.GroupVersionKind(), Name: o.GetName()}.String()
	if o.GetNamespace() != "" {
		name += " in namespace " + o.GetNamespace()
	}
	return name
}
