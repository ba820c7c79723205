// Package status takes one snapshot of a whole lab: how far its stacks got, whether its cluster's own processes run, and
// what runs in the cluster. Each question has a time limit. A snapshot never fails: what could not be learnt is missing
// from it, and its Problems say why.
package status

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/kubernetes"
)

// DefaultTimeout bounds each question that a snapshot asks.
const DefaultTimeout = 3 * time.Second

// State sums a snapshot up.
type State string

// The states of a lab.
const (
	Up      State = "up"      // everything is there and ready
	Partial State = "partial" // something is missing, not ready, or not reachable; Problems says what
	Down    State = "down"    // nothing was brought up
)

// The states of a step and of a stack.
const (
	StepPending = "pending" // never started
	StepStarted = "started" // is running, or was interrupted
	StepDone    = "done"
	StepFailed  = "failed"
)

// Snapshot is how a lab is at one moment.
type Snapshot struct {
	Lab         string      `json:"lab"`
	Environment string      `json:"environment"`
	Target      string      `json:"target"`
	At          time.Time   `json:"at"`
	State       State       `json:"state"`
	Problems    []string    `json:"problems,omitempty"` // what keeps the lab from being up, causes before their effects
	URLs        []URL       `json:"urls,omitempty"`
	Stacks      []Stack     `json:"stacks"`
	Cluster     Cluster     `json:"cluster"`
	Namespaces  []Namespace `json:"namespaces,omitempty"`
}

// URL is an address that a user opens.
type URL struct {
	Name    string `json:"name"`
	Address string `json:"address"`
}

// Stack is a numbered stack and what the journal knows about its last run.
type Stack struct {
	ID     string    `json:"id"`    // "1-cluster"
	State  string    `json:"state"` // that of the step that got least far
	At     time.Time `json:"at,omitzero"`
	Detail string    `json:"detail,omitempty"`
	Steps  []Step    `json:"steps"`
}

// Step is one step of a stack: its Terraform, an image, a release.
type Step struct {
	Name   string    `json:"name"` // "5-release/image auth"
	Stack  string    `json:"-"`
	State  string    `json:"state"`
	At     time.Time `json:"at,omitzero"`
	Detail string    `json:"detail,omitempty"`
}

// Short is the step's name within its stack: "image auth".
func (s Step) Short() string { return strings.TrimPrefix(s.Name, s.Stack+"/") }

// Cluster is the cluster itself. What could not be learnt is empty.
type Cluster struct {
	Declared    bool        `json:"declared"` // the lab has a cluster; without one nothing below is set
	Reachable   bool        `json:"reachable"`
	Reason      string      `json:"reason,omitempty"` // why it is not reachable
	Version     string      `json:"version,omitempty"`
	MemoryBytes int64       `json:"memoryBytes,omitempty"` // of all its processes and pods
	Components  []Component `json:"components,omitempty"`
	Nodes       []Node      `json:"nodes,omitempty"`
}

// Component is one of the cluster's own processes, such as etcd.
type Component struct {
	Name     string    `json:"name"`
	Running  bool      `json:"running"`
	Restarts int       `json:"restarts"`
	Since    time.Time `json:"since,omitzero"`
	Reason   string    `json:"reason,omitempty"` // why it does not run, or how it last ended
}

// Node is a machine of the cluster.
type Node struct {
	Name    string    `json:"name"`
	Ready   bool      `json:"ready"`
	Reason  string    `json:"reason,omitempty"` // why it is not ready, or what presses it
	Version string    `json:"version"`
	Created time.Time `json:"created"`
}

// Namespace holds workloads.
type Namespace struct {
	Name      string     `json:"name"`
	Workloads []Workload `json:"workloads"`
}

// Workload is a Deployment, StatefulSet or DaemonSet.
type Workload struct {
	Kind     string    `json:"kind"` // lower case, as kubectl takes it
	Name     string    `json:"name"`
	Ready    int32     `json:"ready"`
	Desired  int32     `json:"desired"`
	Restarts int32     `json:"restarts"` // of the containers of its pods
	Reason   string    `json:"reason,omitempty"`
	Created  time.Time `json:"created"`
}

// IsReady tells whether all desired pods are ready and no reason speaks against the workload.
func (w Workload) IsReady() bool { return w.Ready >= w.Desired && w.Reason == "" }

// Sources are what a snapshot is made of. A nil source does not exist.
type Sources struct {
	Lab, Environment, Target string
	// Steps gives the steps of `up` in order, as the journal knows them.
	Steps func() ([]Step, error)
	// Undeclared says that the lab's stacks declare no cluster, so that a lab without one is complete.
	Undeclared bool
	// Processes gives the cluster's own processes and the memory of all that belongs to it.
	Processes func(context.Context) (components []Component, memory int64, err error)
	// API is the cluster's API; NoAPI says why there is none.
	API   kubernetes.Interface
	NoAPI string
	URLs  []URL
	// Problems are what went wrong while the sources were gathered.
	Problems []string
	// Now is the clock; nil: time.Now.
	Now func() time.Time
	// Timeout bounds each question; 0: DefaultTimeout.
	Timeout time.Duration
}

