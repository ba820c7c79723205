package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/labctl/labctl/pkg/cluster/node"
	"github.com/labctl/labctl/pkg/kube"
)

// MostNodes is how many nodes an embedded cluster may have. It bounds what a laptop is asked to carry.
const MostNodes = 9

// member is one node of an embedded cluster. The first has the control plane, and its files are the cluster directory's.
type member struct {
	name  string
	index int // from 0
}

func (s Spec) members() []member {
	all := []member{{name: s.Name}}
	for i := 1; i < s.Nodes; i++ {
		all = append(all, member{name: fmt.Sprintf("%s-%d", s.Name, i+1), index: i})
	}
	return all
}

// has tells whether the cluster has a node of that name.
func (s Spec) has(name string) bool {
	return slices.ContainsFunc(s.members(), func(m member) bool { return m.name == name })
}

// home is the directory of the member's own files, relative to the cluster directory.
func (m member) home() string {
	if m.index == 0 {
		return ""
	}
	return node.HomeOf(m.name)
}

func (m member) address() string { return fmt.Sprintf("10.40.0.%d", 2+m.index) }

// pods is the CIDR of the member's pods, within podCIDR.
func (m member) pods() string { return fmt.Sprintf("10.42.%d.0/24", m.index) }

// device is what joins the member to the first one's bridge. A device's name has room for 15 bytes.
func (m member) device() string { return fmt.Sprintf("node%d", m.index+1) }

// identity is the base name of the member's certificates.
func (m member) identity(use string) string {
	if m.index == 0 {
		return use
	}
	return use + "-" + m.name
}

// policies is the socket of who enforces NetworkPolicies on the member, as all nodes see it.
func (m member) policies() string { return filepath.Join(inside, m.home(), "policies.sock") }

// routes lead to the pods of the others.
func (m member) routes(all []member) []node.Route {
	var routes []node.Route
	for _, other := range all {
		if other.index != m.index {
			routes = append(routes, node.Route{To: other.pods(), Via: other.address()})
		}
	}
	return routes
}

// stopFile is where the wish is kept that a node does not run.
const stopFile = "stopped"

// StopNode ends a node and all its pods at once, as a machine that loses power. It stays so until Ensure.
func (m *Manager) StopNode(ctx context.Context, dir, name string) error {
	if _, running := runningNode(dir); !running {
		return ErrGone
	}
	state, err := node.ReadState(dir)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(state.Components, func(c node.ComponentState) bool { return c.Node && c.Name == name }) {
		return unknownNode(name, state)
	}
	if err := os.WriteFile(filepath.Join(dir, node.HomeOf(name), stopFile), nil, 0o600); err != nil {
		return err
	}
	return waitFor(ctx, dir, "the end of node "+name, func(context.Context) error {
		state, err := node.ReadState(dir)
		if err != nil {
			return err
		}
		for _, c := range state.Components {
			if c.Name == name && c.Running {
				return errors.New("it still runs")
			}
		}
		return nil
	})
}

func unknownNode(name string, state node.State) error {
	var names []string
	for _, c := range state.Components {
		if c.Node {
			names = append(names, c.Name)
		}
	}
	if len(names) == 0 {
		return fmt.Errorf("%q cannot be stopped alone: the cluster has one node, with the control plane; set nodes in the environment's vars in lab.hcl for more", name)
	}
	return fmt.Errorf("%q cannot be stopped alone: it is no node, or has the control plane; those that can be are %s", name, strings.Join(names, ", "))
}

// unstop takes back what StopNode did, and says which nodes it was for.
func unstop(s Spec) (names []string, err error) {
	for _, m := range s.members()[1:] {
		err := os.Remove(filepath.Join(s.Dir, m.home(), stopFile))
		switch {
		case err == nil:
			names = append(names, m.name)
		case !errors.Is(err, os.ErrNotExist):
			return names, err
		}
	}
	return names, nil
}

// removeOthersFiles removes the files of nodes that the cluster has no more. None may run.
func removeOthersFiles(s Spec) error {
	dirs, err := filepath.Glob(filepath.Join(s.Dir, node.HomeOf("*")))
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		if !s.has(filepath.Base(dir)) {
			if err := os.RemoveAll(dir); err != nil {
				return err
			}
		}
	}
	return nil
}

// forgetOthers tells the API that nodes and their pods are gone. By itself Kubernetes removes such pods after a minute.
func forgetOthers(ctx context.Context, client *kube.Client, s Spec) error {
	nodes, err := client.Core.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, n := range nodes.Items {
		if s.has(n.Name) {
			continue
		}
		if err := client.Core.CoreV1().Nodes().Delete(ctx, n.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("forget node %s: %w", n.Name, err)
		}
	}
	pods, err := client.Core.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, p := range pods.Items {
		if p.Spec.NodeName == "" || s.has(p.Spec.NodeName) {
			continue
		}
		err := client.Core.CoreV1().Pods(p.Namespace).Delete(ctx, p.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64)})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("forget pod %s/%s: %w", p.Namespace, p.Name, err)
		}
	}
	return nil
}
