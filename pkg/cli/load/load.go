// Package load is `labctl load`.
package load

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/cli/app"
	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/load"
)

// Options are the command's flags.
type Options struct {
	Factory *cli.Factory
	Rooms   string
	Mix     string
	JSON    bool
	load.Options
}

// NewCmdLoad makes the command.
func NewCmdLoad(f *cli.Factory, runF func(*Options) error) *cobra.Command {
	opts := &Options{Factory: f}
	cmd := &cobra.Command{
		Use:   "load",
		Short: "Load the chat, measure latencies, and check that no message is lost",
		Long: `Send messages between the devices of many users, at a rate that does not depend on the answers (an open load model).
Report how long the messages took to be stored and delivered, counted from the time at which each was due. Then compare
the acknowledged messages with those that each device showed and those in the history. The exit code is 1 if a message
was lost, duplicated, out of order or shown to the wrong user.

The users are called load-SEED-N. They stay: a later run with the same seed logs them in again, with passwords that are
derived from a key in labctl's cache. The first registration of each user costs the server 20 ms of CPU time.`,
		Example: `  labctl load
  labctl load --address http://127.0.0.1:8090 --users 100 --rooms rooms:10 --rate 500
  labctl load --users 500 --devices 10 --rate 0 --storm        5000 connections that break and come back`,
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
	flags.StringVar(&opts.Address, "address", "", "use the chat at `URL`, such as http://127.0.0.1:8090 of labctl dev (default: the lab's chat)")
	flags.IntVar(&opts.Users, "users", 20, "use `NUMBER` users")
	flags.IntVar(&opts.Devices, "devices", 2, "connect `NUMBER` devices for each user")
	flags.StringVar(&opts.Rooms, "rooms", "rooms:10", "shape of the conversations: pairs, rooms:N or zipf:N")
	flags.StringVar(&opts.Mix, "mix", load.Chat.String(), "content of the traffic: chat (10 % read receipts, 5 % reactions, 3 % edits, 2 % replies) or texts")
	flags.Float64Var(&opts.Rate, "rate", 50, "send `NUMBER` messages and receipts per second, over all users; 0 only connects")
	flags.DurationVar(&opts.Duration, "duration", 20*time.Second, "duration of the traffic")
	flags.DurationVar(&opts.Settle, "settle", 30*time.Second, "time to wait at the end for outstanding deliveries")
	flags.IntVar(&opts.Size, "size", 100, "approximate size of a message's text in `BYTES`")
	flags.Uint64Var(&opts.Seed, "seed", 1, "seed of the users and of the traffic")
	flags.BoolVar(&opts.Storm, "storm", false, "break all connections at once, halfway")
	flags.IntVar(&opts.PID, "pid", 0, "measure the memory per connection of the gateway's process `PID` on this machine")
	flags.BoolVar(&opts.JSON, "json", false, "print JSON")
	return cmd
}

func run(ctx context.Context, opts *Options) error {
	var err error
	if opts.Shape, err = load.ParseShape(opts.Rooms); err != nil {
		return cli.Usagef("labctl load", "%w", err)
	}
	if opts.Options.Mix, err = load.ParseMix(opts.Mix); err != nil {
		return cli.Usagef("labctl load", "%w", err)
	}
	if opts.Address == "" {
		if opts.Address, err = address(ctx, opts.Factory); err != nil {
			return err
		}
	}
	if opts.Key, err = Key(opts.Factory, opts.Address); err != nil {
		return err
	}
	var res load.Result
	err = opts.Factory.Progress(ctx, "load", false, func(sink event.Sink) error {
		begin := time.Now()
		sink.Emit(event.Event{Kind: event.Started, Step: "load"})
		opts.Report = event.For(sink, "load")
		var err error
		res, err = load.Run(ctx, opts.Options)
		if err != nil {
			sink.Emit(event.Event{Kind: event.Failed, Step: "load", Message: "not measured"})
			return explain(opts, err)
		}
		sink.Emit(event.Event{Kind: event.Done, Step: "load", Message: fmt.Sprintf("%d messages", res.Sent), Elapsed: time.Since(begin)})
		return nil
	})
	if err != nil {
		return err
	}
	if err := show(opts, res); err != nil {
		return err
	}
	if !res.Verdict.Kept() {
		return &cli.Error{What: "the chat broke its delivery guarantees", Err: errors.New("see the findings above")}
	}
	return nil
}

// address is the lab's.
func address(ctx context.Context, f *cli.Factory) (string, error) {
	l, err := app.Open(f)
	if err != nil {
		return "", err
	}
	return l.URL(ctx)
}

func explain(opts *Options, err error) error {
	if errors.Is(err, load.ErrForeign) {
		return &cli.Error{What: "the users of this seed belong to somebody else", Err: err, Next: []string{fmt.Sprintf("%s --seed %d", opts.Factory.Again("seed"), opts.Seed+1)}}
	}
	return err
}

func show(opts *Options, res load.Result) error {
	out := opts.Factory.IO.Out
	if opts.JSON {
		return cli.WriteJSON(out, res)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(w, "milliseconds\tnumber\tp50\tp99\tp99.9\tmax\t")
	for _, row := range []struct {
		name string
		load.Latency
	}{{"connected", res.Open}, {"sent late", res.Late}, {"stored", res.Stored}, {"delivered", res.Delivered}} {
		_, _ = fmt.Fprintf(w, "%s\t%d\t%.1f\t%.1f\t%.1f\t%.1f\t\n", row.name, row.Count, row.P50, row.P99, row.P999, row.Max)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "%.0f messages/s stored, %.0f/s delivered; %d connections in %.1f s", res.StoredPerSecond, res.DeliveredPerSecond, res.Connections, res.OpenSeconds)
	if res.Memory > 0 {
		_, _ = fmt.Fprintf(out, ", %.1f KiB each", res.Memory)
	}
	if res.LongestGap > 0 {
		_, _ = fmt.Fprintf(out, "; at most %.0f ms between two deliveries", res.LongestGap)
	}
	if opts.Storm {
		_, _ = fmt.Fprintf(out, "; all back %.1f s after the storm", res.BackSeconds)
	}
	_, _ = fmt.Fprintln(out)
	if err != nil {
		return err
	}
	return ShowVerdict(opts.Factory, res.Verdict)
}

// ShowVerdict prints what the checker found.
func ShowVerdict(f *cli.Factory, v load.Verdict) error {
	_, err := fmt.Fprintf(f.IO.Out, "%d acknowledged, %d refused, %d delivered: %d lost, %d unanswered, %d duplicated, %d out of order, %d leaked, %d different\n",
		v.Acked, v.Refused, v.Delivered, v.Lost, v.Unanswered, v.Duplicated, v.OutOfOrder, v.Leaked, v.Different)
	for _, e := range v.Examples {
		_, _ = fmt.Fprintf(f.IO.Out, "  %s\n", e)
	}
	return err
}

// Key gives the key of the load users' passwords for the chat at an address. It follows from a file for its owner alone, so that a
// chat that is told a password knows none of another host.
func Key(f *cli.Factory, address string) ([]byte, error) {
	u, err := url.Parse(address)
	if err != nil || u.Hostname() == "" {
		return nil, cli.Usagef("labctl load", "%q is not an address such as http://127.0.0.1:8090", address)
	}
	dir, err := f.CacheDir()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "load.key")
	key, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		key = []byte(rand.Text())
		if err = os.MkdirAll(dir, 0o700); err == nil {
			err = os.WriteFile(path, key, 0o600)
		}
	}
	if err == nil && len(key) < 16 {
		err = fmt.Errorf("%s is damaged; remove it", path)
	}
	if err != nil {
		return nil, fmt.Errorf("read the key for the load users' passwords: %w", err)
	}
	mac := hmac.New(sha256.New, key)
	_, _ = mac.Write([]byte(u.Hostname()))
	return mac.Sum(nil), nil
}
