package status

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/client-go/discovery"
	"k8s.io/client-go/kubernetes"
)

const (
	clusterSource = "cluster"
	pingEvery     = 5 * time.Second
	gatherFor     = 200 * time.Millisecond // objects that change within it are summed up together
)

// Access is how a lab's cluster can be asked, as far as is known now.
type Access struct {
	Declared bool                 // the lab has a cluster
	API      kubernetes.Interface // nil: there is none
	Missing  string               // why there is none
	Timeout  time.Duration        // of each question; 0: DefaultTimeout
	Every    time.Duration        // how often it is asked whether it is there; 0: each five seconds
}

// FollowCluster follows what runs in a cluster. Find is asked again while there is none, and when it was lost.
func FollowCluster(find func(context.Context) Access) Follower {
	return Follower{Name: clusterSource, Follow: inCluster(find, Access.follow, func(s *Snapshot, a Access) {
		s.Cluster.Declared, s.Cluster.Version, s.Cluster.Nodes, s.Namespaces = a.Declared, "", nil, nil
		s.Cluster.become(s.At, Down, a.Missing)
	})}
}

// inCluster follows something in a cluster as long as there is one. Missing notes that there is none.
func inCluster(find func(context.Context) Access, follow func(Access, context.Context, Update) error, missing func(*Snapshot, Access)) func(context.Context, Update) error {
	return func(ctx context.Context, update Update) error {
		for {
			a := find(ctx)
			if a.Timeout <= 0 {
				a.Timeout = DefaultTimeout
			}
			if a.Every <= 0 {
				a.Every = pingEvery
			}
			if a.API != nil {
				return follow(a, ctx, update)
			}
			update(func(s *Snapshot) { missing(s, a) })
			if err := sleep(ctx, againAfter); err != nil {
				return err
			}
		}
	}
}

// follow watches a cluster until it does not answer.
func (a Access) follow(ctx context.Context, update Update) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	version, err := a.ping(ctx)
	if err != nil {
		return lost(update, err)
	}
	l := watchLists(ctx, a.API)
	l.await(ctx, a.Timeout)
	tell := func() {
		nodes, namespaces, unlisted := l.read()
		update(func(s *Snapshot) {
			s.Cluster.Declared, s.Cluster.Version, s.Cluster.Nodes, s.Namespaces = true, version, nodes, namespaces
			state := Up
			if len(unlisted) > 0 {
				state = Partial
			}
			s.Cluster.become(s.At, state, strings.Join(unlisted, "; "))
		})
	}
	tell()
	ping := time.NewTicker(a.Every)
	defer ping.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ping.C:
			if version, err = a.ping(ctx); err != nil {
				return lost(update, err)
			}
		case <-l.changed:
			if err := sleep(ctx, gatherFor); err != nil {
				return err
			}
		}
		tell()
	}
}

func (a Access) ping(ctx context.Context) (version string, err error) {
	ctx, cancel := context.WithTimeout(ctx, a.Timeout)
	defer cancel()
	return within(ctx, func() (string, error) { return serverVersion(a.API.Discovery()) })
}

func serverVersion(d discovery.DiscoveryInterface) (string, error) {
	info, err := d.ServerVersion()
	if err != nil {
		return "", err
	}
	return info.GitVersion, nil
}

// lost says that the cluster does not answer. What was seen last stays, as something that nobody knows now.
func lost(update Update, err error) error {
	reason := brief(err)
	update(func(s *Snapshot) {
		s.Cluster.Declared = true
		s.Cluster.become(s.At, Unknown, reason)
		nodes := slices.Clone(s.Cluster.Nodes)
		for i := range nodes {
			nodes[i].become(s.At, Unknown, reason)
		}
		s.Cluster.Nodes = nodes
		namespaces := slices.Clone(s.Namespaces)
		for i := range namespaces {
			workloads := slices.Clone(namespaces[i].Workloads)
			for j := range workloads {
				workloads[j].become(s.At, Unknown, reason)
				pods := slices.Clone(workloads[j].Pods)
				for k := range pods {
					pods[k].become(s.At, Unknown, reason)
				}
				workloads[j].Pods = pods
			}
			namespaces[i].Workloads = workloads
		}
		s.Namespaces = namespaces
	})
	return fmt.Errorf("the cluster cannot be reached: %s", reason)
}
