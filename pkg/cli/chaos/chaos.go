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
	"github.com/labctl/labctl/pkg/cli/app"
	"github.com/labctl/labctl/pkg/cli/confirm"
	loadcmd "github.com/labctl/labctl/pkg/cli/load"
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
	Shadow   bool
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
		Short: "Inject faults into the chat under traffic, and check that no message is lost",
		Long: `Run the chat on this machine, in a temporary directory, and inject faults into it. Each part is a process of its own,
with several instances of each service. Meanwhile users talk on several devices each, and members of groups are removed
and come back. The faults are kill -9 of any part, at any moment and at the steps of its work; SIGSTOP for longer than
the session timeout of a consumer group; a slow or broken network; a break of all connections; repeated messages; and
clients that do not read.

Then compare the acknowledgements that senders got, the messages that each device showed, the history of each user and
the database. The exit code is 1 if an acknowledged message was lost, was shown twice or in a different order on some
device, or was shown to a user who was not a member.

With --lab, use the chat that labctl up brought up, in its cluster. Pods are killed, also those of the broker and the
database. As root, with a cluster on this machine, pods are also stopped for longer than the session timeout of a
consumer group. With --address, use the chat at that address; then only the clients misbehave.

With --shadow, a shadow of messaging runs beside the chat, of the same version. It must not fail because of faults of
others: the exit code is also 1 if a record was not compared, or if the verdict is fail. See labctl shadow --help.

The seed determines the traffic and the faults. Two runs with the same seed are as similar as the machine's timing
allows.`,
		Example: `  labctl chaos
  labctl chaos --seed 42 --runs 50 --report chaos.json
  labctl chaos --kind kill,pause --duration 2m
  labctl chaos --lab --duration 2m --every 5s
  labctl chaos --address http://127.0.0.1:8090        only faults of clients`,
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
	flags.StringVar(&opts.Address, "address", "", "use the chat at `URL`, and let only clients misbehave (default: a chat of its own)")
	flags.BoolVar(&opts.Lab, "lab", false, "inject faults into the lab's own chat, in its cluster")
	flags.StringVar(&opts.Confirm, "confirm", "", "with --lab: confirm a protected environment by its `NAME`, without a prompt")
	cmd.MarkFlagsMutuallyExclusive("address", "lab")
	flags.Uint64Var(&opts.Seed, "seed", 1, "seed of the traffic and the faults")
	flags.IntVar(&opts.Runs, "runs", 1, "do `NUMBER` runs, each with the next seed")
	flags.DurationVar(&opts.Duration, "duration", 30*time.Second, "duration of the traffic in each run")
	flags.DurationVar(&opts.Every, "every", time.Second, "approximate time between two faults")
	flags.DurationVar(&opts.Settle, "settle", 90*time.Second, "time that the chat gets to recover at the end")
	flags.Float64Var(&opts.Rate, "rate", 40, "send `MESSAGES` per second, over all users")
	flags.StringSliceVar(&opts.Kinds, "kind", nil, "inject only these `KINDS` of faults: "+names(chaos.Kinds()))
	flags.BoolVar(&opts.Shadow, "shadow", false, "run a shadow of messaging beside the chat, of the same version")
	cmd.MarkFlagsMutuallyExclusive("shadow", "address")
	cmd.MarkFlagsMutuallyExclusive("shadow", "lab")
	flags.StringVar(&opts.Report, "report", "", "write a report of the faults and their effects to `FILE` as JSON")
	flags.BoolVar(&opts.JSON, "json", false, "print the report to stdout as JSON")
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
			return nil, fmt.Errorf("--kind %q is unknown; use one of %s", k, names(chaos.Kinds()))
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
		return &cli.Error{What: "the chat broke its delivery guarantees", Err: chaos.ErrBroken, Next: []string{next}}
	}
	for _, r := range report.Runs {
		if err := r.Shadow.Check(); err != nil {
			next := fmt.Sprintf("%s --seed %d", opts.Factory.Again("seed", "runs"), r.Seed)
			return &cli.Error{What: "the shadow of the live version failed because of faults of others", Err: err, Next: []string{next}}
		}
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
			return fmt.Errorf("--kind %s is not possible with this chat; use one of %s", k, names(possible))
		}
	}
	return nil
}

// podsOf finds the pods of the lab's chat.
func podsOf(ctx context.Context, opts *Options) (*chaos.Pods, error) {
	l, err := app.Open(opts.Factory)
	if err != nil {
		return nil, err
	}
	env := l.Graph.Env
	if err := confirm.Protected(opts.Factory, "inject faults into its chat", env.Name, env.Protected, opts.Confirm); err != nil {
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
		return nil, &cli.Error{What: "the pods of the lab's chat cannot be found", Err: err, Next: []string{"labctl status", "labctl up"}}
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
		processes, err := chaos.StartProcesses(ctx, chaos.ProcessesOptions{Dir: dir, Command: command, Env: opts.Env, Instances: chaos.Many(), Shadow: opts.Shadow, Report: o.Report})
		if err != nil {
			return &cli.Error{Err: err, Where: "the parts' logs are in " + dir}
		}
		defer processes.Close()
		o.Lab, clean = processes, processes.Close
	}
	res, err := chaos.Run(ctx, o)
	failed := err != nil || len(res.Crashes) > 0 || res.Shadow.Check() != nil
	if err != nil && !errors.Is(err, chaos.ErrBroken) {
		sink.Emit(event.Event{Kind: event.Failed, Step: step, Message: "not checked"})
		return &cli.Error{Err: err, Where: dir}
	}
	report.Runs = append(report.Runs, res)
	kind, message := event.Done, fmt.Sprintf("%d faults, %d acknowledged, %d delivered", len(res.Faults), res.Verdict.Acked, res.Verdict.Delivered)
	if err != nil {
		kind, message = event.Failed, "the promise was broken"
	} else if failed := res.Shadow.Check(); failed != nil {
		kind, message = event.Failed, failed.Error()
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
	for _, run := range r.Runs {
		if s := run.Shadow; s != nil {
			v := s.Evidence.Verdict
			if _, err := fmt.Fprintf(out, "shadow, seed %d: %d of %d records compared; the candidate agrees in %.2f %% and the baseline in %.2f %%; %s: %s\n",
				run.Seed, s.Count(), s.Records, 100*v.Agreement.Candidate, 100*v.Agreement.Baseline, v.State, v.Why); err != nil {
				return err
			}
		}
	}
	return loadcmd.ShowVerdict(opts.Factory, r.Verdict)
}
