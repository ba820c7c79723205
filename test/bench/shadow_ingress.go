package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/labctl/labctl/pkg/gobuild"
)

const ingressTurns = 3

// benchIngress measures how long a GET takes through the ingress where it is copied to a comparer that takes nothing, as a share of the time where it is
// not copied. Skipper is a module of its own, so its benchmark does the work.
func benchIngress(ctx context.Context, repository string) ([]result, error) {
	plain, captured := []float64{}, []float64{}
	for turn := range ingressTurns {
		fmt.Fprintf(os.Stderr, "measuring the ingress (%d of %d)\n", turn+1, ingressTurns)
		cmd := exec.CommandContext(ctx, "go", append(append([]string{"test", "-run=^$", "-bench=HangingComparer", "-benchtime=1x", "-count=1"}, gobuild.Flags()...), "./capture")...) //nolint:gosec // our own
		cmd.Dir, cmd.Env, cmd.Stderr = filepath.Join(repository, "images", "skipper"), gobuild.Environ(), os.Stderr
		out, err := cmd.Output()
		if err != nil {
			return nil, fmt.Errorf("measure the ingress: %w: %s", err, out)
		}
		p, err := metricOf(string(out), "plain-p99-us")
		if err != nil {
			return nil, err
		}
		c, err := metricOf(string(out), "captured-p99-us")
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(os.Stderr, "ingress: %.0f us without the filter, %.0f us with it\n", p, c)
		plain, captured = append(plain, p), append(captured, c)
	}
	r := against("shadow.ingress_p99_hanging", median(captured)/median(plain), "times", liveGoal)
	r.Peer = fmt.Sprintf("without the filter: %s us", number(median(plain)))
	return []result{r}, nil
}

// metricOf reads a metric that a benchmark of Go has reported.
func metricOf(out, name string) (float64, error) {
	found := regexp.MustCompile(`([\d.e+]+) ` + regexp.QuoteMeta(name)).FindStringSubmatch(out)
	if found == nil {
		return 0, fmt.Errorf("the benchmark has reported no %s: %s", name, strings.TrimSpace(out))
	}
	return strconv.ParseFloat(found[1], 64)
}
