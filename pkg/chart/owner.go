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
)

// Labels on the record of a release. They say where every machine sees it which lab made the release, so that one which no file names any
// more is not forgotten.
const (
	labLabel         = "labctl/lab"
	environmentLabel = "labctl/environment"
	stackLabel       = "labctl/stack"
)

// Owner is the stack that a release belongs to. Names of labs, environments and stacks are short enough for labels.
type Owner struct{ Lab, Environment, Stack string }

// record gives the labels of a release's record.
func (l *loaded) record() map[string]string {
	labels := map[string]string{hashLabel: l.hash}
	for name, value := range map[string]string{labLabel: l.Owner.Lab, environmentLabel: l.Owner.Environment, stackLabel: l.Owner.Stack} {
		if value != "" {
			labels[name] = value
		}
	}
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
	selector := metav1.FormatLabelSelector(&metav1.LabelSelector{MatchLabels: map[string]string{"owner": "helm", labLabel: lab, environmentLabel: environment}})
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
		of.Stack = r.labels[stackLabel]
		out = append(out, of)
	}
	slices.SortFunc(out, func(a, b Owned) int {
		return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
	return out, nil
}
