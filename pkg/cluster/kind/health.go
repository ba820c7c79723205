package kind

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/labctl/labctl/pkg/kube"
)

// askEvery is how often a cluster that is waited for is looked at.
const askEvery = 200 * time.Millisecond

// waitHealthy waits until the cluster is healthy. It gives up early where the node has ended.
func waitHealthy(ctx context.Context, e engine, o Options, n node, client *kube.Client) error {
	every := time.NewTicker(askEvery)
	defer every.Stop()
	for {
		seen := health(ctx, o, n, client)
		if seen == nil {
			return nil
		}
		if now, err := e.node(ctx, o); err == nil && !now.running() {
			return fmt.Errorf("the node %s ended while labctl waited for it (`%s logs %s` tells why): %w", n.name, e.name, n.name, seen)
		}
		select {
		case <-every.C:
		case <-ctx.Done():
			return fmt.Errorf("waited for the cluster to be healthy, last seen: %w (%w)", seen, ctx.Err())
		}
	}
}

// health says what of a cluster whose API answers does not work. What the API says is only believed where it was said
// in the node's present run: after a restart it goes on for a while to say what it was last told.
func health(ctx context.Context, o Options, n node, client *kube.Client) error {
	since := n.started.Truncate(time.Second) // what the API's times are rounded down to
	if err := nodeReady(ctx, client, since); err != nil {
		return err
	}
	pods, err := client.Core.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("list the pods: %w", err)
	}
	for _, p := range pods.Items {
		for _, s := range p.Status.ContainerStatuses {
			if s.State.Running != nil && s.State.Running.StartedAt.Time.Before(since) {
				return fmt.Errorf("pod %s/%s has not come back yet", p.Namespace, p.Name)
			}
		}
	}
	for _, p := range parts {
		d, err := client.Core.AppsV1().Deployments(p.namespace).Get(ctx, p.deployment, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			return fmt.Errorf("%s is missing", p.what)
		case err != nil:
			return fmt.Errorf("look for %s: %w", p.what, err)
		case d.Status.AvailableReplicas == 0:
			return fmt.Errorf("%s does not run", p.what)
		}
	}
	// The way in from this machine, whose ends are in the engine's hands.
	if err := answers(ctx, o.RegistryPort, "/v2/", http.StatusOK); err != nil {
		return fmt.Errorf("the image registry: %w", err)
	}
	if err := answers(ctx, o.HTTPPort, "/kube-system/healthz", http.StatusOK); err != nil {
		return fmt.Errorf("the ingress: %w", err)
	}
	return nil
}

func nodeReady(ctx context.Context, client *kube.Client, since time.Time) error {
	nodes, err := client.Core.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("list the nodes: %w", err)
	}
	for _, n := range nodes.Items {
		for _, c := range n.Status.Conditions {
			if c.Type != corev1.NodeReady {
				continue
			}
			if c.LastHeartbeatTime.Time.Before(since) {
				return fmt.Errorf("node %s has not reported since it started", n.Name)
			}
			if c.Status != corev1.ConditionTrue {
				return fmt.Errorf("node %s is not ready: %s", n.Name, c.Message)
			}
			return nil
		}
	}
	return errors.New("the node has not registered with the API")
}

// answers asks a port of this machine over HTTP.
func answers(ctx context.Context, port int, path string, want int) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s:%d%s", loopback, port, path), nil)
	if err != nil {
		return err
	}
	// A client of its own: no proxy is on the way to the loopback address, and no connection outlives the question.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 1<<16)) // the status is the answer
	if response.StatusCode != want {
		return fmt.Errorf("%s answers %s", request.URL, response.Status)
	}
	return nil
}
