package incluster

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/labctl/labctl/pkg/kube"
	"github.com/labctl/labctl/pkg/shadow"
	"github.com/labctl/labctl/pkg/shadow/workload"
)

// lookEvery is the time between two looks of watch.
const lookEvery = time.Second

// watch looks at the live service for a while. The error says what went bad: a container that ended, pods that are not
// ready any more, or more errors than the share that the version before had.
func (s Shadow) watch(ctx context.Context, limit time.Duration, before float64) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for end := time.Now().Add(limit); time.Now().Before(end); {
		if err := s.look(ctx, before); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}

func (s Shadow) look(ctx context.Context, before float64) error {
	d, err := s.Client.Core.AppsV1().Deployments(s.Namespace).Get(ctx, s.Service, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("look at the live %s: %w", s.Service, err)
	}
	if d.Status.ReadyReplicas < d.Status.Replicas {
		return fmt.Errorf("of %d pods of %s %d are ready", d.Status.Replicas, s.Service, d.Status.ReadyReplicas)
	}
	pods, err := s.pods(ctx, d)
	if err != nil {
		return err
	}
	for _, p := range pods {
		for _, c := range p.Status.ContainerStatuses {
			if c.RestartCount > 0 && c.LastTerminationState.Terminated != nil {
				return fmt.Errorf("the container of pod %s ended with code %d (%s)", p.Name, c.LastTerminationState.Terminated.ExitCode, c.LastTerminationState.Terminated.Reason)
			}
		}
	}
	now, err := s.counted(ctx, pods)
	if err != nil {
		return err
	}
	return now.worseThan(before)
}

func (s Shadow) pods(ctx context.Context, d *appsv1.Deployment) ([]corev1.Pod, error) {
	pods, err := s.Client.Core.CoreV1().Pods(s.Namespace).List(ctx, metav1.ListOptions{LabelSelector: labels.SelectorFromSet(d.Spec.Selector.MatchLabels).String()})
	if err != nil {
		return nil, fmt.Errorf("look at the pods of %s: %w", s.Service, err)
	}
	return pods.Items, nil
}

// counts are how many requests and records were handled, and how many of them could not be.
type counts struct{ handled, failed float64 }

func (c counts) share() float64 {
	if c.handled == 0 {
		return 0
	}
	return c.failed / c.handled
}

const (
	// fewErrors may come of anything, such as a database that is away for a moment.
	fewErrors = 5
	// toleratedErrors is the share of errors that is not bad yet, beside twice what the version before had.
	toleratedErrors = 0.01
)

// worseThan says whether there are more errors than the share of before explains.
func (c counts) worseThan(before float64) error {
	if c.failed < fewErrors || c.share() <= 2*before+toleratedErrors {
		return nil
	}
	return fmt.Errorf("of %.0f requests and records %.0f failed (%.1f %%; with the version before it were %.1f %%)", c.handled, c.failed, 100*c.share(), 100*before)
}

// counted adds up what the ready ones of some pods say in their metrics. One that does not answer counts nothing: that it
// is not well, its readiness says.
func (s Shadow) counted(ctx context.Context, pods []corev1.Pod) (all counts, err error) {
	for _, p := range pods {
		if p.DeletionTimestamp != nil || kube.WhyNotReady(&p) != "" {
			continue
		}
		families, err := s.metrics(ctx, p)
		if ctx.Err() != nil {
			return all, ctx.Err()
		}
		if err == nil {
			all.add(families)
		}
	}
	return all, nil
}

// metrics reads what a pod says at its port health.
func (s Shadow) metrics(ctx context.Context, p corev1.Pod) (map[string]*dto.MetricFamily, error) {
	port, err := kube.ContainerPort(&p, workload.HealthPort)
	if err != nil {
		return nil, err
	}
	address, stop, err := s.Client.ForwardPod(ctx, p.Namespace, p.Name, port)
	if err != nil {
		return nil, err
	}
	defer stop()
	return shadow.Metrics(ctx, http.DefaultClient, "http://"+address)
}

// add counts requests by their status, and records by what messaging says of them.
func (c *counts) add(families map[string]*dto.MetricFamily) {
	for _, m := range families["http_requests_total"].GetMetric() {
		n := m.GetCounter().GetValue()
		c.handled += n
		for _, l := range m.GetLabel() {
			if l.GetName() == "status" && strings.HasPrefix(l.GetValue(), "5") {
				c.failed += n
			}
		}
	}
	for name, bad := range map[string]bool{
		"messaging_stored_total": false, "messaging_repeated_total": false, "messaging_refused_total": false, "messaging_dead_total": true, "messaging_lost_total": true,
	} {
		for _, m := range families[name].GetMetric() {
			c.handled += m.GetCounter().GetValue()
			if bad {
				c.failed += m.GetCounter().GetValue()
			}
		}
	}
}