// Collect takes a snapshot. It takes little longer than the time limit of one question.
func Collect(ctx context.Context, from Sources) *Snapshot {
	now := from.Now
	if now == nil {
		now = time.Now
	}
	s := &Snapshot{Lab: from.Lab, Environment: from.Environment, Target: from.Target, At: now().UTC(), URLs: from.URLs, Stacks: []Stack{}}
	timeout := from.Timeout
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()

	var wg sync.WaitGroup
	var unread, unasked error
	var seen workloads
	if from.Steps != nil {
		wg.Go(func() {
			var steps []Step
			steps, unread = from.Steps()
			s.Stacks = stacks(steps)
		})
	}
	if from.Processes != nil {
		wg.Go(func() { s.Cluster.Components, s.Cluster.MemoryBytes, unasked = from.Processes(ctx) })
	}
	if from.API != nil {
		wg.Go(func() { seen = look(ctx, from.API) })
	} else if !from.Undeclared {
		seen.reason = from.NoAPI
	}
	wg.Wait()

	s.Cluster.Declared = !from.Undeclared
	s.Cluster.Reachable, s.Cluster.Reason, s.Cluster.Version = seen.reachable, seen.reason, seen.version
	s.Cluster.Nodes, s.Namespaces = seen.nodes, seen.namespaces
	if unread != nil {
		s.problem("the journal cannot be read: %v", unread)
	}
	if unasked != nil {
		s.problem("the cluster's processes cannot be inspected: %v", unasked)
	}
	s.Problems = append(s.Problems, from.Problems...)
	s.judge(seen.problems)
	return s
}

func (s *Snapshot) problem(format string, a ...any) {
	s.Problems = append(s.Problems, fmt.Sprintf(format, a...))
}

// judge derives the lab's state and problems from the parts of the snapshot.
func (s *Snapshot) judge(unlisted []string) {
	begun := false
	var open []string
	for _, stack := range s.Stacks {
		if stack.State != StepPending {
			begun = true
		}
		for _, step := range stack.Steps {
			switch step.State {
			case StepDone:
			case StepPending:
				open = append(open, step.Name)
			case StepStarted:
				begun = true
				s.problem("%s is not done: it is running, or it was interrupted", step.Name)
			default:
				s.problem("%s", strings.TrimSuffix(step.Name+" "+step.State+": "+step.Detail, ": "))
			}
		}
	}
	missing := len(open) > 0 || s.Cluster.Declared
	if !begun && missing && !s.Cluster.Reachable && len(s.Cluster.Components) == 0 && len(s.Problems) == 0 {
		s.State = Down
		return
	}
	if len(open) > 0 {
		s.problem("not started: %s", strings.Join(open, ", "))
	}
	for _, c := range s.Cluster.Components {
		if !c.Running {
			s.problem("%s", strings.TrimSuffix(c.Name+" is not running: "+c.Reason, ": "))
		}
	}
	if s.Cluster.Declared && !s.Cluster.Reachable {
		s.problem("%s", strings.TrimSuffix("the cluster cannot be reached: "+s.Cluster.Reason, ": "))
	}
	for _, n := range s.Cluster.Nodes {
		switch {
		case !n.Ready:
			s.problem("%s", strings.TrimSuffix("node "+n.Name+" is not ready: "+n.Reason, ": "))
		case n.Reason != "":
			s.problem("node %s: %s", n.Name, n.Reason)
		}
	}
	s.Problems = append(s.Problems, unlisted...)
	for _, n := range s.Namespaces {
		for _, w := range n.Workloads {
			if !w.IsReady() {
				s.problem("%s/%s in namespace %s is not ready: %s", w.Kind, w.Name, n.Name, w.Reason)
			}
		}
	}
	s.State = Up
	if len(s.Problems) > 0 {
		s.State = Partial
	}
}

// stacks groups the steps by stack and sums up each stack.
func stacks(steps []Step) []Stack {
	out := []Stack{}
	for _, step := range steps {
		i := slices.IndexFunc(out, func(s Stack) bool { return s.ID == step.Stack })
		if i < 0 {
			i = len(out)
			out = append(out, Stack{ID: step.Stack, State: StepDone})
		}
		s := &out[i]
		s.Steps = append(s.Steps, step)
		if step.At.After(s.At) {
			s.At = step.At
		}
	}
	for i := range out {
		out[i].State, out[i].Detail = sum(out[i].Steps)
	}
	return out
}

// sum derives the state of a stack from its steps: a failed step decides first, then a running one, then a pending one.
func sum(steps []Step) (state, detail string) {
	if len(steps) == 1 {
		return steps[0].State, steps[0].Detail
	}
	done := 0
	for _, s := range steps {
		switch s.State {
		case StepDone:
			done++
		case StepStarted, StepPending:
		default:
			return s.State, s.Short()
		}
	}
	for _, s := range steps {
		if s.State == StepStarted {
			return StepStarted, s.Short()
		}
	}
	switch done {
	case len(steps):
		return StepDone, fmt.Sprintf("%d steps", done)
	case 0:
		return StepPending, ""
	}
	return StepStarted, fmt.Sprintf("%d of %d steps done", done, len(steps))
}
