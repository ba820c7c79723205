package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/labctl/labctl/pkg/chaos"
	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/load"
)

const (
	chaosRuns     = 5
	chaosDuration = 20 * time.Second
	// The sockets of one process: the generator and the gateway each have some files beside them.
	wantedSockets = 18_000
	otherFiles    = 1500
)

// benchChat measures the chat, each part a process of its own, with the generator beside it on the same processors, and NATS in
// the same way. Then it breaks the chat by a few seeds. Sockets lead to the gateway itself, as NATS's lead to its server.
func benchChat(ctx context.Context, repository string) (results []result, err error) {
	peer, err := benchNATS(ctx, repository)
	if err != nil {
		return nil, err
	}
	b := &chatBench{labctl: filepath.Join(repository, "bin", "labctl"), peer: peer}
	for _, measure := range []func(context.Context) ([]result, error){b.rooms, b.pairs, b.fanOut, b.connections, b.storm, b.history, b.chaos} {
		more, err := measure(ctx)
		results = append(results, more...)
		if err != nil {
			return results, err
		}
	}
	return results, nil
}

type chatBench struct {
	labctl string
	peer   peers
}

// measure runs a chat of its own under a load.
func (b *chatBench) measure(ctx context.Context, name, shape string, o load.Options) (res load.Result, err error) {
	dir, err := os.MkdirTemp("", "labctl-bench-chat-")
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	lab, err := chaos.StartProcesses(ctx, chaos.ProcessesOptions{Dir: dir, Command: []string{b.labctl, "part"}, Instances: chaos.One(), Direct: true})
	if err != nil {
		return res, fmt.Errorf("%s: %w", name, err)
	}
	defer lab.Close()
	if o.Shape, err = load.ParseShape(shape); err != nil {
		return res, err
	}
	o.Address, o.Seed, o.Key, o.Size = lab.Address(), 1, []byte("the key of a bench's users"), 100
	o.Sockets, o.PID = lab.Gateway(0)
	o.Report = func(e event.Event) {
		if e.Kind == event.Warning {
			fmt.Fprintln(os.Stderr, name+":", e.Message)
		}
	}
	fmt.Fprintln(os.Stderr, "measuring", name)
	if res, err = load.Run(ctx, o); err != nil {
		return res, fmt.Errorf("%s: %w", name, err)
	}
	detail, err := json.Marshal(res)
	if err == nil {
		fmt.Fprintf(os.Stderr, "%s\n", detail)
	}
	if !res.Verdict.Kept() {
		err = errors.Join(err, fmt.Errorf("%s: the chat has broken its promise: %+v", name, res.Verdict))
	}
	return res, err
}

// rooms is what most people do.
func (b *chatBench) rooms(ctx context.Context) ([]result, error) {
	res, err := b.measure(ctx, "rooms of 10", "rooms:10", load.Options{Users: 100, Devices: 1, Rate: 500, Duration: 15 * time.Second, Settle: time.Minute})
	if err != nil {
		return nil, err
	}
	jet, core := b.peer.JetStream, b.peer.Core
	return []result{
		beside("chat.stored_p50_ms", res.Stored.P50, "ms", 5, "JetStream", jet.Stored.P50),
		beside("chat.stored_p99_ms", res.Stored.P99, "ms", 25, "JetStream", jet.Stored.P99),
		beside("chat.delivered_p50_ms", res.Delivered.P50, "ms", 5, "core NATS", core.Delivered.P50),
		beside("chat.delivered_p99_ms", res.Delivered.P99, "ms", 25, "core NATS", core.Delivered.P99),
	}, nil
}

// pairs is more than can be stored, so that the rate is the chat's own.
func (b *chatBench) pairs(ctx context.Context) ([]result, error) {
	res, err := b.measure(ctx, "pairs", "pairs", load.Options{Users: 200, Devices: 1, Rate: 12_000, Duration: 3 * time.Second, Settle: 10 * time.Minute})
	if err != nil {
		return nil, err
	}
	r := atLeast("chat.stored_per_second", res.StoredPerSecond, "1/s", 10_000)
	r.Peer, r.Ratio = "JetStream: "+number(b.peer.JetStream.PerSecond), res.StoredPerSecond/b.peer.JetStream.PerSecond
	return []result{r}, nil
}

// fanOut is one room of as many members as a room may have.
func (b *chatBench) fanOut(ctx context.Context) ([]result, error) {
	res, err := b.measure(ctx, "a room of 1000", "rooms:1000", load.Options{Users: 1000, Devices: 1, Rate: 65, Duration: 10 * time.Second, Settle: 10 * time.Minute})
	if err != nil {
		return nil, err
	}
	r := atLeast("chat.deliveries_per_second", res.DeliveredPerSecond, "1/s", 60_000)
	r.Peer, r.Ratio = "core NATS: "+number(b.peer.Core.PerSecond), res.DeliveredPerSecond/b.peer.Core.PerSecond
	return []result{r}, nil
}

