package incluster

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
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
// ready any more, or a kind of requests with more errors than the share that the version before had.
func (s Shadow) watch(ctx context.Context, limit time.Duration, before map[string]float64) error {
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

func (s Shadow) look(ctx context.Context, before map[string]float64) error {
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

// counts are how many requests and records were handled, and how many of them could not be, by kind: a route that fails must not
// hide behind what is asked more often.
type counts map[string]count

type count struct{ handled, failed float64 }

func (c count) share() float64 {
	if c.handled == 0 {
		return 0
	}
	return c.failed / c.handled
}

func (c counts) add(kind string, handled, failed float64) {
	n := c[kind]
	c[kind] = count{n.handled + handled, n.failed + failed}
}

// shares are those of the errors, of kinds that have any.
func (c counts) shares() map[string]float64 {
	shares := map[string]float64{}
	for kind, n := range c {
		if n.failed > 0 {
			shares[kind] = n.share()
		}
	}
	return shares
}

const (
	// fewErrors may come of anything, such as a database that is away for a moment.
	fewErrors = 5
	// toleratedErrors is the share of errors that is not bad yet, beside twice what the version before had.
	toleratedErrors = 0.01
)

// worseThan says whether there are more errors of one kind than the shares of before explain.
func (c counts) worseThan(before map[string]float64) error {
	for _, kind := range slices.Sorted(maps.Keys(c)) {
		if n := c[kind]; n.failed >= fewErrors && n.share() > 2*before[kind]+toleratedErrors {
			return fmt.Errorf("of %.0f %s %.0f failed (%.1f %%; with the version before it were %.1f %%)", n.handled, kind, n.failed, 100*n.share(), 100*before[kind])
		}
	}
	return nil
}

// counted adds up what the ready ones of some pods say in their metrics. One that does not answer counts nothing: that it
// is not well, its readiness says.
func (s Shadow) counted(ctx context.Context, pods []corev1.Pod) (counts, error) {
	all := counts{}
	for _, p := range pods {
		if p.DeletionTimestamp != nil || kube.WhyNotReady(&p) != "" {
			continue
		}
		families, err := s.metrics(ctx, p)
		if ctx.Err() != nil {
			return all, ctx.Err()
		}
		if err == nil {
			all.read(families)
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

// read counts requests by their status, and records by what messaging says of them.
func (c counts) read(families map[string]*dto.MetricFamily) {
	for _, m := range families["http_requests_total"].GetMetric() {
		kind, failed, n := "", 0.0, m.GetCounter().GetValue()
		for _, l := range m.GetLabel() {
			switch l.GetName() {
			case "route":
				kind = "requests (" + l.GetValue() + ")"
			case "status":
				if strings.HasPrefix(l.GetValue(), "5") {
					failed = n
				}
			}
		}
		c.add(kind, n, failed)
	}
	for name, bad := range map[string]bool{
		"messaging_stored_total": false, "messaging_repeated_total": false, "messaging_refused_total": false, "messaging_dead_total": true, "messaging_lost_total": true,
	} {
		for _, m := range families[name].GetMetric() {
			n, failed := m.GetCounter().GetValue(), 0.0
			if bad {
				failed = n
			}
			c.add("records", n, failed)
		}
	}
}
