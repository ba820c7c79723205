package chart

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"helm.sh/helm/v3/pkg/release"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/labctl/labctl/pkg/kube"
)

// record gives the labels of a release's record.
func (l *loaded) record() map[string]string {
	labels := l.Owner.Labels()
	labels[hashLabel] = l.hash
	return labels
}

// Owned is a release that a lab made.
type Owned struct{ Namespace, Name, Stack string }

// Owned gives the releases that an environment of a lab has made, in all namespaces, half made ones too. They are in the order of their
// namespaces and names.
func (c *Client) Owned(ctx context.Context, lab, environment string) ([]Owned, error) {
	s, err := c.open(ctx, "", func(string) {})
	if err != nil {
		return nil, fmt.Errorf("list the releases of lab %q: %w", lab, err)
	}
	wanted := kube.Owner{Lab: lab, Environment: environment}.Labels()
	wanted["owner"] = "helm"
	selector := metav1.FormatLabelSelector(&metav1.LabelSelector{MatchLabels: wanted})
	// Records are large, and only their labels are wanted.
	records, err := s.records.Resource(corev1.SchemeGroupVersion.WithResource("secrets")).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, ended(ctx, fmt.Errorf("list the releases of lab %q: %w", lab, err))
	}
	type revision struct {
		number int
		labels map[string]string
	}
	last := map[Owned]revision{}
	for _, record := range records.Items {
		of := Owned{Namespace: record.Namespace, Name: record.Labels["name"]}
		number, err := strconv.Atoi(record.Labels["version"])
		if err != nil {
			return nil, fmt.Errorf("list the releases of lab %q: secret %s/%s has version %q", lab, record.Namespace, record.Name, record.Labels["version"])
		}
		if number > last[of].number {
			last[of] = revision{number, record.Labels}
		}
	}
	var out []Owned
	for of, r := range last {
		if r.labels["status"] == release.StatusUninstalled.String() { // by hand, with its history kept
			continue
		}
		of.Stack = kube.OwnerOf(r.labels).Stack
		out = append(out, of)
	}
	slices.SortFunc(out, func(a, b Owned) int {
		return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
	return out, nil
}
