package argocd

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/kube"
)

// set is what labctl applies of Argo CD.
var set = kube.Set{Name: "labctl-argocd", Namespace: Namespace}

// applications are the kinds of which Argo CD deletes what an object made, before the object itself goes.
var applications = []schema.GroupVersionKind{
	{Group: "argoproj.io", Version: "v1alpha1", Kind: "ApplicationSet"}, // first, or it makes its applications again
	applicationKind,
}

var applicationKind = schema.GroupVersionKind{Group: "argoproj.io", Version: "v1alpha1", Kind: "Application"}

// cascadeWithin is how long Argo CD has to delete what its applications made. One that does not run deletes nothing.
const cascadeWithin = 2 * time.Minute

// Install makes Argo CD stand as manifests say, which Manifests made, and waits until it is ready. It may be called on one that
// stands, and on one that is half there.
func Install(ctx context.Context, client *kube.Client, manifests []byte, owner kube.Owner, report event.Report) error {
	if err := makeSecrets(ctx, client, owner); err != nil {
		return err
	}
	owned := set
	owned.Owner = owner
	if err := client.Apply(ctx, owned, manifests, report); err != nil {
		return fmt.Errorf("install Argo CD: %w", err)
	}
	return nil
}

// Deployed says why Argo CD does not stand as manifests say, or "" where it does.
func Deployed(ctx context.Context, client *kube.Client, manifests []byte) (why string, err error) {
	namespace, err := client.Core.CoreV1().Namespaces().Get(ctx, Namespace, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return "", fmt.Errorf("look at the namespace %s: %w", Namespace, err)
	}
	if err == nil && namespace.DeletionTimestamp != nil { // what is in it is there until its turn comes
		return "its namespace is being deleted", nil
	}
	return client.Compare(ctx, set, manifests)
}

// Owned says whose Argo CD there is, whole or half; ok is false where labctl installed none.
func Owned(ctx context.Context, client *kube.Client) (owner kube.Owner, ok bool, err error) {
	owner, ok, err = client.Owner(ctx, set.Name)
	if err != nil || ok {
		return owner, ok, err
	}
	// An install that ended early made a namespace and no set.
	namespace, err := client.Core.CoreV1().Namespaces().Get(ctx, Namespace, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || err == nil && !isOurs(namespace) {
		return owner, false, nil
	}
	if err != nil {
		return owner, false, fmt.Errorf("look for Argo CD: %w", err)
	}
	return kube.OwnerOf(namespace.Labels), true, nil
}

// Uninstall deletes Argo CD: first its applications, with what they made, and then itself. An application that Argo CD does not
// let go in time, because it does not run or cannot delete something, loses its finalizers, and Uninstall says so: else its
// namespace would never go.
func Uninstall(ctx context.Context, client *kube.Client, report event.Report) error {
	// What labctl delivered, and did not take back before, stays: somebody wants it without Argo CD.
	if err := letGo(ctx, client, labels.Set{deliveredLabel: delivered}, report); err != nil {
		return err
	}
	for _, kind := range applications {
		if err := deleteAll(ctx, client, kind, nil, report); err != nil {
			return fmt.Errorf("delete Argo CD's applications: %w", err)
		}
	}
	if err := client.Delete(ctx, set, report); err != nil {
		return fmt.Errorf("delete Argo CD: %w", err)
	}
	return deleteNamespace(ctx, client) // an install that ended early made it, and no set
}

// deleteAll deletes the objects of a kind that have the labels, with what they made.
func deleteAll(ctx context.Context, client *kube.Client, kind schema.GroupVersionKind, with labels.Set, report event.Report) error {
	cascade, cancel := context.WithTimeout(ctx, cascadeWithin)
	defer cancel()
	report.Doing("deleting what Argo CD's %ss made", kind.Kind)
	err := client.DeleteAll(cascade, kind, Namespace, with, report)
	if err == nil || ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	report.Warn("%v: what it made stays behind", err)
	if err := client.DropFinalizers(ctx, kind, Namespace, with); err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	return client.DeleteAll(ctx, kind, Namespace, with, report)
}
