package chart

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Has says whether there is a record of a release, whatever state it is in.
func (c *Client) Has(ctx context.Context, namespace, name string) (bool, error) {
	s, err := c.open(ctx, namespace, func(string) {})
	if err != nil {
		return false, err
	}
	revisions, err := s.history(name)
	return len(revisions) > 0, err
}

// Abandon forgets a release and leaves all that it is made of, for who takes it over. It is no error if there is none.
func (c *Client) Abandon(ctx context.Context, namespace, name string) error {
	unlock, err := c.lock(ctx, namespace, name)
	if err != nil {
		return err
	}
	defer unlock()
	s, err := c.open(ctx, namespace, func(string) {})
	if err != nil {
		return err
	}
	records := metav1.FormatLabelSelector(&metav1.LabelSelector{MatchLabels: map[string]string{"owner": "helm", "name": name}})
	err = s.core.CoreV1().Secrets(namespace).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: records})
	if err != nil {
		return fmt.Errorf("forget release %q in namespace %q: %w", name, namespace, err)
	}
	return nil
}
