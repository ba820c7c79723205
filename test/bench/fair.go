package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/labctl/labctl/pkg/chaos"
	"github.com/labctl/labctl/pkg/load"
	"github.com/labctl/labctl/services/client"
)

// fairGroups is how many groups a user makes at once whose list is read: fewer than the limits let.
const fairGroups = 150

// offenders are what one ordinary user may do to the others, as much of it as they are let. Each runs until ctx ends, and counts what was done.
var offenders = []struct {
	name string
	run  func(ctx context.Context, s []*client.Session, done *atomic.Int64) error
}{
	{"group_changes", changeGroups}, {"flood", flood}, {"lists", listAll},
}

// fair measures how much later others' messages are stored, at the 99th percentile, while one user does all that they are let.
func (b *chatBench) fair(ctx context.Context) (results []result, err error) {
	err = b.with(ctx, "fair", func(lab *chaos.Processes) error {
		c := client.New(lab.Address())
		defer c.Close()
		sessions, err := load.Enter(ctx, c, []byte("the key of a bench's users"), 2, 3, nil)
		if err != nil {
			return err
		}
		o := load.Options{Users: 40, Devices: 1, Mix: load.Chat, Rate: 50, Duration: 15 * time.Second, Settle: 5 * time.Minute}
		alone, err := b.load(ctx, lab, "fair: nobody else", "pairs", o)
		if err != nil {
			return err
		}
		for _, who := range offenders {
			var done atomic.Int64
			offending, stop := context.WithCancel(ctx)
			var running sync.WaitGroup
			var failed error
			running.Go(func() { failed = who.run(offending, sessions, &done) })
			res, err := b.load(ctx, lab, "fair: "+who.name, "pairs", o)
			stop()
			running.Wait()
			if err := errors.Join(err, failed); err != nil {
				return err
			}
			fmt.Fprintf(os.Stderr, "fair: %s: %d were done\n", who.name, done.Load())
			r := against("chat.fair_"+who.name+"_ms", max(0, res.Stored.P99-alone.Stored.P99), "ms", 100)
			r.Peer = fmt.Sprintf("p99 alone: %s", number(alone.Stored.P99))
			results = append(results, r)
		}
		return nil
	})
	return results, err
}

// often calls f from n goroutines until ctx ends, and waits where the chat says so.
func often(ctx context.Context, n int, done *atomic.Int64, f func(context.Context) error) error {
	g, within := errgroup.WithContext(ctx)
	for range n {
		g.Go(func() error {
			for within.Err() == nil {
				if err := load.Patiently(within, func() error { return f(within) }); err != nil {
					return err
				}
				done.Add(1)
			}
			return nil
		})
	}
	if err := g.Wait(); ctx.Err() == nil {
		return err
	}
	return nil
}

// changeGroups adds a member and removes them again, in a loop.
func changeGroups(ctx context.Context, s []*client.Session, done *atomic.Int64) error {
	g, err := s[0].CreateGroup(ctx, "fair", s[1].User.ID)
	if err != nil {
		return err
	}
	return often(ctx, 1, done, func(ctx context.Context) error {
		if _, err := s[0].RemoveMember(ctx, g.ID, s[1].User.ID); err != nil {
			return err
		}
		return load.Patiently(ctx, func() error {
			_, err := s[0].AddMember(ctx, g.ID, s[1].User.ID)
			return err
		})
	})
}

// flood says as much as a connection may, without waiting for the answers one by one.
func flood(ctx context.Context, s []*client.Session, done *atomic.Int64) error {
	d, err := s[0].Connect(ctx, client.DeviceOptions{})
	if err != nil {
		return err
	}
	defer d.Close()
	return often(ctx, 50, done, func(ctx context.Context) error {
		_, err := d.Send(ctx, client.DirectID(s[0].User.ID, s[2].User.ID), "flood")
		return err
	})
}

// listAll reads the list of a user with many groups, many times at once.
func listAll(ctx context.Context, s []*client.Session, done *atomic.Int64) error {
	for i := range fairGroups {
		err := load.Patiently(ctx, func() error {
			_, err := s[2].CreateGroup(ctx, fmt.Sprintf("fair %d", i), s[1].User.ID)
			return err
		})
		if err != nil && ctx.Err() == nil {
			return err
		}
	}
	return often(ctx, 20, done, func(ctx context.Context) error {
		_, err := s[2].Conversations(ctx)
		return err
	})
}