// connections are idle ones, at one gateway.
func (b *chatBench) connections(ctx context.Context) ([]result, error) {
	sockets := wantedSockets
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return nil, err
	}
	// A number of open files that is too small for the goal misses it, and says why.
	if most := int(min(limit.Max, 1<<20)) - otherFiles; sockets > most {
		fmt.Fprintf(os.Stderr, "RLIMIT_NOFILE is %d: %d connections instead of %d\n", limit.Max, most, sockets)
		sockets = most
	}
	const each = 100
	res, err := b.measure(ctx, "connections", "pairs", load.Options{Users: sockets / each, Devices: each, Duration: 5 * time.Second, Settle: time.Second})
	if err != nil {
		return nil, err
	}
	return []result{atLeast("chat.connections", float64(res.Connections), "", wantedSockets), against("chat.connection_kib", res.Memory, "KiB", 12)}, nil
}

func (b *chatBench) storm(ctx context.Context) ([]result, error) {
	res, err := b.measure(ctx, "a reconnect storm", "pairs", load.Options{Users: 250, Devices: 20, Duration: 4 * time.Second, Settle: time.Second, Storm: true})
	if err != nil {
		return nil, err
	}
	return []result{against("chat.storm_5000_seconds", res.BackSeconds, "s", 5)}, nil
}

// chaos breaks the chat in every way.
func (b *chatBench) chaos(ctx context.Context) ([]result, error) {
	var sum load.Verdict
	var worst float64
	for seed := uint64(1); seed <= chaosRuns; seed++ {
		res, err := b.chaosRun(ctx, seed)
		if err != nil && !errors.Is(err, chaos.ErrBroken) {
			return nil, err
		}
		sum.Add(res.Verdict)
		worst = max(worst, res.RecoveryMax)
	}
	for _, e := range sum.Examples {
		fmt.Fprintln(os.Stderr, "chaos:", e)
	}
	zero := func(name string, n int64) result {
		r := against("chat.chaos_"+name, float64(n), "", 0)
		r.Peer, r.Ratio = fmt.Sprintf("of %d", sum.Acked), 0
		return r
	}
	fmt.Fprintf(os.Stderr, "chaos: the longest wait for an acknowledgement was %.1f s\n", worst/1000)
	return []result{
		zero("lost", sum.Lost+sum.Unanswered), zero("duplicated", sum.Duplicated), zero("out_of_order", sum.OutOfOrder+sum.Different), zero("leaked", sum.Leaked),
	}, nil
}

func (b *chatBench) chaosRun(ctx context.Context, seed uint64) (res chaos.Result, err error) {
	dir, err := os.MkdirTemp("", "labctl-bench-chaos-")
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	lab, err := chaos.StartProcesses(ctx, chaos.ProcessesOptions{Dir: dir, Command: []string{b.labctl, "part"}, Instances: chaos.Many()})
	if err != nil {
		return res, err
	}
	defer lab.Close()
	fmt.Fprintln(os.Stderr, "chaos with seed", seed)
	return chaos.Run(ctx, chaos.Options{Lab: lab, Seed: seed, Duration: chaosDuration, Every: 700 * time.Millisecond, Settle: 90 * time.Second, Rate: 40,
		Key: []byte("the key of a bench's users")})
}

// peers is what test/bench/nats prints.
type peers struct {
	Core      peer `json:"core"`
	JetStream peer `json:"jetstream"`
}

type peer struct {
	Stored    load.Latency `json:"stored"`
	Delivered load.Latency `json:"delivered"`
	PerSecond float64      `json:"per_second"` // JetStream: stored in pairs; core: delivered in a room of 1000
}

// benchNATS measures the peer, which is a module of its own.
func benchNATS(ctx context.Context, repository string) (p peers, err error) {
	fmt.Fprintln(os.Stderr, "measuring NATS; its first build takes a few minutes on", runtime.NumCPU(), "processors")
	cmd := exec.CommandContext(ctx, "go", "run", ".")
	cmd.Dir, cmd.Stderr = filepath.Join(repository, "test", "bench", "nats"), os.Stderr
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=readonly", "GOWORK=off")
	out, err := cmd.Output()
	if err != nil {
		return p, fmt.Errorf("measure NATS: %w", err)
	}
	fmt.Fprintf(os.Stderr, "%s", out)
	return p, json.Unmarshal(out, &p)
}
