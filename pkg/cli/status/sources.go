package status

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/zclconf/go-cty/cty"

	"github.com/labctl/labctl/pkg/cli/app"
	"github.com/labctl/labctl/pkg/cluster"
	"github.com/labctl/labctl/pkg/kube"
	"github.com/labctl/labctl/pkg/lab"
	"github.com/labctl/labctl/pkg/shadow"
	"github.com/labctl/labctl/pkg/status"
)

const (
	// remoteTimeout bounds each question to a cluster that runs elsewhere: kubelogin alone may take some seconds for a token.
	remoteTimeout = 15 * time.Second
	// straysTimeout bounds the question which releases a cluster has of this lab.
	straysTimeout = 3 * time.Second
)

// The sources whose findings say that there is more than the lab's files tell.
const (
	statesSource   = "states"
	releasesSource = "releases"
)

const unread = "the outputs of the stacks cannot be read"

// sources are what a snapshot of the lab is made of.
func sources(l *app.Lab) status.Sources {
	s := &stateReader{lab: l}
	from := status.Sources{
		Lab: l.Graph.Lab.Name, Environment: l.Graph.Env.Name, Target: l.Graph.Env.Target,
		Followers: []status.Follower{
			status.FollowJournal(func() ([]status.Step, error) { return steps(l) }),
			status.FollowFindings(statesSource, func(context.Context) ([]status.Finding, error) { return orphans(l) }),
			status.FollowFindings(releasesSource, func(ctx context.Context) ([]status.Finding, error) { return s.strays(ctx), nil }),
			status.FollowFindings("terraform", func(context.Context) ([]status.Finding, error) { return running(l) }),
			status.FollowAddresses(func(ctx context.Context) ([]status.URL, error) { return s.addresses(ctx) }),
			status.FollowMachine(func(context.Context) ([]status.Component, int64, error) { return processes(l) }),
			status.FollowCluster(s.find),
			status.FollowEvents(s.find),
			status.FollowServices((&meters{states: s, namespaces: l.Namespaces()}).look),
		},
	}
	if l.Graph.Env.GitOps != nil {
		from.Followers = append(from.Followers, status.FollowApplications(s.applications))
	}
	if _, has := l.Engine.PlaceOf(shadow.Services()[0]); has {
		from.Followers = append(from.Followers, status.FollowShadows(s.shadows), status.FollowGroups((&kafka{states: s}).look))
	}
	return from
}

// steps gives the steps of `up` with how far each got.
func steps(l *app.Lab) ([]status.Step, error) {
	all, err := l.Engine.Steps()
	var out []status.Step
	for _, s := range all {
		step := status.Step{Name: s.Name, Stack: s.Stack, Detail: s.Detail}
		step.Since = s.At
		switch s.State {
		case lab.Pending:
			step.State = status.Pending
		case lab.Begun:
			step.State, step.Reason, step.Next = status.Working, "it is running, or it was interrupted", "labctl up"
		case lab.Failed:
			step.State, step.Reason, step.Next, step.Detail = status.Failed, s.Detail, "labctl up", ""
		case lab.Done:
			step.State = status.Up
		default:
			step.State, step.Reason = status.Unknown, fmt.Sprintf("its state is %q", s.State)
		}
		out = append(out, step)
	}
	return out, err
}

func orphans(l *app.Lab) (found []status.Finding, err error) {
	all, err := l.Engine.Orphans()
	for _, o := range all {
		found = append(found, status.Finding{Text: o.String(), Next: o.Down()})
	}
	return found, err
}

// stateReader reads the states of the stacks, for one source at a time: to read one that is in a backend takes a terraform, and who
// comes next finds what was read.
type stateReader struct {
	lab *app.Lab
	mu  sync.Mutex

	clients    sync.Mutex
	kubeconfig string       // that the client is made with
	client     *kube.Client // kept, since it knows the kinds of the cluster's API
}

func (s *stateReader) outputs(ctx context.Context) (map[string]map[string]cty.Value, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lab.Engine.Outputs(ctx)
}

// strays gives the releases that no stack names any more. A cluster that does not tell in time has none: what is wrong with it is said
// elsewhere.
func (s *stateReader) strays(ctx context.Context) (found []status.Finding) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, straysTimeout)
	defer cancel()
	all, err := s.lab.Engine.Strays(ctx)
	if err != nil {
		return nil
	}
	for _, stray := range all {
		found = append(found, status.Finding{Text: stray.String(), Next: stray.Next()})
	}
	return found
}

func running(l *app.Lab) (found []status.Finding, err error) {
	all, err := l.Engine.Running()
	for _, text := range all {
		found = append(found, status.Finding{Text: text})
	}
	return found, err
}

func (s *stateReader) addresses(ctx context.Context) ([]status.URL, error) {
	outputs, err := s.outputs(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s: %s", unread, err)
	}
	if url := text(outputs["release"]["url"]); url != "" {
		return []status.URL{{Name: "chat", Address: url}}, nil
	}
	return nil, nil
}

// find finds the lab's cluster by what its stacks give now.
func (s *stateReader) find(ctx context.Context) status.Access {
	outputs, err := s.outputs(ctx)
	c := findCluster(s.lab.Graph, outputs)
	a := status.Access{Declared: c.declared, Missing: c.missing}
	if err != nil {
		a.Missing = unread
	}
	if _, err := s.lab.ClusterDir(); err != nil { // labctl does not run this cluster, which may be far away
		a.Timeout = remoteTimeout
	}
	if c.kubeconfig == "" {
		return a
	}
	client, err := s.clientOf(c.kubeconfig)
	if err != nil { // without err, which may quote the content
		a.Missing = c.source + " is not the content of a kubeconfig"
		return a
	}
	a.API = client.Core
	return a
}

func (s *stateReader) clientOf(kubeconfig string) (*kube.Client, error) {
	s.clients.Lock()
	defer s.clients.Unlock()
	if s.client != nil && s.kubeconfig == kubeconfig {
		return s.client, nil
	}
	client, err := kube.New([]byte(kubeconfig))
	if err == nil {
		s.client, s.kubeconfig = client, kubeconfig
	}
	return client, err
}

// cluster gives the client of the lab's cluster; nil where there is none.
func (s *stateReader) cluster(ctx context.Context) *kube.Client {
	if s.find(ctx).API == nil {
		return nil
	}
	s.clients.Lock()
	defer s.clients.Unlock()
	return s.client
}

// processes gives the processes of a cluster that labctl runs.
func processes(l *app.Lab) ([]status.Component, int64, error) {
	dir, err := l.ClusterDir()
	if err != nil {
		return nil, 0, nil //nolint:nilerr // it runs none
	}
	s, err := cluster.Inspect(dir)
	if err != nil || !s.Exists {
		return nil, 0, err
	}
	if !s.Running {
		node := status.Component{Name: "node"}
		node.State, node.Reason, node.Next = status.Down, "stopped; `labctl cluster start` or `labctl up` starts it", "labctl cluster start"
		return []status.Component{node}, 0, nil
	}
	var out []status.Component
	for _, c := range s.Components {
		one := status.Component{Name: c.Name, Restarts: c.Restarts}
		one.State, one.Since, one.Reason = status.Up, c.Since, ""
		if !c.Running {
			one.State, one.Reason, one.Next = status.Down, c.LastExit, "labctl cluster start"
		}
		out = append(out, one)
	}
	return out, s.MemoryBytes, nil
}
