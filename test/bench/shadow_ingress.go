package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/labctl/labctl/pkg/chaos"
	"github.com/labctl/labctl/pkg/gobuild"
	"github.com/labctl/labctl/pkg/load"
	"github.com/labctl/labctl/services/client"
)

const (
	ingressTurns = 3
	pageOfShadow = 50 // messages
)

// benchIngress measures how long a page of history takes through the ingress where it is copied to a comparer that takes nothing, as a share of the time
// where it is not copied. Skipper is a module of its own, so a benchmark there asks.
func benchIngress(ctx context.Context, repository string) (results []result, err error) {
	b := &chatBench{labctl: filepath.Join(repository, "bin", "labctl")}
	var plain, captured []float64
	err = b.with(ctx, "ingress", func(lab *chaos.Processes) error {
		env, err := aPage(ctx, lab.Address())
		if err != nil {
			return err
		}
		for turn := range ingressTurns {
			fmt.Fprintf(os.Stderr, "measuring the ingress (%d of %d)\n", turn+1, ingressTurns)
			p, c, err := askIngress(ctx, repository, env)
			if err != nil {
				return fmt.Errorf("measure the ingress: %w", err)
			}
			fmt.Fprintf(os.Stderr, "ingress: %.0f us without the filter, %.0f us with it\n", p, c)
			plain, captured = append(plain, p), append(captured, c)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	r := against("shadow.ingress_p99_hanging", median(captured)/median(plain), "times", liveGoal)
	r.Peer = fmt.Sprintf("without the filter: %s us", number(median(plain)))
	return []result{r}, nil
}

// aPage has two people write a page of messages, and gives the environment in which the benchmark asks for it.
func aPage(ctx context.Context, address string) (env []string, err error) {
	c := client.New(address)
	defer c.Close()
	s, err := load.Enter(ctx, c, []byte("the key of a bench's users"), 1, 2, nil)
	if err != nil {
		return nil, err
	}
	d, err := s[0].Connect(ctx, client.DeviceOptions{})
	if err != nil {
		return nil, err
	}
	defer d.Close()
	id := client.DirectID(s[0].User.ID, s[1].User.ID)
	for i := range pageOfShadow {
		if _, err := d.Send(ctx, id, fmt.Sprintf("message %d %s", i, strings.Repeat("x", 100))); err != nil {
			return nil, err
		}
	}
	token, err := s[0].AccessToken(ctx)
	if err != nil {
		return nil, err
	}
	path := "/api/messages?" + url.Values{"conversation": {id}, "limit": {strconv.Itoa(pageOfShadow)}}.Encode()
	return []string{"BENCH_BACKEND=" + address, "BENCH_PATH=" + path, "BENCH_TOKEN=" + token}, nil
}

// askIngress gives the 99th percentiles without and with the filter, in microseconds.
func askIngress(ctx context.Context, repository string, env []string) (plain, captured float64, err error) {
	cmd := exec.CommandContext(ctx, "go", append(append([]string{"test", "-run=^$", "-bench=HangingComparer", "-benchtime=1x", "-count=1"}, gobuild.Flags()...), "./capture")...) //nolint:gosec // our own
	cmd.Dir, cmd.Env, cmd.Stderr = filepath.Join(repository, "images", "skipper"), gobuild.Environ(env...), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return 0, 0, fmt.Errorf("%w: %s", err, out)
	}
	plain, err = metricOf(string(out), "plain-p99-us")
	captured, failed := metricOf(string(out), "captured-p99-us")
	return plain, captured, errors.Join(err, failed)
}

// metricOf reads a metric that a benchmark of Go has reported.
func metricOf(out, name string) (float64, error) {
	found := regexp.MustCompile(`([\d.e+]+) ` + regexp.QuoteMeta(name)).FindStringSubmatch(out)
	if found == nil {
		return 0, fmt.Errorf("the benchmark has reported no %s: %s", name, strings.TrimSpace(out))
	}
	return strconv.ParseFloat(found[1], 64)
}
