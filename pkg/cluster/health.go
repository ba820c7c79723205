package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/labctl/labctl/pkg/cluster/node"
	"github.com/labctl/labctl/pkg/kube"
)

type healthCheck func(ctx context.Context, client *kube.Client) error

func waitHealthy(ctx context.Context, dir string, client *kube.Client, more ...healthCheck) error {
	return waitFor(ctx, dir, "the Kubernetes API", func(ctx context.Context) error {
		if _, err := client.Ready(ctx); err != nil {
			return err
		}
		for _, check := range more {
			if err := check(ctx, client); err != nil {
				return err
			}
		}
		return nil
	})
}

// waitFor polls until check is satisfied. It gives up early where the node has ended, or a component ends again and
// again, with the end of its log.
func waitFor(ctx context.Context, dir, what string, check func(context.Context) error) error {
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		if _, running := runningNode(dir); !running {
			return fmt.Errorf("the node ended while labctl waited for %s\n%s", what, tail(node.LogPath(dir, "node"), 10))
		}
		if state, stateErr := node.ReadState(dir); stateErr == nil {
			for _, c := range state.Components {
				if c.Restarts >= 4 && !c.Running {
					return fmt.Errorf("%s of the node does not stay up (%s, %d times); the end of its log:\n%s\nmore: labctl cluster logs %s",
						c.Name, c.LastExit, c.Restarts, tail(node.LogPath(dir, c.Name), 15), c.Name)
				}
			}
		}
		if ctx.Err() == nil {
			_ = pause(ctx, 100*time.Millisecond) // its error is seen below
		}
		if ctx.Err() != nil {
			return fmt.Errorf("waited for %s, last seen: %w (%w)", what, err, ctx.Err())
		}
	}
}

func nodeReady(nodes []v1.Node, name string, started time.Time) error {
	for _, n := range nodes {
		if n.Name != name {
			continue
		}
		for _, c := range n.Status.Conditions {
			switch {
			case c.Type != v1.NodeReady:
			case c.LastHeartbeatTime.Time.Before(started.Truncate(time.Second)): // what the API's times are rounded down to
				return fmt.Errorf("node %s has not reported since it started", n.Name)
			case c.Status != v1.ConditionTrue:
				return fmt.Errorf("node %s is not ready: %s", n.Name, c.Message)
			default:
				return nil
			}
		}
	}
	return fmt.Errorf("node %s has not registered with the API", name)
}

func podsAreBack(pods []v1.Pod, node string, started time.Time) error {
	for _, p := range pods {
		if p.Spec.NodeName != node {
			continue
		}
		for _, c := range p.Status.ContainerStatuses {
			if c.State.Running != nil && c.State.Running.StartedAt.Time.Before(started.Truncate(time.Second)) {
				return fmt.Errorf("pod %s/%s has not come back yet", p.Namespace, p.Name)
			}
		}
	}
	return nil
}

// health is the answer to: does everything of the nodes run?
func health(ctx context.Context, s Spec, kubeconfig []byte) error {
	if _, running := runningNode(s.Dir); !running {
		return errors.New("the node does not run")
	}
	for _, m := range s.members() {
		state, err := node.ReadState(filepath.Join(s.Dir, m.home()))
		if err != nil {
			return err
		}
		for _, c := range state.Components {
			switch {
			case c.Running:
			case c.Node:
				return fmt.Errorf("node %s does not run (%s)", c.Name, c.LastExit)
			case m.index > 0:
				return fmt.Errorf("%s of node %s does not run (%s)", c.Name, m.name, c.LastExit)
			default:
				return fmt.Errorf("%s does not run (%s)", c.Name, c.LastExit)
			}
		}
	}
	client, err := kube.New(kubeconfig)
	if err != nil {
		return err
	}
	if _, err := client.Ready(ctx); err != nil {
		return err
	}
	return nodesReady(s)(ctx, client)
}

// hasStarted tells whether a node runs as a component of the first one, and its state is not of an earlier run.
func hasStarted(first node.State, name string, state node.State) bool {
	return slices.ContainsFunc(first.Components, func(c node.ComponentState) bool {
		return c.Name == name && c.Running && !state.Started.Before(c.Since)
	})
}

// nodesReady gives the check that every node is ready, and that what the API says of a node and its pods is no memory of an
// earlier run: after a crash the API goes on saying what it was last told.
func nodesReady(s Spec) healthCheck {
	return func(ctx context.Context, client *kube.Client) error {
		nodes, err := client.Core.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		pods, err := client.Core.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		first, err := node.ReadState(s.Dir)
		if err != nil {
			return err
		}
		for _, m := range s.members() {
			state, err := node.ReadState(filepath.Join(s.Dir, m.home()))
			if errors.Is(err, os.ErrNotExist) || err == nil && m.index > 0 && !hasStarted(first, m.name, state) {
				return fmt.Errorf("node %s has not started", m.name)
			}
			if err != nil {
				return err
			}
			if err := nodeReady(nodes.Items, m.name, state.Started); err != nil {
				return err
			}
			if err := podsAreBack(pods.Items, m.name, state.Started); err != nil {
				return err
			}
		}
		return nil
	}
}
