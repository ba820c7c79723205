package argocd

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	corev1apply "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/labctl/labctl/pkg/kube"
)

// RepositoryURL is where the cluster reaches the lab's repository on its Git server.
const RepositoryURL = "http://git." + Namespace + ".svc.cluster.local" + RepositoryPath

// RepositoryPath is its path on the server.
const RepositoryPath = "/lab.git"

// The users of the lab's Git server.
const (
	Writer = "writer" // labctl, and people
	reader = "reader" // Argo CD
)

// makeSecrets makes what must be there before the pods that wait for it. A secret that is there stays as it is: a new password would lock
// out all parts that started with the old one. Argo CD's own manifests leave that of the cache to a pod, which the others then wait for.
func makeSecrets(ctx context.Context, client *kube.Client, owner kube.Owner) error {
	if err := makeNamespace(ctx, client, owner); err != nil {
		return err
	}
	for name, keys := range map[string][]string{"argocd-redis": {"auth"}, gitUsers: {Writer, reader}} {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, StringData: map[string]string{}}
		for _, key := range keys {
			secret.StringData[key] = rand.Text()
		}
		_, err := client.Core.CoreV1().Secrets(Namespace).Create(ctx, secret, metav1.CreateOptions{FieldManager: kube.FieldOwner})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("make the secret %s: %w", name, err)
		}
	}
	password, err := GitPassword(ctx, client, reader)
	if err != nil {
		return err
	}
	return connectAs(ctx, client, "lab-repository", RepositoryURL, map[string]string{"username": reader, "password": password})
}

// Connect gives Argo CD the credentials of a repository that is not the lab's own, as fields of its Secret.
func Connect(ctx context.Context, client *kube.Client, url string, credentials map[string]string) error {
	sum := sha256.Sum256([]byte(url))
	return connectAs(ctx, client, "labctl-repository-"+hex.EncodeToString(sum[:5]), url, credentials)
}

func connectAs(ctx context.Context, client *kube.Client, name, url string, credentials map[string]string) error {
	// Argo CD finds a repository's credentials by this label.
	repository := corev1apply.Secret(name, Namespace).
		WithLabels(map[string]string{"argocd.argoproj.io/secret-type": "repository"}).
		WithStringData(map[string]string{"type": "git", "url": url}).WithStringData(credentials)
	_, err := client.Core.CoreV1().Secrets(Namespace).Apply(ctx, repository, metav1.ApplyOptions{FieldManager: kube.FieldOwner, Force: true})
	if err != nil {
		return fmt.Errorf("give Argo CD the credentials of %s: %w", url, err)
	}
	return nil
}

// ours marks the namespace: an Argo CD that somebody else installed is theirs.
var ours = map[string]string{"app.kubernetes.io/managed-by": kube.FieldOwner}

func isOurs(namespace *corev1.Namespace) bool {
	return labels.SelectorFromSet(ours).Matches(labels.Set(namespace.Labels))
}

// makeNamespace makes the namespace, or finds the one that it made before.
func makeNamespace(ctx context.Context, client *kube.Client, owner kube.Owner) error {
	if err := awaitEnd(ctx, client); err != nil {
		return err
	}
	namespaces := client.Core.CoreV1().Namespaces()
	all := owner.Labels()
	maps.Copy(all, ours)
	_, err := namespaces.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: Namespace, Labels: all}}, metav1.CreateOptions{FieldManager: kube.FieldOwner})
	if apierrors.IsAlreadyExists(err) {
		var there *corev1.Namespace
		if there, err = namespaces.Get(ctx, Namespace, metav1.GetOptions{}); err == nil && !isOurs(there) {
			return fmt.Errorf("the namespace %s is there, and labctl did not make it: an Argo CD in it would be replaced; delete the namespace, or label it %s",
				Namespace, labels.Set(ours))
		}
	}
	if err != nil {
		return fmt.Errorf("make the namespace %s: %w", Namespace, err)
	}
	return nil
}

// awaitEnd waits until a namespace that is being deleted is gone. Its applications wait for a controller that went before them.
func awaitEnd(ctx context.Context, client *kube.Client) error {
	for {
		there, err := client.Core.CoreV1().Namespaces().Get(ctx, Namespace, metav1.GetOptions{})
		if apierrors.IsNotFound(err) || err == nil && there.Status.Phase != corev1.NamespaceTerminating {
			return nil
		}
		if err != nil {
			return fmt.Errorf("look at the namespace %s: %w", Namespace, err)
		}
		for _, kind := range applications {
			if err := client.DropFinalizers(ctx, kind, Namespace, nil); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited for the namespace %s, which is being deleted, to go: %w", Namespace, ctx.Err())
		case <-time.After(lookEvery):
		}
	}
}

// deleteNamespace deletes the namespace, if it is ours, with the secrets in it.
func deleteNamespace(ctx context.Context, client *kube.Client) error {
	there, err := client.Core.CoreV1().Namespaces().Get(ctx, Namespace, metav1.GetOptions{})
	if err == nil && isOurs(there) {
		err = client.Core.CoreV1().Namespaces().Delete(ctx, Namespace, metav1.DeleteOptions{})
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete the namespace %s: %w", Namespace, err)
	}
	return nil
}

const gitUsers = "git-users"

// GitPassword is the password of a user of the lab's Git server.
func GitPassword(ctx context.Context, client *kube.Client, user string) (string, error) {
	secret, err := client.Core.CoreV1().Secrets(Namespace).Get(ctx, gitUsers, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("read the users of the Git server: %w", err)
	}
	password := string(secret.Data[user])
	if password == "" {
		return "", fmt.Errorf("the secret %s in namespace %s has no user %s", gitUsers, Namespace, user)
	}
	return password, nil
}
