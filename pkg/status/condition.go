package status

import (
	"fmt"
	"time"
)

// State is how a part of a lab is, and how the lab is as a whole.
type State string

// The states, the same for all kinds of parts.
const (
	Up      State = "up"      // all is there and well
	Working State = "working" // on its way: a step that runs, a roll-out
	Pending State = "pending" // not begun
	Partial State = "partial" // something of it is missing, not ready or not reachable
	Failed  State = "failed"  // it went wrong, and does not mend itself
	Down    State = "down"    // it is not there, or does not run
	Unknown State = "unknown" // nobody could tell in time; the reason says why
)

// Condition is what is said of each part of a lab.
type Condition struct {
	State  State     `json:"state"`
	Since  time.Time `json:"since,omitzero"`
	Reason string    `json:"reason,omitempty"` // why it is not up, in plain words
	Next   string    `json:"next,omitempty"`   // a command that helps, or says more
}

// A Kind is a kind of parts.
type Kind string

// The kinds.
const (
	KindLab         Kind = "lab"
	KindStack       Kind = "stack"
	KindStep        Kind = "step"
	KindCluster     Kind = "cluster"
	KindComponent   Kind = "component"
	KindNode        Kind = "node"
	KindDeployment  Kind = "deployment"
	KindStatefulSet Kind = "statefulset"
	KindDaemonSet   Kind = "daemonset"
	KindPod         Kind = "pod"
	KindApplication Kind = "application"
	KindService     Kind = "service"
	KindGroup       Kind = "group"
	KindShadow      Kind = "shadow"
	KindEvent       Kind = "event" // has no state, and is no part
	KindSource      Kind = "source"
)

// Part is a part of a lab by its name, whatever it is.
type Part struct {
	Kind      Kind
	Namespace string // of what lives in a cluster's namespace
	Name      string
	Condition
}

// String is how --wait calls the part: "stack/1-cluster", "deployment/chat/auth".
func (p Part) String() string {
	if p.Namespace != "" {
		return fmt.Sprintf("%s/%s/%s", p.Kind, p.Namespace, p.Name)
	}
	return fmt.Sprintf("%s/%s", p.Kind, p.Name)
}

// Parts gives all parts of the lab, the lab first.
func (s *Snapshot) Parts() []Part {
	lab := Condition{State: s.State, Next: s.Next}
	if len(s.Problems) > 0 {
		lab.Reason = s.Problems[0]
	}
	parts := []Part{{KindLab, "", s.Lab, lab}}
	for _, st := range s.Stacks {
		parts = append(parts, Part{KindStack, "", st.ID, st.Condition})
		for _, step := range st.Steps {
			parts = append(parts, Part{KindStep, "", step.Name, step.Condition})
		}
	}
	if s.Cluster.Declared {
		parts = append(parts, Part{KindCluster, "", s.Lab, s.Cluster.Condition})
	}
	for _, c := range s.Cluster.Components {
		parts = append(parts, Part{KindComponent, "", c.Name, c.Condition})
	}
	for _, n := range s.Cluster.Nodes {
		parts = append(parts, Part{KindNode, "", n.Name, n.Condition})
	}
	for _, n := range s.Namespaces {
		for _, w := range n.Workloads {
			parts = append(parts, Part{w.Kind, n.Name, w.Name, w.Condition})
			for _, p := range w.Pods {
				parts = append(parts, Part{KindPod, n.Name, p.Name, p.Condition})
			}
		}
	}
	for _, a := range s.Applications {
		parts = append(parts, Part{KindApplication, "", a.Name, a.Condition})
	}
	for _, v := range s.Services {
		parts = append(parts, Part{KindService, v.Namespace, v.Name, v.Condition})
	}
	for _, g := range s.Groups {
		parts = append(parts, Part{KindGroup, "", g.Name, g.Condition})
	}
	for _, w := range s.Shadows {
		parts = append(parts, Part{KindShadow, "", w.Service, w.Condition})
	}
	for _, src := range s.Sources {
		parts = append(parts, Part{KindSource, "", src.Name, src.Condition})
	}
	return parts
}

// become notes how a part is at a time. Since is when its state became what it is.
func (c *Condition) become(at time.Time, state State, reason string) {
	if c.State != state {
		c.Since = at
	}
	c.State, c.Reason, c.Next = state, reason, ""
}
