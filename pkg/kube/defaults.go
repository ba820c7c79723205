package kube

import (
	"context"
	"errors"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The annotations by which a cluster marks its defaults.
const (
	defaultStorageClass = "storageclass.kubernetes.io/is-default-class"
	defaultIngressClass = "ingressclass.kubernetes.io/is-default-class"
)

// DefaultStorageClass is the name of the cluster's default storage class, or of its only one.
func (c *Client) DefaultStorageClass(ctx context.Context) (string, error) {
	list, err := c.Core.StorageV1().StorageClasses().List(ctx, metav1.ListOptions{})
	if err != nil {
		return "", err
	}
	var objects []metav1.ObjectMeta
	for i := range list.Items {
		objects = append(objects, list.Items[i].ObjectMeta)
	}
	if name := marked(objects, defaultStorageClass); name != "" {
		return name, nil
	}
	return "", errors.New("the cluster has no default storage class: mark one with the annotation " + defaultStorageClass + "=true")
}

// DefaultIngressClass is the name of the cluster's default ingress class, or of its only one.
func (c *Client) DefaultIngressClass(ctx context.Context) (string, error) {
	list, err := c.Core.NetworkingV1().IngressClasses().List(ctx, metav1.ListOptions{})
	if err != nil {
		return "", err
	}
	var objects []metav1.ObjectMeta
	for i := range list.Items {
		objects = append(objects, list.Items[i].ObjectMeta)
	}
	if name := marked(objects, defaultIngressClass); name != "" {
		return name, nil
	}
	return "", errors.New("the cluster has no default ingress class: install an ingress controller, or mark its class with the annotation " + defaultIngressClass + "=true")
}

func marked(objects []metav1.ObjectMeta, annotation string) string {
	for _, o := range objects {
		if o.Annotations[annotation] == "true" {
			return o.Name
		}
	}
	if len(objects) == 1 {
		return objects[0].Name
	}
	return ""
}
