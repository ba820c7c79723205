// Package chaos is `labctl chaos`.
package chaos

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/labctl/labctl/pkg/chaos"
	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/cli/confirm"
	loadcmd "github.com/labctl/labctl/pkg/cli/load"
	"github.com/labctl/labctl/pkg/cli/wire"
	"github.com/labctl/labctl/pkg/cluster"
	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/kube"
	"github.com/labctl/labctl/pkg/load"
)

// Options are the command's flags.
type Options struct {
	Factory  *cli.Factory
	Address  string
	Lab      bool
	Confirm  string
	Seed     uint64
	Runs     int
	Duration time.Duration
	Every    time.Duration
	Settle   time.Duration
	Rate     float64
	Kinds    []string
	Report   string
	JSON     bool

	// Command runs a part of the chat. It is set by NewCmdChaos; Env is added to its environment.
	Command func() ([]string, error)
	Env     []string
}

// NewCmdChaos makes the command.
func NewCmdChaos(f *cli.Factory, runF func(*Options) error) *cobra.Command {
	opts := &Options{Factory: f, Command: self}
	cmd := &cobra.Command{
		Use:   "chaos",
		Short: "Break the chat in every way while people talk, and prove that nothing is lost",
		Long: `Run the chat on this machine, each part and several instances of each service as a process of its own, in a temporary
directory. While users talk on several devices each, and members of groups are removed and come back, let things go wrong
by a seed: kill -9 of each part at any moment and at the steps of its work, SIGSTOP past the session of a consumer group, a
network that is slow or cut, connections that all break, messages that are all sent again, clients that do not read.

Then compare what senders were told, what each device showed, what history gives each user and what the database holds. The
exit code is 1 where an acknowledged message was lost, or shown twice, in another order than elsewhere, or to who was no
member.

With --lab it is the chat that labctl up has brought up, in its cluster: pods are killed, those of the broker and the database
included, and stopped past the session of a consumer group where the cluster runs on this machine (as root). With
--address the chat at that address is used, and only the clients misbehave.

The seed decides what is said and what goes wrong, so that a run can be repeated as far as machines repeat themselves.`,
		Example: `  labctl chaos
  labctl chaos --seed 42 --runs 50 --report chaos.json
  labctl chaos --kind kill,pause --duration 2m
  labctl chaos --lab --duration 2m --every 5s
  labctl chaos --address http://127.0.0.1:8090        only what clients can do`,
		Args: cli.Takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if runF != nil {
				return runF(opts)
			}
			return run(cmd.Context(), opts)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&opts.Address, "address", "", "let clients misbehave at the chat at `URL`, and break nothing (default: a chat of its own)")
	flags.BoolVar(&opts.Lab, "lab", false, "break the lab's own chat, in its cluster")
	flags.StringVar(&opts.Confirm, "confirm", "", "with --lab: the `NAME` of the protected environment, instead of asking for it")
	cmd.MarkFlagsMutuallyExclusive("address", "lab")
	flags.Uint64Var(&opts.Seed, "seed", 1, "decides what is said and what goes wrong")
	flags.IntVar(&opts.Runs, "runs", 1, "`NUMBER` of runs, each with the next seed")
	flags.DurationVar(&opts.Duration, "duration", 30*time.Second, "talk for this long in each run")
	flags.DurationVar(&opts.Every, "every", time.Second, "time between two faults, about")
	flags.DurationVar(&opts.Settle, "settle", 90*time.Second, "how long the chat may take to be well again at the end")
	flags.Float64Var(&opts.Rate, "rate", 40, "`MESSAGES` a second, of all users")
	flags.StringSliceVar(&opts.Kinds, "kind", nil, "only these `KINDS` of faults: "+names(chaos.Kinds()))
	flags.StringVar(&opts.Report, "report", "", "write what went wrong when, and what came of it, to `FILE` as JSON")
	flags.BoolVar(&opts.JSON, "json", false, "print that on stdout")
	return cmd
}

func names(kinds []chaos.Kind) string {
	var l []string
	for _, k := range kinds {
		l = append(l, string(k))
	}
	return strings.Join(l, ", ")
}

// self runs this program as a part.
func self() ([]string, error) {
	path, err := os.Executable()
	return []string{path, "part"}, err
}

