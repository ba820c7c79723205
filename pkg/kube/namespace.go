package kube

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

const (
	managedByLabel = "app.kubernetes.io/managed-by"
	enforceLabel   = "pod-security.kubernetes.io/enforce"
)

// EnsureNamespace makes a namespace where there is none, with the pod security level that it enforces, "" for the cluster's. One that is being
// deleted is waited for. One that labctl made before without a level gets it; those of others stay as they are.
func EnsureNamespace(ctx context.Context, core kubernetes.Interface, name, level string) error {
	namespaces := core.CoreV1().Namespaces()
	wanted := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{managedByLabel: FieldOwner}}}
	if level != "" {
		wanted.Labels[enforceLabel] = level
	}
	err := poll(ctx, pollEvery, "namespace "+name+", which is being deleted, to go", func(ctx context.Context) (bool, string, error) {
		have, err := namespaces.Get(ctx, name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			_, err = namespaces.Create(ctx, wanted, metav1.CreateOptions{FieldManager: FieldOwner})
			return !apierrors.IsAlreadyExists(err), "", ignore(err, apierrors.IsAlreadyExists)
		case err != nil:
			return false, "", err
		case have.Status.Phase == corev1.NamespaceTerminating:
			return false, "", nil
		case have.Labels[managedByLabel] != FieldOwner || level == "" || have.Labels[enforceLabel] != "":
			return true, "", nil
		}
		have.Labels[enforceLabel] = level
		_, err = namespaces.Update(ctx, have, metav1.UpdateOptions{FieldManager: FieldOwner})
		return !apierrors.IsConflict(err), "", ignore(err, apierrors.IsConflict)
	})
	if err != nil {
		return fmt.Errorf("make namespace %q: %w", name, err)
	}
	return nil
}

func ignore(err error, is func(error) bool) error {
	if is(err) {
		return nil
	}
	return err
}

// ForgetNamespace deletes a namespace that EnsureNamespace made and nothing needs any more: no release of Helm, and no volume claim.
func ForgetNamespace(ctx context.Context, core kubernetes.Interface, name string) error {
	ns, err := core.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read namespace %q: %w", name, err)
	}
	if ns.Labels[managedByLabel] != FieldOwner || ns.DeletionTimestamp != nil {
		return nil
	}
	others, err := core.CoreV1().Secrets(name).List(ctx, metav1.ListOptions{LabelSelector: "owner=helm", Limit: 1})
	if err != nil {
		return fmt.Errorf("list the other releases in namespace %q: %w", name, err)
	}
	claims, err := core.CoreV1().PersistentVolumeClaims(name).List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return fmt.Errorf("list volume claims in namespace %q: %w", name, err)
	}
	if len(others.Items) > 0 || len(claims.Items) > 0 {
		return nil
	}
	err = core.CoreV1().Namespaces().Delete(ctx, name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &ns.UID}})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete namespace %q: %w", name, err)
	}
	return nil
}
