// Command bench measures what labctl promises about time, memory and disk. It prints a table and appends the same to
// .lab/bench.jsonl in the repository. It works on a lab of its own, which it takes down again.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
)

// result is one measured value. Goal and Peer are what it is compared with; Ratio is the value divided by the peer's, or
// by the goal where there is no peer to run.
type result struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	Goal  float64 `json:"goal"`
	Met   bool    `json:"met"`
	Peer  string  `json:"peer"`
	Ratio float64 `json:"ratio"`
}

// against compares a value with a goal that it must not exceed.
func against(name string, value float64, unit string, goal float64) result {
	return result{Name: name, Value: value, Unit: unit, Goal: goal, Met: value <= goal, Peer: "limit", Ratio: value / goal}
}

// atLeast compares a value with a goal that it must reach.
func atLeast(name string, value float64, unit string, goal float64) result {
	r := against(name, value, unit, goal)
	r.Met = value >= goal
	return r
}

// beside compares a value with a goal, and with what a peer needed for the same.
func beside(name string, value float64, unit string, goal float64, peer string, peerValue float64) result {
	r := against(name, value, unit, goal)
	r.Peer, r.Ratio = fmt.Sprintf("%s: %s", peer, number(peerValue)), value/peerValue
	return r
}

func main() {
	if os.Getenv(shimOf) != "" {
		os.Exit(shim(os.Args[1:]))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	measure, err := benchmark(args)
	if err != nil {
		return err
	}
	repository, err := repositoryRoot()
	if err != nil {
		return err
	}
	results, err := measure(ctx, repository)
	// What was measured before a failure is worth keeping.
	if writeErr := write(repository, results, os.Stdout); writeErr != nil {
		err = errors.Join(err, writeErr)
	}
	if err != nil {
		return err
	}
	var missed []string
	for _, r := range results {
		if !r.Met {
			missed = append(missed, r.Name)
		}
	}
	if len(missed) > 0 {
		return fmt.Errorf("goals missed: %s", strings.Join(missed, ", "))
	}
	return nil
}

// benchmark gives the one that is asked for. The error says which there are.
func benchmark(args []string) (func(ctx context.Context, repository string) ([]result, error), error) {
	benchmarks := map[string]func(context.Context, string) ([]result, error){"up": benchUp, "cold": benchCold, "image": benchImage, "stacks": benchStacks, "cluster": benchCluster, "gitops": benchGitOps, "shadow": benchShadow, "tui": benchTUI}
	var names []string
	for _, p := range chatParts {
		names = append(names, p.name)
	}
	usage := fmt.Errorf("usage: go run ./test/bench up|cold|image|stacks|cluster|gitops|shadow|tui|chat [PART ...]; the chat's parts are %s", strings.Join(names, ", "))
	switch {
	case len(args) == 0:
		return nil, usage
	case args[0] != "chat":
		if len(args) > 1 || benchmarks[args[0]] == nil {
			return nil, usage
		}
		return benchmarks[args[0]], nil
	}
	for _, part := range args[1:] {
		if !slices.Contains(names, part) {
			return nil, fmt.Errorf("the chat has no part %q to measure; %w", part, usage)
		}
	}
	return func(ctx context.Context, repository string) ([]result, error) {
		return benchChat(ctx, repository, args[1:])
	}, nil
}

// repositoryRoot is the nearest directory at or above the working one that holds a go.mod.
func repositoryRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("run it inside the repository")
		}
		dir = filepath.Dir(dir)
	}
}

func write(repository string, results []result, out io.Writer) error {
	if len(results) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "metric\tmeasured\tunit\tgoal\tpeer or limit\tratio\t")
	for _, r := range results {
		mark := ""
		if !r.Met {
			mark = "MISSED"
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%.2f\t%s\n", r.Name, number(r.Value), r.Unit, number(r.Goal), r.Peer, r.Ratio, mark)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	path := filepath.Join(repository, ".lab", "bench.jsonl")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	encoder := json.NewEncoder(file)
	for _, r := range results {
		if err := encoder.Encode(r); err != nil {
			return errors.Join(err, file.Close())
		}
	}
	return file.Close()
}

// number writes a value with three digits that matter.
func number(v float64) string {
	if v >= 100 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	if n%2 == 1 {
		return sorted[n/2]
	}
	return (sorted[n/2-1] + sorted[n/2]) / 2
}