// Report is what the command writes.
type Report struct {
	Version     string         `json:"version"`
	Runs        []chaos.Result `json:"runs"`
	Verdict     load.Verdict   `json:"verdict"`
	Faults      int            `json:"faults"`
	RecoveryP50 float64        `json:"recovery_p50_ms"`
	RecoveryMax float64        `json:"recovery_max_ms"`
}

func (o *Options) check() ([]chaos.Kind, error) {
	switch {
	case o.Runs < 1:
		return nil, errors.New("--runs must be 1 or more")
	case o.Duration <= 0 || o.Every < 10*time.Millisecond || o.Settle <= 0:
		return nil, errors.New("--duration and --settle must be above 0, and --every 10ms or more")
	case !(o.Rate > 0 && o.Rate <= 1000): // not a number is none of these
		return nil, errors.New("--rate must be above 0 and at most 1000; for more there is labctl load")
	}
	var chosen []chaos.Kind
	for _, k := range o.Kinds {
		if !slices.Contains(chaos.Kinds(), chaos.Kind(k)) {
			return nil, fmt.Errorf("--kind %q is none of %s", k, names(chaos.Kinds()))
		}
		chosen = append(chosen, chaos.Kind(k))
	}
	return chosen, nil
}

func run(ctx context.Context, opts *Options) error {
	chosen, err := opts.check()
	if err != nil {
		return cli.Usagef("labctl chaos", "%w", err)
	}
	report := Report{Version: opts.Factory.Build.Version}
	var pods *chaos.Pods
	if opts.Lab {
		if pods, err = podsOf(ctx, opts); err != nil {
			return err
		}
	}
	if err := opts.can(chosen, pods); err != nil {
		return cli.Usagef("labctl chaos", "%w", err)
	}
	err = opts.Factory.Progress(ctx, "chaos", false, func(sink event.Sink) error {
		for i := range opts.Runs {
			if err := one(ctx, opts, pods, chosen, opts.Seed+uint64(i), sink, &report); err != nil {
				return err
			}
		}
		return nil
	})
	report.sum()
	if len(report.Runs) > 0 {
		err = errors.Join(err, write(opts, report))
	}
	if err != nil {
		return err
	}
	if !report.Verdict.Kept() {
		next := fmt.Sprintf("%s --seed %d", opts.Factory.Again("seed", "runs"), report.broken())
		return &cli.Error{What: "the chat has broken its promise", Err: chaos.ErrBroken, Next: []string{next}}
	}
	return nil
}

// can says which of the chosen kinds cannot be done to the chat that was chosen.
func (o *Options) can(chosen []chaos.Kind, pods *chaos.Pods) error {
	var possible []chaos.Kind
	switch {
	case o.Lab:
		possible = chaos.Possible(pods)
	case o.Address != "":
		possible = chaos.Possible(nil)
	default:
		return nil
	}
	for _, k := range chosen {
		if !slices.Contains(possible, k) {
			return fmt.Errorf("--kind %s cannot be done to that chat; what can is %s", k, names(possible))
		}
	}
	return nil
}

// podsOf finds the pods of the lab's chat.
func podsOf(ctx context.Context, opts *Options) (*chaos.Pods, error) {
	l, err := wire.Open(opts.Factory)
	if err != nil {
		return nil, err
	}
	env := l.Graph.Env
	if err := confirm.Protected(opts.Factory, "break its chat", env.Name, env.Protected, opts.Confirm); err != nil {
		return nil, err
	}
	o := chaos.PodsOptions{Namespaces: l.Namespaces()}
	if o.Address, err = l.URL(ctx); err != nil {
		return nil, err
	}
	kubeconfig, err := l.Kubeconfig(ctx)
	if err != nil {
		return nil, err
	}
	client, err := kube.New([]byte(kubeconfig))
	if err != nil {
		return nil, err
	}
	o.API = client.Core
	// The processes of an embedded cluster are this machine's, and root's.
	if _, err := l.ClusterDir(); err == nil && os.Geteuid() == 0 {
		o.Signal = cluster.SignalContainer
	}
	pods, err := chaos.NewPods(ctx, o)
	if err != nil {
		return nil, &cli.Error{What: "the lab's chat cannot be broken", Err: err, Next: []string{"labctl status", "labctl up"}}
	}
	return pods, nil
}

