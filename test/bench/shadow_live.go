package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/labctl/labctl/pkg/chaos"
	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/load"
)

const (
	// The kinds are measured by turns, and the median counts.
	liveTurns = 5
	// A shadow handles each record twice more. The rate is low, so that two processors have room for that beside the chat and the generator: what
	// shows is whether live waits for the shadow, and not that no processor is left.
	liveRate = 100
	// liveGoal is how much later messages may be delivered at the 99th percentile, as a share of the time without a shadow.
	liveGoal = 1.05
)

// kinds of chats whose live deliveries are compared.
const (
	noShadow = "without a shadow"
	aShadow  = "with a shadow"
	hanging  = "with a shadow that hangs"
)

// benchLive measures what people notice of a shadow: how late their messages are delivered beside one, and beside one whose candidate hangs.
func benchLive(ctx context.Context, repository string) ([]result, error) {
	b := &chatBench{labctl: filepath.Join(repository, "bin", "labctl")}
	kinds := []string{noShadow, aShadow, hanging}
	p99 := map[string][]float64{}
	for turn := range liveTurns {
		for i := range kinds { // each comes first as often
			kind := kinds[(i+turn)%len(kinds)]
			syscall.Sync() // what earlier ones wrote and deleted, the disk has dealt with
			res, err := b.live(ctx, fmt.Sprintf("%s (%d of %d)", kind, turn+1, liveTurns), kind)
			if err != nil {
				return nil, err
			}
			p99[kind] = append(p99[kind], res.Delivered.P99)
		}
	}
	alone := median(p99[noShadow])
	of := func(name, kind string) result {
		r := against(name, median(p99[kind])/alone, "times", liveGoal)
		r.Peer = fmt.Sprintf("%s: %s ms", noShadow, number(alone))
		return r
	}
	return []result{of("shadow.live_p99", aShadow), of("shadow.live_p99_hanging", hanging)}, nil
}

// live measures one chat.
func (b *chatBench) live(ctx context.Context, name, kind string) (res load.Result, err error) {
	o := chaos.ProcessesOptions{Instances: chaos.One(), Direct: true, Shadow: kind != noShadow}
	return res, b.withOptions(ctx, name, o, func(lab *chaos.Processes) error {
		of := load.Options{Users: 100, Devices: 1, Mix: load.Chat, Rate: liveRate, Duration: 5 * time.Second, Settle: time.Minute}
		if _, err := b.load(ctx, lab, name+", to warm up", "rooms:10", of); err != nil {
			return err
		}
		hangs, goOn := context.WithCancel(ctx)
		ended := make(chan error, 1)
		go func() {
			if kind != hanging {
				ended <- nil
				return
			}
			_, err := lab.Strike(hangs, chaos.Fault{Kind: chaos.Pause, Part: chaos.CandidatePart(), Time: time.Hour})
			ended <- err
		}()
		of.Duration = 20 * time.Second
		var err error
		res, err = b.load(ctx, lab, name, "rooms:10", of)
		goOn()
		return errors.Join(err, <-ended)
	})
}

const (
	// promoteTurns is how often messaging is replaced. The worst gap counts.
	promoteTurns = 5
	promoteGoal  = 500 // ms
	// drain is how long the old one goes on beside the new one, as charts/chat has it for messaging.
	drain = 2 * time.Second
	// takeover is how long people go on to talk once the old one has ended: much longer than the next one may need to take over.
	takeover = 5 * time.Second
)

// benchPromote measures the longest time in which a steady talk of one group stands still while the live messaging is replaced, as the rollout of a
// promotion does it: the new one starts beside the old one, which ends a while after the new one is ready.
func benchPromote(ctx context.Context, repository string) ([]result, error) {
	b := &chatBench{labctl: filepath.Join(repository, "bin", "labctl")}
	instances := chaos.One()
	instances["messaging"] = 2
	var gaps []float64
	err := b.withOptions(ctx, "promote", chaos.ProcessesOptions{Instances: instances, Direct: true}, func(lab *chaos.Processes) error {
		live, next := "messaging/0", "messaging/1"
		if err := lab.Stop(ctx, next); err != nil {
			return err
		}
		o := load.Options{Users: 10, Devices: 1, Rate: 100, Duration: 5 * time.Second, Settle: time.Minute}
		if _, err := b.load(ctx, lab, "promote, to warm up", "rooms:10", o); err != nil {
			return err
		}
		for turn := range promoteTurns {
			gap, err := b.promote(ctx, lab, fmt.Sprintf("promote (%d of %d)", turn+1, promoteTurns), live, next)
			if err != nil {
				return err
			}
			fmt.Fprintf(os.Stderr, "promote: the longest gap between two deliveries was %.0f ms\n", gap)
			gaps = append(gaps, gap)
			live, next = next, live
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return []result{against("shadow.promote_gap", slices.Max(gaps), "ms", promoteGoal)}, nil
}

// promote replaces an instance under load, and gives the longest gap between two deliveries in ms.
func (b *chatBench) promote(ctx context.Context, lab *chaos.Processes, name, live, next string) (gap float64, err error) {
	stop, replaced := make(chan struct{}), make(chan error, 1)
	replace := sync.OnceFunc(func() {
		go func() {
			err := lab.Replace(ctx, live, next, drain)
			select {
			case <-ctx.Done():
			case <-time.After(takeover):
			}
			close(stop)
			replaced <- err
		}()
	})
	o := load.Options{
		Users: 10, Devices: 1, Rate: 100, Duration: 10 * time.Minute, Stop: stop, Settle: time.Minute,
		Report: func(e event.Event) {
			if e.Message == load.Sending {
				replace()
			}
		},
	}
	res, err := b.load(ctx, lab, name, "rooms:10", o)
	if err != nil {
		return 0, err
	}
	return res.LongestGap, <-replaced
}
