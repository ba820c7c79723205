package status

import (
	"context"
	"fmt"
	"time"
)

// How often what does not tell by itself is looked at.
const (
	journalEvery  = time.Second
	machineEvery  = 2 * time.Second
	findingsEvery = 10 * time.Second
)

// poll makes a follower of a question.
func poll(name string, every time.Duration, ask func(context.Context) (change func(*Snapshot), err error)) Follower {
	return Follower{Name: name, Follow: func(ctx context.Context, update Update) error {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			change, err := ask(ctx)
			if err != nil {
				return err
			}
			update(change)
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-tick.C:
			}
		}
	}}
}

// FollowJournal follows the steps of `up` in their order, as the journal knows them.
func FollowJournal(steps func() ([]Step, error)) Follower {
	return poll("journal", journalEvery, func(context.Context) (func(*Snapshot), error) {
		all, err := steps()
		if err != nil {
			return nil, fmt.Errorf("the journal cannot be read: %w", err)
		}
		return func(s *Snapshot) { s.Stacks = stacks(all) }, nil
	})
}

// FollowMachine follows the cluster's own processes on this machine, and the memory of all that belongs to it.
func FollowMachine(processes func(context.Context) (components []Component, memory int64, err error)) Follower {
	return poll("machine", machineEvery, func(ctx context.Context) (func(*Snapshot), error) {
		components, memory, err := processes(ctx)
		if err != nil {
			return nil, fmt.Errorf("the cluster's processes cannot be inspected: %w", err)
		}
		return func(s *Snapshot) { s.Cluster.Components, s.Cluster.MemoryBytes = components, memory }, nil
	})
}

// FollowAddresses follows what a user may open.
func FollowAddresses(urls func(context.Context) ([]URL, error)) Follower {
	return poll("addresses", findingsEvery, func(ctx context.Context) (func(*Snapshot), error) {
		all, err := urls(ctx)
		if err != nil {
			return nil, err
		}
		return func(s *Snapshot) { s.URLs = all }, nil
	})
}

// FollowFindings follows what a look at the lab finds, in any other way.
func FollowFindings(name string, look func(context.Context) ([]Finding, error)) Follower {
	return poll(name, findingsEvery, func(ctx context.Context) (func(*Snapshot), error) {
		found, err := look(ctx)
		if err != nil {
			return nil, err
		}
		return func(s *Snapshot) {
			var all []Finding
			for _, f := range s.Findings {
				if f.Source != name {
					all = append(all, f)
				}
			}
			for _, f := range found {
				f.Source = name
				all = append(all, f)
			}
			s.Findings = all
		}, nil
	})
}