// one is one run. That the promise was broken is in the report, and no error.
func one(ctx context.Context, opts *Options, pods *chaos.Pods, chosen []chaos.Kind, seed uint64, sink event.Sink, report *Report) (err error) {
	step := fmt.Sprintf("seed %d", seed)
	begin := time.Now()
	sink.Emit(event.Event{Kind: event.Started, Step: step})
	o := chaos.Options{Address: opts.Address, Seed: seed, Duration: opts.Duration, Every: opts.Every, Settle: opts.Settle, Rate: opts.Rate,
		Kinds: chosen, Report: event.For(sink, step)}
	dir := ""
	clean := func() {}
	switch {
	case opts.Lab:
		o.Lab = pods
		o.Key, err = loadcmd.Key(opts.Factory, pods.Address())
	case opts.Address != "":
		o.Key, err = loadcmd.Key(opts.Factory, opts.Address)
	default:
		o.Key = []byte(rand.Text())
		dir, err = os.MkdirTemp("", "labctl-chaos-")
	}
	if err != nil {
		return err
	}
	if dir != "" {
		command, err := opts.Command()
		if err != nil {
			return err
		}
		processes, err := chaos.StartProcesses(ctx, chaos.ProcessesOptions{Dir: dir, Command: command, Env: opts.Env, Instances: chaos.Many(), Report: o.Report})
		if err != nil {
			return &cli.Error{Err: err, Where: "the parts' logs are in " + dir}
		}
		defer processes.Close()
		o.Lab, clean = processes, processes.Close
	}
	res, err := chaos.Run(ctx, o)
	failed := err != nil || len(res.Crashes) > 0
	if err != nil && !errors.Is(err, chaos.ErrBroken) {
		sink.Emit(event.Event{Kind: event.Failed, Step: step, Message: "not checked"})
		return &cli.Error{Err: err, Where: dir}
	}
	report.Runs = append(report.Runs, res)
	kind, message := event.Done, fmt.Sprintf("%d faults, %d acknowledged, %d delivered", len(res.Faults), res.Verdict.Acked, res.Verdict.Delivered)
	if err != nil {
		kind, message = event.Failed, "the promise was broken"
	}
	sink.Emit(event.Event{Kind: kind, Step: step, Message: message, Elapsed: time.Since(begin)})
	for _, c := range res.Crashes {
		sink.Emit(event.Event{Kind: event.Warning, Step: step, Message: c})
	}
	if dir != "" && !failed {
		clean() // its files can go
		return os.RemoveAll(dir)
	}
	if dir != "" {
		sink.Emit(event.Event{Kind: event.Warning, Step: step, Message: "the data and logs of this run stay in " + dir})
	}
	return nil
}

func (r *Report) sum() {
	var p50 []float64
	for _, run := range r.Runs {
		r.Verdict.Add(run.Verdict)
		r.Faults += len(run.Faults)
		p50 = append(p50, run.RecoveryP50)
		r.RecoveryMax = max(r.RecoveryMax, run.RecoveryMax)
	}
	if len(p50) > 0 {
		slices.Sort(p50)
		r.RecoveryP50 = p50[len(p50)/2]
	}
}

// broken is the seed of the first run that broke the promise.
func (r *Report) broken() uint64 {
	for _, run := range r.Runs {
		if !run.Verdict.Kept() {
			return run.Seed
		}
	}
	return 0
}

func write(opts *Options, r Report) error {
	content, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if opts.Report != "" {
		if err := os.WriteFile(filepath.Clean(opts.Report), append(content, '\n'), 0o600); err != nil {
			return fmt.Errorf("write the report: %w", err)
		}
	}
	out := opts.Factory.IO.Out
	if opts.JSON {
		_, err := fmt.Fprintln(out, string(content))
		return err
	}
	if len(r.Runs) == 1 {
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		for _, f := range r.Runs[0].Faults {
			_, _ = fmt.Fprintf(w, "%6.1f s\t%s\t%s%s\twaited %.1f s\n", f.Begin, f.Fault, f.Met, f.Error, f.Recovery/1000)
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	if _, err := fmt.Fprintf(out, "%d runs, %d faults; recovered after %.1f s (p50), at most %.1f s\n", len(r.Runs), r.Faults, r.RecoveryP50/1000, r.RecoveryMax/1000); err != nil {
		return err
	}
	return loadcmd.ShowVerdict(opts.Factory, r.Verdict)
}
