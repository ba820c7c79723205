package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/kube"
	"github.com/labctl/labctl/pkg/lab"
	"github.com/labctl/labctl/pkg/stack"
)

// secrets gives a cluster what nobody may see, as a release without a chart: its values are Secrets.
type secrets struct{}

// secretsSet is the kind of the sets of Secrets.
const secretsSet = "labctl-secrets"

func (secrets) set(s lab.ReleaseSpec) kube.Set {
	return kube.Set{
		Name: kube.ReleaseSet(secretsSet, s.Namespace, s.Name), Namespace: s.Namespace,
		Owner: kube.Owner{Lab: s.Lab, Environment: s.Environment, Stack: s.Stack},
	}
}

// Locate gives nothing: there is no chart.
func (secrets) Locate(context.Context, *stack.Release, event.Report) (string, error) { return "", nil }

// manifests are the Secrets.
func (secrets) manifests(s lab.ReleaseSpec) ([]byte, error) {
	var out strings.Builder
	for _, name := range slices.Sorted(maps.Keys(s.Values)) {
		values, ok := s.Values[name].(map[string]any)
		if !ok {
			return nil, fmt.Errorf("values.%s: an object is required", name)
		}
		data := map[string][]byte{}
		for key, v := range values {
			text, ok := v.(string)
			if !ok {
				return nil, fmt.Errorf("values.%s.%s: a string is required", name, key)
			}
			data[key] = []byte(text)
		}
		secret, err := json.Marshal(&corev1.Secret{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Type:       corev1.SecretTypeOpaque,
			Data:       data,
		})
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&out, "---\n%s\n", secret)
	}
	if out.Len() == 0 {
		return nil, errors.New("values: there are no secrets")
	}
	return []byte(out.String()), nil
}

func (c secrets) open(s lab.ReleaseSpec) (*kube.Client, []byte, error) {
	manifests, err := c.manifests(s)
	if err != nil {
		return nil, nil, err
	}
	client, err := kube.New([]byte(s.Kubeconfig))
	return client, manifests, err
}

func (c secrets) Ensure(ctx context.Context, s lab.ReleaseSpec, report event.Report) (bool, error) {
	client, manifests, err := c.open(s)
	if err != nil {
		return false, err
	}
	if err := kube.EnsureNamespace(ctx, client.Core, s.Namespace, ""); err != nil {
		return false, judge(err)
	}
	why, err := client.Compare(ctx, c.set(s), manifests)
	if err != nil {
		return false, judge(err)
	}
	return why != "", judge(client.Apply(ctx, c.set(s), manifests, report))
}

func (c secrets) Deployed(ctx context.Context, s lab.ReleaseSpec) (string, error) {
	client, manifests, err := c.open(s)
	if err != nil {
		return "", err
	}
	return client.Compare(ctx, c.set(s), manifests)
}

func (c secrets) Owned(ctx context.Context, kubeconfig, of, environment string) ([]lab.OwnedRelease, error) {
	client, err := kube.New([]byte(kubeconfig))
	if err != nil {
		return nil, err
	}
	releases, err := client.OwnedReleases(ctx, kube.Owner{Lab: of, Environment: environment}, secretsSet)
	var out []lab.OwnedRelease
	for _, r := range releases {
		out = append(out, lab.OwnedRelease{Namespace: r.Namespace, Name: r.Name, Stack: r.Owner.Stack})
	}
	return out, err
}

func (c secrets) Remove(ctx context.Context, s lab.ReleaseSpec, report event.Report) error {
	client, err := kube.New([]byte(s.Kubeconfig))
	if err != nil {
		return err
	}
	if err := client.Delete(ctx, c.set(s), report); err != nil {
		return judge(err)
	}
	return judge(kube.ForgetNamespace(ctx, client.Core, s.Namespace))
}
