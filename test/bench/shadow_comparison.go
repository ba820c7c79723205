package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/labctl/labctl/pkg/gobuild"
)

const (
	comparisonTurns = 3
	comparedJoins   = 240_000
	openJoins       = 1_000_000
	comparisonGoal  = 50_000 // results in a second, on one processor
	openJoinsGoal   = 150    // MB
)

// benchComparison measures how fast the results of a shadow's sides are compared and joined on one processor, and the
// memory of a process that has a million open joins.
func benchComparison(ctx context.Context) (results []result, err error) {
	repository, err := repositoryRoot()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "labctl-bench-joins-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	program, err := buildJoins(ctx, repository, dir)
	if err != nil {
		return nil, err
	}
	for _, what := range []string{"same", "noise"} {
		var rates []float64
		for range comparisonTurns {
			rate, _, err := measureJoins(ctx, program, dir, what, comparedJoins)
			if err != nil {
				return results, err
			}
			rates = append(rates, rate)
		}
		results = append(results, atLeast("shadow.compared_"+what, median(rates), "1/s", comparisonGoal))
	}
	_, peak, err := measureJoins(ctx, program, dir, "open", openJoins)
	if err != nil {
		return results, err
	}
	return append(results, against("shadow.million_open_joins_mb", peak/1e6, "MB", openJoinsGoal)), nil
}

// buildJoins builds the program that is measured.
func buildJoins(ctx context.Context, repository, dir string) (program string, err error) {
	program = filepath.Join(dir, "joins")
	build := exec.CommandContext(ctx, "go", append(append([]string{"build", "-o", program}, gobuild.Flags()...), "./test/bench/joins")...) //nolint:gosec // our own
	build.Dir, build.Env, build.Stderr = repository, gobuild.Environ(), os.Stderr
	if err := build.Run(); err != nil {
		return "", fmt.Errorf("build the join to measure: %w", err)
	}
	return program, nil
}

func measureJoins(ctx context.Context, program, dir, what string, joins int) (rate, peak float64, err error) {
	fmt.Fprintln(os.Stderr, "measuring joins:", what)
	cmd := exec.CommandContext(ctx, program, what, filepath.Join(dir, "bodies"), strconv.Itoa(joins)) //nolint:gosec // built above
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return 0, 0, fmt.Errorf("measure joins: %s: %w", what, err)
	}
	fmt.Fprintf(os.Stderr, "%s", out)
	var measured struct {
		Rate float64 `json:"rate"`
		Peak float64 `json:"peak"`
	}
	return measured.Rate, measured.Peak, json.Unmarshal(out, &measured)
}
