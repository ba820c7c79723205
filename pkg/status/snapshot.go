// Package status is how a whole lab is at a moment: how far its stacks got, whether its cluster's own processes run, and
// what runs in the cluster. Watch follows it by small sources, each of which knows one part. A snapshot never fails: what
// could not be learnt is missing from it, and its Problems say why.
package status

import (
	"strings"
	"time"
)

// SchemaVersion is that of a snapshot as JSON. It grows when a field changes its meaning or goes.
const SchemaVersion = 1

// Snapshot is how a lab is at one moment. Nobody changes what one refers to: the next one may share it.
type Snapshot struct {
	Version      int           `json:"version"`
	Lab          string        `json:"lab"`
	Environment  string        `json:"environment"`
	Target       string        `json:"target"`
	At           time.Time     `json:"at"`
	State        State         `json:"state"`
	Problems     []string      `json:"problems,omitempty"` // what keeps the lab from being up, causes before their effects
	Next         string        `json:"next,omitempty"`     // the command that helps first
	URLs         []URL         `json:"urls,omitempty"`
	Stacks       []Stack       `json:"stacks"`
	Cluster      Cluster       `json:"cluster"`
	Namespaces   []Namespace   `json:"namespaces,omitempty"`
	Applications []Application `json:"applications,omitempty"`
	Services     []Service     `json:"services,omitempty"`
	Groups       []Group       `json:"groups,omitempty"`
	Shadows      []Shadow      `json:"shadows,omitempty"`
	Events       []Event       `json:"events,omitempty"` // the newest first, keptEvents at most
	Findings     []Finding     `json:"findings,omitempty"`
	Sources      []Source      `json:"sources"`
}

// URL is an address that a user opens.
type URL struct {
	Name    string `json:"name"`
	Address string `json:"address"`
}

// Stack is a numbered stack and what the journal knows about its last run.
type Stack struct {
	ID string `json:"id"` // "1-cluster"
	Condition
	Detail string `json:"detail,omitempty"` // what was done last
	Steps  []Step `json:"steps"`
}

// Step is one step of a stack: its Terraform, an image, a release.
type Step struct {
	Name  string `json:"name"` // "5-release/image auth"
	Stack string `json:"-"`
	Condition
	Detail string `json:"detail,omitempty"` // what was done last
}

// Short is the step's name within its stack: "image auth".
func (s Step) Short() string { return strings.TrimPrefix(s.Name, s.Stack+"/") }

// Cluster is the cluster itself. What could not be learnt is empty.
type Cluster struct {
	Declared bool `json:"declared"` // the lab has a cluster; without one nothing below is set
	Condition
	Version     string      `json:"version,omitempty"`
	MemoryBytes int64       `json:"memoryBytes,omitempty"` // of all its processes and pods
	Components  []Component `json:"components,omitempty"`
	Nodes       []Node      `json:"nodes,omitempty"`
}

// Component is one of the cluster's own processes, such as etcd.
type Component struct {
	Name string `json:"name"`
	Condition
	Restarts int `json:"restarts"`
}

// Node is a machine of the cluster.
type Node struct {
	Name string `json:"name"`
	Condition
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
	Kind Kind   `json:"kind"` // as kubectl takes it
	Name string `json:"name"`
	Condition
	Ready    int32     `json:"ready"`
	Desired  int32     `json:"desired"`
	Restarts int32     `json:"restarts"` // of the containers of its pods
	Created  time.Time `json:"created"`
	Pods     []Pod     `json:"pods,omitempty"`
}

// Pod is one pod of a workload.
type Pod struct {
	Name string `json:"name"`
	Condition
	Node     string    `json:"node,omitempty"`
	Restarts int32     `json:"restarts"`
	Created  time.Time `json:"created"`
}

// Application is one of Argo CD's.
type Application struct {
	Name string `json:"name"`
	Condition
	Sync     string `json:"sync"`     // as Argo CD says it
	Health   string `json:"health"`   // the same
	Revision string `json:"revision"` // the commit that runs
}

// Service is what a service of the lab does, as its pods count it.
type Service struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Condition
	Pods int `json:"pods"` // that told
	// What was done between the last two looks; nothing after the first one.
	Flows  []Flow  `json:"flows,omitempty"`
	Errors float64 `json:"errors"` // share of the requests that the service could not answer (5xx)
	P50    float64 `json:"p50"`    // seconds to answer a request; 0: there was none
	P99    float64 `json:"p99"`
	// History is all flows together per second, a number for each look, the oldest first.
	History []float64 `json:"history,omitempty"`
}

// Flow is how much of something a service handles.
type Flow struct {
	Name      string  `json:"name"` // "requests", "records", "frames"
	PerSecond float64 `json:"perSecond"`
}

// Group is a consumer group of Kafka.
type Group struct {
	Name string `json:"name"`
	Condition
	Members int       `json:"members"`
	Lag     int64     `json:"lag"` // records that are not committed yet
	Topics  []string  `json:"topics"`
	History []float64 `json:"history,omitempty"` // of the lag, the oldest first
}

// Shadow is a version of a service that is tried on live traffic.
type Shadow struct {
	Service string `json:"service"`
	Condition
	Version   string  `json:"version"`
	Verdict   string  `json:"verdict"`
	Samples   int64   `json:"samples"`
	Remaining int64   `json:"remaining"` // about so many more samples bring a verdict; negative: they alone won't
	Agreement float64 `json:"agreement"` // share of samples in which the candidate did what the live version did
}

// Event is what the cluster says of one of its objects.
type Event struct {
	Namespace string    `json:"namespace,omitempty"`
	Name      string    `json:"name"` // of the event itself
	Kind      Kind      `json:"kind"` // of the object
	Object    string    `json:"object"`
	Warning   bool      `json:"warning,omitempty"`
	Reason    string    `json:"reason"` // a word such as "BackOff"
	Text      string    `json:"text"`
	Count     int32     `json:"count"`
	At        time.Time `json:"at"` // of the last time
}

// Finding is something that no other part of a snapshot tells, and that keeps the lab from being up.
type Finding struct {
	Source string `json:"source"`
	Text   string `json:"text"`
	Next   string `json:"next,omitempty"`
}

// Source is where a part of a snapshot comes from. One that is unknown leaves its part as it was last seen, or empty.
type Source struct {
	Name string `json:"name"`
	Condition
	beside bool // as Follower.Beside
}
