package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/labctl/labctl/pkg/chaos"
	"github.com/labctl/labctl/pkg/devlab"
	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/load"
)

const (
	// Machines are noisy: the chat and its peer are measured by turns, and the median counts.
	roomTurns  = 5
	pairTurns  = 3
	largeTurns = 3

	chaosRuns     = 5
	chaosDuration = 20 * time.Second
	// The sockets of one process: the generator and the gateway each have some files beside them.
	wantedSockets = 18_000
	otherFiles    = 1500
)

// chatParts are what is measured of the chat, in this order.
var chatParts = []struct {
	name    string
	measure func(*chatBench, context.Context) ([]result, error)
}{
	{"rooms", (*chatBench).rooms}, {"pairs", (*chatBench).pairs}, {"fan-out", (*chatBench).fanOut}, {"connections", (*chatBench).connections},
	{"storm", (*chatBench).storm}, {"history", (*chatBench).history}, {"fair", (*chatBench).fair}, {"chaos", (*chatBench).chaos},
}

// benchChat measures the chat, each part a process of its own, with the generator beside it on the same processors, and NATS in
// the same way. Then it breaks the chat by a few seeds. Sockets lead to the gateway itself, as NATS's lead to its server.
// parts names some of chatParts; without any all are measured.
func benchChat(ctx context.Context, repository string, parts []string) (results []result, err error) {
	dir, err := os.MkdirTemp("", "labctl-bench-peer-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	b := &chatBench{labctl: filepath.Join(repository, "bin", "labctl"), nats: filepath.Join(dir, "nats")}
	if err := buildNATS(ctx, repository, b.nats); err != nil {
		return nil, err
	}
	for _, part := range chatParts {
		if len(parts) > 0 && !slices.Contains(parts, part.name) {
			continue
		}
		more, err := part.measure(b, ctx)
		results = append(results, more...)
		if err != nil {
			return results, err
		}
	}
	return results, nil
}

// chatBench is where the binaries are.
type chatBench struct {
	labctl, nats string
}

// turn is what one turn has measured of the chat and of its peer.
type turn struct {
	chat  load.Result
	peers peers
}

// turns measures the chat and its peer, one after the other, n times. What was written and deleted before, the disk has dealt with before each.
func (b *chatBench) turns(ctx context.Context, n int, peer, name string, chat func(name string) (load.Result, error)) (all []turn, err error) {
	for i := range n {
		var t turn
		syscall.Sync()
		if t.peers, err = b.peer(ctx, peer); err != nil {
			return nil, err
		}
		syscall.Sync()
		if t.chat, err = chat(fmt.Sprintf("%s (%d of %d)", name, i+1, n)); err != nil {
			return nil, err
		}
		all = append(all, t)
	}
	return all, nil
}

// middle is the median of what turns have measured.
func middle(all []turn, of func(turn) float64) float64 {
	var values []float64
	for _, t := range all {
		values = append(values, of(t))
	}
	return median(values)
}

// with runs f with a chat of its own.
func (b *chatBench) with(ctx context.Context, name string, f func(*chaos.Processes) error) error {
	return b.withOptions(ctx, name, chaos.ProcessesOptions{Instances: chaos.One(), Direct: true}, f)
}

// withOptions runs f with a chat of its own that o describes.
func (b *chatBench) withOptions(ctx context.Context, name string, o chaos.ProcessesOptions, f func(*chaos.Processes) error) (err error) {
	dir, err := os.MkdirTemp("", "labctl-bench-chat-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	o.Dir, o.Command = dir, []string{b.labctl, "part"}
	lab, err := chaos.StartProcesses(ctx, o)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	defer lab.Close()
	return f(lab)
}

// load puts a chat under a load.
func (b *chatBench) load(ctx context.Context, lab *chaos.Processes, name, shape string, o load.Options) (res load.Result, err error) {
	if o.Shape, err = load.ParseShape(shape); err != nil {
		return res, err
	}
	o.Address, o.Seed, o.Key, o.Size = lab.Address(), 1, []byte("the key of a bench's users"), 100
	o.Sockets, o.PID = lab.Gateway(0)
	o.PIDs = lab.PIDs()
	report := o.Report
	o.Report = func(e event.Event) {
		if e.Kind == event.Warning {
			fmt.Fprintln(os.Stderr, name+":", e.Message)
		}
		if report != nil {
			report(e)
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

// measure runs a chat of its own under a load.
func (b *chatBench) measure(ctx context.Context, name, shape string, o load.Options) (res load.Result, err error) {
	return res, b.with(ctx, name, func(lab *chaos.Processes) (err error) {
		res, err = b.load(ctx, lab, name, shape, o)
		return err
	})
}

// rooms is what most people do, in a chat as it is most of the time: warm, with messages in its topic, and with an instance of messaging that has taken
// over from another.
func (b *chatBench) rooms(ctx context.Context) ([]result, error) {
	o := load.Options{Users: 100, Devices: 1, Mix: load.Chat, Rate: 500, Duration: 10 * time.Second, Settle: time.Minute}
	all, err := b.turns(ctx, roomTurns, "rooms", "rooms of 10", func(name string) (res load.Result, err error) {
		return res, b.with(ctx, name, func(lab *chaos.Processes) error {
			if _, err := b.load(ctx, lab, name+", to warm up", "rooms:10", o); err != nil {
				return err
			}
			if err := lab.Restart(ctx, "messaging/0"); err != nil {
				return err
			}
			o.Duration = 15 * time.Second
			res, err = b.load(ctx, lab, name, "rooms:10", o)
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	of := func(name string, goal float64, peer string, chat, its func(turn) float64) result {
		return beside(name, middle(all, chat), "ms", goal, peer, middle(all, its))
	}
	return []result{
		of("chat.stored_p50_ms", 5, "JetStream", func(t turn) float64 { return t.chat.Stored.P50 }, func(t turn) float64 { return t.peers.JetStream.Stored.P50 }),
		of("chat.stored_p99_ms", 40, "JetStream", func(t turn) float64 { return t.chat.Stored.P99 }, func(t turn) float64 { return t.peers.JetStream.Stored.P99 }),
		of("chat.delivered_p50_ms", 5, "core NATS", func(t turn) float64 { return t.chat.Delivered.P50 }, func(t turn) float64 { return t.peers.Core.Delivered.P50 }),
		of("chat.delivered_p99_ms", 40, "core NATS", func(t turn) float64 { return t.chat.Delivered.P99 }, func(t turn) float64 { return t.peers.Core.Delivered.P99 }),
	}, nil
}

// rate is how much the chat does in a second, beside its peer.
func rate(name string, all []turn, goal float64, peer string, chat, its func(turn) float64) result {
	r, other := atLeast(name, middle(all, chat), "1/s", goal), middle(all, its)
	r.Peer, r.Ratio = peer+": "+number(other), r.Value/other
	return r
}

// pairs is more than can be stored, so that the rate is the chat's own.
func (b *chatBench) pairs(ctx context.Context) ([]result, error) {
	o := load.Options{Users: 200, Devices: 1, Rate: 12_000, Duration: 3 * time.Second, Settle: 10 * time.Minute}
	all, err := b.turns(ctx, pairTurns, "pairs", "pairs", func(name string) (load.Result, error) { return b.measure(ctx, name, "pairs", o) })
	if err != nil {
		return nil, err
	}
	return []result{rate("chat.stored_per_second", all, 10_000, "JetStream",
		func(t turn) float64 { return t.chat.StoredPerSecond }, func(t turn) float64 { return t.peers.JetStream.PerSecond })}, nil
}

// fanRates are the messages a second that are offered to a room of a thousand, one after the other. fanCPU is the one at which processor time is
// compared, and fanSlow the one at which a room of ten is, too: with it every message is written by itself.
var fanRates = []float64{fanSlow, 200, 400, fanCPU, 800, 1000}

const (
	fanSlow = 65
	fanCPU  = 600
)

// fanOut is one room of a thousand. The rate of deliveries is the highest of all rates that are offered: beyond the knee more messages bring no more
// deliveries.
func (b *chatBench) fanOut(ctx context.Context) (results []result, err error) {
	at := map[float64]*turns{}
	for _, rate := range fanRates {
		at[rate] = &turns{}
	}
	var small, best turns
	for i := range largeTurns {
		name := fmt.Sprintf("a room of 1000 (%d of %d)", i+1, largeTurns)
		syscall.Sync()
		peers, err := b.peer(ctx, "fan-out")
		if err != nil {
			return nil, err
		}
		syscall.Sync()
		err = b.with(ctx, name, func(lab *chaos.Processes) error {
			o := load.Options{Users: 1000, Devices: 1, Rate: fanSlow, Duration: 10 * time.Second, Settle: 10 * time.Minute}
			t, err := b.load(ctx, lab, name+", rooms of 10", "rooms:10", o)
			if err != nil {
				return err
			}
			small = append(small, turn{chat: t})
			top := turn{peers: peers}
			for _, o.Rate = range fanRates {
				if t, err = b.load(ctx, lab, fmt.Sprintf("%s, %.0f/s", name, o.Rate), "rooms:1000", o); err != nil {
					return err
				}
				*at[o.Rate] = append(*at[o.Rate], turn{chat: t})
				if t.DeliveredPerSecond > top.chat.DeliveredPerSecond {
					top.chat = t
				}
				o.Duration = 5 * time.Second
			}
			best = append(best, top)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	for _, rate := range fanRates {
		fmt.Fprintf(os.Stderr, "fan-out: of %.0f messages a second offered, %.0f deliveries a second, p50 %.1f ms, p99 %.1f ms, %.1f µs a delivery\n", rate,
			middle(*at[rate], func(t turn) float64 { return t.chat.DeliveredPerSecond }), middle(*at[rate], func(t turn) float64 { return t.chat.Delivered.P50 }),
			middle(*at[rate], func(t turn) float64 { return t.chat.Delivered.P99 }), middle(*at[rate], perDelivery))
	}
	databasePerMessage := func(t turn) float64 { return 1000 * t.chat.CPU[devlab.Database] / float64(t.chat.Sent) }
	large, ten := middle(*at[fanSlow], databasePerMessage), middle(small, databasePerMessage)
	ratio := against("chat.database_cpu_1000_to_10", large/ten, "", 1.2)
	ratio.Peer = fmt.Sprintf("rooms of 10: %.2f ms a message", ten)
	return []result{
		rate("chat.deliveries_per_second", best, 400_000, "core NATS",
			func(t turn) float64 { return t.chat.DeliveredPerSecond }, func(t turn) float64 { return t.peers.Core.PerSecond }),
		against("chat.delivery_cpu_us", middle(*at[fanCPU], perDelivery), "µs", 4),
		against("chat.delivery_cpu_65_us", middle(*at[fanSlow], perDelivery), "µs", 22),
		against("chat.room_1000_open_seconds", middle(*at[fanSlow], func(t turn) float64 { return t.chat.OpenSeconds }), "s", 1.5),
		ratio,
	}, nil
}

// turns are several of them.
type turns []turn

// perDelivery is the processor time of all parts of the chat for each delivery, in microseconds.
func perDelivery(t turn) (us float64) {
	for name, seconds := range t.chat.CPU {
		if name != load.Generator {
			us += 1e6 * seconds
		}
	}
	return us / float64(t.chat.Verdict.Delivered)
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
	quick, err := b.measure(ctx, "10,000 connections", "pairs", load.Options{Users: 100, Devices: 100, Duration: time.Second, Settle: time.Second})
	if err != nil {
		return nil, err
	}
	return []result{
		atLeast("chat.connections", float64(res.Connections), "", wantedSockets), against("chat.connection_kib", res.Memory, "KiB", 12),
		against("chat.open_10000_seconds", quick.OpenSeconds, "s", 2.5),
	}, nil
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

// buildNATS builds the peer, which is a module of its own.
func buildNATS(ctx context.Context, repository, to string) error {
	fmt.Fprintln(os.Stderr, "building NATS, which takes a few minutes the first time")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", to, ".")
	cmd.Dir, cmd.Stderr = filepath.Join(repository, "test", "bench", "nats"), os.Stderr
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=readonly", "GOWORK=off")
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("build NATS: %w", err)
	}
	return nil
}

// peer measures NATS.
func (b *chatBench) peer(ctx context.Context, what string) (p peers, err error) {
	fmt.Fprintln(os.Stderr, "measuring NATS:", what)
	cmd := exec.CommandContext(ctx, b.nats, what) //nolint:gosec // built above
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return p, fmt.Errorf("measure NATS: %w", err)
	}
	fmt.Fprintf(os.Stderr, "%s", out)
	return p, json.Unmarshal(out, &p)
}
